"""Section 7, rule by rule: what a restart goes on from; and trace C of section 16, whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Flow,
    Job,
    Node,
    Parameters,
    Split,
    StepContext,
    TaskletStep,
    on,
)
from stepwell.errors import (
    BatchError,
    JobExecutionAlreadyComplete,
    JobExecutionNotMostRecent,
    JobRestartError,
    NoSuchJobExecution,
)
from stepwell.execution.json import from_json
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.repository.steps import get_context
from tests.conformance.stories import Toggle, counts, ended, owned, waiting
from tests.rules.walks import (
    Definition,
    Walk,
    define,
    ends,
    job_of,
    jsl_job,
    restart,
    run,
    run_job,
    steps,
    steps_of,
)

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


@pytest.fixture
def walk() -> Walk:
    return Walk()


# --- the conditions, in their order -------------------------------------------------------------


class Day(Parameters):
    day: int


def not_most_recent(node: Node) -> int:
    first = ended(node, "billing", FAILED)
    ended(node, "billing", COMPLETED)
    return first.execution_id


def in_status(status: BatchStatus) -> Callable[[Node], int]:
    def make(node: Node) -> int:
        if status is BatchStatus.ABANDONED:
            return node.operator.abandon(ended(node, "billing", FAILED).execution_id).execution_id
        if status.is_running:
            return owned(node, "billing", status).execution_id
        return ended(node, "billing", status).execution_id

    return make


# Each breaks every later condition too: the job is not restartable and the parameters are invalid.
CONDITIONS: list[tuple[str, Callable[[Node], int], type[BatchError], str]] = [
    ("1", lambda node: 77, NoSuchJobExecution, "cannot find execution 77"),
    ("2", not_most_recent, JobExecutionNotMostRecent, "execution 2 of the same instance"),
    ("3", in_status(COMPLETED), JobExecutionAlreadyComplete, "it is COMPLETED"),
    ("4a", in_status(BatchStatus.ABANDONED), JobRestartError, "it is ABANDONED"),
    ("4b", in_status(BatchStatus.STARTING), JobRestartError, "it is STARTING"),
    ("4c", in_status(BatchStatus.STARTED), JobRestartError, "it is STARTED"),
    ("4d", in_status(BatchStatus.STOPPING), JobRestartError, "it is STOPPING"),
    ("4e", lambda n: waiting(n, "billing").execution_id, JobRestartError, "it is STARTING"),
    ("5", in_status(FAILED), JobRestartError, "says restartable=False"),
]


@pytest.mark.parametrize(
    ("make", "error_class", "fact"),
    [condition[1:] for condition in CONDITIONS],
    ids=[condition[0] for condition in CONDITIONS],
)
def test_the_conditions_of_a_restart_are_checked_in_their_order(
    make: Callable[[Node], int], error_class: type[BatchError], fact: str, any_node: Node
) -> None:
    """S62. Each broken one hides the later ones; nothing is recorded."""
    define(any_node, job_of(Walk().step("a"), restartable=False, parameters=Day))
    execution_id = make(any_node)
    before = counts(any_node)

    with pytest.raises(error_class) as refused:
        any_node.operator.restart(execution_id, {"day": "nonsense"})
    assert fact in refused.value.message
    assert before == counts(any_node)


@pytest.mark.parametrize(
    ("job", "parameters", "fact"),
    [
        (job_of(Walk().step("a"), parameters=Day), {"day": "x"}, "parameter 'day'"),
        (job_of(Walk().step("a"), parameters=Day), None, "parameter 'day': it is missing"),
        (job_of(Walk().step("a", next="b")), None, "there is no element 'b'"),
    ],
)
def test_an_invalid_definition_or_parameter_is_a_restart_error(
    job: Job, parameters: Any, fact: str, node: Node
) -> None:
    """S62, condition 6: S8, S10, S183; nothing is recorded."""
    first = run(node, Walk().step("a", ValueError()))
    before = counts(node)

    with pytest.raises(JobRestartError) as refused:
        restart(node, first, job, parameters)
    assert fact in refused.value.message
    assert refused.value.message.startswith("cannot restart")
    assert before == counts(node)


@pytest.mark.parametrize("status", [FAILED, STOPPED])
def test_failed_and_stopped_executions_restart_in_the_same_instance(
    status: BatchStatus, any_node: Node
) -> None:
    """S62: and so does start of a FAILED or STOPPED instance."""
    walk = Walk()
    transition = on("*").fail() if status is FAILED else on("*").stop()
    first = run(any_node, walk.step("a", transitions=[transition]))
    second = restart(any_node, first)
    third = any_node.operator.run(define(any_node, job_of(walk.step("a"))))

    assert [status, status, COMPLETED] == [e.batch_status for e in (first, second, third)]
    assert {first.instance_id} == {e.instance_id for e in (second, third)}
    assert 3 == len({e.execution_id for e in (first, second, third)})


# --- S63: a changed definition ------------------------------------------------------------------


def test_a_restart_uses_the_definition_as_it_now_is(node: Node, walk: Walk) -> None:
    """S63: another function, other transitions, a step that is new, one that is gone."""
    first = run(node, walk.step("a", "OLD"), walk.step("gone"), walk.step("b", ValueError()))
    walk.clear()
    second = restart(
        node,
        first,
        job_of(
            walk.step("a", "NEW", transitions=[on("OLD").to("new"), on("NEW").fail()]),
            walk.step("new"),
            walk.step("b"),
        ),
    )

    assert (COMPLETED, ["new", "b"]) == (second.batch_status, walk)


def test_a_position_that_the_changed_definition_lacks_begins_at_the_first(
    node: Node, walk: Walk, caplog: pytest.LogCaptureFixture
) -> None:
    """S63, S64: the log says so."""
    first = run(node, walk.step("a", transitions=[on("*").stop(restart="b")]), walk.step("b"))
    second = restart(node, first, job_of(walk.step("a2"), walk.step("b2")))

    assert (COMPLETED, ["a", "a2", "b2"]) == (second.batch_status, walk)
    assert "there is no element 'b' any more" in caplog.text


# --- S64: the position --------------------------------------------------------------------------


def test_the_position_is_used_once_and_only_by_the_very_next_execution(any_node: Node) -> None:
    """S64: b fails, so the restart after it begins at the first element again."""
    walk = Walk()
    toggle = Toggle()
    job = job_of(
        walk.step("a", "WAIT", transitions=[on("WAIT").stop(restart="c")]),
        walk.step("b"),
        walk.step("c", toggle),
    )
    first = run_job(any_node, job)
    second = restart(any_node, first)
    third = restart(any_node, second)
    toggle.works = True
    fourth = restart(any_node, third)

    assert ["a", "c", "c"] == walk
    assert [(STOPPED, "c"), (FAILED, None), (STOPPED, "c"), (COMPLETED, None)] == [
        (e.batch_status, e.restart_position) for e in (first, second, third, fourth)
    ]
    assert [] == steps(any_node, third)


def test_a_stop_element_without_restart_begins_at_the_first_element(node: Node, walk: Walk) -> None:
    """S64."""
    a = walk.step("a", transitions=[on("*").stop()], allow_start_if_complete=True)
    first = run(node, a, walk.step("b"))
    restart(node, first)

    assert ["a", "a"] == walk


def test_a_stop_request_leaves_no_position(node: Node, walk: Walk) -> None:
    """S64: although the step's stop element would match."""

    def process(step: StepContext) -> None:
        node.operator.stop(step.execution_id)
        node.operator._runner._running[step.execution_id].read_requests()

    a = walk.step("a", process, transitions=[on("*").stop(restart="b")])
    execution = run(node, a, walk.step("b"))

    assert (STOPPED, None) == (execution.batch_status, execution.restart_position)


