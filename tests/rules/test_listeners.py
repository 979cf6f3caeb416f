"""Section 13, rule by rule: the order of listeners, and what their exceptions mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Job, Node, StepContext, on
from stepwell.errors import LostOwnership
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from tests.conformance.stories import rows, until
from tests.rules.walks import Heard, Walk, ends, job_of, restart, run, run_job, steps, steps_of

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


@pytest.fixture
def walk() -> Walk:
    return Walk()


def three(walk: Walk, **raises: Sequence[str]) -> list[Heard]:
    """Listeners 1, 2 and 3; ``_2=["after_job"]`` makes the second one's raise."""
    return [Heard(walk, str(n), raises=raises.get(f"_{n}", ())) for n in (1, 2, 3)]


def why(execution: JobExecution) -> str | None:
    return execution.failure.message if execution.failure else None


# --- S165: the order ----------------------------------------------------------------------------


def test_before_listeners_run_in_order_and_all_others_in_reverse(node: Node, walk: Walk) -> None:
    """S165: of the job and of the step."""
    run(node, walk.step("a", listeners=three(walk)), listeners=three(walk))

    assert [
        *("before_job 1", "before_job 2", "before_job 3"),
        *("before_step 1", "before_step 2", "before_step 3"),
        "a",
        *("after_step 3", "after_step 2", "after_step 1"),
        *("after_job 3", "after_job 2", "after_job 1"),
    ] == walk


class Chunked:
    """A chunk listener that notes its callbacks."""

    def __init__(self, walk: Walk, name: str) -> None:
        self._walk = walk
        self._name = name

    def before_chunk(self) -> None:
        self._walk.append(f"before_chunk {self._name}")

    def after_chunk(self) -> None:
        self._walk.append(f"after_chunk {self._name}")

    def on_error(self, error: Exception) -> None:
        self._walk.append(f"on_error {self._name}")

    def on_read_error(self, error: Exception) -> None:
        self._walk.append(f"on_read_error {self._name}")


def test_chunk_and_error_callbacks_keep_the_order_too(node: Node, walk: Walk) -> None:
    """S165, S170."""

    def items() -> Any:
        yield 1
        raise ValueError

    listeners = [Chunked(walk, "1"), Chunked(walk, "2")]
    load = ChunkStep("load", items, None, list, chunk_size=1, listeners=listeners)
    run(node, load)

    assert [
        *("before_chunk 1", "before_chunk 2", "after_chunk 2", "after_chunk 1"),
        *("before_chunk 1", "before_chunk 2", "on_read_error 2", "on_read_error 1"),
        *("on_error 2", "on_error 1"),
    ] == walk


# --- S166, S167: all are heard ------------------------------------------------------------------


@pytest.mark.parametrize("level", ["job", "step"])
def test_after_runs_for_every_listener_although_a_before_failed(
    level: str, node: Node, walk: Walk
) -> None:
    """S166, S167: the remaining before are left out, and the work."""
    listeners = three(walk, _2=[f"before_{level}"])
    if level == "job":
        execution = run(node, walk.step("a"), listeners=listeners)
    else:
        execution = run(node, walk.step("a", listeners=listeners))

    assert [
        *(f"before_{level} 1", f"before_{level} 2"),
        *(f"after_{level} 3", f"after_{level} 2", f"after_{level} 1"),
    ] == walk
    assert (FAILED, f"before_{level} of 2") == (execution.batch_status, why(execution))


@pytest.mark.parametrize("level", ["job", "step"])
def test_after_runs_although_the_work_failed(level: str, node: Node, walk: Walk) -> None:
    """S166."""
    listeners = [Heard(walk, "x")]
    step = walk.step("a", ValueError("work"), listeners=listeners if level == "step" else ())
    execution = run(node, step, listeners=listeners if level == "job" else ())

    assert [f"before_{level} x", "a", f"after_{level} x"] == walk
    assert "work" == why(execution)


