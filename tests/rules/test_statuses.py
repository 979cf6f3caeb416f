"""Section 3, rule by rule: batch status, exit status, result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    Decision,
    Flow,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    Repeat,
    Split,
    StepContext,
    on,
)
from stepwell.errors import IllegalTransition, JobExecutionNotRunning
from stepwell.runner.running import RunningExecution
from stepwell.testing import FrozenClock
from tests.conformance.stories import counts, ending, findings, owned, rows, statuses
from tests.rules.walks import (
    Walk,
    define,
    ends,
    job_of,
    restart,
    run,
    run_job,
    steps,
    steps_of,
    stop,
)

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


def sets_job(value: str | None) -> Callable[[StepContext], None]:
    """A tasklet that sets the job's exit status."""

    def process(step: StepContext) -> None:
        step.job.exit_status = value

    return process


def sets_step(value: str | None, returns: Any = None) -> Callable[[StepContext], Any]:
    def process(step: StepContext) -> Any:
        step.exit_status = value
        return returns

    return process


class AfterJob:
    """A job listener that notes what it sees and sets the exit status."""

    def __init__(self, value: str | None = None) -> None:
        self.value = value
        self.seen: list[tuple[str, str | None]] = []

    def after_job(self, job: Any) -> None:
        self.seen.append((str(job.batch_status), job.exit_status))
        if self.value is not None:
            job.exit_status = self.value


# --- 3.1 ----------------------------------------------------------------------------------------


def test_a_change_that_is_not_in_the_tables_raises_and_writes_nothing(any_node: Node) -> None:
    """S11. The tables themselves: tests/conformance/test_transitions.py."""
    running = RunningExecution(any_node.repository, owned(any_node, "billing"))
    before, row = counts(any_node), "SELECT status, version, fence FROM batch_job_execution"
    stored = rows(any_node, row)

    with pytest.raises(IllegalTransition):
        running.end(**ending(COMPLETED))

    assert (before, stored) == (counts(any_node), rows(any_node, row))


def test_steps_are_never_starting_or_abandoned(any_node: Node) -> None:
    """S11."""
    execution = run(any_node, Walk().step("a"), Walk().step("b", ValueError()))
    any_node.operator.abandon(execution.execution_id)

    changes = [(s, str(to)) for s, _, to, _, _ in statuses(any_node, execution.execution_id) if s]
    assert [("a", "STARTED"), ("a", "COMPLETED"), ("b", "STARTED"), ("b", "FAILED")] == changes


def test_a_stopping_job_never_completes_and_its_restart_finds_nothing_left(
    any_node: Node,
) -> None:
    """S12, S51. Method: the stop comes while the last step runs, which then ends as ever."""
    walk = Walk()
    execution = run(any_node, walk.step("a", lambda s: stop(any_node, s)))
    again = restart(any_node, execution, define(any_node, job_of(walk.step("a"))))

    assert [("STOPPED", "STOPPED"), ("COMPLETED", "COMPLETED")] == [ends(execution), ends(again)]
    assert [("a", STOPPED, "STOPPED")] == steps(any_node, execution)
    assert ["a", "a"] == walk


def test_a_stopping_job_whose_last_step_completes_is_stopped(node: Node) -> None:
    """S12. Method: the partitions are all recorded when the stop takes hold, so all was done."""

    def last(number: int, step: StepContext) -> PartitionResult:
        stop(node, step)
        return PartitionResult.success()

    job = job_of(PartitionedStep("a", [0], last, executor="inline"))
    execution = run_job(node, job)
    again = restart(node, execution)

    assert (STOPPED, "STOPPED") == ends(execution)
    assert [("a", COMPLETED, "COMPLETED")] == steps(node, execution)
    assert ((COMPLETED, "COMPLETED"), []) == (ends(again), steps(node, again))


def test_a_stop_that_nobody_read_in_time_is_late_and_changes_nothing(any_node: Node) -> None:
    """S12, S36. Method: it is asked for, and its owner looks, when after_job has been called."""
    told: list[str] = []

    class Late:
        def after_job(self, job: Any) -> None:
            any_node.operator.stop(job.execution_id)
            any_node.operator._runner._watcher.run_once()
            told.append(str(job.batch_status))

    execution = run(any_node, Walk().step("a"), listeners=[Late()])

    assert ((COMPLETED, "COMPLETED"), ["COMPLETED"]) == (ends(execution), told)
    assert [("stop", True)] == [
        (kind, bool(late)) for kind, late in rows(any_node, "SELECT kind, late FROM batch_request")
    ]
    with pytest.raises(JobExecutionNotRunning):
        any_node.operator.stop(execution.execution_id)


