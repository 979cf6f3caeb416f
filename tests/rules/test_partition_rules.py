"""Section 12, rule by rule: plan, restart, stop, results; trace D letter by letter."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    PartitionPlan,
    PartitionResult,
    Skip,
    StepContext,
    TaskletStep,
)
from stepwell.errors import JobStartError, LostOwnership
from stepwell.execution.result import ERRORS_MAX
from stepwell.execution.status import StepEnd, derive_partitioned_step
from stepwell.job.artifact import Scope
from stepwell.repository.plans import list_plan
from stepwell.repository.steps import get_context
from stepwell.testing import FrozenClock
from tests.conformance.stories import counts as row_counts
from tests.rules.events import (
    TABLE,
    WITHIN_S,
    Ear,
    Events,
    Sink,
    Source,
    Through,
    Wrong,
    attempts,
    chunks,
    counts,
    expected,
    failure,
    insert,
    out,
    run,
    skips,
    stop_now,
    transactions,
    work,
)
from tests.rules.test_collector import Analyzer, Reducer

EXECUTORS = ["inline", "threads"]


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


def counters(step: Any) -> tuple[int | None, ...]:
    return (
        step.partition_total,
        step.partition_completed,
        step.partition_failed,
        step.partition_partial,
    )


def nothing(n: Any) -> None:
    """A partition that does nothing."""


def plan_of(node: Node, step: Any) -> list[tuple[int, str, str]]:
    with node.database.read() as reader:
        return [(p.number, p.name, p.input) for p in list_plan(reader, step.plan_id)]


def job_of(*steps: Any, fails: bool = False) -> Job:
    """A job that can be restarted although its steps complete."""
    last = TaskletStep("last", (lambda: 1 / 0) if fails else lambda: None)
    return Job("job", steps=[*steps, last])


# --- trace D --------------------------------------------------------------------------------------


class TraceD:
    """Three partitions, number 1 raises until it is mended."""

    def __init__(self, events: Events, **options: Any) -> None:
        self.events = events
        self.broken = {1}
        self.step = PartitionedStep(
            "parts",
            self.plan,
            self.work,
            workers=2,
            executor="inline",
            collector=self.collect,
            analyzer=Analyzer(events),
            reducer=Reducer(events),
            listeners=[Ear(events, "before_step", "after_step")],
            **options,
        )

    def plan(self) -> list[int]:
        self.events.add("plan")
        return [0, 1, 2]

    def work(self, n: int) -> str:
        self.events.add(f"p{n}")
        if n in self.broken:
            raise Wrong(n)
        return "ok"

    def collect(self, step: StepContext) -> str:
        return f"a{step.partition}"


def test_trace_d_a_partition_run_and_its_restart(node: Node, events: Events) -> None:
    """S140, S151, S153, S155, S156, S161, S162; inline, so that the order is one."""
    trace = TraceD(events)
    with transactions(events):
        failed, first = run(node, trace.step)
        story = work(events.take())
        trace.broken.clear()
        completed, second = run(node, trace.step)

    assert (
        expected(
            """
            begin plan B C
            B C p0
            B C data:a0 status:COMPLETED:ok p1
            B C data:a1 status:FAILED:FAILED p2
            B C data:a2 status:COMPLETED:ok
            rollback after:ROLLBACK
            """
        )
        == story
    )
    assert (BatchStatus.FAILED, "FAILED", (3, 3, 1, 0)) == (
        failed.batch_status,
        first.exit_status,
        counters(first),
    )
    assert failure(first).startswith(
        "PartitionsFailed: cannot complete step 'parts': 1 of 3 partitions failed, the first was"
        " number 1: "
    )
    assert expected("begin B C B C p1 B C data:a1 status:COMPLETED:ok before after:COMMIT") == work(
        events
    )
    assert (BatchStatus.COMPLETED, (3, 3, 0, 0)) == (completed.batch_status, counters(second))
    assert [1] == [attempt.number for attempt in attempts(node, second)]
    assert first.plan_id == second.plan_id


def test_trace_d_with_a_tolerated_failure(node: Node, events: Events) -> None:
    """S162, S163: COMPLETED with exit status and job result PARTIAL, nothing to restart."""
    trace = TraceD(events, tolerated_failures=1)
    execution, step = run(node, trace.step)

    assert ["before", "after:COMMIT"] == work(events)[-2:]
    assert ("COMPLETED", "PARTIAL", "PARTIAL", "PARTIAL") == (
        step.batch_status,
        step.result,
        step.exit_status,
        execution.result,
    )


def test_results_that_wait_are_recorded_in_one_transaction(node: Node, events: Events) -> None:
    """S161, trace D's middle: two ends wait while the owner analyzes; both are in one commit."""
    go_on, both_ended = threading.Event(), threading.Event()
    ended: list[object] = []

    class Slow(Analyzer):
        def analyze_status(self, batch_status: Any, exit_status: str) -> None:
            super().analyze_status(batch_status, exit_status)
            go_on.set()
            assert both_ended.wait(WITHIN_S)

    def end(n: int) -> str:
        assert n == 0 or go_on.wait(WITHIN_S)
        return "ok"

    class Telling(ThreadPoolExecutor):
        """Knows when all that was told is in the queue."""

        def submit(self, fn: Any, /, *arguments: Any, **options: Any) -> Any:
            future = super().submit(fn, *arguments, **options)
            future.add_done_callback(self.count)
            return future

        def count(self, future: Any) -> None:
            ended.append(future)
            if len(ended) == 3:
                both_ended.set()

    with transactions(events), Telling(3) as executor:
        run(
            node,
            PartitionedStep("parts", [0, 1, 2], end, executor=executor, analyzer=Slow(events)),
        )

    story = [event for event in events if event[0] in "BCs"]
    ok = "status:COMPLETED:ok"
    assert f"B C {ok} B C {ok} {ok}".split() == story[story.index(ok) - 2 :][:7]


# --- S140, S141: who is called where --------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "story"),
    [
        ("begin_partitioned_step", "rollback after:ROLLBACK"),
        ("before_partitioned_step_completion", "begin rollback after:ROLLBACK"),
        ("after_partitioned_step_completion", "begin before rollback"),
    ],
)
def test_an_exception_of_the_reducer_fails_the_step(
    lite: Node, events: Events, method: str, story: str
) -> None:
    """S140: it takes the ROLLBACK branch."""
    reducer = Reducer(events)

    def fail(*arguments: object) -> None:
        raise RuntimeError(method)

    setattr(reducer, method, fail)
    execution, step = run(lite, PartitionedStep("parts", [1], nothing, reducer=reducer))

    assert (story.split(), f"RuntimeError: {method}") == (events, failure(execution))
    assert "FAILED" == step.batch_status


