"""Section 6, rule by rule: flows, splits, decisions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from threading import Barrier, Event
from typing import Any

import pytest

from stepwell import BatchStatus, Decision, Flow, Node, Split, StepContext, on
from stepwell.errors import LostOwnership
from stepwell.execution.records import StepExecution
from stepwell.job.flow import Transition
from stepwell.runner.context import JobContext
from tests.conformance.stories import Toggle
from tests.rules.walks import (
    WITHIN_S,
    Heard,
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


@pytest.fixture
def walk() -> Walk:
    return Walk()


class Decides:
    """A decider that notes what it was given: step, batch status, exit status, data."""

    def __init__(self, answer: Any = "x") -> None:
        self.answer = answer
        self.given: list[list[tuple[Any, ...]]] = []

    def decide(self, last: Sequence[StepExecution]) -> Any:
        self.given.append([(s.step_name, str(s.batch_status), s.exit_status) for s in last])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def names(self) -> list[list[str]]:
        return [[name for name, _, _ in given] for given in self.given]


def decision(decider: Any, *transitions: Transition, name: str = "d") -> Decision:
    return Decision(name, decider, transitions)


# --- flows -------------------------------------------------------------------------------------


def test_a_flow_runs_on_the_thread_and_the_contexts_of_its_caller(node: Node, walk: Walk) -> None:
    """S54, S18."""
    threads: list[int] = []
    jobs: list[JobContext] = []

    def look(step: StepContext) -> None:
        threads.append(threading.get_ident())
        jobs.append(step.job)
        step.job.transient = [*(step.job.transient or []), step.step_name]

    run(node, walk.step("a", look), Flow("f", [walk.step("b", look)]), walk.step("c", look))

    assert ({threading.get_ident()}, 1) == (set(threads), len({id(job) for job in jobs}))
    assert ["a", "b", "c"] == jobs[0].transient


def test_a_flow_holds_steps_flows_splits_and_decisions(node: Node, walk: Walk) -> None:
    """S54, S57: their step executions belong to the job execution directly."""
    inner = Flow("i", [walk.step("b"), Split("s", [Flow("g", [walk.step("c")])])])
    outer = Flow(
        "o", [walk.step("a"), inner, decision(lambda last: "x", on("x").to("d2")), walk.step("d2")]
    )
    execution = run(node, outer, walk.step("e"))

    assert ["a", "b", "c", "d2", "e"] == walk
    assert {execution.execution_id} == {s.execution_id for s in steps_of(node, execution)}
    assert ["a", "b", "c", "d2", "e"] == [s.step_name for s in steps_of(node, execution)]


def test_a_flow_ends_when_a_child_has_nowhere_to_go(node: Node, walk: Walk) -> None:
    """S54, S43."""
    flow = Flow("f", [walk.step("a"), walk.step("never")], implied_next=False, next="b")

    run(node, flow, walk.step("b"))

    assert ["a", "b"] == walk


def test_a_child_that_fails_without_a_match_fails_the_job(node: Node, walk: Walk) -> None:
    """S54: the flow's own transitions are not asked."""
    flow = Flow("f", [walk.step("a", ValueError("bad"))], transitions=[on("*").to("b")], next="b")
    execution = run(node, flow, walk.step("b"))

    assert ((FAILED, "FAILED"), ["a"]) == (ends(execution), walk)


# --- splits ------------------------------------------------------------------------------------


def test_the_flows_of_a_split_run_at_once_each_on_a_thread_of_its_own(any_node: Node) -> None:
    """S55. Method: each flow waits until all three are inside."""
    barrier = Barrier(3, timeout=WITHIN_S)
    threads: set[int] = set()

    def meet(step: StepContext) -> None:
        barrier.wait()
        threads.add(threading.get_ident())

    walk = Walk()
    flows = [Flow(f"f{n}", [walk.step(f"a{n}", meet), walk.step(f"b{n}")]) for n in range(3)]
    execution = run(any_node, Split("s", flows), walk.step("after"))

    assert (COMPLETED, 3) == (execution.batch_status, len(threads - {threading.get_ident()}))
    assert (7, "after") == (len(walk), walk[-1])
    assert {COMPLETED} == {s.batch_status for s in steps_of(any_node, execution)}