# --- S65 to S67: what is skipped ----------------------------------------------------------------


def test_the_most_recent_execution_of_each_step_decides(any_node: Node) -> None:
    """S65: whichever execution it is in; none, COMPLETED, FAILED."""
    walk = Walk()
    toggles = [Toggle(), Toggle()]
    job = job_of(
        walk.step("a"), walk.step("b", toggles[0]), walk.step("c", toggles[1]), walk.step("d")
    )
    first = run_job(any_node, job)
    toggles[0].works = True
    second = restart(any_node, first)
    toggles[1].works = True
    third = restart(any_node, second)

    assert ["a", "b", "b", "c", "c", "d"] == walk
    assert [["a", "b"], ["b", "c"], ["c", "d"]] == [
        [name for name, _, _ in steps(any_node, e)] for e in (first, second, third)
    ]


def test_a_skipped_step_transitions_by_its_stored_exit_status_and_fresh_patterns(
    node: Node, walk: Walk
) -> None:
    """S65."""
    first = run(node, walk.step("a", "STORED", transitions=[on("STORED").fail()]), walk.step("b"))
    second = restart(
        node, first, job_of(walk.step("a", transitions=[on("STORED").to("c")]), *two(walk))
    )

    assert (COMPLETED, ["a", "c"]) == (second.batch_status, walk)


def two(walk: Walk) -> tuple[TaskletStep, TaskletStep]:
    return walk.step("b"), walk.step("c")