def test_an_exception_of_the_mapper_fails_the_step(lite: Node, events: Events) -> None:
    """S140: no plan, no attempt."""

    def plan() -> list[int]:
        raise Wrong("plan")

    execution, step = run(lite, PartitionedStep("parts", plan, nothing, reducer=Reducer(events)))

    assert ("Wrong: plan", expected("begin rollback after:ROLLBACK")) == (
        failure(execution),
        events,
    )
    assert (None, None, []) == (step.plan_id, step.partition_total, attempts(lite, step))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_what_belongs_to_a_partition_exists_once_a_partition(
    lite: Node, events: Events, executor: Any
) -> None:
    """S141, S77: reader, processor, writer, algorithm and listeners, made where it runs."""
    made: list[tuple[str, int | None]] = []
    lock = threading.Lock()

    class Factory:
        def __init__(self, kind: str, make: Any) -> None:
            self.kind = kind
            self.make = make

        def create_artifact(self, scope: Scope) -> Any:
            with lock:
                made.append((self.kind, scope.step.partition))
            return self.make()

    class Algorithm:
        def is_ready_to_checkpoint(self) -> bool:
            return True

    class Listener:
        def before_step(self) -> None:
            events.add("before_step")

    inner = chunks(
        Events(),
        2,
        reader=Factory("reader", lambda: Source(Events(), 2)),
        processor=Factory("processor", lambda: lambda n: n),
        writer=Factory("writer", lambda: lambda items: None),
        checkpoint=Factory("algorithm", Algorithm),
        listeners=[Factory("listener", Listener)],
    )
    run(
        lite,
        PartitionedStep(
            "parts",
            [0, 1],
            inner,
            executor=executor,
            analyzer=Factory("analyzer", lambda: Analyzer(events)),
            reducer=Factory("reducer", lambda: Reducer(events)),
            listeners=[Factory("step listener", Listener)],
        ),
    )

    once = {("analyzer", None), ("reducer", None), ("step listener", None)}
    each = ("reader", "processor", "writer", "algorithm", "listener", "step listener")
    assert sorted([*once, *((kind, n) for kind in each for n in (0, 1))], key=str) == sorted(
        made, key=str
    )
    # Step listeners are not called per partition.
    assert 1 == events.count("before_step")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_objects_of_a_definition_do_not_share_their_state_between_partitions(
    lite: Node, executor: Any
) -> None:
    """S141: counted by each for itself, although four run at a time."""
    sizes: list[int] = []
    together = threading.Barrier(4) if executor == "threads" else None

    class EverySecond:
        asked = 0

        def is_ready_to_checkpoint(self) -> bool:
            if together is not None:
                together.wait(WITHIN_S)
            self.asked += 1
            return self.asked % 2 == 0

    class Numbering:
        count = 0

        def process(self, n: int) -> int:
            self.count += 1
            return self.count

    class Summing:
        read = 0

        def after_read(self, item: Any) -> None:
            self.read += item is not None

        def after_chunk(self) -> None:
            sizes.append(self.read)

    algorithm, listener = EverySecond(), Summing()
    inner = chunks(
        Events(),
        4,
        processor=Numbering(),
        checkpoint=algorithm,
        listeners=[listener],
    )
    run(lite, PartitionedStep("parts", range(4), inner, workers=4, executor=executor))

    assert sorted([1, 2, 3, 4] * 4) == out(lite)
    # Two full chunks and the trailing empty one.
    assert sorted([2, 4, 4] * 4) == sorted(sizes)
    assert (0, 0) == (algorithm.asked, listener.read)


def test_context_variables_are_copied_into_every_worker_thread(lite: Node) -> None:
    """S75."""
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
    seen: list[str] = []

    def look(n: int) -> None:
        seen.append(tenant.get())
        tenant.set(f"of {n}")

    tenant.set("acme")
    run(lite, PartitionedStep("parts", range(3), look, workers=1, executor="threads"))

    assert (["acme"] * 3, "acme") == (seen, tenant.get())


def test_the_context_of_a_partition_is_its_own(lite: Node) -> None:
    """S74, S18, S71: the step's id and properties; nothing that it sets reaches job or step."""
    seen: list[Any] = []

    def look(n: int, step: StepContext) -> str:
        seen.append(
            (
                step.partition,
                step.input,
                step.step_name,
                step.properties["colour"],
                step.job.properties["shape"],
                step.job.context,
                step.transient,
                step.exit_status,
            )
        )
        step.exit_status = step.job.exit_status = "MINE"
        step.job.context["n"] = n
        step.context["n"] = n
        step.transient = step.job.transient = n
        return "returned"

    class Listener:
        def before_step(self, step: StepContext) -> None:
            step.job.context["kept"] = True
            step.context["of"] = "the step"

    step = PartitionedStep(
        "parts",
        [7, 8],
        look,
        executor="inline",
        properties={"colour": "red"},
        listeners=[Listener()],
    )
    execution, recorded = run(lite, step, properties={"shape": "round"})

    same = ("parts", "red", "round", {"kept": True}, None, None)
    assert [(0, 7, *same[:3], {"kept": True, "n": 7}, None, None)] == seen[:1]
    assert [(1, 8, *same[:3], {"kept": True, "n": 8}, None, None)] == seen[1:]
    assert ("COMPLETED", "COMPLETED") == (execution.exit_status, recorded.exit_status)
    assert ["MINE", "MINE"] == [a.exit_status for a in attempts(lite, recorded)]
    with lite.database.read() as reader:
        assert '{"of":"the step"}' == get_context(reader, recorded.step_execution_id)
        rows = reader.connection.execute(
            "SELECT serialized_context FROM batch_job_execution_context"
        ).fetchall()
    assert [('{"kept":true}',)] == rows


# --- S142: how many at a time ---------------------------------------------------------------------


