"""A chunk step: read, process, write a chunk, commit; skip, retry and rewind (section 10).

Guarantees: reading and processing happen outside any transaction; what the writer wrote through
the step's connection, the checkpoints and the counters commit together (S90, S91); after a rollback
reader and writer stand where the last commit left them (S122).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import TransactionEnded
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import Metrics, SkippedItem
from stepwell.execution.status import STEP_COMPLETED, STEP_STOPPED, StepEnd
from stepwell.job.step import ChunkStep
from stepwell.runner.artifacts import make_processor, make_reader, make_writer, open_at
from stepwell.runner.context import StepContext
from stepwell.runner.counters import Counters, skipped_item
from stepwell.runner.faults import Choice, FaultPolicy
from stepwell.runner.running import RunningExecution

logger = logging.getLogger("stepwell.runner")


SKIPPED = object()  # Stands for the result of an item that is left out.


class Rewind(Exception):
    """Roll the chunk back, reopen at the last commit, go through it item by item (S122)."""

    def __init__(self, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s


@dataclass
class Chunk:
    """One chunk in memory: what was read, what is to be written."""

    items: list[Any] = field(default_factory=list)
    attempts: int = 0
    finished: bool = False


class ChunkRunner:
    """Runs one execution of a chunk step, from its last committed position to its end."""

    def __init__(
        self, running: RunningExecution, step: ChunkStep[Any, Any], context: StepContext
    ) -> None:
        self._running = running
        self._definition = step
        self._context = context
        self._id = context.step_execution_id
        self._reader = make_reader(step)
        self._writer = make_writer(step)
        self._process = make_processor(step)
        self._faults = FaultPolicy(step.skip, step.retry)
        self._counters = Counters()
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
        except BaseException:
            # Also after KeyboardInterrupt: files must not stay open behind a dead step.
            self._close_quietly(opened)
            raise

    def failed_metrics(self) -> Metrics:
        """The counters that the final transaction of a failed step stores (S133)."""
        if self._in_chunk:
            self._counters.roll_back()
        return self._counters.metrics()

    def _chunks(self, opened: list[Any]) -> StepEnd:
        while not self._running.stop_flag.is_set():
            chunk = Chunk()
            self._in_chunk = True
            try:
                self._read_and_process(chunk)
                self._write(chunk.items)
            except Rewind as rewind:
                self._rewind(opened, rewind, chunk.attempts)
                continue
            if chunk.finished:
                return STEP_COMPLETED
        return STEP_STOPPED

    # --- reading and processing: no transaction is open --------------------------------------

    def _read_and_process(self, chunk: Chunk) -> None:
        """Fill the chunk until its checkpoint condition holds, the data ends or a stop is asked."""
        read, process, keep = self._reader.read, self._process, chunk.items.append
        stopped, clock, counters = (
            self._running.stop_flag.is_set,
            self._running.clock,
            self._counters,
        )
        in_window = self._window > 0
        size = 1 if in_window else self._definition.chunk_size
        limit_s = self._definition.time_limit_s
        deadline = clock.monotonic() + limit_s if limit_s and not in_window else None
        count = 0
        while count < size:
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
            count += 1
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
            if stopped() or (deadline is not None and clock.monotonic() >= deadline):
                break

    def _read_skipped(self, error: Exception) -> bool:
        """True: the faulty record is left out. False: read again. Otherwise it raises."""
        if self._choose(error) is Choice.RETRY:
            return False
        self._skip("read", error, None)
        return True

    def _process_failed(self, process: Any, item: Any, error: Exception) -> Any:
        """The result of a retry in place, or SKIPPED; otherwise it raises."""
        while self._choose(error) is Choice.RETRY:
            try:
                return process(item)
            except Exception as again:
                error = again
        self._skip("process", error, item)
        return SKIPPED

    def _choose(self, error: Exception) -> Choice:
        """Answer SKIP, or RETRY for a repetition in place; raise for everything else."""
        self._context.exception = error
        choice = self._faults.choose(error, in_window=self._window > 0)
        if choice is Choice.FAIL:
            raise error
        if choice is Choice.RETRY:
            wait_s = self._faults.count_retry()
            logger.info("retry %s: %s", self._faults.retry_count, error)
            if not self._faults.keeps_chunk(error):
                raise Rewind(wait_s) from error
            self._wait(wait_s)
        return choice

    # --- writing: one transaction ------------------------------------------------------------

    def _write(self, items: list[Any]) -> None:
        """Commit the chunk; a skipped write goes on in a new transaction without it (S118)."""
        while True:
            filterable = [False]
            try:
                self._commit(items, filterable)
                return
            except Exception as error:
                self._counters.forget_write()
                if not filterable[0]:
                    raise
                if self._skips_in_place(error, items):
                    self._skip("write", error, items[0] if len(items) == 1 else items)
                    items = []

    def _skips_in_place(self, error: Exception, items: list[Any]) -> bool:
        """True: drop the list. False: write it again. Otherwise Rewind, or the error (S130)."""
        self._context.exception = error
        choice = self._faults.choose(error, in_window=self._window > 0)
        if choice is Choice.SKIP and items:
            if len(items) > 1 and self._definition.write_skip == "item":
                raise Rewind(0.0) from error
            return True
        if choice is Choice.SKIP:
            raise error  # Nothing is left that could be skipped.
        return self._choose(error) is Choice.SKIP

    def _commit(self, items: list[Any], filterable: list[bool]) -> None:
        """The chunk's transaction; ``filterable[0]`` says whether filters apply (S111)."""
        counters, context = self._counters, self._context
        number = self._running.step(self._id).chunk_number
        number = number if self._mini_chunk else number + 1
        if self._window:
            context.chunk_label = f"/{number}.{self._mini_chunk + 1}"
        else:
            context.chunk_label = f"/{number}"
        with self._running.step_transaction(self._id) as work:
            if items:
                filterable[0] = True
                with context.lend(work.transaction.connection):
                    report = self._writer.write(items, context)
                if not work.transaction.is_open():
                    raise _ended(self._definition.name)
                counters.count_write(items, report)
                filterable[0] = False
            reader_checkpoint = _checkpoint(self._reader, "the reader's checkpoint")
            writer_checkpoint = _checkpoint(self._writer, "the writer's checkpoint")
            work.save(
                context.context,
                metrics=counters.metrics(commits=1),
                chunk_number=number,
                reader_checkpoint=reader_checkpoint,
                writer_checkpoint=writer_checkpoint,
                skips=self._skips,
                **context.pending_progress,
            )
            filterable[0] = True  # What comes now is the commit itself (S120).
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

    def _skip(self, phase: str, error: Exception, item: Any) -> None:
        self._faults.skip_count += 1
        self._counters.count_skip(phase)
        self._skips.append(
            skipped_item(
                self._running.step(self._id),
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
        self._wait(rewind.wait_s)
        self._open(opened)
        if not self._window:
            self._window = attempts
            self._mini_chunk = 0

    def _wait(self, seconds: float) -> None:
        if seconds > 0:
            self._running.clock.wait(self._running.stop_flag, seconds)

    def _open(self, opened: list[Any]) -> None:
        record = self._running.step(self._id)
        open_at(self._reader, from_json(record.reader_checkpoint), self._context)
        opened.append(self._reader)
        open_at(self._writer, from_json(record.writer_checkpoint), self._context)
        opened.append(self._writer)

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
