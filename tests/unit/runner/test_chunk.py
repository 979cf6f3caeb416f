"""The chunk step against section 10 of the rulebook: traces A, B, C, random histories (T8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import BatchStatus, ChunkStep, Job, Node, Retry, Skip, TaskletStep, WriteReport
from stepwell.execution.records import JobExecution, StepExecution
from stepwell.repository.steps import list_skips


class Wrong(Exception):
    """What the items of these tests raise."""


class Numbers:
    """Reads 1 to n; its checkpoint is the last number; remembers every call for the traces."""

    def __init__(self, n: int, log: list[str], faulty: tuple[int, ...] = ()) -> None:
        self.n = n
        self.log = log
        self.faulty = faulty
        self.at = 0

    def open(self, checkpoint: int | None) -> None:
        self.at = checkpoint or 0
        self.log.append(f"O{self.at}")

    def read(self) -> int | None:
        if self.at == self.n:
            self.log.append("r0")
            return None
        self.at += 1
        if self.at in self.faulty:
            self.log.append("r!")
            raise Wrong(self.at)
        self.log.append("r")
        return self.at

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        self.log.append("c")


def write(items: list[int], step: Any) -> None:
    step.connection.executemany("INSERT INTO out VALUES (:n)", [(n,) for n in items])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/chunk.db") as node:
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE out (n INTEGER)")
        yield node


def run(node: Node, step: ChunkStep[Any, Any]) -> tuple[JobExecution, StepExecution]:
    execution = node.operator.run(Job("job", steps=[step]))
    return execution, node.operator.get_step_executions(execution.execution_id)[0]


def written(node: Node) -> list[int]:
    with node.database.read() as reader:
        return [n for (n,) in reader.connection.execute("SELECT n FROM out ORDER BY rowid")]


def counts(step: StepExecution) -> dict[str, int]:
    return {
        name.removesuffix("_count"): value
        for name, value in vars(step.metrics).items()
        if value or name in ("read_count", "write_count", "commit_count")
    }


def test_a_retry_with_rollback_goes_item_by_item_and_then_skips(node: Node) -> None:
    """Trace A: item 8 of 20 always fails in the processor, retryable and skippable."""
    log: list[str] = []

    def process(n: int) -> int:
        if n == 8:
            log.append("p!")
            raise Wrong(n)
        return n

    execution, step = run(
        node,
        ChunkStep(
            "load",
            Numbers(20, log),
            process,
            write,
            chunk_size=5,
            skip=Skip(Wrong, limit=1),
            retry=Retry(Wrong),
        ),
    )

    assert BatchStatus.COMPLETED is execution.batch_status
    assert [n for n in range(1, 21) if n != 8] == written(node)
    assert {
        "read": 20,
        "write": 19,
        "commit": 7,
        "rollback": 1,
        "process_skip": 1,
    } == counts(step)
    assert ["O0", *"rrrrr", *"rrr", "p!", "c", "O5", *"rrr", "p!"] == log[:16]


@pytest.mark.parametrize(
    ("mode", "lost", "expected"),
    [
        ("item", [6], {"read": 12, "write": 11, "commit": 7, "rollback": 1, "write_skip": 1}),
        ("chunk", [5, 6, 7, 8], {"read": 12, "write": 8, "commit": 4, "write_skip": 1}),
    ],
)
def test_a_skipped_write_loses_what_its_mode_says(
    node: Node, mode: Any, lost: list[int], expected: dict[str, int]
) -> None:
    """Trace B: 12 items in chunks of 4, item 6 cannot be written."""

    def refuse_six(items: list[int], step: Any) -> None:
        write(items, step)
        if 6 in items:
            raise Wrong(6)

    step = ChunkStep(
        "load",
        Numbers(12, []),
        None,
        refuse_six,
        chunk_size=4,
        skip=Skip(Wrong),
        write_skip=mode,
    )
    execution, recorded = run(node, step)

    assert BatchStatus.COMPLETED is execution.batch_status
    assert [n for n in range(1, 13) if n not in lost] == written(node)
    assert expected == counts(recorded)
    with node.database.read() as reader:
        (skip,) = list_skips(reader, execution.execution_id, count=10)
    assert ("write", "Wrong", "6" if mode == "item" else "[5,6,7,8]") == (
        skip.phase,
        skip.error_type,
        skip.item,
    )


def test_a_restart_goes_on_behind_the_last_commit(node: Node) -> None:
    """Trace C, its chunk step: 30 items by 10, item 23 fails once."""
    log: list[str] = []
    broken = [23]

    def process(n: int) -> int:
        if n in broken:
            raise Wrong(n)
        return n

    step = ChunkStep("import", Numbers(30, log), process, write, chunk_size=10)
    failed, first = run(node, step)
    broken.clear()
    completed, second = run(node, step)

    assert (BatchStatus.FAILED, BatchStatus.COMPLETED) == (
        failed.batch_status,
        completed.batch_status,
    )
    assert {"read": 20, "write": 20, "commit": 2, "rollback": 1} == counts(first)
    assert ("20", 2, "Wrong") == (
        first.reader_checkpoint,
        first.chunk_number,
        failed.failure and failed.failure.type.rpartition(".")[2],
    )
    assert {"read": 10, "write": 10, "commit": 2} == counts(second)
    assert "O20" in log
    assert list(range(1, 31)) == written(node)
    assert isinstance(failed.exception, Wrong)


def test_the_trailing_empty_chunk_is_a_real_one_and_writes_nothing(node: Node) -> None:
    """S97, S98: 20 items by 10 are three commits; no items at all are one."""
    lists: list[int] = []
    step = ChunkStep("load", Numbers(20, []), None, lambda items: lists.append(len(items)), 10)
    _, full = run(node, step)
    execution = node.operator.run(Job("none", steps=[ChunkStep("load", [], None, lists.append)]))
    (empty,) = node.operator.get_step_executions(execution.execution_id)

    assert ([10, 10], 3, 1) == (lists, full.metrics.commit_count, empty.metrics.commit_count)


def test_a_failed_read_is_skipped_and_recorded_with_its_chunk(node: Node) -> None:
    step = ChunkStep(
        "load", Numbers(9, [], faulty=(3, 7)), None, write, chunk_size=4, skip=Skip(Wrong)
    )
    execution, recorded = run(node, step)

    assert [1, 2, 4, 5, 6, 8, 9] == written(node)
    assert {"read": 7, "write": 7, "commit": 2, "read_skip": 2} == counts(recorded)
    with node.database.read() as reader:
        skips = list_skips(reader, execution.execution_id, count=10)
    assert [("read", 3), ("read", 7)] == [(skip.phase, skip.position) for skip in skips]


def test_the_skip_after_the_limit_fails_the_step(node: Node) -> None:
    """S113: with limit n the (n+1)-th matching exception is not skipped."""
    step = ChunkStep(
        "load", Numbers(9, [], faulty=(3, 7)), None, write, 4, skip=Skip(Wrong, limit=1)
    )
    execution, recorded = run(node, step)

    assert BatchStatus.FAILED is execution.batch_status
    assert [1, 2, 4, 5] == written(node)
    assert {"read": 4, "write": 4, "commit": 1, "rollback": 1, "read_skip": 1} == counts(recorded)


def test_a_retry_in_place_repeats_the_operation_within_the_chunk(node: Node) -> None:
    """S121: nothing rolls back; the reader is opened once."""
    log: list[str] = []
    failures = [2]

    def process(n: int) -> int:
        if n == 4 and failures[0]:
            failures[0] -= 1
            raise Wrong(n)
        return n

    step = ChunkStep(
        "load", Numbers(6, log), process, write, 5, retry=Retry(Wrong, no_rollback=(Wrong,))
    )
    _, recorded = run(node, step)

    assert [1, 2, 3, 4, 5, 6] == written(node)
    assert {"read": 6, "write": 6, "commit": 2} == counts(recorded)
    assert 1 == log.count("O0")
    assert "O5" not in log


def test_a_writer_may_report_what_it_skipped_itself(node: Node) -> None:
    """S196."""

    def isolating(items: list[int], step: Any) -> WriteReport:
        return WriteReport(written=len(items) - 1, skipped=1)

    _, recorded = run(node, ChunkStep("load", Numbers(8, []), None, isolating, 4))

    assert (6, 2) == (recorded.metrics.write_count, recorded.metrics.write_skip_count)


def test_an_idempotency_key_never_names_two_different_lists(node: Node) -> None:
    """S92: the numbers go on over a restart, and mini-chunks add their place."""
    keys: list[tuple[str, tuple[int, ...]]] = []
    state = {"fails": True}

    def remember(items: list[int], step: Any) -> None:
        keys.append((step.idempotency_key.rpartition("/")[2], tuple(items)))
        if 5 in items and state["fails"]:
            raise Wrong(5)

    step = ChunkStep("load", Numbers(9, []), None, remember, 3, retry=Retry(Wrong, limit=1))
    failed, _ = run(node, step)
    state["fails"] = False
    run(node, step)

    assert BatchStatus.FAILED is failed.batch_status
    assert [
        ("1", (1, 2, 3)),
        ("2", (4, 5, 6)),
        ("2.1", (4,)),
        ("2.2", (5,)),
        ("3", (5, 6, 7)),
        ("4", (8, 9)),
    ] == keys


def test_what_a_writer_commits_by_itself_fails_the_chunk(node: Node) -> None:
    """S192: a guarded connection refuses to end the engine's transaction."""

    def sly(items: list[int], step: Any) -> None:
        step.connection.execute("COMMIT")

    execution, recorded = run(node, ChunkStep("load", [1], None, sly))

    assert BatchStatus.FAILED is execution.batch_status
    assert execution.failure is not None
    assert ("StatementRefused", 0) == (execution.failure.type, recorded.metrics.commit_count)