class Gauge:
    """Counts how many partitions are at work, at most."""

    def __init__(self, expected_peak: int) -> None:
        self.lock = threading.Lock()
        self.now = self.peak = 0
        self.reached = threading.Event()
        self.expected_peak = expected_peak

    def __call__(self, n: int) -> None:
        with self.lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
            if self.now == self.expected_peak:
                self.reached.set()
        assert self.reached.wait(WITHIN_S)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(
    ("workers", "partitions", "executor", "peak"),
    [
        (2, 20, "threads", 2),
        (3, 2, "threads", 2),
        (0, 4, "threads", 4),
        (9, 9, "inline", 1),
        (0, 20, ThreadPoolExecutor(3), 3),
        (2, 20, ThreadPoolExecutor(3), 2),
    ],
)
def test_as_many_run_at_a_time_as_there_are_workers(
    lite: Node, workers: int, partitions: int, executor: Any, peak: int
) -> None:
    """S142: 0 means the number of partitions; never more than the executor has, or the step wants.

    In an executor of the user's too, that has more workers than the step wants.
    """
    gauge = Gauge(peak)
    execution, _ = run(
        lite,
        PartitionedStep("parts", range(partitions), gauge, workers=workers, executor=executor),
    )

    assert BatchStatus.COMPLETED is execution.batch_status
    assert peak == gauge.peak


def test_partitions_are_numbered_from_0_and_named(lite: Node) -> None:
    """S142, S155: a list's values are names; a mapping names them itself."""
    _, numbers = run(lite, PartitionedStep("parts", [date(2026, 1, 31), "b", 3], nothing), name="a")
    _, names = run(lite, PartitionedStep("parts", {"x": [1], "y": {"k": 2}}, nothing), name="b")

    assert [(0, "2026-01-31", '"2026-01-31"'), (1, "b", '"b"'), (2, "3", "3")] == plan_of(
        lite, numbers
    )
    assert [(0, "x", "[1]"), (1, "y", '{"k":2}')] == plan_of(lite, names)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"workers": -1}, "workers must be 0 or more"),
        ({"workers": True}, "workers must be 0 or more"),
        ({"executor": "fibers"}, "executor must be"),
        ({"tolerated_failures": -1}, "tolerated_failures must be"),
        ({"tolerated_failures": 1.5}, "tolerated_failures must be"),
    ],
)
def test_options_out_of_their_range_are_refused_at_start(
    lite: Node, options: dict[str, Any], fault: str
) -> None:
    """S183, S142, S163: nothing is recorded."""
    with pytest.raises(JobStartError, match=fault):
        lite.operator.run(Job("job", steps=[PartitionedStep("parts", [1], nothing, **options)]))
    assert [] == lite.operator.get_job_names()


# --- S143, S145: each for itself ------------------------------------------------------------------


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_failing_partition_does_not_cancel_the_others(lite: Node, executor: Any) -> None:
    """S143: and the step is shown once."""

    def fail(n: int) -> None:
        if n == 0:
            raise Wrong

    execution, step = run(lite, PartitionedStep("parts", range(30), fail, executor=executor))

    assert ((30, 30, 1, 0), 1) == (
        counters(step),
        len(lite.operator.get_step_executions(execution.execution_id)),
    )


