"""An artifact may raise in any callback: the right status, the original exception, its trace.

One table over all callbacks (S105, S116, S140, S143, S166 to S171): where it raises, what leads
there, and which exception counts. What else happens then is told by the tests of each section.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Job,
    Node,
    PartitionedStep,
    Retry,
    Skip,
    TaskletStep,
)
from stepwell.errors import PartitionsFailed
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.job.listener import JOB_CALLBACKS, STEP_CALLBACKS
from stepwell.repository.partitions import list_partition_executions
from tests.conformance.stories import until
from tests.rules.walks import job_of, run_job, stop

FAILED, STOPPED = BatchStatus.FAILED, BatchStatus.STOPPED


class Said(Exception):
    """What the callback in question raises."""


class Provoked(Exception):
    """What leads to a callback that hears of errors."""


RAISED: list[Said] = []


@pytest.fixture(autouse=True)
def _nothing_raised() -> None:
    RAISED.clear()


def raise_it(*_: Any) -> Any:
    RAISED.append(Said("by the callback"))
    raise RAISED[-1]


def quiet(*_: Any) -> None:
    """Does nothing."""


def artifact(raising: str = "", **methods: Any) -> Any:
    """An object of these methods, of which ``raising`` raises."""
    if raising:
        methods[raising] = raise_it
    return type("Artifact", (), {n: staticmethod(m) for n, m in methods.items()})()


class Numbers:
    """Reads 1 and 2."""

    def __init__(self) -> None:
        self.rest = [2, 1]

    def read(self) -> int | None:
        return self.rest.pop() if self.rest else None


def provoke(*_: Any) -> Any:
    raise Provoked


@dataclass(frozen=True)
class Case:
    """A callback of a chunk step; ``fault``: the phase that fails first, ``policy``: and how."""

    who: str
    method: str
    fault: str = ""
    policy: dict[str, Any] = field(default_factory=dict)
    counts: type[Exception] = Said

    def __str__(self) -> str:
        return f"{self.who}.{self.method}"

    def step(self, name: str = "step") -> ChunkStep[Any, Any]:
        """A new step each time; reader, processor and writer fail where the case says so."""
        raising = self.method
        numbers = Numbers()
        reader = {
            "open": quiet,
            "read": provoke if self.fault == "read" else numbers.read,
            "checkpoint": lambda: 1,
            "close": quiet,
        }
        writer = {**reader, "write": provoke if self.fault == "write" else quiet}
        del writer["read"]
        process = {"process": provoke if self.fault == "process" else lambda n: n}
        algorithm = {
            "checkpoint_timeout": lambda: 0,
            "begin_checkpoint": quiet,
            "is_ready_to_checkpoint": lambda: True,
            "end_checkpoint": quiet,
        }
        made = {
            who: artifact(raising if self.who == who else "", **methods)
            for who, methods in {
                "reader": reader,
                "processor": process,
                "writer": writer,
                "checkpoint": algorithm,
            }.items()
        }
        algorithm_made = made.pop("checkpoint")
        listeners = [artifact(raising)] if self.who == "listener" else []
        return ChunkStep(
            name,
            **made,
            checkpoint=algorithm_made if self.who == "checkpoint" else None,
            listeners=listeners,
            chunk_size=1,
            **self.policy,
        )


SKIPS, RETRIES = {"skip": Skip(Provoked)}, {"retry": Retry(Provoked, limit=1)}
# What provokes a callback that hears of an error; nothing leads to the others.
FAULTS = {
    **{f"on_{phase}_error": (phase, {}) for phase in ("read", "process", "write")},
    **{f"on_skip_{phase}_item": (phase, SKIPS) for phase in ("read", "process", "write")},
    **{f"on_retry_{phase}_exception": (phase, RETRIES) for phase in ("read", "process", "write")},
}
PARTS = {
    "reader": ("open", "read", "checkpoint", "close"),
    "processor": ("process",),
    "writer": ("open", "write", "checkpoint", "close"),
    "checkpoint": (
        *("checkpoint_timeout", "begin_checkpoint"),
        *("is_ready_to_checkpoint", "end_checkpoint"),
    ),
}
CASES = [
    *(Case(who, method) for who, methods in PARTS.items() for method in methods),
    *(Case("listener", m, *FAULTS.get(m, ())) for m in STEP_CALLBACKS if m != "on_error"),
    # It is told of what counts, and cannot hide it.
    Case("listener", "on_error", fault="process", counts=Provoked),
]
OF_A_PARTITION = [c for c in CASES if c.method not in ("before_step", "after_step")]


def records(node: Node, execution: JobExecution) -> StepExecution:
    (step,) = node.operator.get_step_executions(execution.execution_id)
    return step


def assert_failed_with(error: type[Exception], execution: JobExecution) -> None:
    """The job is FAILED, the exception that counts is in the caller's hands, its trace stored."""
    assert FAILED is execution.batch_status
    assert isinstance(execution.exception, error)
    if error is Said:
        assert execution.exception is RAISED[0]
    assert_traced(error, execution)