def test_a_clock_that_runs_backwards_keeps_the_order_of_times(
    any_node: Node, clock: FrozenClock
) -> None:
    """S13."""
    walk = Walk()
    execution = run(
        any_node,
        walk.step("a", lambda s: clock.set_back(3_600)),
        walk.step("b", lambda s: clock.set_back(3_600)),
    )

    for record in (execution, *steps_of(any_node, execution)):
        assert record.start_time is not None
        assert record.end_time is not None
        assert record.create_time <= record.start_time <= record.end_time
        assert "UTC" == record.end_time.tzname()
    assert [] == findings(any_node)


def test_a_terminal_status_has_an_end_time_and_a_running_one_has_none(any_node: Node) -> None:
    """S13."""
    seen: list[Any] = []

    def look(step: StepContext) -> None:
        execution = any_node.operator.get_job_execution(step.execution_id)
        seen.extend([execution.batch_status, execution.end_time])
        seen.extend(s.end_time for s in any_node.operator.get_step_executions(step.execution_id))

    execution = run(any_node, Walk().step("a", look))

    assert [BatchStatus.STARTED, None, None] == seen
    assert execution.end_time is not None


# --- 3.2: the job's exit status -----------------------------------------------------------------


def test_the_exit_status_of_a_job_is_null_at_first_and_not_inherited(node: Node) -> None:
    """S14, S68."""
    seen: list[str | None] = []

    def work(step: StepContext) -> None:
        seen.append(step.job.exit_status)
        step.job.exit_status = "SET"
        raise ValueError

    first = run(node, Walk().step("a", work))
    restart(node, first)

    assert ([None, None], "SET") == (seen, first.exit_status)


LAST_WRITERS: list[tuple[list[Any], str | None, str]] = [
    # Artifact, decider, element, after_job; what came last in each row wins.
    (["set"], None, "set"),
    (["set", "decided"], None, "decided"),
    (["set", "decided", "ended"], None, "ended"),
    (["set", "decided", "ended"], "after", "after"),
    (["set", None], "after", "after"),
]


@pytest.mark.parametrize(("writers", "after", "expected"), LAST_WRITERS)
def test_the_last_writer_of_the_jobs_exit_status_wins(
    writers: list[str | None], after: str | None, expected: str, node: Node
) -> None:
    """S15."""
    set_to, decided, ended = [*writers, None, None][:3]
    elements: list[Any] = [Walk().step("a", sets_job(set_to))]
    if decided:
        transitions = [on("*").end(ended)]
        elements.append(Decision("d", lambda last: decided, transitions))
    execution = run(node, *elements, listeners=[AfterJob(after)])

    assert (COMPLETED, expected) == ends(execution)


def test_a_step_that_runs_after_the_decider_writes_last(node: Node) -> None:
    """S15: the last writer is the last one in time."""
    execution = run(
        node,
        Walk().step("a", sets_job("a")),
        Decision("d", lambda last: "decided", [on("*").to("b")]),
        Walk().step("b", sets_job("b")),
    )

    assert (COMPLETED, "b") == ends(execution)


@pytest.mark.parametrize("kind", ["end", "stop", "fail"])
@pytest.mark.parametrize(("given", "expected"), [(None, "set"), ("element", "element")])
def test_a_terminating_element_without_an_exit_status_leaves_it_alone(
    kind: str, given: str | None, expected: str, node: Node
) -> None:
    """S16, S48."""
    transition = getattr(on("*"), kind)(given)
    execution = run(node, Walk().step("a", sets_job("set"), transitions=[transition]))

    status = {"end": COMPLETED, "stop": STOPPED, "fail": FAILED}[kind]
    assert (status, expected) == ends(execution)


def test_setting_none_counts_as_not_set(node: Node) -> None:
    """S16, S17, S19."""

    def process(step: StepContext) -> str:
        step.exit_status, step.job.exit_status = "first", "first"
        step.exit_status, step.job.exit_status = None, None
        return "returned"

    execution = run(node, Walk().step("a", process))

    assert (COMPLETED, "COMPLETED") == ends(execution)
    assert [("a", COMPLETED, "returned")] == steps(node, execution)