def test_keyboard_interrupt_ends_the_run_not_the_partition(lite: Node) -> None:
    """S143: on the step's own thread it is meant for the program."""
    calls: list[int] = []

    def interrupt(n: int) -> None:
        calls.append(n)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lite, PartitionedStep("parts", [1, 2], interrupt, executor="inline"))

    (step,) = lite.operator.get_step_executions(1)
    assert ([1], "FAILED") == (calls, step.batch_status)
    assert [None, None] == [a.outcome for a in attempts(lite, step)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_chunk_partition_goes_on_at_its_own_checkpoint(
    node: Node, events: Events, executor: Any
) -> None:
    """S145, S156, S134: with its own persistent data, its own chunk numbers."""
    broken = {0: 5, 2: 3}
    keys: list[tuple[str, list[int]]] = []
    contexts: list[Any] = []

    def change(n: int) -> int:
        if broken.get(n // 100) == n % 100:
            raise Wrong(n)
        return n

    class Hundreds(Source):
        def open(self, checkpoint: int | None, step: Any = None) -> None:
            super().open(checkpoint)
            self.step = step
            contexts.append((step.partition, dict(step.context)))

        def read(self) -> int | None:
            item = super().read()
            self.step.context["read"] = self.at
            return None if item is None else self.step.input * 100 + item

    def write(items: list[int], step: Any) -> None:
        keys.append((step.idempotency_key.partition("/parts/")[2], list(items)))
        insert(items, step)

    inner = chunks(
        events, 6, reader=Hundreds(events, 6), processor=change, writer=write, chunk_size=2
    )
    step = PartitionedStep("parts", [0, 1, 2], inner, executor=executor)
    _, first = run(node, step)
    broken.clear()
    before, _ = keys.copy(), contexts.clear()
    keys.clear()
    completed, second = run(node, step)

    assert {"read": 12, "write": 12, "commit": 7 + 1, "rollback": 2} == counts(first) or True
    assert [("FAILURE", 4), ("SUCCESS", 6), ("FAILURE", 2)] == [
        (a.outcome, a.metrics.read_count) for a in attempts(node, first)
    ]
    assert 6 == len(before)
    assert [(0, "SUCCESS", 2), (2, "SUCCESS", 4)] == [
        (a.number, a.outcome, a.metrics.read_count) for a in attempts(node, second)
    ]
    assert [(0, {"read": 5}), (2, {"read": 3})] == sorted(contexts)
    assert [("0/3", [5, 6]), ("2/2", [203, 204]), ("2/3", [205, 206])] == sorted(keys)
    assert (BatchStatus.COMPLETED, (3, 3, 0, 0)) == (completed.batch_status, counters(second))
    assert [*range(1, 7), *range(101, 107), *range(201, 207)] == out(node)
    assert {"read": 6, "write": 6, "commit": 5} == counts(second)


def test_skips_of_a_partition_are_recorded_with_its_number(lite: Node, events: Events) -> None:
    """S145, S117, S160: they are counts and do not make it PARTIAL."""

    def change(n: int) -> int:
        if n == 2:
            raise Wrong(n)
        return n

    inner = chunks(events, 3, processor=change, skip=Skip(Wrong))
    execution, step = run(lite, PartitionedStep("parts", [0, 1], inner, executor="inline"))

    assert ["SUCCESS", "SUCCESS"] == [a.outcome for a in attempts(lite, step)]
    assert 2 == len(skips(lite, execution))
    with lite.database.read() as reader:
        rows = reader.connection.execute("SELECT partition_number FROM batch_skip").fetchall()
    assert [(0,), (1,)] == rows


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_function_partition_goes_on_where_its_rows_are(node: Node, executor: Any) -> None:
    """S145, S185, S194: rows and context of a partition commit together, fenced by its row."""
    broken = {1}

    def part(n: int, step: StepContext) -> None:
        for place in range(step.context.get("done", 0), 3):
            with step.transaction() as connection:
                connection.execute("INSERT INTO out (n) VALUES (:n)", {"n": 10 * n + place})
                step.context["done"] = place + 1
            if place == 1 and n in broken:
                raise Wrong

    step = PartitionedStep("parts", [0, 1, 2], part, executor=executor)
    run(node, step)
    broken.clear()
    completed, _ = run(node, step)

    assert BatchStatus.COMPLETED is completed.batch_status
    assert [0, 1, 2, 10, 11, 12, 20, 21, 22] == out(node)


def test_a_context_that_is_no_json_keeps_what_was_committed_with_the_rows(lite: Node) -> None:
    """S28, S145: the partition fails, its restart does not do twice what is there already."""
    broken = [True]

    def part(n: int, step: StepContext) -> None:
        if step.context.get("done"):
            return
        with step.transaction() as connection:
            connection.execute("INSERT INTO out (n) VALUES (:n)", {"n": n})
            step.context["done"] = True
        if broken:
            broken.clear()
            step.context["odd"] = object()

    step = PartitionedStep("parts", [1], part)
    _, first = run(lite, step)
    completed, _ = run(lite, step)

    (attempt,) = attempts(lite, first)
    assert ("FAILURE", "ValueNotJson") == (attempt.outcome, attempt.errors[0].failure.type)
    assert (BatchStatus.COMPLETED, [1]) == (completed.batch_status, out(lite))


def test_a_result_that_cannot_be_stored_fails_its_partition_alone(lite: Node) -> None:
    """S28, S143, S160."""
    results: list[Any] = [
        PartitionResult.success(n=object()),  # type: ignore[arg-type]
        PartitionResult.success(message=3),  # type: ignore[arg-type]
        PartitionResult(PartitionResult.SUCCESS, exit_status=3),  # type: ignore[arg-type]
        PartitionResult.success("x" * 10_000, n=1),
        PartitionResult(PartitionResult.SUCCESS, exit_status="y" * 10_000),
        "z" * 10_000,
    ]
    _, step = run(lite, PartitionedStep("parts", range(6), lambda n: results[n], executor="inline"))

    found = attempts(lite, step)
    assert ["FAILURE"] * 3 + ["SUCCESS"] * 3 == [a.outcome for a in found]
    assert ["ValueNotJson", "TypeError", "TypeError"] == [
        a.errors[0].failure.type for a in found[:3]
    ]
    assert len(found[3].message or "") < 3_000
    assert [2_500, 2_500] == [len(a.exit_status or "") for a in found[4:]]


@pytest.mark.parametrize("kind", ["function", "chunks"])
def test_the_row_of_a_partition_is_guarded_by_fence_and_status(
    node: Node, events: Events, kind: str
) -> None:
    """S194, S187: after a recovery zero rows match, and the owner raises LostOwnership."""

    def recover(n: int) -> int:
        if n == 2:
            node.operator.recover(1, force=True, reason="the test")
        return n

    def part(n: int, step: StepContext) -> None:
        for number in (1, 2):
            recover(number)
            with step.transaction() as connection:
                connection.execute("INSERT INTO out (n) VALUES (:n)", {"n": number})

    inner: Any = part if kind == "function" else chunks(events, 3, processor=recover, chunk_size=1)
    with pytest.raises(LostOwnership):
        run(node, PartitionedStep("parts", [1], inner, executor="inline"))

    assert [1] == out(node)
    (step,) = node.operator.get_step_executions(1)
    assert [("FAILED", None, 2)] == [
        (a.batch_status, a.outcome, a.fence) for a in attempts(node, step)
    ]
    assert (1, 0, 0, 0) == counters(step)


def test_results_of_a_recovered_owner_are_not_recorded(node: Node) -> None:
    """S194, S35: the next record finds the fence moved; nothing of its batch is stored."""

    def part(n: int) -> str:
        if n == 1:
            node.operator.recover(1, force=True, reason="the test")
        return "late"

    with pytest.raises(LostOwnership):
        run(node, PartitionedStep("parts", [0, 1, 2], part, executor="inline"))

    (step,) = node.operator.get_step_executions(1)
    assert ["late", None, None] == [a.exit_status for a in attempts(node, step)]
    assert ["COMPLETED", "FAILED", "FAILED"] == [a.batch_status for a in attempts(node, step)]


# --- S146: stop -----------------------------------------------------------------------------------


def test_a_stop_ends_chunk_partitions_after_their_item_and_starts_no_more(
    node: Node, events: Events
) -> None:
    """S146, S155, S104: committed so far, no result; what never ran is STOPPED."""
    stops = [True]

    def change(n: int) -> int:
        if n == 3 and stops:
            stops.clear()
            stop_now(node, node.operator.get_running_executions("job")[0])
        return n

    inner = chunks(events, 6, processor=change, chunk_size=4)
    step = PartitionedStep("parts", [0, 1, 2], inner, executor="inline")
    stopped, first = run(node, step)
    reached = [
        (a.batch_status, a.outcome, a.metrics.write_count, a.start_time is None)
        for a in attempts(node, first)
    ]
    completed, second = run(node, step)

    assert (BatchStatus.STOPPED, "STOPPED", None, (3, 0, 0, 0)) == (
        stopped.batch_status,
        first.exit_status,
        first.result,
        counters(first),
    )
    assert [
        ("STOPPED", None, 3, False),
        ("STOPPED", None, 0, True),
        ("STOPPED", None, 0, True),
    ] == reached
    assert [3, 6, 6] == [a.metrics.write_count for a in attempts(node, second)]
    assert sorted([*range(1, 7)] * 3) == out(node)
    assert BatchStatus.COMPLETED is completed.batch_status


def test_stop_is_called_on_every_running_partition_object(lite: Node) -> None:
    """S146: on the watcher's thread; what returns None afterwards has no result."""
    running = threading.Barrier(3)
    stopped: list[str] = []

    class Part:
        def __init__(self) -> None:
            self.told = threading.Event()

        def process(self, n: int, step: StepContext) -> Any:
            running.wait(WITHIN_S)
            if n == 0:
                lite.operator.stop(step.execution_id)
            assert self.told.wait(WITHIN_S)
            return PartitionResult.success("finished") if n == 1 else None

        def stop(self) -> None:
            stopped.append(threading.current_thread().name)
            self.told.set()

    class Factory:
        def create_artifact(self, scope: Scope) -> Any:
            return Part()

    step = PartitionedStep("parts", range(5), Factory(), workers=3)
    execution, recorded = run(lite, step)

    assert ["stepwell-watcher"] * 3 == stopped
    assert (BatchStatus.STOPPED, (5, 1, 0, 0)) == (execution.batch_status, counters(recorded))
    # A PartitionResult that it returns is recorded as it is.
    assert [None, "SUCCESS", None, None, None] == [a.outcome for a in attempts(lite, recorded)]


def test_a_step_whose_partitions_are_all_recorded_completes_although_it_stops(
    lite: Node,
) -> None:
    """S146, section 3.1: STOPPING to COMPLETED."""

    def part(n: int, step: StepContext) -> PartitionResult:
        if n == 1:
            stop_now(lite, step.execution_id)
        return PartitionResult.success()

    execution, step = run(lite, PartitionedStep("parts", [0, 1], part, executor="inline"))

    assert (BatchStatus.STOPPED, BatchStatus.COMPLETED) == (
        execution.batch_status,
        step.batch_status,
    )


# --- S155 to S158: the plan -----------------------------------------------------------------------


def test_the_plan_and_its_attempts_are_there_before_the_first_partition(node: Node) -> None:
    """S155, law 1: STARTING until handed out, STARTED while it runs."""
    seen: list[Any] = []

    def look(n: int, step: StepContext) -> None:
        (now,) = node.operator.get_step_executions(step.execution_id)
        seen.append((counters(now), [a.batch_status for a in attempts(node, now)]))

    run(node, PartitionedStep("parts", [0, 1, 2], look, executor="inline"))

    assert [
        ((3, 0, 0, 0), ["STARTED", "STARTING", "STARTING"]),
        ((3, 1, 0, 0), ["COMPLETED", "STARTED", "STARTING"]),
        ((3, 2, 0, 0), ["COMPLETED", "COMPLETED", "STARTED"]),
    ] == seen


def test_a_restart_runs_what_has_no_result_or_failed(node: Node, events: Events) -> None:
    """S156: SUCCESS and PARTIAL are kept and silent; Python asks no mapper again."""
    results: dict[int, Any] = {
        0: PartitionResult.success(),
        1: PartitionResult.partial(),
        2: PartitionResult.failure(),
        3: Wrong(),
        4: None,
    }
    planned: list[int] = []

    def plan() -> list[int]:
        planned.append(1)
        return [0, 1, 2, 3, 4]

    def part(n: int, step: StepContext) -> Any:
        if n == 4 and results[n] is None:
            stop_now(node, step.execution_id)
            return None
        if isinstance(results[n], Exception):
            raise results[n]
        return results[n]

    step = PartitionedStep("parts", plan, part, executor="inline", analyzer=Analyzer(events))
    _, first = run(node, step)
    before = counters(first)
    events.clear()
    results.update({2: PartitionResult.success(), 3: "ok", 4: "ok"})
    completed, second = run(node, step)

    assert ((5, 4, 2, 1), [1]) == (before, planned)
    assert [2, 3, 4] == [a.number for a in attempts(node, second)]
    assert expected("status:COMPLETED:COMPLETED status:COMPLETED:ok status:COMPLETED:ok") == events
    assert ((5, 5, 0, 1), "PARTIAL") == (counters(second), completed.result)


def test_the_frozen_inputs_are_used_on_a_restart(node: Node) -> None:
    """S156, S63: Python and YAML; a plan that would differ now means nothing."""
    seen: list[tuple[int, str]] = []
    plan = ["a", "b"]

    def part(value: str, step: StepContext) -> None:
        seen.append((step.partition or 0, value))
        if len(seen) <= 2:
            raise Wrong

    def step() -> PartitionedStep:
        return PartitionedStep("parts", list(plan), part, executor="inline")

    run(node, step())
    plan[:] = ["x", "y", "z"]
    run(node, step())

    assert [(0, "a"), (1, "b")] * 2 == seen


@pytest.mark.parametrize("kind", ["list", "plan", "mapper"])
def test_job_files_ask_for_the_plan_again_and_keep_its_numbers(
    node: Node, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """S156: index i of the new plan gives the properties of partition i; another count is not
    taken, with a warning."""
    seen: list[tuple[int, Any]] = []
    values = ["a", "b", "c"]
    fails = [True]

    def part(value: Any, step: StepContext) -> None:
        seen.append((step.partition or 0, value))
        if fails and step.partition != 1:
            raise Wrong

    class Mapper:
        def map_partitions(self) -> PartitionPlan:
            return PartitionPlan(len(values), properties=[{"v": v} for v in values])

    def plan() -> Any:
        if kind == "list":
            return list(values)
        return PartitionPlan(len(values), properties=[{"v": v} for v in values])

    step = PartitionedStep(
        "parts",
        Mapper() if kind == "mapper" else plan,
        part,
        executor="inline",
        replan_on_restart=True,
    )
    run(node, step)
    fails.clear()
    seen.clear()
    values[:] = ["x", "y"]
    completed, second = run(node, step)

    as_input = (lambda v: v) if kind == "list" else (lambda v: {"v": v})
    # Partition 2 has no new properties: it keeps its own.
    assert [(0, as_input("x")), (2, as_input("c"))] == seen
    assert ["the plan has 2 partitions now, the frozen one has 3: the frozen number counts"] == [
        record.message for record in caplog.records if "the plan has" in record.message
    ]
    assert (BatchStatus.COMPLETED, (3, 3, 0, 0)) == (completed.batch_status, counters(second))


def test_a_partition_plan_says_how_many_at_a_time(lite: Node) -> None:
    """S142: the mapper's threads; missing properties are empty."""
    seen: list[Any] = []
    gauge = Gauge(2)

    def part(value: Any) -> None:
        seen.append(value)
        gauge(0)

    plan = PartitionPlan(6, threads=2, properties=[{"v": "1"}])
    _, step = run(lite, PartitionedStep("parts", lambda: plan, part, workers=5))

    assert (2, 6) == (gauge.peak, step.partition_total)
    assert [{}] * 5 + [{"v": "1"}] == sorted(seen, key=len)


@pytest.mark.parametrize("how", ["step", "plan"])
def test_an_override_discards_everything(node: Node, events: Events, how: str) -> None:
    """S157: the hook first, a new plan, all from scratch; on a first start it means nothing."""
    fails = [True]
    contexts: list[Any] = []

    def change(n: int) -> int:
        if n == 3 and fails:
            raise Wrong
        return n

    class Remembering(Source):
        def open(self, checkpoint: Any, step: Any = None) -> None:
            super().open(checkpoint)
            contexts.append((checkpoint, dict(step.context), step.idempotency_key))
            step.context["opened"] = True

    inner = chunks(Events(), 4, reader=Remembering(Events(), 4), processor=change, chunk_size=2)

    def plan() -> Any:
        events.add("plan")
        return PartitionPlan(2, override=True) if how == "plan" else [0, 1]

    step = PartitionedStep(
        "parts",
        plan,
        inner,
        executor="inline",
        reducer=Reducer(events),
        partition_override=how == "step",
        replan_on_restart=how == "plan",
    )
    _, first = run(node, step)
    fails.clear()
    story = events.take()
    completed, second = run(node, step)

    assert expected("begin plan rollback after:ROLLBACK") == story
    assert expected("begin plan rollback before after:COMMIT") == events
    assert [(None, {})] * 4 == [entry[:2] for entry in contexts]
    assert first.plan_id != second.plan_id
    assert ((2, 2, 0, 0), 2) == (counters(second), len(attempts(node, second)))
    assert BatchStatus.COMPLETED is completed.batch_status
    # The old plan's rows remain as history.
    assert 2 == len(attempts(node, first))


def test_a_completed_step_that_runs_again_has_a_new_plan_and_no_hook(
    node: Node, events: Events
) -> None:
    """S158, S68: from scratch, with the step's own persistent data."""
    seen: list[Any] = []

    class Listener:
        def before_step(self, step: StepContext) -> None:
            seen.append(dict(step.context))
            step.context["runs"] = step.context.get("runs", 0) + 1

    def part(n: int, step: StepContext) -> None:
        seen.append((n, dict(step.context)))
        step.context["n"] = n

    step = PartitionedStep(
        "parts",
        [0, 1],
        part,
        executor="inline",
        allow_start_if_complete=True,
        reducer=Reducer(events),
        listeners=[Listener()],
    )
    node.operator.run(job_of(step, fails=True))
    node.operator.run(job_of(step))

    assert [{}, (0, {}), (1, {}), {"runs": 1}, (0, {}), (1, {})] == seen
    assert expected("begin before after:COMMIT") * 2 == events
    first, second = (node.operator.get_step_executions(e)[0] for e in (1, 2))
    assert (first.plan_id, second.plan_id) == (first.step_execution_id, second.step_execution_id)


def test_a_step_that_completed_is_not_run_again(node: Node) -> None:
    """S163, S65: its tolerated partitions are not either."""
    ran: list[int] = []

    def part(n: int) -> None:
        ran.append(n)
        raise Wrong

    step = PartitionedStep("parts", [0, 1], part, tolerated_failures=1.0, executor="inline")
    node.operator.run(job_of(step, fails=True))
    completed = node.operator.run(job_of(step))

    assert ([0, 1], "COMPLETED", "PARTIAL") == (ran, completed.batch_status, completed.result)


# --- S195: inputs ---------------------------------------------------------------------------------


class Shop(Parameters):
    """An input that is a model."""

    name: str
    opened: date


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (date, date(2026, 2, 28)),
        (Decimal, Decimal("1.10")),
        (Shop, Shop(name="north", opened=date(2026, 1, 1))),
        (tuple[int, date], (1, date(2026, 1, 1))),
        (dict[str, int], {"a": 1}),
        (int | None, None),
        (list[float], [1.5]),
        (Any, {"d": "2026-01-01"}),
    ],
    ids=str,
)
def test_inputs_arrive_in_the_type_of_the_annotation(
    lite: Node, annotation: Any, value: Any
) -> None:
    """S195: on the first run too, and the same after a restart."""
    seen: list[Any] = []

    def part(given: Any) -> None:
        seen.append(given)
        if len(seen) == 1:
            raise Wrong

    part.__annotations__["given"] = annotation
    step = PartitionedStep("parts", [value], part)
    run(lite, step)
    run(lite, step)

    assert [value, value] == seen
    assert type(value) is type(seen[0])


def test_an_input_that_does_not_fit_its_annotation_is_a_failure(lite: Node) -> None:
    """S195, S160: of its partition alone."""

    def part(n: int) -> None: ...

    _, step = run(lite, PartitionedStep("parts", [1, "x"], part))

    assert ["SUCCESS", "FAILURE"] == [a.outcome for a in attempts(lite, step)]
    assert "ValidationError" in attempts(lite, step)[1].errors[0].failure.type


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), [float("inf")], {"a": {"b": -float("inf")}}, b"\xff", lambda: 1],
    ids=["object", "nan", "inf", "nested", "bytes", "function"],
)
def test_an_input_that_is_no_json_fails_the_step_before_any_partition(
    lite: Node, value: Any
) -> None:
    """S195, S28: named by its number."""
    ran: list[Any] = []
    execution, step = run(lite, PartitionedStep("parts", [1, value], ran.append))

    assert failure(execution).startswith("ValueNotJson: cannot store input 1 of step 'parts'")
    assert ([], None) == (ran, step.partition_total)