def test_a_split_flow_has_a_job_context_of_its_own(node: Node, walk: Walk) -> None:
    """S55, S71: same name, ids and properties; own transient data, exit status, copied data."""
    seen: dict[str, Any] = {}

    def before(step: StepContext) -> None:
        step.job.transient, step.job.context["n"] = "main", [1]

    def inside(step: StepContext) -> None:
        job = step.job
        seen[step.step_name] = (
            job.job_name,
            job.instance_id,
            job.execution_id,
            job.properties,
            job.transient,
            job.exit_status,
            job.context,
        )
        job.transient, job.exit_status = step.step_name, step.step_name
        job.context["n"].append(step.step_name)

    def after(step: StepContext) -> None:
        seen["after"] = (step.job.transient, step.job.exit_status, step.job.context)

    flows = [Flow(f"f{name}", [walk.step(name, inside)]) for name in "ab"]
    execution = run(
        node,
        walk.step("before", before),
        Split("s", flows),
        walk.step("after", after),
        properties={"p": "1"},
    )

    same = ("billing", execution.instance_id, execution.execution_id, {"p": "1"})
    assert {"a": [1, "a"], "b": [1, "b"]} == {name: seen[name][-1]["n"] for name in "ab"}
    assert 2 * [(*same, None, None)] == [seen[name][:-1] for name in "ab"]
    assert ("main", None, {"n": [1]}) == seen["after"]


def test_a_split_ends_when_all_flows_have_ended_and_follows_its_next(
    node: Node, walk: Walk
) -> None:
    """S55: what the flows ended with is not combined."""
    slow, quick = Event(), Event()

    def wait(step: StepContext) -> str:
        assert slow.wait(WITHIN_S)
        return "ODD"

    def go(step: StepContext) -> str:
        quick.set()
        slow.set()
        return "ODDER"

    flows = [Flow("f", [walk.step("a", wait)]), Flow("g", [walk.step("b", go)])]
    execution = run(node, Split("s", flows, next="d"), walk.step("c"), walk.step("d"))

    assert ((COMPLETED, "COMPLETED"), ["a", "b", "d"]) == (
        ends(execution),
        [*sorted(walk[:2]), *walk[2:]],
    )


def failing_flow(walk: Walk, name: str, does: Any = None, **options: Any) -> Flow:
    return Flow(f"flow-{name}", [walk.step(name, does, **options)])


ENDINGS: dict[str, Callable[[Walk, str], Flow]] = {
    "fails": lambda walk, name: failing_flow(walk, name, ValueError(name)),
    "fail": lambda walk, name: failing_flow(walk, name, transitions=[on("*").fail(name)]),
    "stop": lambda walk, name: failing_flow(walk, name, transitions=[on("*").stop(name)]),
    "end": lambda walk, name: failing_flow(walk, name, transitions=[on("*").end(name)]),
    "goes on": lambda walk, name: Flow(f"flow-{name}", [walk.step(name), walk.step(f"{name}+")]),
}


@pytest.mark.parametrize(
    ("flows", "expected"),
    [
        (["goes on", "end"], (COMPLETED, "1")),
        (["end", "end"], (COMPLETED, "0")),
        (["end", "stop"], (STOPPED, "1")),
        (["stop", "end"], (STOPPED, "0")),
        (["end", "stop", "fail"], (FAILED, "2")),
        (["fail", "stop", "fail"], (FAILED, "0")),
        (["fails", "goes on"], (FAILED, "FAILED")),
        (["stop", "fails", "fail"], (FAILED, "FAILED")),
    ],
)
def test_among_flows_that_terminate_the_job_the_gravest_wins(
    flows: list[str], expected: Any, node: Node, walk: Walk
) -> None:
    """S56: among equals the first; the others run to their end; next is not taken."""
    made = [ENDINGS[kind](walk, str(number)) for number, kind in enumerate(flows)]
    execution = run(node, Split("s", made), walk.step("after"))

    ran = [str(n) for n in range(len(flows))]
    ran += [f"{n}+" for n, kind in enumerate(flows) if kind == "goes on"]
    assert (expected, sorted(ran)) == (ends(execution), sorted(walk))


def test_a_restart_position_comes_from_the_winner_alone(node: Node, walk: Walk) -> None:
    """S56, S64."""
    stops = Flow("f", [walk.step("a", transitions=[on("*").stop(restart="b")])])
    stopped = run(node, Split("s", [stops]), walk.step("b"), name="stopped")
    fails = Flow("g", [walk.step("c", ValueError())])
    failed = run(node, Split("s", [stops, fails]), walk.step("b"), name="failed")

    assert ["b", None] == [stopped.restart_position, failed.restart_position]