def test_a_complete_step_that_may_start_again_begins_from_the_beginning(any_node: Node) -> None:
    """S65, S68: open(None) with the persistent user data restored."""
    opened: list[tuple[Any, Any]] = []

    class Reader:
        def open(self, checkpoint: Any) -> None:
            opened.append((checkpoint, None))
            self.left = 3

        def read(self) -> int | None:
            self.left -= 1
            return self.left if self.left >= 0 else None

        def checkpoint(self) -> str:
            return "at the end"

        def close(self) -> None:
            """Nothing is open."""

    class Listener:
        def before_step(self, step: StepContext) -> None:
            opened.append(("data", dict(step.context)))
            step.context["n"] = step.context.get("n", 0) + 1

    walk = Walk()
    load = ChunkStep("load", Reader(), None, list, allow_start_if_complete=True)
    job = job_of(replace(load, listeners=[Listener()]), walk.step("b", ValueError()))
    restart(any_node, run_job(any_node, job))

    assert [("data", {}), (None, None), ("data", {"n": 1}), (None, None)] == opened


def test_a_step_that_ended_completed_is_complete_whatever_ended_its_job(
    node: Node, walk: Walk
) -> None:
    """S66, S20: its job was stopped or failed by its own transition."""
    for kind in ("stop", "fail"):
        first = run(
            node, walk.step("a", transitions=[getattr(on("*"), kind)()]), name=f"job-{kind}"
        )
        second = restart(node, first, job_of(walk.step("a"), name=f"job-{kind}"))
        assert ((COMPLETED, "COMPLETED"), []) == (ends(second), steps(node, second))

    assert ["a", "a"] == walk


def test_flows_and_splits_are_walked_with_the_same_rules(node: Node, walk: Walk) -> None:
    """S67: a flow whose steps are all complete just transitions."""
    toggle = Toggle()
    flow = Flow("f", [walk.step("a"), walk.step("b", "ODD")], transitions=[on("ODD").to("s")])
    split = Split(
        "s", [Flow("g", [walk.step("c")]), Flow("h", [walk.step("d", toggle), walk.step("e")])]
    )
    job = job_of(flow, walk.step("never"), split, walk.step("z"))
    first = run_job(node, job)
    assert ["a", "b", "c", "d"] == [*walk[:2], *sorted(walk[2:])]
    walk.clear()
    toggle.works = True
    second = restart(node, first)

    assert (COMPLETED, ["d", "e", "z"]) == (second.batch_status, walk)


def test_a_step_that_failed_but_led_on_runs_again(node: Node, walk: Walk) -> None:
    """S65: FAILED, although its job went on."""
    first = run(
        node,
        walk.step("a", ValueError(), transitions=[on("FAILED").to("b")]),
        walk.step("b", transitions=[on("*").stop()]),
    )
    second = restart(node, first, job_of(walk.step("a"), walk.step("b")))

    assert (COMPLETED, ["a", "b", "a"]) == (second.batch_status, walk)


def test_persistent_data_is_restored_and_everything_else_begins_anew(any_node: Node) -> None:
    """S68, S70, S72: step and job data; transient data and exit statuses are empty."""
    seen: list[Any] = []

    class Listener:
        def before_job(self, job: Any) -> None:
            seen.append(("job", dict(job.context), job.transient, job.exit_status))
            job.context["j"] = job.context.get("j", 0) + 1
            job.transient, job.exit_status = "t", "SET"

        def before_step(self, step: StepContext) -> None:
            seen.append(("step", dict(step.context), step.transient, step.exit_status))
            step.context["s"] = step.context.get("s", 0) + 1
            step.transient, step.exit_status = "t", "SET"

    walk, listener = Walk(), Listener()
    step = walk.step("a", ValueError(), listeners=[listener])
    first = run(any_node, step, listeners=[listener])
    restart(any_node, first)

    assert [
        ("job", {}, None, None),
        ("step", {}, None, None),
        ("job", {"j": 1}, None, None),
        ("step", {"s": 1}, None, None),
    ] == seen


# --- trace C ------------------------------------------------------------------------------------


class Thirty:
    """Reads 1 to 30; its checkpoint is how many it has read."""

    def __init__(self, opened: list[Any]) -> None:
        self.opened = opened
        self.at = 0

    def open(self, checkpoint: int | None) -> None:
        self.opened.append(checkpoint)
        self.at = checkpoint or 0

    def read(self) -> int | None:
        self.at += 1
        return self.at if self.at <= 30 else None

    def checkpoint(self) -> int:
        return min(self.at, 30)

    def close(self) -> None:
        """Nothing is open."""