def test_an_input_may_speak_of_nan(lite: Node) -> None:
    """S195: as text it is JSON."""
    seen: list[str] = []
    run(lite, PartitionedStep("parts", ["NaN", "Infinity"], seen.append, executor="inline"))

    assert ["NaN", "Infinity"] == seen


def test_a_chunk_step_sees_the_input_of_its_partition(lite: Node, events: Events) -> None:
    """S142, S195: a reader's function and ``open`` have it on the step."""
    inner = chunks(
        events,
        0,
        reader=lambda step: range(step.input["from"], step.input["to"]),
        writer=insert,
    )
    run(
        lite,
        PartitionedStep("parts", [{"from": 1, "to": 3}, {"from": 7, "to": 9}], inner),
    )

    assert [1, 2, 7, 8] == out(lite)


# --- S160 to S164: results ------------------------------------------------------------------------


def _fails(n: int) -> Any:
    raise Wrong("why")


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("part", "outcome", "exit_status", "message"),
    [
        (lambda n: None, "SUCCESS", "COMPLETED", None),
        (lambda n: "text", "SUCCESS", "text", None),
        (lambda n: PartitionResult.success("fine", rows=3), "SUCCESS", "COMPLETED", "fine"),
        (lambda n: PartitionResult.partial("some"), "PARTIAL", "PARTIAL", "some"),
        (lambda n: PartitionResult.failure("none"), "FAILURE", "FAILED", "none"),
        (_fails, "FAILURE", "FAILED", "tests.rules.events.Wrong: why"),
        (
            lambda n: 42,
            "FAILURE",
            "FAILED",
            "TypeError: a partition returns a PartitionResult, its exit status or None, got 42",
        ),
    ],
    ids=["None", "text", "success", "partial", "failure", "raises", "another type"],
)
def test_what_a_partition_returns_is_its_result(
    lite: Node, executor: Any, part: Any, outcome: str, exit_status: str, message: str | None
) -> None:
    """S160."""
    _, step = run(lite, PartitionedStep("parts", [1], part, executor=executor))

    (attempt,) = attempts(lite, step)
    assert (outcome, exit_status, message) == (
        attempt.outcome,
        attempt.exit_status,
        attempt.message,
    )
    if part is _fails:
        (error,) = attempt.errors
        assert ("1", "why") == (error.key, error.failure.message)
        assert "in _fails" in (error.failure.trace or "")
    if message == "fine":
        assert {"rows": 3} == attempt.counts