def assert_traced(error: type[Exception], record: JobExecution | StepExecution) -> None:
    assert record.failure is not None
    assert f"{__name__}.{error.__name__}" == record.failure.type
    where = "in raise_it" if error is Said else "in provoke"
    assert where in (record.failure.trace or "")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_chunk_step_fails_with_what_its_artifact_raised(case: Case, node: Node) -> None:
    seen: list[Any] = []
    step = case.step()
    # The first of them hears of the end behind the others (S165).
    last = artifact(after_step=lambda context: seen.append(context.exception))
    execution = run_job(node, job_of(replace(step, listeners=[last, *step.listeners])))

    record = records(node, execution)
    assert (FAILED, "FAILED") == (record.batch_status, record.exit_status)
    assert_failed_with(case.counts, execution)
    assert_traced(case.counts, record)
    # After a listener of the same kind nothing has counted yet (S167).
    assert [None if case.method == "after_step" else execution.exception] == seen


@pytest.mark.parametrize("executor", ["inline", "threads"])
@pytest.mark.parametrize("case", OF_A_PARTITION, ids=str)
def test_a_chunk_partition_is_a_failure_with_what_its_artifact_raised(
    case: Case, executor: Any, node: Node
) -> None:
    """S143, S160: of that partition alone; the step counts it."""
    execution = run_job(
        node, job_of(PartitionedStep("step", [1], case.step("inner"), executor=executor))
    )

    record = records(node, execution)
    with node.database.read() as reader:
        (attempt,) = list_partition_executions(reader, record.step_execution_id)
    (told,) = attempt.errors
    assert ("FAILURE", "FAILED") == (attempt.outcome, attempt.batch_status)
    assert f"{__name__}.{case.counts.__name__}" == told.failure.type
    assert ("in raise_it" if case.counts is Said else "in provoke") in (told.failure.trace or "")
    assert (FAILED, 1) == (record.batch_status, record.partition_failed)
    assert isinstance(execution.exception, PartitionsFailed)
    assert told.failure.message in execution.exception.message


# --- all other artifacts ------------------------------------------------------------------------


class Factory:
    """An artifact that cannot even be made."""

    def create_artifact(self, scope: Any) -> Any:
        raise_it()


async def raise_it_later(*_: Any) -> None:
    raise_it()


class Mapper:
    def map_partitions(self) -> Any:
        raise_it()


def failing(n: int) -> None:
    raise Provoked


def partitioned(run: Any = quiet, inputs: Any = (1,), **options: Any) -> Job:
    return job_of(PartitionedStep("step", inputs, run, executor="inline", **options))