def test_a_checkpoint_that_is_not_json_fails_the_step_and_names_the_path(node: Node) -> None:
    """S28: neither skipped nor retried, even when Exception is."""

    class Odd(Numbers):
        def checkpoint(self) -> Any:
            return {"at": [1, {2, 3}]}

    step = ChunkStep("load", Odd(3, []), None, write, skip=Skip(Exception), retry=Retry(Exception))
    execution, _ = run(node, step)

    assert BatchStatus.FAILED is execution.batch_status
    assert execution.failure is not None
    assert (
        "cannot store the reader's checkpoint at ['at'][1]: set is no JSON type"
        == execution.failure.message
    )
    assert [] == written(node)


def test_the_context_is_saved_although_the_chunk_rolled_back(node: Node) -> None:
    """S72, S99: restored on the restart, although the reader opens at None."""
    seen: list[dict[str, Any]] = []

    def note(items: list[int], step: Any) -> None:
        seen.append(dict(step.context))
        step.context["tries"] = step.context.get("tries", 0) + 1
        if step.context["tries"] == 1:
            raise Wrong

    step = ChunkStep("load", Numbers(3, []), None, note)
    run(node, step)
    run(node, step)

    assert [{}, {"tries": 1}] == seen


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    size=st.integers(0, 30),
    chunk_size=st.integers(1, 7),
    bad_reads=st.sets(st.integers(1, 30), max_size=4),
    bad_items=st.sets(st.integers(1, 30), max_size=4),
    bad_writes=st.sets(st.integers(1, 30), max_size=4),
    odd=st.booleans(),
    retry=st.booleans(),
    limit=st.one_of(st.none(), st.integers(0, 12)),
)
def test_written_is_input_less_filtered_less_skipped_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    size: int,
    chunk_size: int,
    bad_reads: set[int],
    bad_items: set[int],
    bad_writes: set[int],
    odd: bool,
    retry: bool,
    limit: int | None,
) -> None:
    """T8. Method: random faults everywhere, then a restart without them when the step failed."""
    faults = {"on": True}

    class Faulty(Numbers):
        def read(self) -> int | None:
            n = super().read()
            if n in bad_reads and faults["on"]:
                raise Wrong(n)
            return n

    def process(n: int) -> int | None:
        if n in bad_items and faults["on"]:
            raise Wrong(n)
        return None if odd and n % 2 else n

    def refuse(items: list[int], step: Any) -> None:
        write(items, step)
        if bad_writes & set(items) and faults["on"]:
            raise Wrong

    step = ChunkStep(
        "load",
        Faulty(size, []),
        process,
        refuse,
        chunk_size=chunk_size,
        skip=Skip(Wrong, limit=limit),
        retry=Retry(Wrong, limit=3) if retry else None,
    )
    with Node.open(f"sqlite:///{tmp_path_factory.mktemp('t8')}/t8.db") as node:
        with node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE out (n INTEGER)")
        execution, _ = run(node, step)
        if execution.batch_status is BatchStatus.FAILED:
            faults["on"] = False
            execution, _ = run(node, step)
        rows = written(node)
        with node.database.read() as reader:
            skips = [s for e in (1, 2) for s in list_skips(reader, e, count=100)]
        steps = [s for e in (1, 2)[: execution.execution_id] for s in _steps(node, e)]

    lost = set(range(1, size + 1)) - set(rows) - {n for n in range(1, size + 1) if odd and n % 2}
    assert BatchStatus.COMPLETED is execution.batch_status
    assert sorted(set(rows)) == rows
    assert lost <= bad_reads | bad_items | bad_writes
    assert len(rows) == sum(s.metrics.write_count for s in steps)
    totals = [
        sum(getattr(s.metrics, f"{phase}_skip_count") for s in steps)
        for phase in ("read", "process", "write")
    ]
    assert totals == [
        sum(skip.phase == phase for skip in skips) for phase in ("read", "process", "write")
    ]
    read = sum(s.metrics.read_count for s in steps)
    filtered = sum(s.metrics.filter_count for s in steps)
    assert read == len(rows) + filtered + totals[1] + totals[2]
    assert size == read + totals[0]


def _steps(node: Node, execution_id: int) -> list[StepExecution]:
    return node.operator.get_step_executions(execution_id)


def test_a_tasklet_that_repeats_commits_its_context_between(node: Node) -> None:
    """S135."""
    from stepwell import Repeat

    seen: list[int] = []

    def count(step: Any) -> Any:
        seen.append(step.context.get("n", 0))
        step.context["n"] = seen[-1] + 1
        return Repeat if len(seen) < 3 else "ENOUGH"

    execution = node.operator.run(Job("job", steps=[TaskletStep("count", count)]))
    (step,) = _steps(node, execution.execution_id)

    assert ([0, 1, 2], "ENOUGH", 4) == (seen, step.exit_status, step.version + 1)
