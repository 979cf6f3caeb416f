"""Resources and pools that a job declares: what must not run beside what (S197).

A resource is a path, of a file or of a folder with all below it, or a glob of such paths. Two that
overlap never run together. Guarantees: two spellings of one path are one resource, and two globs
exclude each other unless it is certain that no path belongs to both.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stepwell.errors import JobStartError
from stepwell.job.function import with_arguments

RESOURCES_MAX = 1_000  # Each is compared with each of those that are held, while others wait.
RESOURCE_CHARACTERS_MAX = 4_096  # As long as a path may be on Linux.

# What a list, a function of the parameters, or a single text may declare.
Resources = (
    str
    | os.PathLike[str]
    | Iterable[str | os.PathLike[str]]
    | Callable[..., Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None]
    | None
)
PoolNames = str | Iterable[str] | Callable[..., str | Iterable[str] | None] | None

_POOL_NAME = re.compile(r"[^\s\x00-\x1f\x7f]{1,200}")
_WILD = re.compile(r"[*?\[]")
# There "a" and "A" may name one file; on the others they never do.
_CASE_MATTERS = sys.platform not in ("win32", "darwin")


@dataclass(frozen=True)
class Declared:
    """What an execution needs for itself while it runs, fixed when it is recorded.

    Attributes:
        paths: Normalised, see :func:`normalise`.
        pools: Names; the execution takes one place in each.
    """

    paths: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.paths or self.pools)


NOTHING = Declared()


def normalise(resource: object, folder: Path) -> tuple[str, ...]:
    """The absolute paths that ``resource`` names; a relative one starts at ``folder``.

    ``~`` is the home folder, ``.`` and ``..`` are resolved. In front of the first wildcard
    (``*``, ``?``, ``[…]``; ``**`` for any number of folders) symbolic links are followed as they
    are now; the name of the link and the name of its target both count. Links that a wildcard
    matches, or that lie inside a declared folder, are not followed.

    Raises:
        ValueError: the text is no path, the message says why.
    """
    text = os.fspath(resource) if isinstance(resource, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError("it must be a path or a glob as text")
    if "\0" in text or len(text) > RESOURCE_CHARACTERS_MAX:
        raise ValueError(f"it must have at most {RESOURCE_CHARACTERS_MAX} characters, none zero")
    parts = Path(text).expanduser().parts
    wild_from = next((n for n, part in enumerate(parts) if _WILD.search(part)), len(parts))
    if ".." in parts[wild_from:]:
        raise ValueError("'..' behind a wildcard may be any folder")
    base = os.path.realpath(folder)
    plain = os.path.join(base, *parts[:wild_from])  # noqa: PTH118
    names = dict.fromkeys((os.path.normpath(plain), os.path.realpath(plain)))
    return tuple("/".join((Path(name).as_posix(), *parts[wild_from:])) for name in names)


def declare(
    job_name: str, resources: Resources, pool: PoolNames, parameters: object, folder: Path
) -> Declared:
    """What an execution with these parameters needs; asked once, when it is recorded (S197).

    ``parameters`` is what the functions are given: the job's model, or a dictionary.

    Raises:
        JobStartError: a function raised, or answered what is no path or no name of a pool.
    """
    paths: dict[str, None] = {}
    for resource in _asked(job_name, "resources", resources, parameters):
        try:
            paths.update(dict.fromkeys(normalise(resource, folder)))
        except ValueError as error:
            raise _refused(job_name, f"resource {resource!r}: {error}") from None
    pools = tuple(dict.fromkeys(_asked(job_name, "pool", pool, parameters)))
    for name in pools:
        fault = pool_name_fault(name)
        if fault:
            raise _refused(job_name, fault)
    if len(paths) > RESOURCES_MAX:
        fact = f"resources must be at most {RESOURCES_MAX}, got {len(paths)}"
        raise _refused(job_name, fact, hint="declare the folder that they lie in")
    return Declared(tuple(paths), tuple(str(name) for name in pools))


def pool_name_fault(name: object) -> str:
    """What is wrong with the name of a pool; empty when nothing is."""
    if isinstance(name, str) and _POOL_NAME.fullmatch(name):
        return ""
    return f"a pool's name must be 1 to 200 printable characters without a space, got {name!r}"


def _asked(
    job_name: str, field: str, declaration: Resources | PoolNames, parameters: object
) -> Iterable[Any]:
    if callable(declaration):
        try:
            declaration = with_arguments(declaration, 1)(parameters)
        except Exception as error:
            fact = f"{field} raised {type(error).__name__}: {error}"
            raise _refused(job_name, fact) from error
    if declaration is None:
        return ()
    if isinstance(declaration, str | os.PathLike):
        return (declaration,)
    if not isinstance(declaration, Iterable):
        raise _refused(job_name, f"{field} must be text or a list of texts, got {declaration!r}")
    return tuple(declaration)


def _refused(job_name: str, fact: str, *, hint: str = "") -> JobStartError:
    return JobStartError(
        f"cannot start job {job_name!r}: {fact}",
        hint=hint or "correct the job, or its section in stepwell.toml; nothing was recorded",
        fields={"job": job_name},
    )


def overlap(one: str, other: str) -> bool:
    """Whether a path may belong to both, each standing for what it matches and all below that."""
    if _WILD.search(one) or _WILD.search(other):
        return _globs_overlap(one, other)
    if not _CASE_MATTERS:
        one, other = one.casefold(), other.casefold()
    one, other = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return one.startswith(other) or other.startswith(one)


@lru_cache(maxsize=65_536)
def _globs_overlap(one: str, other: str) -> bool:
    ours, theirs = _segments(one), _segments(other)
    last_row, last_column = _common(ours, theirs, "**", _segments_overlap)
    return any(last_row) or any(last_column)  # What has ended has all below it.


def first_overlap(ours: Sequence[str], theirs: Iterable[str]) -> tuple[str, str] | None:
    """The first two that overlap, or None."""
    for other in theirs:
        for one in ours:
            if overlap(one, other):
                return one, other
    return None


@lru_cache(maxsize=4_096)
def _segments(path: str) -> tuple[str, ...]:
    text = path if _CASE_MATTERS else path.casefold()
    return tuple(segment for segment in text.split("/") if segment)


def _segments_overlap(one: str, other: str) -> bool:
    if not (_WILD.search(one) or _WILD.search(other)):
        return one == other
    last_row, _ = _common(_tokens(one), _tokens(other), "*", _characters_overlap)
    return last_row[-1]


# A class such as "[a-z]" with what it holds, else one character.
_TOKEN = re.compile(r"\[(!?\]?[^\]]*)\]|.", re.DOTALL)


@lru_cache(maxsize=4_096)
def _tokens(segment: str) -> tuple[str, ...]:
    """``*``, ``?``, ``[`` for a class that may be any character, ``=a`` for the character a."""
    tokens = []
    for found in _TOKEN.finditer(segment):
        text, held = found[0], found[1]
        if held is not None:
            # "[[]" and its like are how a glob spells one of its own signs.
            tokens.append(f"={held}" if len(held) == 1 else "[")
        else:
            tokens.append(text if text in "*?" else f"={text}")
    return tuple(tokens)


def _characters_overlap(one: str, other: str) -> bool:
    return one == other or one[0] != "=" or other[0] != "="


def _common(
    one: Sequence[str], other: Sequence[str], star: str, may_be_one: Callable[[str, str], bool]
) -> tuple[list[bool], list[bool]]:
    """Which beginnings of two patterns have something in common that both match.

    The answer is the last row and the last column of a table: all of ``one`` beside each beginning
    of ``other``, and the other way round. ``star`` stands for any number of elements. Row by row,
    so that many stars cost no more than one.
    """
    row = [True]
    for theirs in other:
        row.append(row[-1] and theirs == star)
    column = [row[-1]]
    for ours in one:
        above, row = row, [row[0] and ours == star]
        for n, theirs in enumerate(other, start=1):
            if star in (ours, theirs):
                row.append(above[n] or row[n - 1])
            else:
                row.append(above[n - 1] and may_be_one(ours, theirs))
        column.append(row[-1])
    return row, column
