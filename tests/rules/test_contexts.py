"""Section 8, rule by rule: what the contexts hold, and how many artifacts there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Flow,
    Job,
    JobContext,
    Node,
    PartitionedStep,
    Split,
    StepContext,
    TaskletStep,
    on,
)
from stepwell.errors import JobStartError, StepUsageError
from stepwell.execution.json import from_json
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.job.artifact import Scope
from stepwell.repository import executions
from stepwell.repository import steps as step_rows
from tests.conformance.stories import counts, rows
from tests.rules.walks import Heard, Walk, job_of, restart, run, run_job, steps_of

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


@pytest.fixture
def walk() -> Walk:
    return Walk()


def job_data(node: Node, execution: JobExecution) -> Any:
    """The JobContext's persistent user data as it is stored."""
    with node.database.read() as reader:
        return from_json(executions.get_context(reader, execution.execution_id))


def step_data(node: Node, step: StepExecution) -> Any:
    with node.database.read() as reader:
        return from_json(step_rows.get_context(reader, step.step_execution_id))


# --- what a context shows -----------------------------------------------------------------------


def test_contexts_show_who_they_are_and_where_the_work_stands(node: Node, walk: Walk) -> None:
    """S36, the table of section 8: the status is STARTED, and what is about to be committed."""
    seen: list[Any] = []

    class Listener:
        def before_job(self, job: Any) -> None:
            seen.append((job.job_name, job.instance_id, job.execution_id, str(job.batch_status)))

        after_job = before_job

        def before_step(self, step: StepContext) -> None:
            names = (step.job_name, step.step_name, step.partition)
            ids = (step.instance_id, step.execution_id, step.step_execution_id)
            seen.append((*names, *ids, str(step.batch_status), str(step.job.batch_status)))

        after_step = before_step

    listener = Listener()
    execution = run(node, walk.step("a", ValueError(), listeners=[listener]), listeners=[listener])

    job = ("billing", execution.instance_id, execution.execution_id)
    record = steps_of(node, execution)[0]
    step = ("billing", "a", None, *job[1:], record.step_execution_id)
    assert [
        (*job, "STARTED"),
        (*step, "STARTED", "STARTED"),
        (*step, "FAILED", "STARTED"),
        (*job, "FAILED"),
    ] == seen


def test_the_status_in_a_context_follows_a_stop(node: Node, walk: Walk) -> None:
    """S31, the table of section 8."""
    seen: list[str] = []

    def process(step: StepContext) -> None:
        node.operator.stop(step.execution_id)
        node.operator._runner._running[step.execution_id].read_requests()
        seen.extend([str(step.batch_status), str(step.job.batch_status)])

    run(node, walk.step("a", process))

    assert ["STOPPING", "STOPPING"] == seen


def test_properties_are_seen_at_their_own_level_only(node: Node, walk: Walk) -> None:
    """S76: step properties by the StepContext, job properties by the JobContext."""
    seen: list[Any] = []

    def look(step: StepContext) -> None:
        seen.extend([dict(step.properties), dict(step.job.properties), step.parameters])

    job = job_of(walk.step("a", look, properties={"s": "1"}), properties={"j": "2"})
    run_job(node, job, {"p": "3"})

    assert [{"s": "1"}, {"j": "2"}, {"p": "3"}] == seen


# --- S70 to S72: data ---------------------------------------------------------------------------


def test_transient_data_lives_through_the_execution_and_is_never_stored(
    any_node: Node, walk: Walk
) -> None:
    """S70: visible to job listeners, steps and deciders; empty after a restart."""
    seen: list[Any] = []
    marker = object()  # Nothing that JSON could hold.

    class Listener:
        def before_job(self, job: Any) -> None:
            seen.append(job.transient)
            job.transient = [marker]

        def after_job(self, job: Any) -> None:
            seen.append(job.transient == [marker, "a", "b"])

    def adds(step: StepContext) -> None:
        step.job.transient.append(step.step_name)

    def fails(step: StepContext) -> None:
        adds(step)
        raise ValueError

    first = run(any_node, walk.step("a", adds), walk.step("b", fails), listeners=[Listener()])
    assert {} == job_data(any_node, first)
    restart(any_node, first, job_of(walk.step("c"), listeners=[Listener()]))

    assert [None, True, None, False] == seen