def test_a_stop_stops_all_flows_of_a_split(any_node: Node) -> None:
    """S42, S56: both steps end STOPPED, no flow begins another one."""
    barrier, stopped = Barrier(2, timeout=WITHIN_S), Event()
    walk = Walk()

    def asks(step: StepContext) -> None:
        barrier.wait()
        stop(any_node, step)
        stopped.set()

    def is_stopped(step: StepContext) -> None:
        barrier.wait()
        assert stopped.wait(WITHIN_S)
        assert step.stop_requested

    flows = [
        Flow("f", [walk.step("a", asks), walk.step("a2")]),
        Flow("g", [walk.step("b", is_stopped), walk.step("b2")]),
    ]
    execution = run(any_node, Split("s", flows), walk.step("after"))

    assert (STOPPED, "STOPPED") == ends(execution)
    assert [("a", STOPPED, "STOPPED"), ("b", STOPPED, "STOPPED")] == sorted(
        steps(any_node, execution)
    )


def test_a_start_limit_in_a_split_waits_for_the_other_flows(node: Node, walk: Walk) -> None:
    """S49, S56: it is one of the ways to fail, and not quicker than the others."""
    limited = Flow("f", [walk.step("a", ValueError(), start_limit=1)])
    job = job_of(Split("s", [limited, Flow("g", [walk.step("b", ValueError())])]))
    second = restart(node, run_job(node, job))

    assert second.failure is not None
    assert ("StartLimitExceeded", ["b"]) == (
        second.failure.type,
        [s.step_name for s in steps_of(node, second)],
    )


def test_lost_ownership_in_one_flow_beats_whatever_the_others_did(
    any_node: Node, any_other: Node
) -> None:
    """S25, S56: nothing more is called or written, although an earlier flow has failed."""
    walk, failed = Walk(), Event()

    def fails(step: StepContext) -> None:
        failed.set()
        raise ValueError

    def is_taken(step: StepContext) -> None:
        assert failed.wait(WITHIN_S)
        any_other.operator.recover(step.execution_id, force=True, reason="the test")

    flows = [Flow("f", [walk.step("a", fails)]), Flow("g", [walk.step("b", is_taken)])]
    job = job_of(Split("s", flows), listeners=[Heard(walk, "job")])

    with pytest.raises(LostOwnership):
        run_job(any_node, job)
    assert "after_job job" not in walk


def test_a_split_flow_may_decide_by_its_own_transitions(node: Node, walk: Walk) -> None:
    """S45, S55: it has no sibling to go to, but it may end the job."""
    flow = Flow("f", [walk.step("a", "BAD")], transitions=[on("BAD").fail("FLOW")])
    execution = run(node, Split("s", [flow]), walk.step("after"))

    assert ((FAILED, "FLOW"), ["a"]) == (ends(execution), walk)


def test_context_variables_are_copied_into_the_flows_of_a_split(node: Node, walk: Walk) -> None:
    """S75."""
    from contextvars import ContextVar

    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []

    def look(step: StepContext) -> None:
        seen.append(tenant.get())
        tenant.set(step.step_name)

    class Listener:
        def before_job(self) -> None:
            tenant.set("acme")

    flows = [Flow(f"f{name}", [walk.step(name, look)]) for name in "ab"]
    token = tenant.set("outer")
    run(node, Split("s", flows), walk.step("c", look), listeners=[Listener()])
    tenant.reset(token)

    assert ["acme", "acme", "acme"] == seen


# --- decisions: what they are given --------------------------------------------------------------


def test_a_decider_after_a_step_receives_its_execution(node: Node, walk: Walk) -> None:
    """S58, S59: with status, metrics and persistent user data; a failed one too."""
    given: list[StepExecution] = []

    def decide(last: Sequence[StepExecution]) -> str:
        given.extend(last)
        return "x"

    def process(step: StepContext) -> str:
        step.context["rows"] = 7
        return "ODD"

    run(node, walk.step("a", process), decision(decide), name="good")
    run(
        node,
        walk.step("b", ValueError(), transitions=[on("*").to("d")]),
        decision(decide),
        name="bad",
    )

    assert [("a", "ODD", {"rows": 7}, 0), ("b", "FAILED", {}, 0)] == [
        (s.step_name, s.exit_status, s.context, s.metrics.read_count) for s in given
    ]


def test_a_decider_after_a_flow_receives_its_last_element(node: Node, walk: Walk) -> None:
    """S58: several if that is a split; that of the flow's own decision goes through."""
    deciders = [Decides(), Decides(), Decides()]
    split = Split("s", [Flow("g", [walk.step("b")]), Flow("h", [walk.step("c")])])
    run(node, Flow("f", [walk.step("z"), walk.step("a")]), decision(deciders[0]), name="1")
    run(node, Flow("f", [walk.step("a"), split]), decision(deciders[1]), name="2")
    inner = decision(Decides(), name="inner")
    run(node, Flow("f", [walk.step("a"), inner]), decision(deciders[2]), name="3")

    assert [[["a"]], [["b", "c"]], [["a"]]] == [decider.names() for decider in deciders]


