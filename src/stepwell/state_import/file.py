"""The ``state.json`` of older programs: work items with a status, read once and then retired.

What a file may look like stands in ``docs/import-state.md``. Guarantees: a file is understood whole
or refused whole, with every fault named; what is not understood of an item is kept, not dropped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from stepwell.errors import InvalidStateFile, ItemSourceMissing
from stepwell.execution.json import to_json
from stepwell.repository.queue import PRIORITY_MAX

FILE_BYTES_MAX = 64 * 1024 * 1024  # It is read whole.
ITEMS_MAX = 10_000  # They are recorded in one transaction, while all other writers wait.
FAULTS_SHOWN_MAX = 10

Standing = Literal["waiting", "completed", "failed", "abandoned"]

# What became of an item, in the words of the programs that wrote such files.
STANDINGS: Mapping[str, Standing] = {
    **dict.fromkeys(("pending", "queued", "waiting", "todo", "new", "open"), "waiting"),
    # It was under way when the old program ended: it begins again.
    **dict.fromkeys(("running", "started", "in_progress", "processing", "claimed"), "waiting"),
    **dict.fromkeys(("done", "completed", "complete", "finished", "success", "ok"), "completed"),
    **dict.fromkeys(("failed", "failure", "error"), "failed"),
    **dict.fromkeys(("abandoned", "cancelled", "canceled", "skipped"), "abandoned"),
}
LISTS = ("items", "tasks", "work_items")


@dataclass(frozen=True)
class StateItem:
    """One item of the file.

    Attributes:
        place: Where it stands, for messages: ``item 3``, ``item 'page-7'``.
        id: Its id as text; None when it has none.
        job: The job that it names itself.
        parameters: What is a parameter by its own word.
        error: What a failed one says of its failure.
        after: The id of the item that must be done first.
        others: Every other key; a parameter when the job has one of that name, else kept.
    """

    place: str
    id: str | None
    standing: Standing
    job: str | None
    priority: int | None
    parameters: dict[str, Any]
    error: str | None
    after: str | None
    others: dict[str, Any]


@dataclass(frozen=True)
class StateFile:
    """A file as it was read.

    Attributes:
        digest: SHA-256 of its bytes, by which it is known again.
        others: The keys of the file itself that are not understood, kept too.
    """

    path: Path
    digest: str
    job: str | None
    items: tuple[StateItem, ...]
    others: dict[str, Any] = field(default_factory=dict)

    def refuse(self, faults: list[str], *, hint: str = "") -> InvalidStateFile:
        """The error that names what is wrong with it."""
        return _invalid(self.path, faults, hint=hint)


def read_state_file(path: Path) -> StateFile:
    """Read a file and understand it.

    Raises:
        ItemSourceMissing: there is no such file, or it cannot be read.
        InvalidStateFile: it is no JSON, or not of the shape; the first faults are named.
    """
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _invalid(path, [f"it is larger than {FILE_BYTES_MAX} bytes"])
        data = path.read_bytes()
    except OSError as error:
        raise ItemSourceMissing(
            f"cannot import state {str(path)!r}: {(error.strerror or str(error)).lower()}",
            hint="correct the path",
            fields={"file": str(path)},
        ) from error
    try:
        document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(path, [f"it is no JSON: {error}"]) from None
    return _understood(path, hashlib.sha256(data).hexdigest(), document)


def _understood(path: Path, digest: str, document: object) -> StateFile:
    document = {"items": document} if isinstance(document, list) else document
    if not isinstance(document, dict):
        raise _invalid(path, ["it must be an object or a list of items"])
    names = [name for name in LISTS if name in document]
    if len(names) != 1:
        told = " and ".join(names) if names else "none of them"
        raise _invalid(path, [f"it must have one of {', '.join(LISTS)}, got {told}"])
    faults: list[str] = []
    items = [
        found
        for place, item in _places(document[names[0]], faults)
        if (found := _item(place, item, faults)) is not None
    ]
    if len(items) > ITEMS_MAX:
        faults.append(f"it has {len(items)} items, at most {ITEMS_MAX} are read")
    job = _text(document, "job", "the file", faults)
    others = {k: v for k, v in document.items() if k not in (names[0], "job")}
    to_json(others, what=f"the other keys of {path.name}")
    faults += _references(items)
    if faults:
        raise _invalid(path, faults)
    return StateFile(path, digest, job, tuple(items), others)


def _places(listed: object, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of a list, or of an object whose keys are their ids."""
    if isinstance(listed, dict):
        for key, item in listed.items():
            if isinstance(item, dict):
                yield f"item {key!r}", {"id": key, **item}
            else:
                faults.append(f"item {key!r} must be an object")
        return
    if not isinstance(listed, list):
        faults.append("its items must be a list or an object")
        return
    for number, item in enumerate(listed, start=1):
        if isinstance(item, dict):
            yield f"item {number}", item
        else:
            faults.append(f"item {number} must be an object")


