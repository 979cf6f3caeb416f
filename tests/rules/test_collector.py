"""Section 12.2, rule by rule: what collectors send, and what the analyzer hears when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Node, PartitionedStep, PartitionResult
from stepwell.job.artifact import Scope
from tests.rules.events import (
    TABLE,
    WITHIN_S,
    Events,
    Source,
    Through,
    Wrong,
    attempts,
    chunks,
    failure,
    run,
    stop_now,
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/rules.db") as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def events() -> Events:
    return Events()


class Analyzer:
    """Writes down what it hears, and on which thread."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.threads: set[str] = set()

    def analyze_collector_data(self, payload: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.events.add("data", payload)

    def analyze_status(self, batch_status: Any, exit_status: str) -> None:
        self.threads.add(threading.current_thread().name)
        self.events.add("status", batch_status, exit_status)


class Collector:
    """Counts its calls within its partition."""

    calls = 0

    def collect_partition_data(self, step: Any) -> str:
        self.calls += 1
        return f"{step.partition}.{self.calls}"


def parts(events: Events, run: Any, inputs: Any = (0,), **options: Any) -> PartitionedStep:
    options.setdefault("analyzer", Analyzer(events))
    options.setdefault("collector", Collector())
    options.setdefault("executor", "inline")
    return PartitionedStep("parts", list(inputs), run, **options)


def told(events: Events) -> list[str]:
    return [event for event in events if event.startswith(("data", "status"))]


# --- S150: the table ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "calls", "status"),
    [(30, 4, "COMPLETED"), (25, 4, "COMPLETED"), (0, 1, "COMPLETED"), (-23, 2, "FAILED")],
    ids=["30 by 10", "25 by 10", "none", "fails in its third chunk"],
)
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_the_collector_of_a_chunk_partition(
    node: Node, events: Events, items: int, calls: int, status: str, executor: Any
) -> None:
    """S150: behind every commit of a chunk that read something, and at the end unless it fails."""

    def change(n: int) -> int:
        if n == -items:
            raise Wrong(n)
        return n

    inner = chunks(events, abs(items), processor=Through(events, change), chunk_size=10)
    run(node, parts(events, inner, executor=executor))

    assert [
        *[f"data:0.{call}" for call in range(1, calls + 1)],
        f"status:{status}:{status}",
    ] == told(events)


def test_the_collector_is_called_behind_the_commit(node: Node, events: Events) -> None:
    """S150, S105: an error of it fails the step, the chunk stays."""

    def collect(step: Any) -> None:
        with node.database.read() as reader:
            rows = reader.connection.execute("SELECT COUNT(*) FROM out").fetchall()
        events.add("collect", rows[0][0])

    inner = chunks(events, 3, chunk_size=2)
    run(node, parts(events, inner, collector=collect))

    assert ["collect:2", "collect:3", "collect:3"] == [e for e in events if "collect" in e]


def test_a_skipped_read_alone_is_no_item(node: Node, events: Events) -> None:
    """S150: a committed chunk that read nothing adds no call."""
    from stepwell import Skip

    inner = chunks(events, 2, reader=Source(events, 2, faulty=[1, 2]), skip=Skip(Wrong))
    run(node, parts(events, inner))

    assert ["data:0.1", "status:COMPLETED:COMPLETED"] == told(events)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", ["function", "object"])
def test_the_collector_of_a_function_partition_is_called_once_at_the_end(
    node: Node, events: Events, fails: bool, kind: str
) -> None:
    """S150: also when it raised; it sees the partition's context (S73)."""
    seen: list[Any] = []

    def collect(step: Any) -> str:
        seen.append((step.partition, type(step.exception).__name__, step.context))
        return "end"

    def work(n: int, step: Any) -> str:
        step.context["n"] = n
        if fails:
            raise Wrong
        return "fine"

    class Tasklet:
        def process(self, n: int, step: Any) -> str:
            return work(n, step)

    run(node, parts(events, work if kind == "function" else Tasklet(), [7], collector=collect))

    assert ["data:end", "status:FAILED:FAILED" if fails else "status:COMPLETED:fine"] == told(
        events
    )
    assert [(0, "Wrong" if fails else "NoneType", {"n": 7})] == seen


def test_a_chunk_partition_that_is_stopped_collects_at_its_end(node: Node, events: Events) -> None:
    """S150, S153: the status is STOPPED."""
    execution_ids: list[int] = []

    def stop(n: int) -> int:
        if n == 3:
            stop_now(node, node.operator.get_running_executions("job")[0])
        return n

    inner = chunks(events, 6, processor=Through(events, stop), chunk_size=2)
    execution, step = run(node, parts(events, inner, [0, 1]))
    execution_ids.append(execution.execution_id)

    # Two chunks, the second cut short, and the end; the other partition never ran.
    assert ["data:0.1", "data:0.2", "data:0.3", "status:STOPPED:STOPPED"] == told(events)
    assert [("STOPPED", None), ("STOPPED", None)] == [
        (a.batch_status, a.outcome) for a in attempts(node, step)
    ]