OTHERS: dict[str, tuple[Callable[[], Job], Sequence[BatchStatus]]] = {
    "tasklet": (lambda: job_of(TaskletStep("step", raise_it)), [FAILED]),
    "tasklet.process": (
        lambda: job_of(TaskletStep("step", artifact("process"))),  # type: ignore[arg-type]
        [FAILED],
    ),
    "async tasklet": (lambda: job_of(TaskletStep("step", raise_it_later)), [FAILED]),
    "tasklet that cannot be made": (
        lambda: job_of(TaskletStep("step", Factory())),  # type: ignore[arg-type]
        [FAILED],
    ),
    "step listener that cannot be made": (
        lambda: job_of(TaskletStep("step", quiet, listeners=[Factory()])),
        [FAILED],
    ),
    "reader that cannot be made": (
        lambda: job_of(ChunkStep("step", Factory(), None, quiet)),  # type: ignore[arg-type]
        [FAILED],
    ),
    **{
        f"JobListener.{method}": (
            lambda method=method: job_of(TaskletStep("s", quiet), listeners=[artifact(method)]),
            [] if method == "before_job" else [BatchStatus.COMPLETED],
        )
        for method in JOB_CALLBACKS
    },
    "job listener that cannot be made": (
        lambda: job_of(TaskletStep("step", quiet), listeners=[Factory()]),
        [],
    ),
    "decider": (
        lambda: job_of(TaskletStep("step", quiet), Decision("decide", raise_it)),
        [BatchStatus.COMPLETED],
    ),
    "plan": (lambda: partitioned(inputs=raise_it), [FAILED]),
    "mapper": (lambda: partitioned(inputs=Mapper()), [FAILED]),
    "collector": (
        lambda: partitioned(collector=raise_it, analyzer=artifact()),
        [FAILED],
    ),
    "analyzer.analyze_collector_data": (
        lambda: partitioned(collector=lambda: 1, analyzer=artifact("analyze_collector_data")),
        [FAILED],
    ),
    "analyzer.analyze_status": (
        lambda: partitioned(analyzer=artifact("analyze_status")),
        [FAILED],
    ),
    **{
        f"reducer.{method}": (
            lambda method=method: partitioned(reducer=artifact(method)),
            [FAILED],
        )
        for method in (
            "begin_partitioned_step",
            "before_partitioned_step_completion",
            "after_partitioned_step_completion",
        )
    },
    "reducer.rollback_partitioned_step": (
        lambda: partitioned(failing, reducer=artifact("rollback_partitioned_step")),
        [FAILED],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_job_fails_with_what_its_artifact_raised(name: str, node: Node) -> None:
    make, steps = OTHERS[name]
    execution = run_job(node, make())

    recorded = node.operator.get_step_executions(execution.execution_id)
    assert steps == [step.batch_status for step in recorded]
    assert_failed_with(Said, execution)
    for step in recorded:
        if step.batch_status is FAILED:
            assert_traced(Said, step)


@pytest.mark.parametrize("run", [raise_it, raise_it_later, artifact("process"), Factory()])
def test_a_partition_is_a_failure_with_what_its_function_raised(run: Any, node: Node) -> None:
    """S143, S160, S73: the original is its context's; a collector may ask for it."""
    originals: list[Any] = []
    execution = run_job(
        node,
        partitioned(run, collector=lambda step: originals.append(step.exception)),
    )

    with node.database.read() as reader:
        (attempt,) = list_partition_executions(reader, records(node, execution).step_execution_id)
    assert "in raise_it" in (attempt.errors[0].failure.trace or "")
    assert ("FAILURE", f"{__name__}.Said") == (attempt.outcome, attempt.errors[0].failure.type)
    assert ([] if isinstance(run, Factory) else RAISED) == originals


def test_a_stop_that_raises_keeps_no_step_from_stopping(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """S136: it runs on the watcher's thread, which goes on; the log has the trace."""

    class Tasklet:
        def process(self, step: Any) -> None:
            stop(node, step)
            node.operator._runner._watcher.run_once()

        def stop(self) -> None:
            raise_it()

    execution = run_job(node, job_of(TaskletStep("step", Tasklet())))  # type: ignore[arg-type]

    assert STOPPED is execution.batch_status
    until(lambda: "in raise_it" in caplog.text)


def test_every_callback_is_in_the_table() -> None:
    """A new one must be thought of here."""
    heard = {case.method for case in CASES if case.who == "listener"}

    assert set(STEP_CALLBACKS) == heard
