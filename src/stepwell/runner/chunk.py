"""A chunk step: read, process, write a chunk, commit; skip, retry and rewind (section 10).

Guarantees: reading and processing happen outside any transaction; what the writer wrote through
the step's connection, the checkpoints and the counters commit together (S90, S91); after a rollback
reader and writer stand where the last commit left them (S122).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import LostOwnership, TransactionEnded
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import Metrics, SkippedItem
from stepwell.execution.status import STEP_COMPLETED, STEP_STOPPED, StepEnd
from stepwell.job.artifact import Scope
from stepwell.job.step import ChunkStep
from stepwell.runner.artifacts import make_own, make_processor, make_reader, make_writer, open_at
from stepwell.runner.books import Books
from stepwell.runner.callbacks import Checkpointing, listened_process, listened_read
from stepwell.runner.context import StepContext
from stepwell.runner.counters import Counters, skipped_item
from stepwell.runner.faults import CheckpointTimeout, Choice, FaultPolicy
from stepwell.runner.listeners import ListenerFailed, Listeners, unwrapped
from stepwell.runner.running import RunningExecution
from stepwell.runner.trial import FirstItems

logger = logging.getLogger("stepwell.runner")

SKIPPED = object()  # Stands for the result of an item that is left out.


class Rewind(Exception):
    """Roll the chunk back, reopen at the last commit, go through it item by item (S122)."""

    def __init__(self, error: Exception, wait_s: float) -> None:
        super().__init__()
        self.error = error
        self.wait_s = wait_s


@dataclass
class Chunk:
    """One chunk in memory: what was read, what is to be written."""

    items: list[Any] = field(default_factory=list)
    attempts: int = 0
    read: int = 0
    finished: bool = False
    began_at: float = 0.0
    timeout_s: float = 0.0


class ChunkRunner:
    """Runs one execution of a chunk step, from its last committed position to its end.

    ``collect`` is called behind each commit of a chunk that read something (S150).
    """

    def __init__(
        self,
        running: RunningExecution,
        step: ChunkStep[Any, Any],
        context: StepContext,
        books: Books,
        listeners: Listeners,
        scope: Scope,
        collect: Callable[[], None] | None = None,
    ) -> None:
        self._running = running
        self._definition = step
        self._context = context
        self._books = books
        self._listeners = listeners
        self._collect = collect
        self._reader = make_reader(step, scope)
        if running.job.trial is not None and context.partition is None:
            self._reader = FirstItems(self._reader, running.job.trial)  # S198
        self._writer = make_writer(step, scope)
        self._process = listened_process(make_processor(step, scope, context.loop), listeners)
        algorithm = make_own(step.checkpoint, scope)
        self._checkpointing = None if algorithm is None else Checkpointing(algorithm)
        self._counters = Counters(books.position.metrics)
        self._faults = FaultPolicy(step.skip, step.retry)
        self._faults.skip_count = self._counters.committed_skip_count
        self._skips: list[SkippedItem] = []
        self._in_chunk = False
        # Chunks of one read attempt each that are still to come after a rewind (S126).
        self._window = 0
        self._mini_chunk = 0

    def run(self) -> StepEnd:
        """Work until the reader's end or a stop; the exception of the failure path otherwise."""
        opened: list[Any] = []
        try:
            self._open(opened)
            end = self._chunks(opened)
            self._close(opened)
            return end
        except BaseException as error:
            # Also after KeyboardInterrupt: files must not stay open behind a dead step.
            self._close_quietly(opened)
            if self._in_chunk:
                self._counters.roll_back()
                if not isinstance(error, LostOwnership):  # Nobody hears of that (S25).
                    self._tell_error(error)
            raise

    @property
    def metrics(self) -> Metrics:
        """The counters of the last commit, and the rollbacks since (S133)."""
        return self._counters.committed_metrics()

    def _tell_error(self, error: BaseException) -> None:
        """``on_error``, behind the rollback and the closes (S170); it cannot hide the error."""
        if isinstance(error, Exception):
            try:
                self._listeners.after("on_error", unwrapped(error))
            except ListenerFailed:
                logger.exception("an on_error listener of %r failed", self._definition.name)

    def _chunks(self, opened: list[Any]) -> StepEnd:
        while not self._running.stop_requested():
            chunk = Chunk()
            self._in_chunk = True
            try:
                self._begin(chunk)
                self._read_and_process(chunk)
                self._write(chunk)
            except Rewind as rewind:
                self._rewind(opened, rewind, chunk.attempts)
                continue
            self._after_commit(chunk)
            if chunk.finished:
                return STEP_COMPLETED
        return STEP_STOPPED

    def _begin(self, chunk: Chunk) -> None:
        chunk.began_at = self._running.clock.monotonic()
        if self._checkpointing is not None and not self._window:
            chunk.timeout_s = self._checkpointing.begin()
        self._listeners.before("before_chunk")

    def _after_commit(self, chunk: Chunk) -> None:
        """What follows a commit: a fault in it fails the step, what is committed stays (S105)."""
        if self._checkpointing is not None and not self._window:
            self._checkpointing.end()
        if self._collect is not None and chunk.read:
            self._collect()

    # --- reading and processing: no transaction is open --------------------------------------

    def _read_and_process(self, chunk: Chunk) -> None:
        """Fill the chunk until its checkpoint condition holds, the data ends or a stop is asked."""
        read, process, keep = self._read, self._process, chunk.items.append
        stopped, clock, counters = (
            self._running.stop_requested,
            self._running.clock,
            self._counters,
        )
        in_window = self._window > 0
        checkpointing = None if in_window else self._checkpointing
        size = 1 if in_window else self._definition.chunk_size
        limit_s = None if in_window or checkpointing else self._definition.time_limit_s
        deadline = chunk.began_at + limit_s if limit_s else None
        while chunk.read < size or checkpointing is not None:
            chunk.attempts += 1
            try:
                item = read()
            except Exception as error:
                if self._read_skipped(error) and (in_window or stopped()):
                    break  # In the window a skipped read is a chunk of its own (S126).
                continue
            if item is None:
                chunk.attempts -= 1
                chunk.finished = True
                break
            chunk.read += 1
            counters.read += 1
            if process is not None:
                try:
                    item = process(item)
                except Exception as error:
                    item = self._process_failed(process, item, error)
                if item is None:
                    counters.filter += 1
                elif item is not SKIPPED:
                    keep(item)
            else:
                keep(item)
            if (
                stopped()
                or (deadline is not None and clock.monotonic() >= deadline)
                or (checkpointing is not None and checkpointing.is_ready())
            ):
                break

    def _read_skipped(self, error: Exception) -> bool:
        """True: the faulty record is left out. False: read again. Otherwise it raises."""
        if self._choose("read", error) is Choice.RETRY:
            return False
        self._skip("read", error, None)
        return True

    def _process_failed(self, process: Any, item: Any, error: Exception) -> Any:
        """The result of a retry in place, or SKIPPED; otherwise it raises."""
        while self._choose("process", error, item) is Choice.RETRY:
            try:
                return process(item)
            except Exception as again:
                error = again
        self._skip("process", error, item)
        return SKIPPED

    def _choose(self, phase: str, error: Exception, *subject: Any) -> Choice:
        """Answer SKIP, or RETRY for a repetition in place; raise for everything else (S115)."""
        if isinstance(error, ListenerFailed):
            raise error
        self._context.exception = error
        choice = self._faults.choose(
            error,
            in_window=self._window > 0,
            # An empty list that cannot be committed: nothing is left that could be skipped.
            skippable=phase != "write" or bool(subject[0]),
        )
        if choice is Choice.FAIL:
            raise error
        if choice is Choice.RETRY:
            self._listeners.after(f"on_retry_{phase}_exception", *subject, error)
            wait_s = self._faults.count_retry()
            logger.info("retry %s of a %s: %s", self._faults.retry_count, phase, error)
            if not self._faults.keeps_chunk(error):
                raise Rewind(error, wait_s) from error
            self._wait(wait_s)
            if self._running.stop_requested():
                # Nobody tries again (S114): the restart goes on at the last commit.
                raise Rewind(error, 0.0) from error
        return choice

    # --- writing: one transaction ------------------------------------------------------------

    def _write(self, chunk: Chunk) -> None:
        """Commit the chunk; a skipped write goes on in a new transaction without it (S118)."""
        items = chunk.items
        while True:
            filterable = [False]
            try:
                self._commit(chunk, items, filterable)
            except Exception as error:
                self._counters.forget_write()
                if not filterable[0] or isinstance(error, (ListenerFailed, LostOwnership)):
                    raise
                # Nothing is open any more: the callbacks hear of it behind the rollback (S118).
                self._listeners.after("on_write_error", items, error)
                if self._skips_in_place(error, items):
                    self._skip("write", error, items)
                    items = []
                # The new transaction has its time again (S103).
                chunk.began_at = self._running.clock.monotonic()
            else:
                return

    def _skips_in_place(self, error: Exception, items: list[Any]) -> bool:
        """True: drop the list. False: write it again. Otherwise Rewind, or the error (S130)."""
        self._context.exception = error
        in_window = self._window > 0
        if not items or self._faults.choose(error, in_window=in_window) is not Choice.SKIP:
            return self._choose("write", error, items) is Choice.SKIP
        if len(items) > 1 and self._definition.write_skip == "item":
            raise Rewind(error, 0.0) from error
        return True

    def _commit(self, chunk: Chunk, items: list[Any], filterable: list[bool]) -> None:
        """The chunk's transaction; ``filterable[0]`` says whether filters apply (S111)."""
        counters, context, listeners = self._counters, self._context, self._listeners
        number = self._books.position.chunk_number
        number = number if self._mini_chunk else number + 1
        place = f".{self._mini_chunk + 1}" if self._window else ""
        context.chunk_label = f"/{number}{place}"
        with self._books.transaction() as work:
            with context.lend(work.transaction):
                if items:
                    listeners.before("before_write", items)
                    filterable[0] = True
                    report = self._writer.write(items, context)
                    if not work.transaction.is_open():
                        raise _ended(self._definition.name)
                    filterable[0] = False
                    counters.count_write(items, report)
                    listeners.after("after_write", items)
                listeners.after("after_chunk")
            work.save(
                context.context,
                metrics=counters.metrics(commits=1),
                chunk_number=number,
                reader_checkpoint=_checkpoint(self._reader, "the reader's checkpoint"),
                writer_checkpoint=_checkpoint(self._writer, "the writer's checkpoint"),
                skips=self._skips,
                **context.pending_progress,
            )
            filterable[0] = True  # What comes now is the commit itself (S120).
            late = chunk.timeout_s and self._running.clock.monotonic() - chunk.began_at
            if late > chunk.timeout_s:
                # It is not attempted and counts as failed (S103).
                raise CheckpointTimeout(self._definition.name)
        self._committed()

    def _committed(self) -> None:
        self._in_chunk = False
        self._counters.commit(self._faults.skip_count)
        self._skips = []
        if self._window:
            self._window -= 1
            # The numbers k.1, k.2, … are used up with the window; the next chunk is k + 1 (S92).
            self._mini_chunk = self._mini_chunk + 1 if self._window else 0

    # --- skip, rewind, open, close -----------------------------------------------------------

    def _skip(self, phase: str, error: Exception, subject: Any) -> None:
        told = () if phase == "read" else (subject,)
        self._listeners.after(f"on_skip_{phase}_item", *told, error)
        self._faults.skip_count += 1
        self._counters.count_skip(phase)
        item = subject[0] if phase == "write" and len(subject) == 1 else subject
        self._skips.append(
            skipped_item(
                self._books.step,
                phase,
                item,
                error,
                position=self._counters.position,
                at=self._running.clock.now(),
            )
        )
        logger.info("skipped a %s of step %r: %s", phase, self._definition.name, error)

    def _rewind(self, opened: list[Any], rewind: Rewind, attempts: int) -> None:
        """Reopen at the last commit and go through what was touched one by one (S122, S126)."""
        self._counters.roll_back()
        self._in_chunk = False
        self._faults.skip_count = self._counters.committed_skip_count
        self._skips = []
        self._close(opened)
        self._listeners.after("on_error", rewind.error)
        self._wait(rewind.wait_s)
        if self._running.stop_requested():
            return
        self._open(opened)
        if not self._window:
            self._window = attempts
            self._mini_chunk = 0

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._running.wait_for_stop(seconds)

    def _open(self, opened: list[Any]) -> None:
        position = self._books.position
        open_at(self._reader, from_json(position.reader_checkpoint), self._context)
        opened.append(self._reader)
        open_at(self._writer, from_json(position.writer_checkpoint), self._context)
        opened.append(self._writer)
        # A reader may set its read by open.
        self._read = listened_read(self._reader.read, self._listeners)

    def _close(self, opened: list[Any]) -> None:
        """Writer first; each is closed once, although one of them may raise (S100)."""
        while opened:
            opened.pop().close()

    def _close_quietly(self, opened: list[Any]) -> None:
        while opened:
            try:
                opened.pop().close()
            except Exception:
                logger.exception("closing step %r failed", self._definition.name)


def _checkpoint(artifact: Any, what: str) -> str | None:
    value = artifact.checkpoint()
    return None if value is None else to_json(value, what=what)


def _ended(step_name: str) -> TransactionEnded:
    return TransactionEnded(
        f"cannot commit a chunk of step {step_name!r}: its writer ended the transaction",
        hint="write through step.connection and leave COMMIT and ROLLBACK to the step",
    )