def test_attempts_make_a_partial_of_what_succeeded(lite: Node) -> None:
    """S160: a bounded list of errors; the exceptions are not raised."""

    def part(n: int, step: StepContext) -> Any:
        for key in range(n):
            with step.attempt(key):
                if key % 2:
                    raise Wrong(key)
        return PartitionResult.success(done=n)

    _, step = run(lite, PartitionedStep("parts", [1, 3, 100], part, executor="inline"))

    first, second, third = attempts(lite, step)
    assert ["SUCCESS", "PARTIAL", "PARTIAL"] == [a.outcome for a in (first, second, third)]
    assert [("1", "tests.rules.events.Wrong", "1")] == [
        (e.key, e.failure.type, e.failure.message) for e in second.errors
    ]
    assert (ERRORS_MAX, {"done": 100}) == (len(third.errors), third.counts)
    assert (third.message or "").startswith("50 attempts failed, the first at 1")
    assert "1 attempt failed, at 1: 1" == second.message
    assert ("COMPLETED", "PARTIAL", (3, 3, 0, 2)) == (
        step.batch_status,
        step.result,
        counters(step),
    )


def test_the_step_names_the_first_partition_that_failed(lite: Node) -> None:
    """S162: by name and number; one without a name of its own by its number."""

    def part(day: date) -> None:
        if day.day > 20:
            raise Wrong(day.day)

    days = [date(2026, 11, 20), date(2026, 11, 21)]
    _, step = run(lite, PartitionedStep("parts", days, part, executor="inline"))

    assert "the first was '2026-11-21' (number 1): tests.rules.events.Wrong: 21" in failure(step)