def test_persistent_data_belongs_to_the_instance_the_step_and_the_partition(
    any_node: Node, walk: Walk
) -> None:
    """S71, S74: each has its own; the JobContext's is carried into the next execution."""

    def adds(step: StepContext) -> None:
        step.context["n"] = step.context.get("n", 0) + 1
        step.job.context["n"] = step.job.context.get("n", 0) + 1
        raise ValueError

    def part(number: int, step: StepContext) -> None:
        step.context[f"p{number}"] = step.context.get(f"p{number}", 0) + 1
        raise ValueError

    job = job_of(
        walk.step("a", adds, transitions=[]),
        PartitionedStep("p", [0, 1], part, executor="inline"),
    )
    first = run_job(any_node, job)
    second = restart(any_node, first)
    good = job_of(walk.step("a"), *job.steps[1:])
    third = restart(any_node, second, good)
    fourth = restart(any_node, third)

    assert [{"n": 1}, {"n": 2}, {"n": 2}, {"n": 2}] == [
        job_data(any_node, e) for e in (first, second, third, fourth)
    ]
    assert [{"n": 1}, {"n": 2}, {"n": 2}] == [
        step_data(any_node, steps_of(any_node, e)[0]) for e in (first, second, third)
    ]
    assert {} == step_data(any_node, steps_of(any_node, fourth)[0])
    stored = rows(
        any_node,
        "SELECT context FROM batch_partition_execution ORDER BY step_execution_id,"
        " partition_number",
    )
    assert [{"p0": 1}, {"p1": 1}, {"p0": 2}, {"p1": 2}] == [from_json(row[0]) for row in stored]


def test_data_may_be_replaced_as_a_whole(any_node: Node, walk: Walk) -> None:
    """S71, S72: read and write, of the step and of the job; also after a restart."""

    def replaces(step: StepContext) -> None:
        step.context = {"step": step.execution_id}
        step.job.context = {"job": step.execution_id}
        raise ValueError

    first = run(any_node, walk.step("a", replaces))
    second = restart(any_node, first)

    for execution in (first, second):
        id_ = execution.execution_id
        assert {"job": id_} == job_data(any_node, execution)
        assert {"step": id_} == step_data(any_node, steps_of(any_node, execution)[0])


@pytest.mark.parametrize("where", ["step", "job"])
def test_data_that_would_not_come_back_as_it_was_is_refused(
    where: str, any_node: Node, walk: Walk
) -> None:
    """S28, S71: a list in the place of the dict; what was stored before stays."""

    def process(step: StepContext) -> None:
        owner: Any = step if where == "step" else step.job
        owner.context["before"] = 1
        with step.transaction():
            pass
        owner.context = [1, 2]

    execution = run(any_node, walk.step("a", process))
    step = steps_of(any_node, execution)[0]

    assert step.failure is not None
    assert ("ValueNotJson", FAILED, FAILED) == (
        step.failure.type,
        step.batch_status,
        execution.batch_status,
    )
    assert f"cannot store the {where}'s context: it must be a dict, got list" == (
        step.failure.message
    )
    stored = step_data(any_node, step) if where == "step" else job_data(any_node, execution)
    assert {"before": 1} == stored


def test_partitions_and_split_flows_hold_a_copy_of_the_jobs_data(node: Node, walk: Walk) -> None:
    """S71: it is never stored."""
    seen: list[Any] = []

    def sets(step: StepContext) -> None:
        step.job.context["n"] = [0]

    def inside(step: StepContext) -> None:
        seen.append(step.job.context)
        step.job.context["n"].append(1)
        step.job.context = {**step.job.context, "m": 1}

    def part(number: int, step: StepContext) -> None:
        inside(step)

    execution = run(
        node,
        walk.step("a", sets),
        PartitionedStep("p", [0], part),
        Split("s", [Flow("f", [walk.step("b", inside)])]),
    )

    assert 2 * [{"n": [0, 1]}] == seen
    assert {"n": [0]} == job_data(node, execution)


def test_data_is_saved_at_a_failed_end_and_a_rollback_does_not_rewind_it(
    any_node: Node, walk: Walk
) -> None:
    """S72: the value saved is the current one, although its chunk rolled back."""

    class Listener:
        step: StepContext

        def before_step(self, step: StepContext) -> None:
            Listener.step = step

        def after_read(self, item: int | None) -> None:
            Listener.step.context["read"] = item
            Listener.step.job.context["read"] = item

    def fails(item: int) -> int:
        if item == 4:
            raise ValueError
        return item

    load = ChunkStep("load", [1, 2, 3, 4, 5], fails, list, chunk_size=2, listeners=[Listener()])
    execution = run(any_node, load)

    assert {"read": 4} == step_data(any_node, steps_of(any_node, execution)[0])
    assert {"read": 4} == job_data(any_node, execution)


