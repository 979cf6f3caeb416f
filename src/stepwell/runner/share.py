"""A share of a partitioned step's work: what runs on a worker thread, and how its end is told."""

from __future__ import annotations

from collections.abc import Mapping
from queue import SimpleQueue
from threading import Event
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from stepwell.errors import LostOwnership
from stepwell.execution.json import from_json
from stepwell.execution.records import Metrics, Partition
from stepwell.execution.result import Failure, PartitionError, PartitionResult
from stepwell.execution.status import STEP_STOPPED, PartitionOutcome
from stepwell.job.artifact import ArtifactFactory, Scope, make_artifact
from stepwell.job.function import input_annotation, with_arguments
from stepwell.job.listener import STEP_CALLBACKS
from stepwell.job.step import ChunkStep, PartitionedStep
from stepwell.repository.partitions import PartitionEnd
from stepwell.repository.plans import NOWHERE, Reached
from stepwell.runner.books import PartitionBooks
from stepwell.runner.chunk import ChunkRunner
from stepwell.runner.context import PartitionContext, StepContext
from stepwell.runner.listeners import Listeners, call, unwrapped
from stepwell.runner.loop import is_coroutine_function
from stepwell.runner.running import RunningExecution

CHUNK_CALLBACKS = tuple(
    name for name in STEP_CALLBACKS if name not in ("before_step", "after_step")
)


class Payload(NamedTuple):
    """What a collector returned; it reaches the analyzer before the partition's end (S151)."""

    value: Any


class Fault(NamedTuple):
    """The exception of a collector: it fails the step, whatever the partitions did (S140)."""

    error: BaseException


Told = PartitionEnd | Payload | Fault | BaseException | int


class _Function:
    """How a partition function is called: with the arguments that it wants, awaited if it must."""

    def __init__(self, artifact: Any) -> None:
        function = getattr(artifact, "process", artifact)
        self.call = with_arguments(function, 2)
        self.is_async = is_coroutine_function(function)


