"""The job ``stepwell.sync.import``: a chunk step of groups, whose checkpoint is an LSN.

A batch is some groups of together about ``batch_size`` changes, and one transaction: rows,
receipts, the cursor, the job's position and its counters commit together. A longer group is
streamed. What cannot be applied is parked alone, and written to ``FILE.errors.jsonl``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.errors import BundleDamaged
from stepwell.execution.result import WriteReport
from stepwell.job.job import Job
from stepwell.job.parameters import NonIdentifying, Parameters
from stepwell.job.step import ChunkStep, TaskletStep
from stepwell.sync.bundle import Meta
from stepwell.sync.bundle_reader import BundleGroup, Checked, open_bundle
from stepwell.sync.change import Change
from stepwell.sync.error_report import ErrorReport, told

if TYPE_CHECKING:
    from stepwell.database.transaction import Transaction
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
        meta: The first line of its file.
        weight: How much of a batch it fills.
        last_lsn: Of its last change; of a long group known when its lines have been read.
    """

    meta: Meta
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
    """Reads groups of files; its position is the number of those that were read, and their LSN."""

    def __init__(self, rows: RowCount) -> None:
        self._rows = rows

    def open(self, checkpoint: Any, step: Any = None) -> None:
        """Pass over the groups that are done.

        Raises:
            BundleDamaged: another file has this name now.
        """
        self._step = step
        self._files = files_of(step)
        self._rows.begin_import(step.parameters.batch_size)
        self._last: Item | None = None
        self._lsn = 0
        self._open(0 if checkpoint is None else checkpoint["piece"])
        if checkpoint is not None:
            if checkpoint["file_id"] != self._bundle.meta.tx_id:
                name = self._files[self._piece]
                raise BundleDamaged(
                    f"cannot import {name!r}: another file has taken its place since the import"
                    " began",
                    hint=f"`stepwell sync import {name}` begins anew",
                    fields={"file": name},
                )
            self._done, self._lsn = checkpoint["groups"], checkpoint["lsn"]
            for _ in islice(self._groups, self._done):
                pass

    def _open(self, piece: int) -> None:
        self._piece = piece
        self._bundle = open_bundle(Path(self._files[piece]))
        self._groups: Iterator[BundleGroup] = self._bundle.groups()
        self._done = 0

    def read(self) -> Item | None:
        """The next group, whole, or as a stream when it is longer than a batch."""
        while (group := next(self._groups, None)) is None:
            self._count_file()
            if self._piece + 1 == len(self._files):
                return None
            self._open(self._piece + 1)
        self._done += 1
        limit = self._rows.rows_max
        head = [(line.line, line.change) for line in islice(group.lines, limit + 1)]
        item = Item(self._bundle.meta, head, len(head), head[-1][1].lsn)
        if len(head) > limit:
            item = Item(self._bundle.meta, (), limit, item.last_lsn)
            rest = ((line.line, line.change) for line in group.lines)
            item.lines = _watched(item, chain(head, rest))
        elif self._bundle.is_classic:
            item.last_lsn = group.seq  # Its lines may stand between those of others.
        self._last = item
        return item

    def _count_file(self) -> None:
        """What all files up to this one hold, counted once although one may be read again."""
        context = self._step.job.context
        if self._piece < context.get("files_read", 0):
            return
        found, before = self._bundle.last_checked, context.get("checked", {"rows": 0, "groups": 0})
        found = replace(
            found, rows=found.rows + before["rows"], groups=found.groups + before["groups"]
        )
        checked = msgspec.to_builtins(found)
        self._step.job.context = {**context, "checked": checked, "files_read": self._piece + 1}

    def checkpoint(self) -> dict[str, Any]:
        """Behind the last group."""
        if self._last is not None:
            self._lsn = max(self._lsn, self._last.last_lsn)
        return {
            "piece": self._piece,
            "file_id": self._bundle.meta.tx_id,
            "groups": self._done,
            "lsn": self._lsn,
        }

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
        files = files_of(step)
        self._from_lsn = open_bundle(Path(files[0])).meta.from_lsn
        self._to_lsn = open_bundle(Path(files[-1])).meta.to_lsn
        self._report = ErrorReport(Path(f"{files[0]}.errors.jsonl"), checkpoint or 0)
        self._is_first = True

    def write(self, items: Sequence[Item], step: Any) -> WriteReport:
        """One batch, in the chunk's transaction where that is the node's database."""
        from stepwell.sync import receipt
        from stepwell.sync.apply import applying

        sync, meta = self._sync(), items[-1].meta
        at = sync.clock.now()
        counts = {**_NOTHING, **step.job.context.get("counts", {})}
        with _transaction(sync, step) as transaction:
            with applying(
                transaction, source_node=meta.source_node, at=at, actor=sync.actor
            ) as applier:
                if self._is_first:
                    counts["released"] += len(applier.retry_all())
                    self._is_first = False
                found = applier.apply_all(item.lines for item in items)
            reached = max(item.last_lsn for item in items)
            for before, after in pairwise(items):
                if before.meta is not after.meta:
                    receipt.reach(transaction, before.meta, before.meta.to_lsn, at=at)
            receipt.reach(transaction, meta, reached, at=at)
        parked = [applied for applied in found if applied.result == "parked"]
        for applied in found:
            counts[applied.result] += 1
            counts["conflicts"] += applied.conflicts
            counts["released"] += len(applied.released)
        step.job.context = {**step.job.context, "counts": counts}
        for applied in parked:
            logger.error("%s", told(applied))
        self._report.add(parked)
        done, total = reached - self._from_lsn + 1, self._to_lsn - self._from_lsn + 1
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


def files_of(step: Any) -> list[str]:
    """What is imported: a file, or the pieces of a log that were fetched from a hub."""
    fetched = step.job.context.get("fetched")
    if fetched is None:
        return [step.parameters.file]
    before, _, behind = fetched["name"].rpartition("*")
    return [f"{before}{number}{behind}" for number in range(1, fetched["count"] + 1)]


def import_job(
    sync: Callable[[], Sync],
    *,
    name: str = IMPORT,
    parameters: type[ImportParameters] = ImportParameters,
    before: Sequence[TaskletStep] = (),
    after: Sequence[TaskletStep] = (),
) -> Job:
    """Reads a file through, applies it, and says how far its source has come.

    ``before`` may put several files into the job's context: ``fetched``, their ``name`` with a star
    for the number, and their ``count``.
    """

    def preflight(step: Any) -> None:
        bundle = open_bundle(Path(files_of(step)[0]))
        if step.parameters.checked != bundle.meta.tx_id or bundle.is_classic:
            sync().preflight(bundle.path).require()

    def finish(step: Any) -> None:
        files = files_of(step)
        bundle = open_bundle(Path(files[-1]))
        counts = {**_NOTHING, **step.job.context.get("counts", {})}
        checked = msgspec.convert(step.job.context["checked"], Checked)
        acknowledged, waiting = sync().finish_import(bundle, checked, counts)
        step.context = {
            "file": files[0],
            "source_node": bundle.meta.source_node,
            "from_lsn": open_bundle(Path(files[0])).meta.from_lsn,
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
        parameters=parameters,
        identity="each-start",
        run_lock="job",
        steps=[
            *before,
            TaskletStep("preflight", preflight),
            ChunkStep("apply", GroupReader(rows), rows.count, GroupWriter(sync), checkpoint=rows),
            TaskletStep("finish", finish),
            *after,
        ],
    )