def test_the_jobs_data_is_saved_with_the_terminal_status_too(any_node: Node, walk: Walk) -> None:
    """S72: what after_job sets."""

    class Listener:
        def after_job(self, job: Any) -> None:
            job.context["last"] = str(job.batch_status)

    execution = run(any_node, walk.step("a"), listeners=[Listener()])

    assert {"last": "COMPLETED"} == job_data(any_node, execution)


def test_unstorable_data_of_the_job_fails_it(any_node: Node, walk: Walk) -> None:
    """S28, S72: set by the very last listener; the message has the path."""

    class Listener:
        def after_job(self, job: Any) -> None:
            job.context = {"a": {"b": object()}}

    execution = run(any_node, walk.step("a"), listeners=[Listener()])

    assert execution.failure is not None
    assert (FAILED, "cannot store the job's context at ['a']['b']: object is no JSON type") == (
        execution.batch_status,
        execution.failure.message,
    )


# --- S73, S74 -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before_step", "work", "after_step"])
def test_the_exception_in_a_context_is_the_original_object(
    where: str, node: Node, walk: Walk
) -> None:
    """S73: of any step-level artifact, readable in after_step."""
    original = ValueError("original")
    seen: list[Any] = []

    class Listener:
        def before_step(self) -> None:
            if where == "before_step":
                raise original

        def after_step(self) -> None:
            if where == "after_step":
                raise original

    class First:
        """The first in the list: its after_step is called last."""

        def after_step(self, step: StepContext) -> None:
            seen.append(step.exception)

    does = original if where == "work" else None
    listeners = [First(), Listener()]
    execution = run(node, walk.step("a", does, listeners=listeners))

    assert [None if where == "after_step" else original] == seen
    assert original is execution.exception


def test_a_partition_has_a_context_of_its_own(node: Node, walk: Walk) -> None:
    """S74: id and properties of the step; the rest is its own, and not shown by the step."""
    seen: list[Any] = []

    class Listener:
        def before_step(self, step: StepContext) -> None:
            step.context["main"], step.transient = 1, "main"

    def part(number: int, step: StepContext) -> None:
        seen.append(
            (
                step.step_execution_id,
                dict(step.properties),
                step.partition,
                step.exit_status,
                step.transient,
                dict(step.context),
                step.exception,
                step.metrics.read_count,
            )
        )
        step.exit_status, step.transient, step.context["part"] = "PART", "part", number

    partitioned = PartitionedStep(
        "p", [0, 1], part, executor="inline", listeners=[Listener()], properties={"s": "1"}
    )
    execution = run(node, partitioned)
    step = steps_of(node, execution)[0]

    assert [(step.step_execution_id, {"s": "1"}, n, None, None, {}, None, 0) for n in (0, 1)] == (
        seen
    )
    assert ("COMPLETED", {"main": 1}) == (step.exit_status, step_data(node, step))


# --- S77 to S80: artifacts ----------------------------------------------------------------------


class Factory:
    """Makes a numbered listener for each scope, as a ``ref`` of a job file does."""

    def __init__(self, walk: list[str]) -> None:
        self.walk = walk
        self.scopes: list[Scope] = []

    def create_artifact(self, scope: Scope) -> Heard:
        self.scopes.append(scope)
        return Heard(self.walk, str(len(self.scopes)))


def test_there_is_one_artifact_per_occurrence_and_scope(node: Node, walk: Walk) -> None:
    """S77: two elements are two instances; one with several interfaces hears them all."""
    factory = Factory(walk)
    job = job_of(
        walk.step("a", listeners=[factory, factory]),
        walk.step("b", listeners=[factory]),
        listeners=[factory],
    )
    run_job(node, job)

    assert [
        "before_job 1",
        *("before_step 2", "before_step 3", "a", "after_step 3", "after_step 2"),
        *("before_step 4", "b", "after_step 4"),
        "after_job 1",
    ] == walk
    assert [None, "a", "a", "b"] == [s.step and s.step.step_name for s in factory.scopes]