def test_the_exit_status_of_the_job_survives_a_failure(node: Node) -> None:
    """S16: by exception, and by a start limit."""

    def process(step: StepContext) -> None:
        step.job.exit_status = "set"
        raise ValueError

    walk = Walk()
    b = walk.step("b", process, start_limit=1)
    a = walk.step("a", sets_job("first"), allow_start_if_complete=True)
    first = run(node, a, b)
    limited = restart(node, first)

    assert [(FAILED, "set"), (FAILED, "first")] == [ends(first), ends(limited)]


@pytest.mark.parametrize("status", [COMPLETED, FAILED, STOPPED])
def test_an_exit_status_that_is_null_after_after_job_is_the_batch_status(
    status: BatchStatus, node: Node
) -> None:
    """S17, S36: after_job sees the null, and the status about to be committed."""
    after = AfterJob()
    kind = {COMPLETED: "end", FAILED: "fail", STOPPED: "stop"}[status]
    transition = getattr(on("*"), kind)()
    execution = run(node, Walk().step("a", transitions=[transition]), listeners=[after])

    assert ((status, str(status)), [(str(status), None)]) == (ends(execution), after.seen)


def test_partitions_and_split_flows_never_reach_the_exit_status_of_the_job(node: Node) -> None:
    """S18, S55: a flow outside a split runs on the job's own context."""

    def part(number: int, step: StepContext) -> None:
        step.job.exit_status = "partition"

    execution = run(
        node,
        PartitionedStep("p", [1], part),
        Split("s", [Flow("f1", [Walk().step("a", sets_job("split"))])]),
        name="unreached",
    )
    flow = run(node, Flow("f2", [Walk().step("b", sets_job("flow"))]), name="reached")

    assert [(COMPLETED, "COMPLETED"), (COMPLETED, "flow")] == [ends(execution), ends(flow)]


def test_a_decider_in_a_split_flow_does_not_set_the_jobs_exit_status(node: Node) -> None:
    """S18, S60: its answer stays in the flow."""
    decision = Decision("d", lambda last: "decided", [on("other").end()])
    execution = run(node, Split("s", [Flow("f", [Walk().step("a"), decision])]))

    assert (COMPLETED, "COMPLETED") == ends(execution)


def test_an_exit_status_that_is_no_text_is_refused_where_it_is_set(node: Node) -> None:
    """S15, S19: later it would fail the engine and not the line that is wrong."""
    execution = run(node, Walk().step("a", sets_step(5)))  # type: ignore[arg-type]
    other = run(node, Walk().step("a", sets_job(5)), name="other")  # type: ignore[arg-type]

    for one in (execution, other):
        assert one.failure is not None
        assert ("TypeError", FAILED) == (one.failure.type, one.batch_status)
        assert "an exit status is a string or None, got 5" == one.failure.message


# --- 3.2: a step's exit status ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        (sets_step("set", "returned"), "set"),
        (sets_step(None, "returned"), "returned"),
        (sets_step(None, None), "COMPLETED"),
        ("returned", "returned"),
        ("", "COMPLETED"),
    ],
)
def test_what_is_set_beats_what_is_returned_beats_the_status(
    does: Any, expected: str, any_node: Node
) -> None:
    """S19."""
    execution = run(any_node, Walk().step("a", does))

    assert [("a", COMPLETED, expected)] == steps(any_node, execution)


def test_the_exit_status_of_a_step_is_null_at_first(node: Node) -> None:
    """S19, S68: also when it runs again."""
    seen: list[Any] = []

    def work(step: StepContext) -> str:
        record = node.operator.get_step_executions(step.execution_id)[0]
        seen.extend([step.exit_status, record.exit_status])
        step.exit_status = "SET"
        raise ValueError

    execution = run(node, Walk().step("a", work))
    restart(node, execution)

    assert [None] * 4 == seen


def test_after_step_sees_what_was_returned_and_has_the_last_word(node: Node) -> None:
    """S19, S36, S50."""
    seen: list[Any] = []

    class After:
        def after_step(self, step: StepContext) -> None:
            seen.extend([step.exit_status, str(step.batch_status)])
            step.exit_status = "after"

    execution = run(node, Walk().step("a", "returned", listeners=[After()]))

    assert (["returned", "COMPLETED"], [("a", COMPLETED, "after")]) == (
        seen,
        steps(node, execution),
    )


