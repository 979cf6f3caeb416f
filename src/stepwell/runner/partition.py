"""A partitioned step: freeze the plan, hand partitions out, record what they return (section 12).

Guarantees: the plan and its attempts are stored before the first partition runs (law 1, S155);
results are recorded by the owner alone, each batch in one transaction with the step's counters, so
``completed`` is exact at every moment and equals ``total`` only when all is done (law 3, S161).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from stepwell.database.transaction import Transaction
from stepwell.errors import LostOwnership, PartitionsFailed
from stepwell.execution.records import Metrics, Partition, StepExecution
from stepwell.execution.status import (
    BatchStatus,
    PartitionOutcome,
    StepEnd,
    derive_partitioned_step,
)
from stepwell.job.artifact import Scope
from stepwell.job.step import PartitionedStep
from stepwell.repository.partitions import (
    PartitionEnd,
    counted,
    counted_by_all,
    hand_out,
    record_results,
    stop_rest,
)
from stepwell.repository.plans import (
    Reached,
    freeze_plan,
    insert_attempts,
    kept_results,
    list_plan,
    reached,
)
from stepwell.runner.context import StepContext
from stepwell.runner.counters import add_metrics
from stepwell.runner.plan import Planned, make_plan
from stepwell.runner.pool import Pool, open_pool
from stepwell.runner.running import RunningExecution
from stepwell.runner.share import Fault, Payload, Told, Waits
from stepwell.runner.trial import first_partitions
from stepwell.runner.whole import Whole

logger = logging.getLogger("stepwell.runner")


@dataclass
class Counters:
    """The step's partition counters, as they will stand after the next commit (S161)."""

    total: int
    completed: int = 0
    failed: int = 0
    partial: int = 0

    def count(self, outcome: PartitionOutcome | None) -> None:
        """Count one result; a stopped partition has none (S146)."""
        self.completed += outcome is not None
        self.failed += outcome is PartitionOutcome.FAILURE
        self.partial += outcome is PartitionOutcome.PARTIAL

    def columns(self) -> dict[str, Any]:
        """The values for the step's row."""
        return {
            "partition_total": self.total,
            "partition_completed": self.completed,
            "partition_failed": self.failed,
            "partition_partial": self.partial,
        }