def test_an_artifact_is_made_once_and_used_for_all_callbacks_of_its_scope(
    node: Node, walk: Walk
) -> None:
    """S77, S26: and it is made behind the record of its step (S22)."""
    stored: list[Any] = []

    class Made:
        def create_artifact(self, scope: Scope) -> Any:
            stored.append(rows(node, "SELECT step_name, status FROM batch_step_execution"))
            return self.process

        def process(self, step: StepContext) -> None:
            stored.append("process")

    run(node, replace(walk.step("a"), function=Made()))

    assert [[("a", "STARTED")], "process"] == stored


@pytest.mark.parametrize("level", ["job", "step"])
def test_an_artifact_that_cannot_be_made_fails_its_scope(
    level: str, node: Node, walk: Walk
) -> None:
    """S77, S168, S169."""

    class Broken:
        def create_artifact(self, scope: Scope) -> Any:
            raise LookupError("no such artifact")

    options: dict[str, Any] = {"listeners": [Broken()]}
    if level == "job":
        execution = run(node, walk.step("a"), **options)
    else:
        execution = run(node, walk.step("a", **options))

    assert execution.failure is not None
    assert ("LookupError", FAILED, []) == (
        execution.failure.type,
        execution.batch_status,
        walk,
    )
    assert (0 if level == "job" else 1) == len(steps_of(node, execution))


def test_the_level_of_a_listener_decides_its_callbacks(node: Node, walk: Walk) -> None:
    """S78: whatever other methods the object has."""
    run(
        node,
        walk.step("a", listeners=[Heard(walk, "step")]),
        listeners=[Heard(walk, "job")],
    )

    assert ["before_job job", "before_step step", "a", "after_step step", "after_job job"] == walk


def test_a_tasklet_a_partition_function_and_a_processor_may_be_coroutines(
    node: Node, walk: Walk
) -> None:
    """S80: on an event loop that the step's thread owns, opened once and closed at its end."""
    loops: list[tuple[int, Any]] = []

    async def work(step: StepContext) -> str:
        await asyncio.sleep(0)
        loops.append((threading.get_ident(), asyncio.get_running_loop()))
        return "DONE"

    async def part(number: int) -> None:
        await asyncio.sleep(0)
        walk.append(f"part {number}")

    async def twice(item: int) -> int:
        await asyncio.sleep(0)
        loops.append((threading.get_ident(), asyncio.get_running_loop()))
        return 2 * item

    written: list[int] = []
    execution = run(
        node,
        replace(walk.step("a"), function=work),
        PartitionedStep("p", [1], part),
        ChunkStep("c", [1, 2], twice, written.extend),
    )

    assert (COMPLETED, [2, 4], ["part 1"]) == (execution.batch_status, written, walk)
    assert {threading.get_ident()} == {thread for thread, _ in loops}
    assert 2 == len({id(loop) for _, loop in loops})  # One a step.
    assert {True} == {loop.is_closed() for _, loop in loops}


class AsyncListener:
    async def before_job(self) -> None:
        """Never called."""

    async def before_step(self) -> None:
        """Never called."""


async def never(*arguments: Any) -> Any:
    """Never called."""


class AsyncReader:
    async def read(self) -> None:
        """Never called."""


REFUSED: list[tuple[str, Sequence[Any], dict[str, Any]]] = [
    ("job listener", [Walk().step("a")], {"listeners": [AsyncListener()]}),
    ("step listener", [Walk().step("a", listeners=[AsyncListener()])], {}),
    ("reader", [ChunkStep("a", AsyncReader(), None, list)], {}),  # type: ignore[arg-type]
    ("writer", [ChunkStep("a", [1], None, never)], {}),
    ("partitions", [PartitionedStep("a", never, print)], {}),
]