@pytest.mark.parametrize("level", ["job", "step"])
def test_a_raising_after_keeps_no_other_from_running_and_the_first_counts(
    level: str, node: Node, walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    """S167: later ones are logged."""
    listeners = three(walk, _3=[f"after_{level}"], _1=[f"after_{level}"])
    if level == "job":
        execution = run(node, walk.step("a"), listeners=listeners)
    else:
        execution = run(node, walk.step("a", listeners=listeners))

    assert [f"after_{level} 3", f"after_{level} 2", f"after_{level} 1"] == walk[-3:]
    assert (FAILED, f"after_{level} of 3") == (execution.batch_status, why(execution))
    assert f"after_{level} of 1" in caplog.text


@pytest.mark.parametrize("level", ["job", "step"])
def test_what_failed_first_counts_and_a_listener_behind_it_is_logged(
    level: str, node: Node, walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    """S167, S171: the work's own exception is the one that is stored."""
    listeners = [Heard(walk, "x", raises=[f"after_{level}"])]
    step = walk.step("a", ValueError("work"), listeners=listeners if level == "step" else ())
    execution = run(node, step, listeners=listeners if level == "job" else ())

    assert "work" == why(execution)
    assert f"after_{level} of x" in caplog.text


def test_lost_ownership_leaves_the_listeners_out(
    any_node: Node, any_other: Node, walk: Walk
) -> None:
    """S166, S25: of the step and of the job."""

    def process(step: StepContext) -> None:
        any_other.operator.recover(step.execution_id, force=True, reason="the test")
        with step.transaction():
            pass

    step = walk.step("a", process, listeners=[Heard(walk, "step")])
    with pytest.raises(LostOwnership):
        run(any_node, step, walk.step("b"), listeners=[Heard(walk, "job")])

    assert ["before_job job", "before_step step", "a"] == walk


@pytest.mark.parametrize("where", ["before_step", "after_step"])
def test_a_listener_that_meets_lost_ownership_is_the_last_one(
    where: str, any_node: Node, any_other: Node, walk: Walk
) -> None:
    """S25, S166: it is no failure of the listener, which the others would hear of."""

    class Meets:
        def __getattr__(self, name: str) -> Any:
            if name != where:
                raise AttributeError(name)

            def method(step: StepContext) -> None:
                walk.append("meets")
                any_other.operator.recover(step.execution_id, force=True, reason="the test")
                with step.transaction():
                    pass

            return method

    heard = [Heard(walk, "1"), Meets(), Heard(walk, "2")]
    with pytest.raises(LostOwnership):
        run(any_node, walk.step("a", listeners=heard), listeners=[Heard(walk, "job")])

    begun = ["before_job job", "before_step 1"]
    assert {
        "before_step": [*begun, "meets"],
        "after_step": [*begun, "before_step 2", "a", "after_step 2", "meets"],
    }[where] == walk


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["before_step", "work", "after_step", "before_job", "after_job"])
def test_what_is_no_exception_is_recorded_and_goes_its_way(
    where: str, error: type[BaseException], node: Node, walk: Walk
) -> None:
    """S112, S166, S190: FAILED, no transition is for it, and nothing stays STARTED."""

    class Raising:
        def __getattr__(self, name: str) -> Any:
            if name != where:
                raise AttributeError(name)
            return self.raises

        def raises(self, context: Any) -> None:
            raise error

    listener = Raising()
    step = walk.step(
        "a",
        listener.raises if where == "work" else None,
        listeners=[listener],
        transitions=[on("FAILED").to("b")],
    )
    with pytest.raises(error):
        run(node, step, walk.step("b"), listeners=[listener])
    until(lambda: not node.operator.get_job_execution(1).batch_status.is_running)

    assert FAILED is node.operator.get_job_execution(1).batch_status
    assert ("b" in walk) is (where == "after_job")


# --- S168, S169: what it means ------------------------------------------------------------------


def test_a_raising_before_job_runs_no_step(any_node: Node) -> None:
    """S168: after_job runs, the job is FAILED; a restart tries again."""
    walk = Walk()
    listener = Heard(walk, "x", raises=["before_job"])
    first = run(any_node, walk.step("a"), listeners=[listener])
    second = restart(any_node, first, job_of(walk.step("a"), listeners=[Heard(walk, "y")]))

    assert (["before_job x", "after_job x"], []) == (walk[:2], steps(any_node, first))
    assert ["before_job y", "a", "after_job y"] == walk[2:]
    assert [(FAILED, "FAILED"), (COMPLETED, "COMPLETED")] == [ends(first), ends(second)]


def test_a_raising_after_job_fails_the_job(any_node: Node) -> None:
    """S168: its steps stay COMPLETED; a matched stop element has no effect any more."""
    walk = Walk()
    listener = Heard(walk, "x", raises=["after_job"])
    execution = run(any_node, walk.step("a"), listeners=[listener], name="good")
    transition = on("*").stop(restart="a")
    stopped = run(
        any_node, walk.step("a", transitions=[transition]), listeners=[listener], name="stopped"
    )

    for one in (execution, stopped):
        assert ((FAILED, "FAILED"), None) == (ends(one), one.restart_position)
        assert [("a", COMPLETED, "COMPLETED")] == steps(any_node, one)


def test_a_raising_before_step_fails_the_step_and_its_transitions_apply(
    any_node: Node,
) -> None:
    """S169."""
    walk = Walk()
    listener = Heard(walk, "x", raises=["before_step"])
    step = walk.step("a", listeners=[listener], transitions=[on("FAILED").to("b")])
    execution = run(any_node, step, walk.step("b"))

    assert ["before_step x", "after_step x", "b"] == walk
    assert [("a", FAILED, "FAILED"), ("b", COMPLETED, "COMPLETED")] == steps(any_node, execution)
    assert COMPLETED is execution.batch_status


def test_a_raising_after_step_makes_a_good_step_failed(any_node: Node) -> None:
    """S169, S20: the exit status that was set is kept; the step runs again on a restart."""
    walk = Walk()
    listener = Heard(walk, "x", raises=["after_step"])
    first = run(any_node, walk.step("a", "GOOD", listeners=[listener]), walk.step("b"))
    restart(any_node, first, job_of(walk.step("a"), walk.step("b")))

    assert [("a", FAILED, "GOOD")] == steps(any_node, first)
    assert ["before_step x", "a", "after_step x", "a", "b"] == walk
    assert "FAILED" == steps_of(any_node, first)[0].result


class Raises:
    """Any step-level artifact whose method raises."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            raise AttributeError(name)

        def method(*arguments: Any) -> None:
            raise LookupError(name)

        return method


@pytest.mark.parametrize(
    "method", ["before_chunk", "after_chunk", "before_read", "after_read", "before_process"]
)
def test_any_step_level_artifact_that_raises_fails_the_step(method: str, node: Node) -> None:
    """S169; the skip filter does not apply (S111)."""
    from stepwell import Skip

    load = ChunkStep("load", [1], str, list, listeners=[Raises(method)], skip=Skip(Exception))
    execution = run(node, load)

    assert (FAILED, method) == (execution.batch_status, str(execution.exception).strip("'"))
    assert [("load", FAILED, "FAILED")] == steps(node, execution)


# --- S170: where chunk listeners run ------------------------------------------------------------


def test_chunk_listeners_run_inside_and_outside_the_transaction(node: Node, walk: Walk) -> None:
    """S170: after_chunk inside, before_chunk and on_error outside any."""

    class Listener:
        def before_step(self, step: StepContext) -> None:
            self.step = step

        def note(self, name: str) -> None:
            try:
                self.step.connection.execute("SELECT 1")
            except Exception as error:
                walk.append(f"{name} {type(error).__name__}")
            else:
                walk.append(f"{name} inside")

        def before_chunk(self) -> None:
            self.note("before_chunk")

        def after_chunk(self) -> None:
            self.note("after_chunk")
            raise ValueError

        def on_error(self, error: Exception) -> None:
            self.note("on_error")

    run(node, ChunkStep("load", [1], None, list, listeners=[Listener()]))

    assert [
        "before_chunk StepUsageError",
        "after_chunk inside",
        "on_error StepUsageError",
    ] == walk


# --- S171: failures are stored ------------------------------------------------------------------


class Odd(Exception):
    """An exception of the application's."""


def test_type_message_and_traceback_are_stored_on_step_and_job(any_node: Node) -> None:
    """S171, S73: with the causes; and the original stays in the caller's hands."""

    def process(step: StepContext) -> None:
        try:
            raise LookupError("the cause")
        except LookupError as cause:
            raise Odd("the message") from cause

    execution = run(any_node, Walk().step("a", process))
    stored = any_node.operator.get_job_execution(execution.execution_id).failure
    step = steps_of(any_node, execution)[0].failure

    assert isinstance(execution.exception, Odd)
    for failure in (stored, step):
        assert isinstance(failure, Failure)
        assert (f"{__name__}.Odd", "the message") == (failure.type, failure.message)
        assert failure.trace is not None
        assert ("the cause" in failure.trace, "process" in failure.trace) == (True, True)


def test_a_job_that_failed_by_its_flow_says_which_element(any_node: Node) -> None:
    """S171, S48."""
    execution = run(any_node, Walk().step("a", "BAD", transitions=[on("B*").fail()]))

    assert ("JobFlowFailed", "exit status 'BAD' matches 'B*', which fails") == (
        execution.failure and execution.failure.type,
        why(execution),
    )
    assert [(None,)] == rows(any_node, "SELECT failure_type FROM batch_step_execution")


def test_a_failure_that_transitions_mended_stays_on_its_step_alone(node: Node, walk: Walk) -> None:
    """S171, S20."""
    step = walk.step("a", ValueError("bad"), transitions=[on("*").to("b")])
    execution = run_job(node, Job("billing", [step, walk.step("b")]))

    assert (None, COMPLETED) == (execution.failure, execution.batch_status)
    assert ["bad", None] == [s.failure and s.failure.message for s in steps_of(node, execution)]