@pytest.mark.parametrize("kind", ["end", "stop", "fail"])
def test_a_terminating_element_never_changes_its_step(kind: str, any_node: Node) -> None:
    """S20, S66."""
    transition = getattr(on("*"), kind)("JOB")
    execution = run(any_node, Walk().step("a", "returned", transitions=[transition]))

    assert [("a", COMPLETED, "returned")] == steps(any_node, execution)
    assert ["COMPLETED"] == [s.result for s in steps_of(any_node, execution)]


def test_the_transitions_of_a_step_that_raised_are_evaluated(node: Node) -> None:
    """S20, S42: by FAILED, or by the exit status that was set before it raised."""

    def process(step: StepContext) -> None:
        step.exit_status = "MEND"
        raise ValueError

    walk = Walk()
    mend = walk.step("mend")
    first = run(node, walk.step("a", ValueError(), transitions=[on("FAILED").to("mend")]), mend)
    second = run(node, walk.step("a", process, transitions=[on("MEND").end()]), mend, name="set")

    assert [("a", FAILED, "FAILED"), ("mend", COMPLETED, "COMPLETED")] == steps(node, first)
    assert [("a", FAILED, "MEND")] == steps(node, second)
    assert [COMPLETED, COMPLETED] == [first.batch_status, second.batch_status]


def test_the_exit_status_of_a_partition_is_not_that_of_the_step(node: Node) -> None:
    """S20."""
    heard: list[tuple[str, str | None]] = []

    class Analyzer:
        def analyze_status(self, batch_status: Any, exit_status: str | None) -> None:
            heard.append((str(batch_status), exit_status))

    step = PartitionedStep("p", [1], lambda number: "PART", analyzer=Analyzer())
    execution = run(node, step)

    assert [("COMPLETED", "PART")] == heard
    assert [("p", COMPLETED, "COMPLETED")] == steps(node, execution)


# --- 3.3: result --------------------------------------------------------------------------------


def partial(name: str, **options: Any) -> PartitionedStep:
    return PartitionedStep(name, [1], lambda number: PartitionResult.partial(), **options)


def result(node: Node, job: Job) -> tuple[Any, ...]:
    execution = run_job(node, job)
    return execution.result, [(s.step_name, s.result) for s in steps_of(node, execution)]


def test_steps_and_jobs_carry_a_result(any_node: Node) -> None:
    """S21."""
    walk = Walk()
    fine = job_of(walk.step("a"), name="fine")
    half = job_of(partial("a"), walk.step("b"), name="half")
    failed = job_of(partial("a"), walk.step("b", ValueError()), name="failed")
    mended = job_of(
        walk.step("a", ValueError(), transitions=[on("*").to("b")]), walk.step("b"), name="mended"
    )

    assert ("COMPLETED", [("a", "COMPLETED")]) == result(any_node, fine)
    assert ("PARTIAL", [("a", "PARTIAL"), ("b", "COMPLETED")]) == result(any_node, half)
    assert ("FAILED", [("a", "PARTIAL"), ("b", "FAILED")]) == result(any_node, failed)
    assert ("COMPLETED", [("a", "FAILED"), ("b", "COMPLETED")]) == result(any_node, mended)


def test_a_partial_step_that_was_skipped_as_complete_makes_the_job_partial(
    any_node: Node,
) -> None:
    """S21, S65."""
    walk = Walk()
    first = run(any_node, partial("a"), walk.step("b", ValueError()))
    second = restart(any_node, first, job_of(partial("a"), walk.step("b")))

    assert ["FAILED", "PARTIAL"] == [first.result, second.result]


def test_a_result_is_null_while_it_runs_and_when_it_is_stopped(any_node: Node) -> None:
    """S21."""
    seen: list[Any] = []

    def process(step: StepContext) -> Any:
        seen.append(any_node.operator.get_job_execution(step.execution_id).result)
        seen.append(any_node.operator.get_step_executions(step.execution_id)[0].result)
        stop(any_node, step)
        return Repeat

    execution = run(any_node, Walk().step("a", process))

    assert [None, None] == seen
    assert (None, [None]) == (execution.result, [s.result for s in steps_of(any_node, execution)])


def test_abandon_leaves_the_result_as_it_is(any_node: Node) -> None:
    """S21, S178."""
    execution = run(any_node, partial("a"))
    abandoned = any_node.operator.abandon(execution.execution_id)

    assert (BatchStatus.ABANDONED, "PARTIAL") == (abandoned.batch_status, abandoned.result)