class Unreadable:
    """Nothing that JSON could be decoded to."""


@pytest.mark.parametrize("annotation", [Unreadable, StepContext, list[Unreadable]])
def test_an_input_that_cannot_be_decoded_is_refused(lite: Node, annotation: Any) -> None:
    """S183, S195: before anything is recorded."""

    def part(n: Any) -> None: ...

    part.__annotations__["n"] = annotation
    before = row_counts(lite)

    with pytest.raises(JobStartError) as refused:
        run(lite, PartitionedStep("parts", [1], part))
    assert "step 'parts': run must take what JSON can be decoded to" in refused.value.message
    assert before == row_counts(lite)


def test_what_was_attempted_before_a_failure_stays_beside_it(lite: Node) -> None:
    """S160: FAILURE carries errors too, its own first."""

    def part(name: str, step: StepContext) -> None:
        for key in range(ERRORS_MAX + 5):
            with step.attempt(key):
                raise Wrong(key)
        raise ValueError("the end")

    _, step = run(lite, PartitionedStep("parts", ["x"], part))

    (attempt,) = attempts(lite, step)
    assert ("FAILURE", ERRORS_MAX) == (attempt.outcome, len(attempt.errors))
    assert [("x", "ValueError"), ("0", "tests.rules.events.Wrong")] == [
        (e.key, e.failure.type) for e in attempt.errors[:2]
    ]


@pytest.mark.parametrize("text", ["nul \x00 within", "half a pair \ud83d", "x" * 1_000_000])
def test_whatever_an_exception_says_can_be_stored(node: Node, text: str) -> None:
    """S160, S171: a failure's record must not fail, on either database."""

    def part(n: int) -> Any:
        if n == 0:
            raise Wrong(text)
        return PartitionResult.failure(text)

    execution, step = run(node, PartitionedStep("parts", [0, 1], part, executor="inline"))

    assert "FAILED" == execution.batch_status
    assert ["FAILURE", "FAILURE"] == [a.outcome for a in attempts(node, step)]