class PartitionWork:
    """Runs partitions on whatever thread calls ``run_range`` and puts each end into ``events``.

    It writes nothing to the batch tables but chunks and ``step.transaction()``: results are
    returned, then recorded by the owner (law 3).
    """

    def __init__(
        self,
        running: RunningExecution,
        context: StepContext,
        step: PartitionedStep,
        reached: Mapping[int, Reached],
        events: SimpleQueue[Told],
        halt: Event,
    ) -> None:
        self._running = running
        self._context = context
        self._definition = step
        self._step = running.step(context.step_execution_id)
        self._reached = reached
        self._events = events
        self._halt = halt
        is_function = callable(step.run) and not isinstance(step.run, (ChunkStep, ArtifactFactory))
        run: Any = step.run
        annotation = input_annotation(run) if is_function else Any
        # Looked at once: there may be many partitions.
        self._function = None if isinstance(run, (ChunkStep, ArtifactFactory)) else _Function(run)
        self._decode = TypeAdapter(annotation).validate_json

    def run_range(self, partitions: list[Partition]) -> None:
        """Run each partition until a stop; tell each end, then that one task has ended."""
        try:
            for partition in partitions:
                if self._running.stop_flag.is_set() or self._halt.is_set():
                    break
                self._events.put(self._run(partition))
        except BaseException as error:  # LostOwnership, or a fault of the engine: the owner raises.
            self._events.put(error)
        finally:
            self._events.put(1)

    def _run(self, partition: Partition) -> PartitionEnd:
        reached = self._reached.get(partition.number, NOWHERE)
        stored = from_json(reached.context)
        books = PartitionBooks(
            self._running, self._step, partition.number, reached.position.without_metrics()
        )
        context = PartitionContext(
            self._running,
            self._step,
            self._context.job.for_branch(),
            dict(stored) if isinstance(stored, dict) else {},
            self._definition.properties,
            books,
        )
        try:
            value = self._decode(partition.input)
            scope = Scope(context.job, context, value if isinstance(value, Mapping) else None)
            if isinstance(self._definition.run, ChunkStep):
                return self._run_chunks(self._definition.run, context, books, scope)
            return self._run_function(value, context, scope)
        except LostOwnership:
            raise
        except BaseException as error:
            # SystemExit too: a partition ends its own work, never the process (S143).
            return self._failed(context, partition, unwrapped(error))
        finally:
            context.loop.close()

    # --- a function, or the object of a job file ---------------------------------------------

    def _run_function(self, value: Any, context: PartitionContext, scope: Scope) -> PartitionEnd:
        if self._function is None:
            artifact = make_artifact(self._definition.run, scope)
            function = _Function(artifact)
        else:
            artifact, function = self._definition.run, self._function
        try:
            with self._running.stoppable(artifact):
                returned = function.call(value, context)
                if function.is_async:
                    returned = context.loop.run(returned)
            return self._ended(context, returned)
        finally:
            if self._definition.collector is not None:
                self._collect(scope)  # Once at the end, also when the work raised (S150).

    def _ended(self, context: PartitionContext, returned: Any) -> PartitionEnd:
        """The end of a partition whose function returned (S160)."""
        if returned is None or isinstance(returned, str):
            if self._running.stop_flag.is_set():
                return self._end(context, None, None, PartitionResult.success())
            result = PartitionResult.success()
        elif isinstance(returned, PartitionResult):
            result = returned
        else:
            raise TypeError(
                f"a partition returns a PartitionResult, its exit status or None, got {returned!r}"
            )
        outcome = result.outcome
        if outcome is PartitionOutcome.SUCCESS and context.error_count:
            outcome = PartitionOutcome.PARTIAL
        exit_status = (
            context.exit_status
            or (returned if isinstance(returned, str) else result.exit_status)
            or _EXIT_STATUS[outcome]
        )
        return self._end(context, outcome, exit_status, result)

    # --- a chunk step ------------------------------------------------------------------------

    def _run_chunks(
        self,
        step: ChunkStep[Any, Any],
        context: PartitionContext,
        books: PartitionBooks,
        scope: Scope,
    ) -> PartitionEnd:
        listeners = Listeners(
            [*self._definition.listeners, *step.listeners], scope, CHUNK_CALLBACKS
        )
        runner = ChunkRunner(
            self._running,
            step,
            context,
            books,
            listeners,
            scope,
            collect=lambda: self._collect(scope),
        )
        context.runner = runner
        end = runner.run()
        self._collect(scope)
        if end is STEP_STOPPED:
            return self._end(context, None, None, PartitionResult.success())
        exit_status = context.exit_status or end.exit_status
        return self._end(context, PartitionOutcome.SUCCESS, exit_status, PartitionResult.success())

    # --- how it is told ----------------------------------------------------------------------

    def _collect(self, scope: Scope) -> None:
        """Ask the partition's own collector; a None payload is not delivered (S150, S151)."""
        if self._definition.collector is None:
            return
        try:
            collector = scope.step.collector
            if collector is None:
                collector = scope.step.collector = make_artifact(self._definition.collector, scope)
            value = call(getattr(collector, "collect_partition_data", collector), scope.step)
        except Exception as error:
            self._events.put(Fault(error))
            return
        if value is not None and self._definition.analyzer is not None:
            self._events.put(Payload(value))

    def _end(
        self,
        context: PartitionContext,
        outcome: PartitionOutcome | None,
        exit_status: str | None,
        result: PartitionResult,
    ) -> PartitionEnd:
        assert context.partition is not None
        return PartitionEnd(
            context.partition,
            outcome,
            context.started_at,
            self._running.clock.now(),
            exit_status,
            result.message or _attempts_message(context),
            result.counts,
            (*result.errors, *context.errors),
            context.context_json(),
            _metrics(context),
        )

    def _failed(
        self, context: PartitionContext, partition: Partition, error: BaseException
    ) -> PartitionEnd:
        """The end of a partition that raised: a FAILURE of its own, with its trace (S143)."""
        failure = Failure.of(error)
        return PartitionEnd(
            partition.number,
            PartitionOutcome.FAILURE,
            context.started_at,
            self._running.clock.now(),
            context.exit_status or "FAILED",
            f"{failure.type}: {failure.message}",
            None,
            (PartitionError(partition.name, failure), *context.errors),
            _json_or_none(context),
            _metrics(context),
        )


_EXIT_STATUS = {
    PartitionOutcome.SUCCESS: "COMPLETED",
    PartitionOutcome.PARTIAL: "PARTIAL",
    PartitionOutcome.FAILURE: "FAILED",
}


def _metrics(context: PartitionContext) -> Metrics:
    return Metrics() if context.runner is None else context.runner.metrics


def _attempts_message(context: PartitionContext) -> str | None:
    if not context.error_count:
        return None
    first = context.errors[0]
    return (
        f"{context.error_count} attempts failed, the first at {first.key}: {first.failure.message}"
    )


def _json_or_none(context: PartitionContext) -> str | None:
    try:
        return context.context_json()
    except Exception:  # The failure that is being recorded may be this very context.
        return None