@pytest.mark.parametrize(
    ("elements", "options"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_other_coroutine_functions_are_refused(
    elements: Sequence[Any], options: dict[str, Any], node: Node
) -> None:
    """S80, S183: when the job is defined, not when it waits for one that nobody awaits."""
    before = counts(node)

    with pytest.raises(JobStartError) as refused:
        node.operator.run(Job("billing", list(elements), **options))
    assert "must not be a coroutine function" in refused.value.message
    assert before == counts(node)


def test_a_name_of_an_artifact_is_one_that_is_registered_or_an_import_path(
    node: Node, tmp_path: Path
) -> None:
    """S79, in a job file."""
    from stepwell.jsl.source import JobFile

    path = tmp_path / "night.yaml"
    path.write_text(
        "job: night\nsteps:\n  - step: a\n    tasklet: greet\n"
        "  - step: b\n    tasklet: tests.rules.test_contexts:greets\n"
    )
    node.registry.artifacts.add("greet", greets, origin="the test")
    job = JobFile(path, artifacts=node.registry.artifacts).load({})
    GREETED.clear()

    assert COMPLETED is node.operator.run(job).batch_status
    assert ["a", "b"] == GREETED


GREETED: list[str] = []


def greets(step: StepContext) -> None:
    """A tasklet that can be named by its import path."""
    GREETED.append(step.step_name)


def test_one_object_hears_job_and_step_when_it_is_named_twice(node: Node, walk: Walk) -> None:
    """S77, S78."""
    both = Heard(walk, "both")
    run(node, walk.step("a", listeners=[both]), listeners=[both])

    assert ["before_job both", "before_step both", "a", "after_step both", "after_job both"] == walk


# --- S75: the context of the code that runs now -------------------------------------------------


def test_code_that_nobody_hands_a_context_finds_the_one_that_it_runs_in(node: Node) -> None:
    """S75: in listeners, steps, decisions, the flows of a split, partitions, coroutines."""
    seen: set[Any] = set()

    def look(*_: Any) -> None:
        """A library's code, far below."""
        step = StepContext.current()
        assert JobContext.current() is step.job
        seen.add((step.step_name, step.partition))

    async def look_later(*_: Any) -> None:
        await asyncio.sleep(0)
        look()

    class Listener:
        def before_job(self, job: Any) -> None:
            assert JobContext.current() is job

        after_job = before_job

        def before_step(self, step: Any) -> None:
            look()

    def decide(_: Any) -> str:
        seen.add(JobContext.current().job_name)
        with pytest.raises(StepUsageError, match="no step runs here"):
            StepContext.current()
        return "GO"

    def write(items: list[int], step: Any) -> None:
        assert StepContext.current() is step

    def flow(name: str) -> Flow:
        return Flow(f"flow of {name}", [TaskletStep(name, look)])

    execution = run_job(
        node,
        job_of(
            TaskletStep("listened", lambda: None, listeners=[Listener()]),
            TaskletStep("awaited", look_later),
            ChunkStep("load", [1, 2], None, write, 1),
            Decision("decide", decide, transitions=[on("GO").to("both")]),
            Split("both", [flow("left"), flow("right")]),
            PartitionedStep("threads", range(3), look_later, workers=2),
            PartitionedStep("inline", range(1), look, executor="inline"),
            listeners=[Listener()],
        ),
    )

    assert COMPLETED is execution.batch_status, execution.failure
    alone = {(name, None) for name in ("listened", "awaited", "left", "right")}
    partitions = {("threads", 0), ("threads", 1), ("threads", 2), ("inline", 0)}
    assert {"billing"} | alone | partitions == seen


def test_the_job_of_a_flow_in_a_split_is_its_own(node: Node) -> None:
    """S75, S55."""
    jobs: list[JobContext] = []

    def look() -> None:
        jobs.append(JobContext.current())

    flows = [Flow(f"flow {name}", [TaskletStep(name, look)]) for name in "ab"]
    run_job(node, job_of(TaskletStep("first", look), Split("both", flows)))

    assert 3 == len({id(job) for job in jobs})


@pytest.mark.parametrize("context", [JobContext, StepContext])
def test_where_nothing_runs_there_is_no_current_context(node: Node, context: Any) -> None:
    """S75: nor is one left behind."""
    run_job(node, job_of(TaskletStep("a", lambda: None)))

    with pytest.raises(StepUsageError, match=r"cannot give the current (job|step): no"):
        context.current()


def test_a_coroutine_sees_context_variables_as_they_are_now(node: Node) -> None:
    """S75, S80: the loop of a step was begun before they were set."""
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []

    async def note(item: str) -> str:
        seen.append(tenant.get())
        tenant.set(item)
        return item

    class Setting:
        def after_process(self, item: str, result: str) -> None:
            tenant.set(item)

    run_job(node, job_of(ChunkStep("load", ["a", "b"], note, list, listeners=[Setting()])))

    assert ["nobody", "a"] == seen
