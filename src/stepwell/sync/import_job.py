"""The job ``stepwell.sync.import``: a chunk step of groups, whose checkpoint is an LSN.

A batch is some groups of together about ``batch_size`` changes, and one transaction: rows,
receipts, the cursor, the job's position and its counters commit together. A longer group is
streamed. What cannot be applied is parked alone, and written to ``FILE.errors.jsonl``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.errors import BundleDamaged
from stepwell.execution.result import WriteReport
from stepwell.job.job import Job
from stepwell.job.parameters import NonIdentifying, Parameters
from stepwell.job.step import ChunkStep, TaskletStep
from stepwell.sync.bundle_reader import BundleGroup, Checked, open_bundle
from stepwell.sync.change import Change

if TYPE_CHECKING:
    from stepwell.database.transaction import Transaction
    from stepwell.sync.apply import Applied
    from stepwell.sync.session import Sync

IMPORT = "stepwell.sync.import"
BATCH_SIZE = 1_000

Line = tuple[int | None, Change]

logger = logging.getLogger("stepwell.sync")


class ImportParameters(Parameters):
    """What an import is asked for.

    Attributes:
        file: The first part.
        batch_size: Changes a transaction, about.
        checked: The id of the file that the caller has just read through; it is not read again.
    """

    file: str
    batch_size: NonIdentifying[int] = BATCH_SIZE
    checked: NonIdentifying[str] = ""


@dataclass
class Item:
    """One group of the file.

    Attributes:
        weight: How much of a batch it fills.
        last_lsn: Of its last change; of a long group known when its lines have been read.
    """

    lines: Iterable[Line]
    weight: int
    last_lsn: int


class RowCount:
    """Ends a batch when its groups have so many changes; one for a node, an import at a time."""

    def __init__(self) -> None:
        # Shared by the copies that the engine makes.
        self._state = {"rows": 0, "rows_max": BATCH_SIZE}

    def begin_import(self, rows_max: int) -> None:
        """So many changes are a batch."""
        self._state.update(rows=0, rows_max=max(1, rows_max))

    @property
    def rows_max(self) -> int:
        """How many changes are a batch."""
        return self._state["rows_max"]

    def count(self, item: Item) -> Item:
        """An item was read."""
        self._state["rows"] += item.weight
        return item

    def checkpoint_timeout(self) -> float:
        """There is no limit."""
        return 0

    def begin_checkpoint(self) -> None:
        """A batch begins."""
        self._state["rows"] = 0

    def is_ready_to_checkpoint(self) -> bool:
        """Whether the batch is full."""
        return self._state["rows"] >= self._state["rows_max"]

    def end_checkpoint(self) -> None:
        """The batch is committed."""


class GroupReader:
    """Reads groups of a file; its position is the number of those that were read, and their LSN."""

    def __init__(self, rows: RowCount) -> None:
        self._rows = rows

    def open(self, checkpoint: Any, step: Any = None) -> None:
        """Pass over the groups that are done.

        Raises:
            BundleDamaged: another file has this name now.
        """
        self._step = step
        self._bundle = open_bundle(Path(step.parameters.file))
        self._rows.begin_import(step.parameters.batch_size)
        self._groups: Iterator[BundleGroup] = self._bundle.groups()
        self._done = 0
        self._last: Item | None = None
        self._lsn = 0
        if checkpoint is not None:
            if checkpoint["file_id"] != self._bundle.meta.tx_id:
                raise BundleDamaged(
                    f"cannot import {step.parameters.file!r}: another file has taken its place"
                    " since the import began",
                    hint=f"`stepwell sync import {step.parameters.file}` begins anew",
                    fields={"file": step.parameters.file},
                )
            self._done, self._lsn = checkpoint["groups"], checkpoint["lsn"]
            for _ in islice(self._groups, self._done):
                pass

    def read(self) -> Item | None:
        """The next group, whole, or as a stream when it is longer than a batch."""
        group = next(self._groups, None)
        if group is None:
            checked = msgspec.to_builtins(self._bundle.last_checked)
            self._step.job.context = {**self._step.job.context, "checked": checked}
            return None
        self._done += 1
        limit = self._rows.rows_max
        head = [(line.line, line.change) for line in islice(group.lines, limit + 1)]
        item = Item(head, len(head), head[-1][1].lsn)
        if len(head) > limit:
            item = Item((), limit, item.last_lsn)
            rest = ((line.line, line.change) for line in group.lines)
            item.lines = _watched(item, chain(head, rest))
        elif self._bundle.is_classic:
            item.last_lsn = group.seq  # Its lines may stand between those of others.
        self._last = item
        return item

    def checkpoint(self) -> dict[str, Any]:
        """Behind the last group."""
        if self._last is not None:
            self._lsn = max(self._lsn, self._last.last_lsn)
        return {"file_id": self._bundle.meta.tx_id, "groups": self._done, "lsn": self._lsn}

    def close(self) -> None:
        """Let the file go."""
        self._groups = iter(())


def _watched(item: Item, lines: Iterable[Line]) -> Iterator[Line]:
    for line in lines:
        item.last_lsn = line[1].lsn
        yield line


class GroupWriter:
    """Applies the groups of a batch, and tells of those that were parked."""

    def __init__(self, sync: Callable[[], Sync]) -> None:
        self._sync = sync

    def open(self, checkpoint: Any, step: Any = None) -> None:
        """Cut the report to what is committed."""
        file = step.parameters.file
        self._meta = open_bundle(Path(file)).meta
        self._report = _Report(Path(f"{file}.errors.jsonl"), checkpoint or 0)
        self._is_first = True

    def write(self, items: Sequence[Item], step: Any) -> WriteReport:
        """One batch, in the chunk's transaction where that is the node's database."""
        from stepwell.sync import receipt
        from stepwell.sync.apply import applying

        sync, meta = self._sync(), self._meta
        at = sync.clock.now()
        counts = {**_NOTHING, **step.job.context.get("counts", {})}
        with _transaction(sync, step) as transaction:
            with applying(
                transaction, source_node=meta.source_node, at=at, actor=sync.actor
            ) as applier:
                if self._is_first:
                    counts["released"] += len(applier.retry_all())
                    self._is_first = False
                found = [applier.apply(item.lines) for item in items]
            reached = max(item.last_lsn for item in items)
            receipt.reach(transaction, meta, reached, at=at)
        parked = [applied for applied in found if applied.result == "parked"]
        for applied in found:
            counts[applied.result] += 1
            counts["conflicts"] += applied.conflicts
            counts["released"] += len(applied.released)
        step.job.context = {**step.job.context, "counts": counts}
        for applied in parked:
            logger.error("%s", _told(applied))
        self._report.add(parked)
        done, total = reached - meta.from_lsn + 1, meta.to_lsn - meta.from_lsn + 1
        step.progress(done, max(done, total), "changes")
        return WriteReport(written=len(items) - len(parked), skipped=len(parked))

    def checkpoint(self) -> int:
        """How long the report is."""
        return self._report.flush()

    def close(self) -> None:
        """Let the report go."""
        self._report.close()


_NOTHING = dict.fromkeys(
    ("applied", "conflict", "parked", "skipped", "dropped", "conflicts", "released"), 0
)


@contextmanager
def _transaction(sync: Sync, step: Any) -> Iterator[Transaction]:
    if sync.is_apart:
        with sync.database.write(what="apply a batch of groups") as transaction:
            yield transaction
    else:
        yield step.open_transaction


class _Report:
    """``FILE.errors.jsonl``, none without errors; after a kill as long as what is committed."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file: Any = None
        try:
            if path.exists():
                if size:
                    os.truncate(path, size)
                else:
                    path.unlink()
        except OSError as error:
            self._give_up(error)

    def add(self, parked: Sequence[Applied]) -> None:
        """Groups that were parked."""
        if not parked:
            return
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            for applied in parked:
                self._file.write(msgspec.json.encode(_error(applied)) + b"\n")
        except OSError as error:
            self._give_up(error)

    def flush(self) -> int:
        """Have the disk hold it; answers its length."""
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._size = self._file.tell()
            except OSError as error:
                self._give_up(error)
        return self._size

    def close(self) -> None:
        """Nothing more is written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _give_up(self, error: OSError) -> None:
        logger.warning(
            "cannot write %s: %s; `stepwell sync quarantine list` has the same", self._path, error
        )


def _error(applied: Applied) -> dict[str, Any]:
    return {
        "line": applied.line,
        "table": applied.table_name,
        "pk_json": None if applied.pk_json is None else msgspec.Raw(applied.pk_json.encode()),
        "reason": applied.reason,
        "message": applied.message,
        "quarantine_id": applied.quarantine_id,
        "origin": applied.origin,
        "epoch": applied.epoch,
        "seq": applied.seq,
        "tx_id": applied.tx_id,
    }


def _told(applied: Applied) -> str:
    at = "" if applied.line is None else f" (line {applied.line})"
    return (
        f"parked group {applied.seq} of {applied.origin}{at} as {applied.quarantine_id}:"
        f" {applied.reason}: {applied.message}"
    )


def import_job(sync: Callable[[], Sync], *, name: str = IMPORT) -> Job:
    """Reads a file through, applies it, and says how far its source has come."""

    def preflight(step: Any) -> None:
        bundle = open_bundle(Path(step.parameters.file))
        if step.parameters.checked != bundle.meta.tx_id or bundle.is_classic:
            sync().preflight(bundle.path).require()

    def finish(step: Any) -> None:
        bundle = open_bundle(Path(step.parameters.file))
        counts = {**_NOTHING, **step.job.context.get("counts", {})}
        checked = msgspec.convert(step.job.context["checked"], Checked)
        acknowledged, waiting = sync().finish_import(bundle, checked, counts)
        step.context = {
            "source_node": bundle.meta.source_node,
            "from_lsn": bundle.meta.from_lsn,
            "to_lsn": checked.to_lsn,
            "rows": checked.rows,
            "groups": checked.groups,
            "acknowledged_lsn": acknowledged,
            "waiting": waiting,
            **counts,
        }

    rows = RowCount()
    return Job(
        name,
        description="applies a file of changes, each transaction whole and once",
        parameters=ImportParameters,
        identity="each-start",
        run_lock="job",
        steps=[
            TaskletStep("preflight", preflight),
            ChunkStep("apply", GroupReader(rows), rows.count, GroupWriter(sync), checkpoint=rows),
            TaskletStep("finish", finish),
        ],
    )
