"""Section 5, rule by rule: which element follows."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from stepwell import BatchStatus, Decision, Flow, Node, Split, StepContext, on
from stepwell.errors import JobStartError
from stepwell.job.flow import Transition
from tests.conformance.stories import counts, nothing, rows, tasklet_job
from tests.rules.walks import (
    Heard,
    Walk,
    ends,
    job_of,
    jsl_job,
    restart,
    run,
    run_job,
    steps,
    stop,
)

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


@pytest.fixture
def walk() -> Walk:
    return Walk()


def decision(name: str = "d", *transitions: Transition, answer: str = "x") -> Decision:
    return Decision(name, lambda last: answer, transitions)


# --- S40, S43, S53: where a container begins, what follows without transitions ------------------


def test_the_first_element_of_the_document_begins(node: Node, walk: Walk) -> None:
    """S40: a step, a flow, a split; of a flow too."""
    for number, element in enumerate(
        [
            walk.step("a"),
            Flow("f", [walk.step("b")]),
            Split("s", [Flow("g", [walk.step("c")])]),
            Flow("o", [Flow("i", [walk.step("d")])]),
        ]
    ):
        assert COMPLETED is run(node, element, name=f"job-{number}").batch_status

    assert ["a", "b", "c", "d"] == walk


@pytest.mark.parametrize("inside", [False, True])
def test_a_decision_cannot_begin(inside: bool, node: Node) -> None:
    """S40, S183: neither the job nor a flow; nothing is recorded."""
    elements: list[Any] = [decision()]
    before = counts(node)

    with pytest.raises(JobStartError) as refused:
        run(node, Flow("f", elements) if inside else elements[0])
    assert "a decision cannot come first, 'd' does" in refused.value.message
    assert before == counts(node)


def test_a_job_file_does_not_fall_through(node: Node, walk: Walk) -> None:
    """S43: without a match and without next the container ends, whatever stands behind."""
    job = jsl_job(
        Flow("f", [walk.step("a"), walk.step("never")], next="b", implied_next=False),
        walk.step("never too"),
        walk.step("b"),
    )

    assert (COMPLETED, ["a", "b"]) == (run_job(node, job).batch_status, walk)


def test_a_list_means_next_when_completed(node: Node, walk: Walk) -> None:
    """S53: whatever the exit status; the last one ends the container."""
    execution = run(
        node,
        walk.step("a", "ODD"),
        Flow("f", [walk.step("b", "ODDER"), walk.step("c")]),
        Split("s", [Flow("g", [walk.step("d")])]),
        walk.step("e"),
    )

    assert (COMPLETED, ["a", "b", "c", "d", "e"]) == (execution.batch_status, walk)


def test_explicit_transitions_override_the_list(node: Node, walk: Walk) -> None:
    """S53: the implied next applies when none matches."""
    run(
        node,
        walk.step("a", "JUMP", transitions=[on("JUMP").to("c")]),
        walk.step("b"),
        walk.step("c", "STAY", transitions=[on("JUMP").end()]),
        walk.step("d"),
    )

    assert ["a", "c", "d"] == walk


def test_a_decision_in_a_list_has_no_implied_next(node: Node, walk: Walk) -> None:
    """S53, S60: without a match its container ends normally."""
    execution = run(node, walk.step("a"), decision("d", on("y").to("b")), walk.step("b"))

    assert ((COMPLETED, "x"), ["a"]) == (ends(execution), walk)


def test_a_failed_step_without_a_match_fails_the_job(node: Node, walk: Walk) -> None:
    """S41, S53: its next is not followed."""
    execution = run(
        node,
        walk.step("a", ValueError("bad"), next="b", transitions=[on("COMPLETED").to("b")]),
        walk.step("b"),
    )

    assert ((FAILED, "FAILED"), ["a"]) == (ends(execution), walk)
    assert execution.failure is not None
    assert ("ValueError", "bad") == (execution.failure.type, execution.failure.message)


# --- S41, S42: the order ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["next", "end", "stop", "fail"])
def test_the_first_match_wins_whatever_its_kind(kind: str, node: Node, walk: Walk) -> None:
    """S41, S48: next, end, stop and fail alike, in the order of declaration."""
    made = {
        "next": on("A*").to("b"),
        "end": on("A*").end("E"),
        "stop": on("A*").stop("S"),
        "fail": on("A*").fail("F"),
    }
    others = [transition for name, transition in made.items() if name != kind]
    transitions = [on("B").fail("no match"), made[kind], *others]
    execution = run(node, walk.step("a", "A1", transitions=transitions), walk.step("b"))

    assert {
        "next": ((COMPLETED, "COMPLETED"), ["a", "b"]),
        "end": ((COMPLETED, "E"), ["a"]),
        "stop": ((STOPPED, "S"), ["a"]),
        "fail": ((FAILED, "F"), ["a"]),
    }[kind] == (ends(execution), walk)


def test_a_matching_transition_beats_the_next_attribute(node: Node, walk: Walk) -> None:
    """S42."""
    job = jsl_job(
        walk.step("a", "X", next="b", transitions=[on("X").to("c")]),
        walk.step("b"),
        walk.step("c", "Y", next="d", transitions=[on("X").to("b")]),
        walk.step("d"),
    )
    run_job(node, job)

    assert ["a", "c", "d"] == walk


@pytest.mark.parametrize(
    ("fails", "expected"), [(False, (STOPPED, "STOPPED")), (True, (FAILED, "FAILED"))]
)
def test_when_the_job_is_stopping_no_transition_is_asked(
    fails: bool, expected: Any, any_node: Node
) -> None:
    """S41, S42: it ends FAILED if the element failed, else STOPPED; and no step starts."""
    walk = Walk()

    def process(step: StepContext) -> None:
        stop(any_node, step)
        if fails:
            raise ValueError

    everything = [on("*").to("b")]
    execution = run(any_node, walk.step("a", process, transitions=everything), walk.step("b"))

    assert (expected, ["a"]) == (ends(execution), walk)


def test_a_stop_that_is_read_at_a_boundary_starts_no_step(any_node: Node) -> None:
    """S42, S30. Method: nobody but the boundary reads the request."""
    walk = Walk()

    def process(step: StepContext) -> None:
        any_node.operator._runner._watcher.close()
        any_node.operator.stop(step.execution_id)

    execution = run(any_node, walk.step("a", process), walk.step("b"))

    assert [("a", COMPLETED, "COMPLETED")] == steps(any_node, execution)
    assert ((STOPPED, "STOPPED"), ["a"]) == (ends(execution), walk)


# --- S44: patterns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "exit_status", "matches"),
    [
        ("*", "", True),
        ("*", "anything\nat all", True),
        ("A*C", "AC", True),
        ("A*C", "ABBC", True),
        ("A*C", "ABBCD", False),
        ("?", "", False),
        ("?", "x", True),
        ("?", "xy", False),
        ("C?MP*", "COMPLETED", True),
        ("completed", "COMPLETED", False),
        ("COMPLETED", "COMPLETED", True),
        ("COMP", "COMPLETED", False),
        ("[AB]", "A", False),
        ("[AB]", "[AB]", True),
        ("A.C", "ABC", False),
        ("A.C", "A.C", True),
        ("(A|B)", "A", False),
        ("A\\*", "A*", False),
        ("A\\*", "A\\B", True),
        ("", "", True),
        ("", "A", False),
        ("**", "A", True),
    ],
)
def test_a_pattern_knows_two_wild_cards_and_matches_the_whole(
    pattern: str, exit_status: str, matches: bool
) -> None:
    """S44."""
    assert matches is on(pattern).to("b").matches(exit_status)


# --- S45: what a pattern is matched against -----------------------------------------------------


def test_a_flow_is_matched_by_its_last_element(node: Node, walk: Walk) -> None:
    """S45: a step, a decision, an inner flow; after a split: COMPLETED."""
    inner: dict[str, list[Any]] = {
        "LAST": [walk.step("a", "FIRST"), walk.step("b", "LAST")],
        "x": [walk.step("a"), decision()],
        "INNER": [Flow("i", [walk.step("a", "INNER")])],
        "COMPLETED": [walk.step("a"), Split("s", [Flow("g", [walk.step("b", "ODD")])])],
    }
    for exit_status, elements in inner.items():
        flow = Flow("f", elements, transitions=[on(exit_status).end(f"was {exit_status}")])
        execution = run(node, flow, name=f"job-{exit_status}")

        assert (COMPLETED, f"was {exit_status}") == ends(execution)


def test_a_decision_is_matched_by_its_answer(node: Node, walk: Walk) -> None:
    """S45, S60."""
    execution = run(
        node, walk.step("a", "STEP"), decision("d", on("STEP").fail(), on("x").end("right"))
    )

    assert (COMPLETED, "right") == ends(execution)


def test_a_split_has_no_transitions(node: Node) -> None:
    """S45: there is no place to write one."""
    with pytest.raises(TypeError):
        Split("s", [], transitions=[on("*").end()])  # type: ignore[call-arg]


# --- S46, S47: targets and loops ----------------------------------------------------------------


def flow_of(*elements: Any) -> Flow:
    return Flow("f", elements)


@pytest.mark.parametrize(
    ("elements", "fault"),
    [
        (
            [Walk().step("a", next="nowhere")],
            "step 'a': there is no element 'nowhere' beside it to go to",
        ),
        (
            [flow_of(Walk().step("a", transitions=[on("*").to("b")])), Walk().step("b")],
            "flow 'f': step 'a': there is no element 'b' beside it to go to",
        ),
        (
            [Walk().step("a", next="b"), flow_of(Walk().step("b"))],
            "step 'a': there is no element 'b' beside it to go to",
        ),
        (
            [Split("s", [Flow("f", [Walk().step("a")], next="g"), Flow("g", [Walk().step("b")])])],
            "split 's': flow 'f': there is no element 'g' beside it to go to",
        ),
        (
            [Split("s", [Flow("f", [Walk().step("a")], transitions=[on("*").stop(restart="x")])])],
            "split 's': flow 'f': a restart cannot begin at 'x'",
        ),
        (
            [flow_of(Walk().step("a", transitions=[on("*").stop(restart="a")]))],
            "flow 'f': step 'a': a restart cannot begin at 'a'",
        ),
        (
            [Walk().step("a", transitions=[on("*").stop(restart="d")]), decision()],
            "step 'a': a restart cannot begin at 'd'",
        ),
        ([Walk().step("a"), Walk().step("a")], "step names must be unique, 'a' stands 2 times"),
        (
            [Walk().step("a", transitions=[on("B").to("b")]), Walk().step("b", next="a")],
            "elements must not lead back to themselves: a → b → a",
        ),
        (
            [Walk().step("a", next="a")],
            "elements must not lead back to themselves: a → a",
        ),
        (
            [flow_of(Walk().step("a"), Walk().step("b", transitions=[on("*").to("a")]))],
            "elements must not lead back to themselves: a → b → a",
        ),
        ([nothing], "a job holds steps, flows, splits and decisions, got <function nothing"),
    ],
)
def test_a_definition_that_leads_nowhere_or_around_is_refused(
    elements: list[Any], fault: str, node: Node
) -> None:
    """S46, S47, S183: before anything is recorded."""
    before = counts(node)

    with pytest.raises(JobStartError) as refused:
        node.operator.run(job_of(*elements))
    assert fault in refused.value.message
    assert before == counts(node)


def test_a_restart_may_begin_at_any_job_level_step_flow_or_split(node: Node, walk: Walk) -> None:
    """S46, S64."""
    targets = {
        "b": walk.step("b"),
        "f": Flow("f", [walk.step("in f")]),
        "s": Split("s", [Flow("g", [walk.step("in s")])]),
    }
    for name, target in targets.items():
        first = walk.step("a", "WAIT", transitions=[on("WAIT").stop(restart=name)])
        job = jsl_job(first, target, name=f"at-{name}")
        execution = restart(node, run_job(node, job))
        assert COMPLETED is execution.batch_status

    assert ["a", "b", "a", "in f", "a", "in s"] == walk


def test_a_second_visit_fails_the_job_at_run_time(node: Node, walk: Walk) -> None:
    """S47: a graph that got past the check; not even a step that was skipped is visited twice."""
    job = jsl_job(walk.step("a", next="b"), walk.step("b", next="a"))
    with patch("stepwell.runner.ready.check_job"):
        execution = run_job(node, job)
        again = restart(node, execution)

    assert execution.failure is not None
    assert ("JobFlowFailed", "element 'a' would run twice in one execution") == (
        execution.failure.type,
        execution.failure.message,
    )
    assert (FAILED, FAILED, ["a", "b"]) == (execution.batch_status, again.batch_status, walk)


# --- S48: end, stop, fail -----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["job", "flow", "flow in flow", "split"])
@pytest.mark.parametrize(
    ("kind", "status"), [("end", COMPLETED), ("stop", STOPPED), ("fail", FAILED)]
)
def test_end_stop_and_fail_end_the_whole_job_from_any_depth(
    kind: str, status: BatchStatus, place: str, node: Node, walk: Walk
) -> None:
    """S48, S54, S56: and the transitions of what is around them are not asked."""
    ending = walk.step("a", transitions=[getattr(on("*"), kind)("JOB")])
    inner = Flow("i", [ending, walk.step("never")], transitions=[on("*").end("not asked")])
    element: Any = {
        "job": ending,
        "flow": inner,
        "flow in flow": Flow("o", [inner, walk.step("nor this")]),
        "split": Split("s", [inner]),
    }[place]
    execution = run(node, element, walk.step("last"))

    assert ((status, "JOB"), ["a"]) == (ends(execution), walk)


# --- S49: start limits --------------------------------------------------------------------------


def test_a_start_limit_counts_every_start_in_the_instance(any_node: Node) -> None:
    """S49: and the job fails without a step execution; 0 is unlimited."""
    walk = Walk()
    job = job_of(
        walk.step("free", allow_start_if_complete=True),
        walk.step("a", ValueError(), start_limit=2, listeners=[Heard(walk, "step")]),
        listeners=[Heard(walk, "job")],
    )
    first = run_job(any_node, job)
    second = restart(any_node, first)
    walk.clear()
    third = restart(any_node, second)

    assert ["before_job job", "free", "after_job job"] == walk
    assert [("free", COMPLETED, "COMPLETED")] == steps(any_node, third)
    assert third.failure is not None
    assert ("StartLimitExceeded", FAILED) == (third.failure.type, third.batch_status)
    assert "cannot start step 'a': its start limit of 2 is used up" == third.failure.message


def test_a_start_limit_counts_recovered_starts_and_re_runs_of_complete_steps(node: Node) -> None:
    """S49."""
    walk = Walk()
    a = walk.step("a", start_limit=2, allow_start_if_complete=True)
    first = run(node, a, walk.step("b", ValueError()))
    second = restart(node, first)
    third = restart(node, second)

    assert ["a", "b", "a", "b"] == walk
    assert third.failure is not None
    assert "StartLimitExceeded" == third.failure.type


def test_transitions_are_not_evaluated_for_a_start_limit(node: Node) -> None:
    """S49: and the exit status is kept."""

    def sets(step: StepContext) -> None:
        step.job.exit_status = "KEPT"

    walk = Walk()
    job = job_of(
        walk.step("z", sets, allow_start_if_complete=True),
        walk.step(
            "a", ValueError(), start_limit=1, transitions=[on("FAILED").fail(), on("*").to("b")]
        ),
        walk.step("b"),
    )
    first = run_job(node, job)
    second = restart(node, first)

    assert [(FAILED, "KEPT"), (FAILED, "KEPT")] == [ends(first), ends(second)]
    assert ["z", "a", "z"] == walk


# --- S50, S51 -----------------------------------------------------------------------------------


def test_a_step_ends_in_the_order_of_the_rulebook(node: Node, walk: Walk) -> None:
    """S50: work, after_step, exit status, final transaction, transitions."""

    class After:
        def after_step(self, step: StepContext) -> None:
            stored = rows(node, "SELECT status, exit_code FROM batch_step_execution")
            walk.append(f"after_step {stored}")
            step.exit_status = "GO"

    def decide(last: list[Any]) -> str:
        stored = rows(node, "SELECT status, exit_code FROM batch_step_execution")
        walk.append(f"transition {stored}")
        return "x"

    run(
        node,
        walk.step("a", "STAY", listeners=[After()], transitions=[on("GO").to("d")]),
        Decision("d", decide, [on("*").end()]),
    )

    assert [
        "a",
        "after_step [('STARTED', None)]",
        "transition [('COMPLETED', 'GO')]",
    ] == walk


def test_the_job_row_names_the_current_step(any_node: Node) -> None:
    """S51: with its start and its end."""
    seen: list[Any] = []

    def look(step: StepContext) -> None:
        seen.append(any_node.operator.get_job_execution(step.execution_id).current_step)

    class Listener:
        def before_job(self, job: Any) -> None:
            seen.append(any_node.operator.get_job_execution(job.execution_id).current_step)

        after_job = before_job

    walk = Walk()
    execution = run(any_node, walk.step("a", look), walk.step("b", look), listeners=[Listener()])

    assert [None, "a", "b", None] == seen
    assert (None, "b") == (execution.current_step, execution.last_step)


def test_in_a_split_the_job_row_names_all_steps_at_work(any_node: Node) -> None:
    """S51. Method: each flow waits for the other one to have begun."""
    from threading import Barrier

    both, done = Barrier(2), Barrier(2)
    seen: list[set[str]] = []

    def look(step: StepContext) -> None:
        both.wait()
        current = any_node.operator.get_job_execution(step.execution_id).current_step
        seen.append(set((current or "").split(",")))
        done.wait()

    walk = Walk()
    flows = [Flow("f", [walk.step("a", look)]), Flow("g", [walk.step("b", look)])]
    execution = run(any_node, Split("s", flows))

    assert 2 * [{"a", "b"}] == seen
    assert None is execution.current_step


def test_a_job_that_finds_nothing_left_to_run_completes(any_node: Node) -> None:
    """S51, S67."""
    walk = Walk()
    first = run(any_node, walk.step("a"), walk.step("b", transitions=[on("*").stop()]))
    second = restart(any_node, first, job_of(walk.step("a"), walk.step("b")))

    assert (["a", "b"], [], COMPLETED) == (walk, steps(any_node, second), second.batch_status)


def test_a_job_needs_an_element(node: Node) -> None:
    """S40, S183."""
    with pytest.raises(JobStartError):
        node.operator.run(job_of())
    with pytest.raises(JobStartError):
        node.operator.run(job_of(Flow("f", [])))
    assert COMPLETED is node.operator.run(tasklet_job("fine", nothing)).batch_status