# --- S151, S152, S153 -----------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_every_payload_comes_before_its_partitions_status(
    node: Node, events: Events, executor: Any
) -> None:
    """S151, S141: the status once a partition, all on the step's main thread."""
    analyzer = Analyzer(events)
    inner = chunks(Events(), 5, chunk_size=2)
    run(node, parts(events, inner, range(8), analyzer=analyzer, executor=executor, workers=3))

    statuses = [index for index, event in enumerate(events) if event.startswith("status")]
    assert 8 == len(statuses)
    for number in range(8):
        mine = [i for i, event in enumerate(events) if event.startswith(f"data:{number}.")]
        assert [f"data:{number}.{call}" for call in (1, 2, 3, 4)] == [events[i] for i in mine]
    # Whatever the interleaving: before the k-th status at least 4 k payloads have come.
    for k, index in enumerate(statuses, 1):
        assert index >= 5 * k - 1
    assert {threading.current_thread().name} == analyzer.threads


def test_a_payload_of_none_is_not_delivered(node: Node, events: Events) -> None:
    """S151; other false values are."""
    payloads: list[Any] = [None, 0, "", []]
    run(node, parts(events, lambda n: None, range(4), collector=lambda: payloads.pop(0)))

    assert ["data:0", "data:", "data:[]"] == [e for e in events if e.startswith("data")]
    assert 4 == len([e for e in events if e.startswith("status")])


def test_an_analyzer_without_collector_hears_statuses_only(node: Node, events: Events) -> None:
    """S152."""
    run(node, parts(events, lambda n: "ok", collector=None))

    assert ["status:COMPLETED:ok"] == told(events)


def test_a_collector_without_analyzer_is_called(node: Node, events: Events) -> None:
    """S152: its payload is dropped."""
    run(node, parts(events, lambda n: None, collector=lambda: events.add("called"), analyzer=None))

    assert ["called"] == events


