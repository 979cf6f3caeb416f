"""A share of a partitioned step's work: what runs where a partition runs, and how its end is told.

The same code runs on the step's own thread, on a worker thread, and in another process; it writes
nothing to the batch tables but chunks and ``step.transaction()``. Results are told, and recorded by
the owner alone (law 3, S145).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Event
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from stepwell.errors import LostOwnership
from stepwell.execution.json import from_json, to_json
from stepwell.execution.records import Metrics, Partition, StepExecution
from stepwell.execution.result import (
    ERRORS_MAX,
    EXIT_STATUS_CHARACTERS_MAX,
    Failure,
    PartitionError,
    PartitionResult,
    storable,
)
from stepwell.execution.status import STEP_STOPPED, PartitionOutcome
from stepwell.job.artifact import ArtifactFactory, Scope, make_artifact
from stepwell.job.function import input_annotation, with_arguments
from stepwell.job.listener import STEP_CALLBACKS
from stepwell.job.step import ChunkStep, PartitionedStep
from stepwell.repository.partitions import OVERTAKEN, PartitionEnd, no_longer_held
from stepwell.repository.plans import NOWHERE, Reached, held
from stepwell.runner.artifacts import make_own
from stepwell.runner.books import PartitionBooks
from stepwell.runner.chunk import ChunkRunner
from stepwell.runner.context import JobContext
from stepwell.runner.current import CURRENT
from stepwell.runner.listeners import Listeners, call, unwrapped
from stepwell.runner.loop import is_coroutine_function
from stepwell.runner.partition_context import PartitionContext
from stepwell.runner.running import RunningExecution, StopApplied

CHUNK_CALLBACKS = tuple(
    name for name in STEP_CALLBACKS if name not in ("before_step", "after_step")
)


class Payload(NamedTuple):
    """What a collector returned; it reaches the analyzer before the partition's end (S151)."""

    value: Any


class Fault(NamedTuple):
    """The exception of a collector: it fails the step, whatever the partitions did (S140)."""

    error: BaseException


class Waits(NamedTuple):
    """What the step waits for, in words; None: it goes on."""

    what: str | None


# An int is a number of tasks that have ended; an exception is the owner's to raise.
Told = PartitionEnd | Payload | Fault | Waits | BaseException | int
Tell = Callable[[Told], None]


class _Function:
    """How a partition function is called: with the arguments that it wants, awaited if it must."""

    def __init__(self, artifact: Any) -> None:
        function = getattr(artifact, "process", artifact)
        self.call = with_arguments(function, 2)
        self.is_async = is_coroutine_function(function)