class PartitionRunner:
    """Runs one execution of a partitioned step."""

    def __init__(
        self,
        running: RunningExecution,
        step: PartitionedStep,
        context: StepContext,
        scope: Scope,
        previous: StepExecution | None,
    ) -> None:
        self._running = running
        self._definition = step
        self._context = context
        self._scope = scope
        self._id = context.step_execution_id
        self._previous = previous
        self._whole = Whole(step, scope)
        self._counters = Counters(0)
        self._metrics = Metrics()
        self._events: SimpleQueue[Told] = SimpleQueue()
        self._halt = Event()  # No partition begins any more: the step cannot record results.
        self._fault: BaseException | None = None  # Of a collector or analyzer (S140).
        self._mean_s: float | None = None
        self._first_failure: str | None = None
        self._partitions: Sequence[Partition] = ()

    def run(self) -> StepEnd:
        """Run every partition of the plan that has no kept result.

        Raises:
            PartitionsFailed: more failed than the step tolerates (S162).
        """
        try:
            self._whole.begin()
            self._run()
            end = self._derive()
            if end.batch_status is BatchStatus.COMPLETED:
                self._whole.complete()
                return end
        except LostOwnership:
            raise
        except BaseException:
            self._whole.roll_back_quietly()
            raise
        self._whole.roll_back()
        if end.batch_status is BatchStatus.FAILED:
            first = f", the first was {self._first_failure}" if self._first_failure else ""
            raise PartitionsFailed(
                self._definition.name, self._counters.failed, self._counters.total, first
            )
        return end

    @property
    def metrics(self) -> Metrics:
        """The sum over the partitions (S134); of those that told no end, from their rows."""
        if self._counters.completed == self._counters.total:
            return self._metrics
        with self._running.repository.database.read() as reader:
            return counted_by_all(reader, self._id)

    def finish(self, transaction: Transaction, step: StepExecution) -> None:
        """In the step's final transaction: attempts that never ran are STOPPED with it (S155)."""
        if self._counters.completed < self._counters.total:
            stop_rest(transaction, step, at=self._running.clock.now())

    def _run(self) -> None:
        partitions, reached, workers = self._freeze()
        self._partitions = partitions
        if partitions:
            with open_pool(
                self._running,
                self._definition,
                self._context,
                workers=workers,
                partition_count=len(partitions),
                reached=reached,
                events=self._events,
                halt=self._halt,
            ) as pool:
                self._work(pool, deque(partitions))
        if self._fault is not None:
            raise self._fault

    def _derive(self) -> StepEnd:
        counters = self._counters
        return derive_partitioned_step(
            total=counters.total,
            completed=counters.completed,
            failed=counters.failed,
            partial=counters.partial,
            tolerated_failures=self._definition.tolerated_failures,
        )

    # --- the plan ----------------------------------------------------------------------------

    def _freeze(self) -> tuple[list[Partition], dict[int, Reached], int]:
        """The partitions to run, where each had come to, and how many run at a time (S156)."""
        plan_id = self._running.step(self._id).plan_id
        definition = self._definition
        if plan_id is None or definition.partition_override:
            planned = make_plan(definition, self._scope, plan_id=self._id)
        elif definition.replan_on_restart:
            planned = make_plan(definition, self._scope, plan_id=plan_id)
        else:
            planned = Planned([], definition.workers)
        planned = first_partitions(planned, self._running.job.trial)
        if plan_id is not None and not (definition.partition_override or planned.override):
            return self._keep(plan_id, planned)
        if plan_id is not None:
            self._whole.discard()  # An override throws everything away (S157).
        return self._freeze_new(planned), {}, planned.workers

    def _freeze_new(self, planned: Planned) -> list[Partition]:
        plan = planned.partitions
        if plan and plan[0].plan_id != self._id:  # Asked for beside a kept plan, then overridden.
            plan = [replace(partition, plan_id=self._id) for partition in plan]
        self._counters = Counters(len(plan))
        with self._running.step_transaction(self._id) as work:
            freeze_plan(work.transaction, self._running.step(self._id), plan)
            work.save(self._context.context, plan_id=self._id, **self._counters.columns())
        return plan

    def _keep(
        self, plan_id: int, planned: Planned
    ) -> tuple[list[Partition], dict[int, Reached], int]:
        with self._running.repository.database.read() as reader:
            plan = list_plan(reader, plan_id)
            kept = kept_results(reader, plan_id)
            positions = reached(reader, plan_id)
        rest = [partition for partition in plan if partition.number not in kept]
        self._counters = Counters(len(plan))
        for outcome in kept.values():
            self._counters.count(outcome)
        with self._running.step_transaction(self._id) as work:
            step = self._running.step(self._id)
            insert_attempts(work.transaction, step, rest, positions)
            work.save(self._context.context, **self._counters.columns())
        return planned.inputs_for(rest, len(plan)), positions, planned.workers

    # --- the work ----------------------------------------------------------------------------

    def _work(self, pool: Pool, waiting: deque[Partition]) -> None:
        """Hand out, record, until nothing waits and nothing runs."""
        tasks = 0
        while tasks or (waiting and self._hands_out()):
            told, ended_tasks = self._take_events(wait=tasks > 0)
            tasks -= ended_tasks
            size = self._range_size(pool)
            ranges: list[list[Partition]] = []
            while waiting and tasks + len(ranges) < pool.ahead and self._hands_out():
                ranges.append([waiting.popleft() for _ in range(min(size, len(waiting)))])
            ends = [one for one in told if isinstance(one, PartitionEnd)]
            if ends or ranges:
                self._record(ends, [partition.number for part in ranges for partition in part])
            self._analyze(told)
            if not self._hands_out():
                pool.cancel()  # What waits there stays unstarted (S146).
                continue  # Nor does what was handed out just now begin.
            for part in ranges:
                tasks += 1
                pool.submit(part)

    def _hands_out(self) -> bool:
        return self._fault is None and not self._running.stop_flag.is_set()

    def _take_events(self, *, wait: bool) -> tuple[list[PartitionEnd | Payload], int]:
        """All waiting events, at least one if something runs; and the tasks that ended."""
        told: list[PartitionEnd | Payload] = []
        tasks = 0
        while True:
            try:
                event = self._events.get(block=wait)
            except Empty:
                return told, tasks
            wait = False
            if isinstance(event, int):
                tasks += event
            elif isinstance(event, Waits):
                self._tell_waiting(event.what)
            elif isinstance(event, Fault):
                self._fail_with(event.error)
            elif isinstance(event, BaseException):
                raise event
            else:
                told.append(event)

    def _tell_waiting(self, what: str | None) -> None:
        """In the log, and in the step's row, where ``why`` reads it."""
        step = self._running.step(self._id)
        if what is not None:
            logger.warning("step %r of execution %s %s", step.step_name, step.execution_id, what)
        self._running.save_progress(self._id, self._context.context, progress_label=what)

    def _fail_with(self, error: BaseException) -> None:
        """What runs may finish and is recorded, nothing begins any more, the step fails (S140)."""
        self._halt.set()
        self._fault = self._fault or error

    def _record(self, ends: list[PartitionEnd], numbers: list[int]) -> None:
        """Results, counters and the next hand-out in one transaction (S161)."""
        counters = replace(self._counters)
        metrics = self._metrics
        with self._running.step_transaction(self._id) as work:
            step = self._running.step(self._id)
            for end in ends:
                counters.count(end.outcome)
                of_it = end.metrics
                if of_it is None:
                    of_it = counted(work.transaction, step, end.number)
                metrics = add_metrics(metrics, of_it)  # S134
            if ends:
                record_results(work.transaction, step, ends)
            if numbers:
                hand_out(work.transaction, step, numbers, at=self._running.clock.now())
            work.save(
                self._context.context,
                metrics=metrics,
                **counters.columns(),
                **self._context.pending_progress,
            )
        self._counters, self._metrics = counters, metrics
        self._remember(ends)

    def _analyze(self, told: list[PartitionEnd | Payload]) -> None:
        """Payloads and ends in the order of their arrival, behind their commit (S151, S153)."""
        for one in told:
            if self._fault is not None:
                return
            try:
                self._whole.analyze(one)
            except Exception as error:
                self._fail_with(error)

    def _remember(self, ends: list[PartitionEnd]) -> None:
        """The first failure, for the step's own message; and how long partitions take."""
        for end in ends:
            if end.outcome is PartitionOutcome.FAILURE and self._first_failure is None:
                self._first_failure = f"{self._named(end.number)}: {end.message}"
        if ends:
            seconds = sum((e.end_time - e.start_time).total_seconds() for e in ends) / len(ends)
            self._mean_s = seconds if self._mean_s is None else (self._mean_s + seconds) / 2

    def _named(self, number: int) -> str:
        """``'2026-11-20' (number 3)``; a partition may have no other name than its number."""
        name = next((one.name for one in self._partitions if one.number == number), str(number))
        return f"number {number}" if name == str(number) else f"{name!r} (number {number})"

    def _range_size(self, pool: Pool) -> int:
        """How many partitions travel in one task: one, until they are known to be small."""
        if self._mean_s is None:
            return 1
        return max(1, min(pool.range_max, int(pool.range_s / max(self._mean_s, 1e-6))))