@pytest.mark.parametrize(
    ("returned", "status"),
    [
        (None, "status:COMPLETED:COMPLETED"),
        ("text", "status:COMPLETED:text"),
        (PartitionResult.success(), "status:COMPLETED:COMPLETED"),
        (PartitionResult.partial(), "status:COMPLETED:PARTIAL"),
        (PartitionResult.failure(), "status:FAILED:FAILED"),
        (PartitionResult(PartitionResult.PARTIAL, exit_status="odd"), "status:COMPLETED:odd"),
        (Wrong(), "status:FAILED:FAILED"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_set", [False, True])
def test_what_analyze_status_receives(
    node: Node, events: Events, returned: Any, status: str, is_set: bool
) -> None:
    """S153: the one set on the partition's context, else the returned, else by the outcome."""

    def work(n: int, step: Any) -> Any:
        if is_set:
            step.exit_status = "SET"
        if isinstance(returned, Exception):
            raise returned
        return returned

    _, step = run(node, parts(events, work, collector=None))

    if is_set:
        status = status.rpartition(":")[0] + ":SET"
    assert [status] == told(events)
    assert [status.rpartition(":")[2]] == [a.exit_status for a in attempts(node, step)]


@pytest.mark.parametrize(
    ("is_set", "returned", "exit_status"),
    [(False, None, "STOPPED"), (False, "HALF", "HALF"), (True, "HALF", "SET")],
)
def test_a_stopped_partition_keeps_its_exit_status(
    node: Node, events: Events, is_set: bool, returned: str | None, exit_status: str
) -> None:
    """S153, S146: it has no result all the same."""

    def work(n: int, step: Any) -> Any:
        stop_now(node, step.execution_id)
        if is_set:
            step.exit_status = "SET"
        return returned

    _, step = run(node, parts(events, work, collector=None))

    assert [f"status:STOPPED:{exit_status}"] == told(events)
    assert [(BatchStatus.STOPPED, None)] == [
        (a.batch_status, a.outcome) for a in attempts(node, step)
    ]


def test_results_are_recorded_before_the_analyzer_hears_of_them(node: Node, events: Events) -> None:
    """S153: and a partition that is recorded is not told again after a restart."""
    recorded: list[list[str | None]] = []

    class Looking(Analyzer):
        def analyze_status(self, batch_status: Any, exit_status: str) -> None:
            (step,) = node.operator.get_step_executions(1)
            recorded.append([a.outcome for a in attempts(node, step)])
            super().analyze_status(batch_status, exit_status)

    broken = [1]

    def work(n: int) -> None:
        if n in broken:
            raise Wrong

    step = parts(events, work, [0, 1, 2], collector=None, analyzer=Looking(events))
    run(node, step)
    broken.clear()
    before = told(events.copy())  # type: ignore[arg-type]
    events.clear()
    run(node, step)

    assert [
        ["SUCCESS", None, None],
        ["SUCCESS", "FAILURE", None],
        ["SUCCESS", "FAILURE", "SUCCESS"],
    ] == recorded[:3]
    assert 3 == len(before)
    assert ["status:COMPLETED:COMPLETED"] == told(events)


# --- S140: their exceptions -----------------------------------------------------------------------


class Reducer:
    def __init__(self, events: Events) -> None:
        self.events = events

    def begin_partitioned_step(self) -> None:
        self.events.add("begin")

    def before_partitioned_step_completion(self) -> None:
        self.events.add("before")

    def rollback_partitioned_step(self) -> None:
        self.events.add("rollback")

    def after_partitioned_step_completion(self, status: str) -> None:
        self.events.add("after", status)


@pytest.mark.parametrize("kind", ["function", "chunks"])
def test_an_exception_of_the_collector_fails_the_step(
    node: Node, events: Events, kind: str
) -> None:
    """S140: whatever S162 yields; the ROLLBACK branch; running partitions finish, no more begin."""

    def collect() -> None:
        raise RuntimeError("collector")

    started: list[int] = []

    def work(n: int) -> None:
        started.append(n)

    run_ = work if kind == "function" else chunks(events, 2)
    execution, step = run(
        node,
        parts(
            events,
            run_,
            range(5),
            collector=collect,
            tolerated_failures=5,
            reducer=Reducer(events),
        ),
    )

    assert "RuntimeError: collector" == failure(execution)
    assert ["begin", "rollback", "after:ROLLBACK"] == [
        e for e in events if e.split(":")[0] in ("begin", "before", "rollback", "after")
    ]
    assert ["SUCCESS", None, None, None, None] == [a.outcome for a in attempts(node, step)]
    assert kind == "chunks" or [0] == started


@pytest.mark.parametrize("method", ["analyze_collector_data", "analyze_status"])
def test_an_exception_of_the_analyzer_fails_the_step(
    node: Node, events: Events, method: str
) -> None:
    """S140: running partitions finish and are recorded, those that wait do not begin."""
    begun = threading.Barrier(2)
    go_on = threading.Event()
    started: list[int] = []

    def work(n: int) -> str:
        started.append(n)
        if n < 2:
            begun.wait(WITHIN_S)
        if n == 1:
            assert go_on.wait(WITHIN_S)
        return "ok"

    analyzer = Analyzer(events)

    def fail(*told: object) -> None:
        go_on.set()
        raise RuntimeError("analyzer")

    setattr(analyzer, method, fail)
    execution, step = run(
        node,
        parts(
            events,
            work,
            range(200),
            analyzer=analyzer,
            reducer=Reducer(events),
            executor="threads",
            workers=2,
            tolerated_failures=1.0,
        ),
    )

    assert "RuntimeError: analyzer" == failure(execution)
    outcomes = [a.outcome for a in attempts(node, step)]
    assert ["SUCCESS", "SUCCESS"] == outcomes[:2]
    assert sorted(started) == [n for n, outcome in enumerate(outcomes) if outcome == "SUCCESS"]
    # What was handed out and had not begun when the analyzer raised does not begin.
    assert len(started) < 10
    assert [BatchStatus.STOPPED] == list({a.batch_status for a in attempts(node, step)[10:]})
    assert ["rollback", "after:ROLLBACK"] == [
        e for e in events if e.split(":")[0] in ("before", "rollback", "after")
    ]
    assert (step.partition_total, step.partition_completed) == (200, len(started))


def test_each_partition_has_a_collector_of_its_own(node: Node, events: Events) -> None:
    """S141, S77: it is made or copied where the partition runs; the analyzer is made once."""
    made: list[str] = []

    class Factory:
        def __init__(self, kind: str) -> None:
            self.kind = kind

        def create_artifact(self, scope: Scope) -> Any:
            made.append(f"{self.kind}:{scope.step.partition}")
            return Collector() if self.kind == "collector" else Analyzer(events)

    inner = chunks(Events(), 2, chunk_size=1)
    step = parts(
        events, inner, [0, 1], collector=Factory("collector"), analyzer=Factory("analyzer")
    )
    run(node, step)

    assert ["analyzer:None", "collector:0", "collector:1"] == made
    assert [f"data:{n}.{call}" for n in (0, 1) for call in (1, 2, 3)] == [
        e for e in events if e.startswith("data")
    ]
