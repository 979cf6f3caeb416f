"""Section 11 and S80, rule by rule: functions and objects that a step calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Job,
    Node,
    PartitionedStep,
    PartitionResult,
    Repeat,
    StepContext,
    TaskletStep,
    on,
)
from stepwell.errors import JobStartError, LostOwnership, StepUsageError
from stepwell.repository.steps import get_context
from stepwell.testing import FrozenClock
from tests.rules.events import (
    TABLE,
    WITHIN_S,
    Ear,
    Events,
    attempts,
    counts,
    failure,
    out,
    run,
    stop_now,
)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(database_url: str, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(database_url, clock=clock) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def lite(tmp_path: Path, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/rules.db", clock=clock) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def events() -> Events:
    return Events()


def stored(node: Node, step: Any) -> str:
    """The persistent data of a step execution, as it is committed now."""
    with node.database.read() as reader:
        return get_context(reader, step.step_execution_id)


def add(connection: Any, n: int) -> None:
    connection.execute("INSERT INTO out (n) VALUES (:n)", {"n": n})


# --- S135: what it returns ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "exit_status"), [(None, "COMPLETED"), ("DONE", "DONE"), ("", "COMPLETED")]
)
def test_a_string_is_the_exit_status(
    lite: Node, events: Events, returned: str | None, exit_status: str
) -> None:
    """S135, S19, S132."""

    def call() -> str | None:
        events.add("process")
        return returned

    ear = Ear(events, "before_step", "after_step")
    _, step = run(lite, TaskletStep("call", call, listeners=[ear]))

    assert ["before_step", "process", "after_step"] == events
    assert (BatchStatus.COMPLETED, exit_status, {}) == (
        step.batch_status,
        step.exit_status,
        counts(step),
    )


def test_what_is_set_on_the_context_wins_over_what_is_returned(lite: Node) -> None:
    """S19."""

    def call(step: StepContext) -> str:
        step.exit_status = "SET"
        return "RETURNED"

    _, step = run(lite, TaskletStep("call", call))

    assert "SET" == step.exit_status


@pytest.mark.parametrize("returned", [0, True, ["x"], object(), PartitionResult.success()])
def test_another_type_fails_the_step(lite: Node, returned: object) -> None:
    """S135."""
    execution, step = run(lite, TaskletStep("call", lambda: returned))

    assert failure(execution).startswith("TypeError: a tasklet returns its exit status")
    assert ("FAILED", "FAILED") == (step.batch_status, step.exit_status)


def test_repeat_commits_the_context_and_calls_again(node: Node) -> None:
    """S135: what was committed is there at the next call, and after a failure."""
    seen: list[tuple[int, str]] = []
    broken = [True]

    def call(step: StepContext) -> Any:
        seen.append((step.context.get("n", 0), stored(node, step)))
        step.context["n"] = step.context.get("n", 0) + 1
        if step.context["n"] == 3 and broken:
            broken.clear()
            raise RuntimeError
        return Repeat if step.context["n"] < 4 else "DONE"

    failed, _ = run(node, TaskletStep("call", call))
    completed, step = run(node, TaskletStep("call", call))

    assert ("FAILED", "COMPLETED", "DONE") == (
        failed.batch_status,
        completed.batch_status,
        step.exit_status,
    )
    assert [
        *[(0, "{}"), (1, '{"n":1}'), (2, '{"n":2}')],
        (3, '{"n":3}'),  # S72, S138: saved with the FAILED end.
    ] == seen


def test_requests_are_read_before_a_repetition(lite: Node) -> None:
    """S135, S136: the next call does not come."""
    calls: list[int] = []

    def call(step: StepContext) -> Any:
        calls.append(1)
        lite.operator.stop(step.execution_id, reason="enough")
        return Repeat

    stopped, step = run(lite, TaskletStep("call", call))

    assert ([1], "STOPPED", "STOPPED", None) == (
        calls,
        stopped.batch_status,
        step.exit_status,
        step.result,
    )


# --- S136, S137: stop -----------------------------------------------------------------------------


class Stoppable:
    """A tasklet object that waits to be stopped."""

    def __init__(self, node: Node, *, fails: bool = False, exit_status: str | None = None) -> None:
        self.node = node
        self.fails = fails
        self.exit_status = exit_status
        self.stopped = Event()
        self.seen: list[Any] = []

    def process(self, step: StepContext) -> str | None:
        self.node.operator.stop(step.execution_id)
        assert self.stopped.wait(WITHIN_S)
        if self.fails:
            raise RuntimeError("interrupted")
        return self.exit_status

    def stop(self) -> None:
        (execution,) = self.node.operator.get_running_executions("job")
        (step,) = self.node.operator.get_step_executions(execution)
        self.seen.append((current_thread().name, step.batch_status))
        self.stopped.set()


@pytest.mark.parametrize(
    ("fails", "returned", "status", "exit_status"),
    [
        (False, None, "STOPPED", "STOPPED"),
        (False, "HALFWAY", "STOPPED", "HALFWAY"),
        (True, None, "FAILED", "FAILED"),
    ],
)
def test_stop_is_called_on_the_watchers_thread_while_process_runs(
    node: Node, fails: bool, returned: str | None, status: str, exit_status: str
) -> None:
    """S136: the step is STOPPING first; STOPPED when process returns, FAILED when it raises."""
    tasklet = Stoppable(node, fails=fails, exit_status=returned)
    execution, step = run(node, TaskletStep("call", tasklet))

    assert [("stepwell-watcher", BatchStatus.STOPPING)] == tasklet.seen
    assert (status, exit_status) == (step.batch_status, step.exit_status)
    assert status == execution.batch_status


def test_stop_is_not_called_when_process_does_not_run(lite: Node) -> None:
    """S136: a request that is there before process(): it is not called, the step is STOPPED."""
    calls: list[str] = []

    class Tasklet:
        def process(self) -> None:
            calls.append("process")

        def stop(self) -> None:
            calls.append("stop")

    class Stopping:
        def before_step(self, step: StepContext) -> None:
            stop_now(lite, step.execution_id)

    step = TaskletStep("call", Tasklet(), listeners=[Stopping()])
    execution, recorded = run(lite, step)

    assert ([], "STOPPED", "STOPPED") == (
        calls,
        execution.batch_status,
        recorded.batch_status,
    )


def test_a_function_polls(lite: Node) -> None:
    """S137: stop_requested is False, then True; what it returns is kept."""
    seen: list[bool] = []

    def call(step: StepContext) -> str:
        seen.append(step.stop_requested)
        stop_now(lite, step.execution_id)
        seen.append(step.stop_requested)
        return "HALFWAY"

    _, step = run(lite, TaskletStep("call", call))

    assert ([False, True], "STOPPED", "HALFWAY") == (seen, step.batch_status, step.exit_status)


def test_an_async_tasklet_is_not_cancelled(lite: Node) -> None:
    """S137: it polls too."""
    seen: list[str] = []

    async def call(step: StepContext) -> None:
        stop_now(lite, step.execution_id)
        await asyncio.sleep(0)
        seen.append("behind the stop")

    _, step = run(lite, TaskletStep("call", call))

    assert (["behind the stop"], "STOPPED") == (seen, step.batch_status)


# --- S138 ---------------------------------------------------------------------------------------


def test_an_exception_fails_the_step_and_saves_its_data(node: Node) -> None:
    """S138, S73: the original exception in after_step."""
    error = ValueError("no")
    seen: list[Any] = []

    def call(step: StepContext) -> None:
        step.context["tried"] = True
        raise error

    class Last:
        def after_step(self, step: StepContext) -> None:
            seen.append(step.exception)
            step.context["told"] = True

    execution, step = run(node, TaskletStep("call", call, listeners=[Last()]))

    assert [error] == seen
    assert execution.exception is error
    assert ("ValueError: no", '{"tried":true,"told":true}') == (failure(step), stored(node, step))
    assert step.failure is not None
    assert "raise error" in (step.failure.trace or "")


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), {"a": [b"x"]}])
def test_a_context_that_is_no_json_fails_the_step(lite: Node, value: object) -> None:
    """S28, S138: with the path; what was stored last stays."""

    def call(step: StepContext) -> str:
        with step.transaction() as connection:
            add(connection, 1)
            step.context["at"] = 1
        step.context["bad"] = value
        return "DONE"

    execution, step = run(lite, TaskletStep("call", call))

    assert failure(execution).startswith("ValueNotJson: cannot store the step's context at ['bad']")
    assert ("FAILED", '{"at":1}', [1]) == (step.batch_status, stored(lite, step), out(lite))


def test_an_exit_status_that_is_no_text_fails_the_step(lite: Node) -> None:
    """S135, S22: it is refused before it is recorded, and nothing stays STARTED."""

    def call(step: StepContext) -> None:
        step.exit_status = 3  # type: ignore[assignment]

    execution, step = run(lite, TaskletStep("call", call))

    assert failure(execution).startswith("TypeError: ")
    assert ("FAILED", "FAILED") == (step.batch_status, step.exit_status)


# --- S185: step.transaction() and step.progress() -----------------------------------------------


def test_rows_and_context_commit_together(node: Node) -> None:
    """S185: what raises inside takes both back; several in a row are allowed."""
    seen: list[str] = []

    def call(step: StepContext) -> None:
        for n in (1, 2):
            with step.transaction() as connection:
                add(connection, n)
                step.context["at"] = n
            seen.append(stored(node, step))
        with pytest.raises(RuntimeError), step.transaction() as connection:  # noqa: PT012
            add(connection, 3)
            step.context |= {"at": 3, "deep": [1]}
            raise RuntimeError
        seen.append(stored(node, step))
        # Else the end of the step would store what speaks of rows that are not there.
        assert {"at": 2} == step.context

    run(node, TaskletStep("call", call))

    assert ([1, 2], ['{"at":1}', '{"at":2}', '{"at":2}']) == (out(node), seen)


@pytest.mark.parametrize("kind", ["tasklet", "partition"])
def test_nesting_is_an_error(lite: Node, kind: str) -> None:
    """S185: and the outer one is undone when that leaves it."""

    def nest(step: StepContext) -> None:
        with step.transaction() as outer:
            add(outer, 1)
            with step.transaction():
                raise AssertionError("not reached")

    step: Any = (
        TaskletStep("call", nest)
        if kind == "tasklet"
        else PartitionedStep("call", [1], lambda n, step: nest(step), executor="inline")
    )
    execution, recorded = run(lite, step)

    assert [] == out(lite)
    if kind == "tasklet":
        assert isinstance(execution.exception, StepUsageError)
    else:
        (attempt,) = attempts(lite, recorded)
        assert "StepUsageError" == attempt.errors[0].failure.type


def test_the_connection_is_lent_for_the_transaction_only(lite: Node) -> None:
    """S185, S192."""
    kept: list[Any] = []

    def call(step: StepContext) -> None:
        with step.transaction() as connection:
            kept.append(connection)
            assert step.connection is connection
        with pytest.raises(StepUsageError):
            add(step.connection, 1)
        with pytest.raises(Exception, match="its transaction has ended"):
            add(kept[0], 1)

    execution, _ = run(lite, TaskletStep("call", call))

    assert BatchStatus.COMPLETED is execution.batch_status


@pytest.mark.parametrize("kind", ["tasklet", "partition"])
def test_a_transaction_of_a_recovered_owner_commits_nothing(node: Node, kind: str) -> None:
    """S185, S35, S25: the fence is checked in the same transaction; no listener is called."""
    heard: list[str] = []

    def recovered(step: StepContext) -> None:
        with step.transaction() as connection:
            add(connection, 1)
        node.operator.recover(step.execution_id, force=True, reason="the test")
        with step.transaction() as connection:
            add(connection, 2)
            step.context["at"] = 2

    class Last:
        def after_step(self) -> None:
            heard.append("after_step")

    step: Any = (
        TaskletStep("call", recovered, listeners=[Last()])
        if kind == "tasklet"
        else PartitionedStep(
            "call",
            [1],
            lambda n, step: recovered(step),
            executor="inline",
            listeners=[Last()],
            analyzer=Last(),
        )
    )
    with pytest.raises(LostOwnership):
        run(node, step)

    assert ([1], []) == (out(node), heard)
    (recorded,) = node.operator.get_step_executions(1)
    assert BatchStatus.FAILED is recorded.batch_status


def test_progress_is_stored_with_the_next_commit(lite: Node, clock: FrozenClock) -> None:
    """S185: by itself at most once a second, and then without the context that is not committed."""
    seen: list[Any] = []

    def look(step: StepContext) -> None:
        (now,) = lite.operator.get_step_executions(step.execution_id)
        seen.append((now.progress_done, now.progress_total, now.progress_label, stored(lite, step)))

    def call(step: StepContext) -> None:
        step.context["half"] = "done"
        step.progress(1, 9, "first")
        look(step)
        step.progress(2, 9)
        look(step)
        with step.transaction() as connection:
            add(connection, 1)
            step.progress(3, 9, "in it")
        look(step)
        step.context["half"] = "again"
        clock.advance(1.0)
        step.progress(4, 9)
        look(step)
        step.progress(9, 9, "end")

    run(lite, TaskletStep("call", call))
    (step,) = lite.operator.get_step_executions(1)

    assert [
        (1, 9, "first", "{}"),
        (1, 9, "first", "{}"),
        (3, 9, "in it", '{"half":"done"}'),
        (4, 9, None, '{"half":"done"}'),
    ] == seen
    assert (9, 9, "end") == (step.progress_done, step.progress_total, step.progress_label)


def test_a_query_sees_what_is_committed(lite: Node) -> None:
    """S93, S185: in a read transaction of its own, which blocks nobody."""
    seen: list[Any] = []

    def call(step: StepContext) -> None:
        with step.transaction() as connection:
            add(connection, 1)
            seen.append(list(step.query("SELECT n FROM out WHERE n > :n", {"n": 0})))
        seen.append(list(step.query("SELECT n FROM out")))

    run(lite, TaskletStep("call", call))

    assert [[], [(1,)]] == [[tuple(row) for row in rows] for rows in seen]


# --- S80: coroutine functions ---------------------------------------------------------------------


def test_tasklets_processors_and_partition_functions_may_be_async(lite: Node) -> None:
    """S80: with and without arguments; on one loop a step, which is closed with it."""
    loops: list[asyncio.AbstractEventLoop] = []
    results: list[object] = []

    async def bare() -> str:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        return "BARE"

    class Tasklet:
        async def process(self, step: StepContext) -> Any:
            loops.append(asyncio.get_running_loop())
            step.context["n"] = step.context.get("n", 0) + 1
            return Repeat if step.context["n"] < 3 else "OBJECT"

    async def double(n: int) -> int | None:
        await asyncio.sleep(0)
        return None if n == 2 else 2 * n

    class Plus:
        async def process(self, n: int) -> int:
            return n + 1

    async def part(n: int, step: StepContext) -> PartitionResult:
        await asyncio.sleep(0)
        return PartitionResult.success(n=n)

    async def bare_part() -> str:
        return "PART"

    class Part:
        async def process(self, n: int) -> str:
            return f"PART {n}"

    job = Job(
        "async",
        steps=[
            TaskletStep("bare", bare),
            TaskletStep("object", Tasklet()),
            ChunkStep("chunk", [1, 2, 3], [double, Plus()], results.extend),
            PartitionedStep("part", [5], part),
            PartitionedStep("bare part", [5], bare_part),
            PartitionedStep("object part", [5], Part()),
            PartitionedStep("chunks", [0, 1], ChunkStep("c", [7], double, results.extend)),
        ],
    )
    execution = lite.operator.run(job)
    steps = lite.operator.get_step_executions(execution.execution_id)

    assert execution.failure is None
    assert ["BARE", "OBJECT"] == [step.exit_status for step in steps[:2]]
    assert [3, 7, 14, 14] == results
    assert [{"n": 5}] == [a.counts for a in attempts(lite, steps[3])]
    assert ["PART", "PART 5"] == [
        a.exit_status for step in steps[4:6] for a in attempts(lite, step)
    ]
    assert 2 == len(set(loops))
    assert all(loop.is_closed() for loop in loops)


async def _coroutine(*arguments: object) -> Any:
    return None


class _AsyncArtifact:
    """Async where it must not be."""

    async def read(self) -> None: ...

    async def write(self, items: list[int]) -> None: ...

    async def before_step(self) -> None: ...

    async def is_ready_to_checkpoint(self) -> bool: ...

    async def collect_partition_data(self) -> None: ...

    async def analyze_status(self, status: Any, exit_status: str) -> None: ...

    async def begin_partitioned_step(self) -> None: ...

    async def decide(self, steps: Any) -> str: ...

    async def map_partitions(self) -> Any: ...


_ODD: Any = _AsyncArtifact()
_PART = lambda n: None


@pytest.mark.parametrize(
    "element",
    [
        ChunkStep("s", [1], None, _coroutine),
        ChunkStep("s", [1], None, _ODD),
        ChunkStep("s", _ODD, None, print),
        ChunkStep("s", _coroutine, None, print),
        ChunkStep("s", [1], None, print, checkpoint=_ODD),
        ChunkStep("s", [1], None, print, listeners=[_ODD]),
        TaskletStep("s", print, listeners=[_ODD]),
        PartitionedStep("s", _coroutine, _PART),
        PartitionedStep("s", _ODD, _PART),
        PartitionedStep("s", [1], _PART, collector=_ODD),
        PartitionedStep("s", [1], _PART, collector=_coroutine),
        PartitionedStep("s", [1], _PART, analyzer=_ODD),
        PartitionedStep("s", [1], _PART, reducer=_ODD),
        PartitionedStep("s", [1], ChunkStep("c", [1], None, _coroutine)),
        PartitionedStep("s", [1], ChunkStep("c", [1], None, print, listeners=[_ODD])),
    ],
    ids=lambda element: type(element).__name__,
)
def test_a_coroutine_function_for_anything_else_is_refused(lite: Node, element: Any) -> None:
    """S80: when the job is defined, so nothing is recorded."""
    with pytest.raises(JobStartError, match="coroutine function"):
        lite.operator.run(Job("odd", steps=[element]))


def test_a_decider_must_not_be_a_coroutine_function(lite: Node) -> None:
    """S80."""
    first = TaskletStep("first", lambda: None, next="d")
    for decide in (_coroutine, _ODD):
        job = Job("odd", steps=[first, Decision("d", decide, transitions=[on("*").end()])])
        with pytest.raises(JobStartError, match="coroutine function"):
            lite.operator.run(job)


def test_an_async_tasklet_that_raises_fails_its_step(lite: Node) -> None:
    """S80, S138."""

    async def fail() -> None:
        raise ValueError("in the loop")

    execution, _ = run(lite, TaskletStep("call", fail))

    assert "ValueError: in the loop" == failure(execution)