class TraceC:
    """The job of trace C, its artifacts, and how they behave in each execution."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.opened: list[Any] = []
        self.parameters: list[Any] = []
        self.faulty_item: int | None = 23
        self.waits = False
        self.report_works = False

    def process(self, item: int) -> int:
        if item == self.faulty_item:
            raise ValueError(f"item {item}")
        return item

    def before_step(self, step: StepContext) -> None:
        step.context["seen"] = [*step.context.get("seen", []), step.execution_id]

    def after_step(self, step: StepContext) -> None:
        if self.waits:
            step.exit_status = "WAIT"

    def report(self, step: StepContext) -> None:
        self.ran.append("report")
        if not self.report_works:
            raise ValueError("report")

    def prepare(self, step: StepContext) -> None:
        self.ran.append("prepare")
        self.parameters.append(step.parameters)

    def job(self) -> Job:
        return jsl_job(
            TaskletStep("prepare", self.prepare, next="import"),
            ChunkStep(
                "import",
                Thirty(self.opened),
                self.process,
                list,
                chunk_size=10,
                listeners=[self],
                transitions=[on("WAIT").stop(restart="report")],
                next="report",
            ),
            TaskletStep("report", self.report),
        )


def counted(step: StepExecution) -> tuple[int, int, int, int]:
    m = step.metrics
    return m.read_count, m.write_count, m.commit_count, m.rollback_count


def test_trace_c(any_node: Node) -> None:
    """S10, S16, S20, S49, S61 to S68, S72: five executions of one instance."""
    node, trace = any_node, TraceC()
    definition = Definition(trace.job())
    definition.reuses_parameters = False  # Nobody inherits any: it is a Jakarta Batch job.
    node.registry.add(definition, origin="night.xml")

    def look(execution: JobExecution) -> tuple[Any, ...]:
        return (*ends(execution), execution.restart_position, steps(node, execution))

    e1 = run_job(node, trace.job(), {"day": "1"})
    assert (
        *(FAILED, "FAILED", None),
        [("prepare", COMPLETED, "COMPLETED"), ("import", FAILED, "FAILED")],
    ) == look(e1)
    loaded = steps_of(node, e1)[1]
    assert ((20, 20, 2, 1), "20") == (counted(loaded), loaded.reader_checkpoint)
    with node.database.read() as reader:
        stored = from_json(get_context(reader, loaded.step_execution_id))
    assert {"seen": [e1.execution_id]} == stored

    trace.faulty_item, trace.waits = None, True
    e2 = restart(node, e1)
    assert (STOPPED, "STOPPED", "report", [("import", COMPLETED, "WAIT")]) == look(e2)
    loaded = steps_of(node, e2)[0]
    assert ((10, 10, 2, 0), [None, 20]) == (counted(loaded), trace.opened)
    with node.database.read() as reader:
        stored = from_json(get_context(reader, loaded.step_execution_id))
    assert {"seen": [e1.execution_id, e2.execution_id]} == stored

    e3 = restart(node, e2)
    assert (FAILED, "FAILED", None, [("report", FAILED, "FAILED")]) == look(e3)

    e4 = restart(node, e3)
    assert (STOPPED, "STOPPED", "report", []) == look(e4)

    trace.report_works = True
    e5 = restart(node, e4, parameters={"day": "5"})
    assert (COMPLETED, "COMPLETED", None, [("report", COMPLETED, "COMPLETED")]) == look(e5)

    everything = [e1, e2, e3, e4, e5]
    assert {e1.instance_id} == {e.instance_id for e in everything}
    assert {"prepare": 1, "import": 2, "report": 2} == {
        name: sum(name == s.step_name for e in everything for s in steps_of(node, e))
        for name in ("prepare", "import", "report")
    }
    assert ["prepare", "report", "report"] == trace.ran
    assert [["1"], [], [], [], ["5"]] == [[p.value for p in e.parameters] for e in everything]
    assert [{"day": "1"}, {}, {}, {}, {"day": "5"}] == definition.loaded
    with pytest.raises(JobExecutionAlreadyComplete):
        node.operator.restart(e5.execution_id)
    with pytest.raises(JobExecutionNotMostRecent):
        node.operator.restart(e1.execution_id)


def test_a_decision_is_no_place_to_begin_a_restart(node: Node, walk: Walk) -> None:
    """S46, S61, S64: a position is a step, flow or split; a decision behind it is decided anew."""
    answers: list[str] = []

    def decide(last: Any) -> str:
        answers.append(",".join(s.step_name for s in last))
        return "x"

    job = job_of(
        walk.step("a", transitions=[on("*").stop(restart="b")]),
        walk.step("b"),
        Decision("d", decide, [on("x").end("DECIDED")]),
    )
    second = restart(node, run_job(node, job))

    assert ((COMPLETED, "DECIDED"), ["b"]) == (ends(second), answers)
