"""A share of a partitioned step's work: what runs on a worker thread, and how its end is told."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Event
from typing import Any

from pydantic import TypeAdapter

from stepwell.errors import LostOwnership
from stepwell.execution.json import from_json
from stepwell.execution.records import Partition
from stepwell.execution.result import Failure, PartitionError, PartitionResult
from stepwell.execution.status import PartitionOutcome
from stepwell.job.function import input_annotation, with_arguments
from stepwell.job.step import PartitionedStep
from stepwell.repository.partitions import PartitionEnd
from stepwell.runner.context import PartitionContext, StepContext
from stepwell.runner.running import RunningExecution


class PartitionWork:
    """Runs partitions on whatever thread calls ``run_range`` and puts each end into ``events``.

    It writes nothing to the batch tables: results are returned, then recorded by the owner (law 3).
    """

    def __init__(
        self,
        running: RunningExecution,
        context: StepContext,
        step: PartitionedStep,
        contexts: dict[int, str],
        events: SimpleQueue[PartitionEnd | BaseException | int],
        halt: Event,
    ) -> None:
        self._running = running
        self._context = context
        self._step = running.step(context.step_execution_id)
        self._contexts = contexts
        self._events = events
        self._halt = halt
        self._function = with_arguments(step.run, 2)
        self._decode = TypeAdapter(input_annotation(step.run)).validate_json

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
        stored = from_json(self._contexts.get(partition.number))
        context = PartitionContext(
            self._running,
            self._step,
            self._context.parameters,
            dict(stored) if isinstance(stored, dict) else {},
            partition.number,
        )
        try:
            returned = self._function(self._decode(partition.input), context)
            return self._ended(context, returned)
        except LostOwnership:
            raise
        except BaseException as error:
            # SystemExit too: a partition ends its own work, never the process (S143).
            return self._failed(context, partition, error)

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
        )


_EXIT_STATUS = {
    PartitionOutcome.SUCCESS: "COMPLETED",
    PartitionOutcome.PARTIAL: "PARTIAL",
    PartitionOutcome.FAILURE: "FAILED",
}


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