def test_a_decider_after_a_split_receives_one_per_flow_in_document_order(
    node: Node, walk: Walk
) -> None:
    """S58: each the flow's last step, whichever ended first."""
    decider, first_done = Decides(), Event()

    def waits(step: StepContext) -> None:
        assert first_done.wait(WITHIN_S)

    flows = [
        Flow("f", [walk.step("a1"), walk.step("a2", waits)]),
        Flow("g", [walk.step("b", lambda s: first_done.set())]),
    ]
    run(node, Split("s", flows), decision(decider))

    assert [["a2", "b"]] == decider.names()


def test_a_decision_may_lead_to_another_which_gets_the_same_list(node: Node, walk: Walk) -> None:
    """S58, S61."""
    deciders = [Decides("one"), Decides("two")]
    execution = run(
        node,
        walk.step("a", "ODD"),
        decision(deciders[0], on("one").to("d2"), name="d1"),
        decision(deciders[1], on("two").to("b"), name="d2"),
        walk.step("b"),
    )

    assert 2 * [[[("a", "COMPLETED", "ODD")]]] == [decider.given for decider in deciders]
    assert ((COMPLETED, "two"), ["a", "b"]) == (ends(execution), walk)


def test_on_a_restart_a_decider_receives_the_last_completed_executions(
    any_node: Node, walk: Walk
) -> None:
    """S59, S61: from this execution or an earlier one, mixed; it is decided on every pass."""
    decider, toggle = Decides(), Toggle()

    def fails_once(step: StepContext) -> str:
        toggle(step)
        return "SECOND"

    def keeps(step: StepContext) -> str:
        step.context["kept"] = step.execution_id
        return "FIRST"

    flows = [Flow("f", [walk.step("a", keeps)]), Flow("g", [walk.step("b", fails_once)])]
    given: list[Any] = []

    def decide(last: Sequence[StepExecution]) -> str:
        given.append([(s.step_name, s.execution_id, s.exit_status, s.context) for s in last])
        return str(decider.decide(last))

    failing = walk.step("c", ValueError())
    job = job_of(Split("s", flows), decision(decide, on("x").to("c")), failing)
    first = run_job(any_node, job)
    toggle.works = True
    second = restart(any_node, first)
    third = restart(any_node, second)

    kept = ("a", first.execution_id, "FIRST", {"kept": first.execution_id})
    later = ("b", second.execution_id, "SECOND", {})
    assert 2 * [[kept, later]] == given
    assert [FAILED] * 3 == [e.batch_status for e in (first, second, third)]


# --- decisions: what they answer -----------------------------------------------------------------


def test_the_answer_becomes_the_jobs_exit_status(node: Node, walk: Walk) -> None:
    """S60: also when nothing matches, and its container ends normally."""
    execution = run(node, walk.step("a"), decision(Decides("ANSWER")), walk.step("b"))

    assert ((COMPLETED, "ANSWER"), ["a"]) == (ends(execution), walk)


@pytest.mark.parametrize("answer", [None, 1, b"x", ValueError("bad")])
def test_any_other_answer_and_any_exception_fails_the_job(
    answer: Any, node: Node, walk: Walk
) -> None:
    """S60: the job's exit status is not touched."""

    def sets(step: StepContext) -> None:
        step.job.exit_status = "SET"

    after = walk.step("b")
    execution = run(node, walk.step("a", sets), decision(Decides(answer), on("*").to("b")), after)

    assert execution.failure is not None
    expected = "ValueError" if isinstance(answer, Exception) else "TypeError"
    assert ((FAILED, "SET"), expected, ["a"]) == (ends(execution), execution.failure.type, walk)


def test_a_decision_has_no_next_attribute(node: Node, walk: Walk) -> None:
    """S61."""
    with pytest.raises(TypeError):
        Decision("d", lambda last: "x", next="b")  # type: ignore[call-arg]


def test_a_decision_is_decided_on_restart_although_its_step_was_skipped(
    node: Node, walk: Walk
) -> None:
    """S61, S65: and may lead elsewhere this time."""
    decider = Decides("stop")
    transitions = [on("stop").stop(), on("go").to("b")]
    job = define(node, job_of(walk.step("a"), decision(decider, *transitions), walk.step("b")))
    first = run_job(node, job)
    decider.answer = "go"
    second = restart(node, first)

    assert [(STOPPED, "stop"), (COMPLETED, "go")] == [ends(first), ends(second)]
    assert ["a", "b"] == walk