_KNOWN = ("id", "status", "state", "job", "priority", "parameters", "error", "after")


def _item(place: str, item: dict[str, Any], faults: list[str]) -> StateItem | None:
    before = len(faults)
    status = item.get("status", item.get("state", "pending"))
    standing = STANDINGS.get(str(status).strip().lower().replace("-", "_").replace(" ", "_"))
    if standing is None:
        faults.append(f"{place}: status must be one of {', '.join(STANDINGS)}, got {status!r}")
    priority = item.get("priority")
    if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
        faults.append(f"{place}: priority must be a whole number, got {priority!r}")
    elif priority is not None and abs(priority) > PRIORITY_MAX:
        rule = f"must be from {-PRIORITY_MAX} to {PRIORITY_MAX}"
        faults.append(f"{place}: a priority {rule}, got {priority}")
    parameters = item.get("parameters") or {}
    if not isinstance(parameters, dict):
        faults.append(f"{place}: parameters must be an object, got {parameters!r}")
    found_id = item.get("id")
    if found_id is not None and not isinstance(found_id, str | int):
        faults.append(f"{place}: id must be text or a number, got {found_id!r}")
    job = _text(item, "job", place, faults)
    error = item.get("error")
    after = _after(item.get("after"), place, faults)
    if len(faults) > before or standing is None:
        return None
    return StateItem(
        place=place,
        id=None if found_id is None else str(found_id),
        standing=standing,
        job=job,
        priority=priority,
        parameters=parameters,
        error=None if error is None else str(error),
        after=after,
        others={key: value for key, value in item.items() if key not in _KNOWN},
    )


def _after(value: object, place: str, faults: list[str]) -> str | None:
    if isinstance(value, list) and len(value) <= 1:
        value = value[0] if value else None
    if value is None or isinstance(value, str | int):
        return None if value is None else str(value)
    faults.append(f"{place}: after must be the id of one item, got {value!r}")
    return None


def _text(holder: Mapping[str, Any], key: str, place: str, faults: list[str]) -> str | None:
    value = holder.get(key)
    if value is None or isinstance(value, str):
        return value
    faults.append(f"{place}: {key} must be text, got {value!r}")
    return None


def _references(items: list[StateItem]) -> Iterator[str]:
    ids = Counter(item.id for item in items if item.id is not None)
    yield from (f"id {name!r} stands {count} times" for name, count in ids.items() if count > 1)
    seen: set[str] = set()
    for item in items:
        if item.after is not None and item.after not in seen:
            where = "stands behind it" if item.after in ids else "is not in the file"
            yield f"{item.place}: after names {item.after!r}, which {where}"
        if item.id is not None:
            seen.add(item.id)


def _invalid(path: Path, faults: list[str], *, hint: str = "") -> InvalidStateFile:
    shown = faults[:FAULTS_SHOWN_MAX]
    more = f"; and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    return InvalidStateFile(
        f"cannot import state {str(path)!r}: {'; '.join(shown)}{more}",
        hint=hint or "correct the file; nothing was recorded",
        fields={"file": str(path), "faults": faults},
    )