class PartitionWork:
    """Runs partitions of one step on whatever thread calls ``run_range``."""

    def __init__(
        self,
        running: RunningExecution,
        job: JobContext,
        step: StepExecution,
        definition: PartitionedStep,
        halt: Event,
    ) -> None:
        self._running = running
        self._job = job
        self._step = step
        self._definition = definition
        self._halt = halt
        run: Any = definition.run
        is_made = isinstance(run, (ChunkStep, ArtifactFactory))
        # Looked at once: there may be many partitions.
        self._function = None if is_made else _Function(run)
        annotation = input_annotation(run) if callable(run) and not is_made else Any
        self._decode = TypeAdapter(annotation).validate_json

    def run_range(
        self, partitions: Iterable[Partition], reached: Mapping[int, Reached], tell: Tell
    ) -> None:
        """Run each partition until a stop; tell each end, then that one task has ended."""
        running, halted = self._running, self._halt.is_set
        try:
            for partition in partitions:
                if running.stop_requested() or halted():
                    break
                tell(self._run(partition, reached.get(partition.number, NOWHERE), tell))
        except BaseException as error:  # LostOwnership, or a fault of the engine: the owner raises.
            tell(error)
        finally:
            tell(1)

    def _run(self, partition: Partition, reached: Reached, tell: Tell) -> PartitionEnd:
        """Run a partition; again from where it is when another run of it was faster (S194)."""
        while True:
            try:
                return self._run_once(partition, reached, tell)
            except LostOwnership as lost:
                if OVERTAKEN not in lost.fields:
                    raise
                # So there was progress: this comes to an end.
                reached = self._reached_now(partition.number)

    def _reached_now(self, number: int) -> Reached:
        with self._running.repository.database.read() as reader:
            found = held(reader, self._step, first=number, last=number)
        if number not in found:
            raise no_longer_held(self._step, number)
        return found[number]

    def _run_once(self, partition: Partition, reached: Reached, tell: Tell) -> PartitionEnd:
        stored = from_json(reached.context)
        books = PartitionBooks(self._running, self._step, partition.number, reached.position)
        context = PartitionContext(
            self._running,
            self._step,
            self._job.for_branch(),
            dict(stored) if isinstance(stored, dict) else {},
            self._definition.properties,
            books,
        )
        entered = CURRENT.set(context)
        try:
            context.input = value = self._decode(partition.input)
            scope = Scope(context.job, context, value if isinstance(value, Mapping) else None)
            run: Any = self._definition.run
            if self._function is None:  # A job file may make the chunk itself anew, too (S83).
                run = make_artifact(run, scope)
            if isinstance(run, ChunkStep):
                return self._run_chunks(run, context, books, scope, tell)
            return self._run_function(run, value, context, scope, tell)
        except StopApplied:  # While it waited for a lock.
            return self._stopped(context, None)
        except (LostOwnership, KeyboardInterrupt):
            raise
        except BaseException as error:
            # SystemExit too: a partition ends its own work, never the process (S143).
            return _failed(context, partition, unwrapped(error), self._running)
        finally:
            context.loop.close()
            CURRENT.reset(entered)

    # --- a function, or the object of a job file ---------------------------------------------

    def _run_function(
        self, artifact: Any, value: Any, context: PartitionContext, scope: Scope, tell: Tell
    ) -> PartitionEnd:
        function = self._function or _Function(artifact)
        try:
            with self._running.stoppable(artifact):
                returned = function.call(value, context)
                if function.is_async:
                    returned = context.loop.run(returned)
            return self._ended(context, returned)
        except BaseException as error:
            context.exception = unwrapped(error)  # The collector may ask for it (S73, S150).
            raise
        finally:
            if self._definition.collector is not None:
                self._collect(scope, tell)  # Once at the end, also when the work raised (S150).

    def _ended(self, context: PartitionContext, returned: Any) -> PartitionEnd:
        """The end of a partition whose function returned (S160)."""
        if returned is None or isinstance(returned, str):
            if self._running.stop_requested():
                return self._stopped(context, context.exit_status or returned)
            result = PartitionResult.success()
        elif isinstance(returned, PartitionResult):
            result = returned
            _refuse_odd_texts(result)
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
        tell: Tell,
    ) -> PartitionEnd:
        heard_by = [*self._definition.listeners, *step.listeners]
        listeners = Listeners([make_own(one, scope) for one in heard_by], scope, CHUNK_CALLBACKS)
        runner = ChunkRunner(
            self._running,
            step,
            context,
            books,
            listeners,
            scope,
            collect=lambda: self._collect(scope, tell),
        )
        context.runner = runner
        end = runner.run()
        self._collect(scope, tell)
        if end is STEP_STOPPED:
            return self._stopped(context, context.exit_status)
        exit_status = context.exit_status or end.exit_status
        return self._end(context, PartitionOutcome.SUCCESS, exit_status, PartitionResult.success())

    # --- how it is told ----------------------------------------------------------------------

    def _collect(self, scope: Scope, tell: Tell) -> None:
        """Ask the partition's own collector; a None payload is not delivered (S150, S151)."""
        if self._definition.collector is None:
            return
        try:
            collector = scope.step.collector
            if collector is None:
                collector = scope.step.collector = make_own(self._definition.collector, scope)
            value = call(getattr(collector, "collect_partition_data", collector), scope.step)
        except Exception as error:
            self._halt.set()  # Those that run may finish, none begins any more (S140).
            tell(Fault(error))
            return
        if value is not None and self._definition.analyzer is not None:
            tell(Payload(value))

    def _stopped(self, context: PartitionContext, exit_status: str | None) -> PartitionEnd:
        """It has no result; its checkpoint remains (S146)."""
        return self._end(context, None, exit_status, PartitionResult.success())

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
            exit_status and storable(exit_status[:EXIT_STATUS_CHARACTERS_MAX]),
            result.message or _attempts_message(context),
            to_json(result.counts, what="the counts of a partition") if result.counts else None,
            (*result.errors, *context.errors)[:ERRORS_MAX],
            context.context_json(),
            _metrics(context),
        )


def _refuse_odd_texts(result: PartitionResult) -> None:
    for name, value in (("message", result.message), ("exit_status", result.exit_status)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} of a PartitionResult must be text, got {value!r}")


def _failed(
    context: PartitionContext,
    partition: Partition,
    error: BaseException,
    running: RunningExecution,
) -> PartitionEnd:
    """The end of a partition that raised: a FAILURE of its own, with its trace (S143)."""
    failure = Failure.of(error)
    try:
        stored, keeps_context = context.context_json(), False
    except Exception:
        # The failure may be this very context: what was committed with rows stays with them.
        stored, keeps_context = None, True
    return PartitionEnd(
        partition.number,
        PartitionOutcome.FAILURE,
        context.started_at,
        running.clock.now(),
        (context.exit_status or "FAILED")[:EXIT_STATUS_CHARACTERS_MAX],
        f"{failure.type}: {failure.message}",
        None,
        (PartitionError(partition.name, failure), *context.errors)[:ERRORS_MAX],
        stored,
        _metrics(context),
        keeps_context,
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
    if context.error_count == 1:
        return f"1 attempt failed, at {first.key}: {first.failure.message}"
    return (
        f"{context.error_count} attempts failed, the first at {first.key}: {first.failure.message}"
    )