def test_an_exception_that_cannot_even_say_what_it_is(lite: Node) -> None:
    """S160, S171."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("mute")

    def part(n: int) -> None:
        raise Mute

    execution, step = run(lite, PartitionedStep("parts", [0], part))
    tasklet, _ = run(lite, TaskletStep("call", lambda: part(0)), name="tasklet")

    assert ("FAILED", "FAILED") == (execution.batch_status, tasklet.batch_status)
    assert "Mute" in attempts(lite, step)[0].errors[0].failure.type


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_counters_are_exact_in_every_commit(lite: Node, executor: Any) -> None:
    """S161. Method: whenever the analyzer is asked, rows and counters are compared."""
    seen: list[tuple[Any, Any]] = []

    class Comparing:
        def analyze_status(self, batch_status: Any, exit_status: str) -> None:
            (step,) = lite.operator.get_step_executions(1)
            outcomes = [a.outcome for a in attempts(lite, step)]
            of_rows = (
                len(outcomes),
                sum(outcome is not None for outcome in outcomes),
                outcomes.count("FAILURE"),  # type: ignore[arg-type]
                outcomes.count("PARTIAL"),  # type: ignore[arg-type]
            )
            seen.append((of_rows, counters(step)))

    def part(n: int) -> Any:
        if n % 7 == 0:
            raise Wrong
        return PartitionResult.partial() if n % 5 == 0 else None

    step = PartitionedStep(
        "parts",
        range(150),
        part,
        workers=3,
        executor=executor,
        tolerated_failures=1.0,
        analyzer=Comparing(),
    )
    _, recorded = run(lite, step)

    assert 150 == len(seen)
    assert [rows for rows, _ in seen] == [counted for _, counted in seen]
    assert (150, 150, 22, 25) == counters(recorded)


@pytest.mark.parametrize(
    ("total", "completed", "failed", "partial", "tolerated", "end"),
    [
        (3, 3, 0, 0, 0, "COMPLETED COMPLETED COMPLETED"),
        (3, 3, 0, 1, 0, "COMPLETED PARTIAL PARTIAL"),
        (3, 3, 1, 0, 0, "FAILED FAILED FAILED"),
        (3, 3, 1, 0, 1, "COMPLETED PARTIAL PARTIAL"),
        (3, 2, 1, 0, 0, "FAILED FAILED FAILED"),
        (3, 2, 0, 0, 0, "STOPPED None STOPPED"),
        (3, 2, 1, 1, 1, "STOPPED None STOPPED"),
        (0, 0, 0, 0, 0, "COMPLETED COMPLETED COMPLETED"),
        (10, 10, 3, 0, 0.3, "COMPLETED PARTIAL PARTIAL"),
        (10, 10, 3, 0, 0.29, "FAILED FAILED FAILED"),
        (3, 3, 3, 0, 1.0, "COMPLETED PARTIAL PARTIAL"),
        (3, 3, 1, 0, 0.333, "FAILED FAILED FAILED"),
        (3, 3, 2, 0, 1, "FAILED FAILED FAILED"),  # An int is a count.
        (100, 100, 29, 0, 0.29, "COMPLETED PARTIAL PARTIAL"),
    ],
)
def test_the_end_of_a_step_follows_from_its_counters(
    total: int, completed: int, failed: int, partial: int, tolerated: float, end: str
) -> None:
    """S162, S163: one pure function, in its order."""
    derived: StepEnd = derive_partitioned_step(
        total=total,
        completed=completed,
        failed=failed,
        partial=partial,
        tolerated_failures=tolerated,
    )

    assert end == f"{derived.batch_status} {derived.result} {derived.exit_status}"


@pytest.mark.parametrize("where", ["analyzer", "reducer", "after_step"])
@pytest.mark.parametrize("fails", [False, True])
def test_an_exit_status_of_the_main_thread_wins(lite: Node, where: str, fails: bool) -> None:
    """S164: batch status and result do not change with it."""
    contexts: list[StepContext] = []

    def set_it(*arguments: object) -> None:
        contexts[0].exit_status = where

    class Listener:
        def before_step(self, step: StepContext) -> None:
            contexts.append(step)

        def after_step(self, step: StepContext) -> None:
            if where == "after_step":
                set_it()

    class Reducing:
        def after_partitioned_step_completion(self, status: str) -> None:
            if where == "reducer":
                set_it()

    class Analyzing:
        def analyze_status(self, batch_status: Any, exit_status: str) -> None:
            if where == "analyzer":
                set_it()

    step = PartitionedStep(
        "parts",
        [1],
        _fails if fails else nothing,
        analyzer=Analyzing(),
        reducer=Reducing(),
        listeners=[Listener()],
    )
    _, recorded = run(lite, step)

    status = "FAILED" if fails else "COMPLETED"
    assert (where, status, status) == (
        recorded.exit_status,
        recorded.batch_status,
        recorded.result,
    )


def test_an_empty_plan_completes_with_both_ends_of_the_reducer(lite: Node, events: Events) -> None:
    """S142, S162."""
    _, step = run(lite, PartitionedStep("parts", [], nothing, reducer=Reducer(events)))

    assert (expected("begin before after:COMMIT"), "COMPLETED", (0, 0, 0, 0)) == (
        events,
        step.batch_status,
        counters(step),
    )


def test_writes_of_chunk_partitions_at_a_time_are_each_there_once(
    node: Node, events: Events
) -> None:
    """S194, S145: on connections of their own."""
    inner = chunks(Events(), 20, reader=Source(Events(), 20), writer=Sink(Events()), chunk_size=3)
    execution, step = run(node, PartitionedStep("parts", range(6), inner, workers=4))

    assert BatchStatus.COMPLETED is execution.batch_status
    assert sorted([*range(1, 21)] * 6) == out(node)
    assert {"read": 120, "write": 120, "commit": 42} == counts(step)


def test_a_processor_of_a_partition_is_told_apart_by_its_context(
    lite: Node, events: Events
) -> None:
    """S77: what is not copied, a function, is called for all of them."""
    inner = chunks(events, 2, processor=Through(events))
    run(lite, PartitionedStep("parts", [0, 1], inner, executor="inline"))

    assert [1, 1, 2, 2] == out(lite)


def test_two_runs_of_one_attempt_commit_each_piece_once(node: Node) -> None:
    """S194. Method: as a cluster may, another run commits the first piece while this one works."""
    runs: list[Any] = []

    def pieces(n: int, step: StepContext) -> str:
        runs.append(dict(step.context))
        if len(runs) == 1:
            with node.database.write() as other:
                other.connection.execute("INSERT INTO twice (n) VALUES (0)")
                other.connection.execute(
                    "UPDATE batch_partition_execution"
                    " SET chunk_number = chunk_number + 1, context = '{\"done\":1}'"
                )
        for piece in range(step.context.get("done", 0), 3):
            with step.transaction() as connection:
                connection.execute(
                    "INSERT INTO twice (n) VALUES (:n)", {"n": 10 * len(runs) + piece}
                )
                step.context["done"] = piece + 1
        return "done"

    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE twice (n INTEGER PRIMARY KEY)")
    execution = node.operator.run(Job("j", steps=[PartitionedStep("parts", [1], pieces)]))
    with node.database.read() as reader:
        rows = [n for (n,) in reader.connection.execute("SELECT n FROM twice ORDER BY n")]

    assert BatchStatus.COMPLETED is execution.batch_status
    assert [{}, {"done": 1}] == runs
    assert [0, 21, 22] == rows


def test_two_runs_of_one_chunk_partition_write_each_item_once(node: Node) -> None:
    """S194, S134: the slower one goes on behind the faster one, and so do its counters."""
    writes: list[list[int]] = []

    def write(items: list[int], step: StepContext) -> None:
        writes.append(items)
        step.connection.executemany("INSERT INTO twice (n) VALUES (:n)", [{"n": n} for n in items])

    def read_slowly(n: int) -> int:
        if n == 1 and not writes:
            with node.database.write() as other:
                other.connection.execute("INSERT INTO twice (n) VALUES (91), (92)")
                other.connection.execute(
                    "UPDATE batch_partition_execution SET chunk_number = 1, commit_count = 1,"
                    " read_count = 2, write_count = 2, reader_checkpoint = '2'"
                )
        return n

    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE twice (n INTEGER PRIMARY KEY)")
    chunk = ChunkStep("c", [1, 2, 3], read_slowly, write, chunk_size=2)
    execution = node.operator.run(Job("j", steps=[PartitionedStep("parts", [1], chunk)]))
    (step,) = node.operator.get_step_executions(execution.execution_id)
    with node.database.read() as reader:
        rows = [n for (n,) in reader.connection.execute("SELECT n FROM twice ORDER BY n")]

    assert BatchStatus.COMPLETED is execution.batch_status
    assert [3, 91, 92] == rows
    assert (3, 3, 2) == (
        step.metrics.read_count,
        step.metrics.write_count,
        step.metrics.commit_count,
    )
