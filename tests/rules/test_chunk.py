"""Section 10.1 to 10.3, rule by rule: the life of a chunk step, its checkpoints, its failures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Node, PartitionedStep, Retry, Skip, TaskletStep
from stepwell.errors import LostOwnership, StepUsageError
from stepwell.items import IterableReader, LinesWriter
from stepwell.repository.history import Because
from stepwell.testing import FrozenClock
from tests.rules.events import (
    CHUNK,
    ERRORS,
    TABLE,
    Ear,
    Events,
    Raising,
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
    stop_now,
    transactions,
    work,
)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(tmp_path: Path, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(f"sqlite:///{tmp_path}/rules.db", clock=clock) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def events() -> Events:
    return Events()


# --- the lifecycle ------------------------------------------------------------------------------


def test_every_callback_of_a_step_comes_in_the_order_of_the_lifecycle(
    node: Node, events: Events
) -> None:
    """S90, S96, S97, S98, S100, S165, S170. Three items by 2, then by 3: a trailing chunk."""
    listeners = [Ear(events)]
    with transactions(events):
        run(node, chunks(events, 3, chunk_size=2, listeners=listeners), name="by-2")
        first = events.take()
        run(node, chunks(events, 3, chunk_size=3, listeners=listeners), name="by-3")

    assert expected(
        """
            open_reader:None open_writer:None
            [ before_read r after_read:1 before_process:1 p after_process:1:1
              before_read r after_read:2 before_process:2 p after_process:2:2
              B before_write:[1,2] w2 after_write:[1,2] ] C
            [ before_read r after_read:3 before_process:3 p after_process:3:3
              before_read r0 after_read:None
              B before_write:[3] w1 after_write:[3] ] C
            close_writer close_reader
            """
    ) == work(first)
    assert (
        expected("[ before_read r0 after_read:None B ] C close_writer close_reader")
        == (work(events)[-9:])
    )


def test_a_step_without_any_item_runs_one_chunk(node: Node, events: Events) -> None:
    """S97, S98: before_chunk, a read of None, after_chunk, checkpoint, commit, and no write."""
    with transactions(events):
        _, step = run(node, chunks(events, 0))

    assert expected(
        "open_reader:None open_writer:None [ r0 B ] C close_writer close_reader"
    ) == work(events)
    assert {"commit": 1} == counts(step)
    assert ("0", 1) == (step.reader_checkpoint, step.chunk_number)


def test_a_list_that_is_empty_is_never_written(node: Node, events: Events) -> None:
    """S98: neither when all items were filtered nor when all were skipped."""

    def none_or_fault(n: int) -> None:
        if n > 2:
            raise Wrong(n)

    with transactions(events):
        _, step = run(
            node,
            chunks(
                events,
                4,
                chunk_size=2,
                processor=Through(events, none_or_fault),
                skip=Skip(Wrong),
            ),
        )

    assert expected(
        """
        open_reader:None open_writer:None [ r p r p B ] C [ r p! r p! B ] C [ r0 B ] C
        close_writer close_reader
        """
    ) == work(events)
    assert {"read": 4, "filter": 2, "process_skip": 2, "commit": 3} == counts(step)


def test_no_transaction_is_open_while_items_are_read_and_processed(
    node: Node, events: Events
) -> None:
    """S90. Method: another thread's write, and the step's connection is refused."""
    contexts: list[Any] = []
    refused: list[str] = []

    class Asking(Source):
        def open(self, checkpoint: Any, step: Any = None) -> None:
            super().open(checkpoint)
            contexts.append(step)

        def read(self) -> int | None:
            with pytest.raises(StepUsageError) as error:
                insert([0], contexts[0])
            refused.append(error.value.code)
            with node.database.write() as transaction:  # It would wait for itself.
                transaction.connection.execute("INSERT INTO out (n) VALUES (100)")
            return super().read()

    run(node, chunks(events, 2, reader=Asking(events, 2)))

    assert ["step_usage_error"] * 3 == refused
    assert [1, 2, 100, 100, 100] == out(node)


def test_what_holds_the_transaction_for_long_is_logged(
    node: Node, events: Events, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S90: over 100 ms, in a step and in a partition; reading for long is nothing to report."""

    def slow(items: list[int]) -> None:
        clock.advance(0.15)

    class SlowSource(Source):
        def read(self) -> int | None:
            clock.advance(5.0)
            return super().read()

    quick = chunks(events, 2, reader=SlowSource(events, 2))
    slowly = chunks(events, 2, writer=Sink(events, slow))
    with caplog.at_level(logging.INFO, "stepwell.runner"):
        run(node, quick, name="quick")
        assert not [r for r in caplog.records if "transaction" in r.message]
        run(node, slowly, name="slow")
        run(node, PartitionedStep("parts", [1], slowly), name="partitions")

    told = [record.message for record in caplog.records if "transaction" in record.message]
    assert 2 == len(told)
    assert "step 'load'" in told[0]
    assert "150 ms" in told[0]
    assert "step 'parts'" in told[1]


def test_what_the_writer_wrote_is_there_exactly_once_with_its_checkpoint(
    node: Node, events: Events
) -> None:
    """S91: what another connection wrote is there twice, its key says that it is the same."""
    sent: list[tuple[str, list[int]]] = []
    broken = [True]

    def write(items: list[int], step: Any) -> None:
        sent.append((step.idempotency_key, list(items)))
        insert(items, step)
        if 3 in items and broken:
            broken.clear()
            raise Wrong

    step = chunks(events, 4, writer=write, chunk_size=2)
    execution, _ = run(node, step)
    assert [1, 2] == out(node)
    run(node, step)

    instance = execution.instance_id
    assert [1, 2, 3, 4] == out(node)
    assert [
        (f"{instance}/load//1", [1, 2]),
        (f"{instance}/load//2", [3, 4]),
        (f"{instance}/load//2", [3, 4]),
    ] == sent


def test_idempotency_keys_of_partitions_and_functions(node: Node, events: Events) -> None:
    """S92: instance / step / partition / chunk number; of a function they end before the number."""
    keys: list[str] = []

    def note(items: list[int], step: Any) -> None:
        keys.append(step.idempotency_key)

    def call(step: Any) -> None:
        keys.append(step.idempotency_key)

    def part(n: int, step: Any) -> None:
        keys.append(step.idempotency_key)

    two = chunks(events, 2, writer=note, chunk_size=1)
    run(node, PartitionedStep("parts", [0, 1], two, executor="inline"), name="a")
    run(node, TaskletStep("call", call), name="b")
    run(node, PartitionedStep("parts", [0, 1], part, executor="inline"), name="c")

    assert [
        *["1/parts/0/1", "1/parts/0/2", "1/parts/1/1", "1/parts/1/2"],
        "2/call/",
        *["3/parts/0", "3/parts/1"],
    ] == keys


def test_a_key_never_names_two_lists_after_a_window_and_a_restart(
    node: Node, events: Events
) -> None:
    """S92: mini-chunks add their place, the next full chunk is k + 1, restarts go on counting."""
    keys: list[tuple[str, list[int]]] = []
    faults = [5, 5]

    def note(items: list[int], step: Any) -> None:
        keys.append((step.idempotency_key.rpartition("/")[2], list(items)))
        if faults and faults[0] in items:
            faults.pop(0)
            raise Wrong

    step = chunks(events, 8, writer=note, chunk_size=3, retry=Retry(Wrong, limit=1))
    failed, _ = run(node, step)
    completed, _ = run(node, step)

    assert ("FAILED", "COMPLETED") == (failed.batch_status, completed.batch_status)
    assert [
        ("1", [1, 2, 3]),
        ("2", [4, 5, 6]),
        *[("2.1", [4]), ("2.2", [5])],
        *[("3", [5, 6, 7]), ("4", [8])],
    ] == keys


def test_what_a_processor_writes_elsewhere_does_not_roll_back(node: Node, events: Events) -> None:
    """S93, and a reader on the same database reads on a connection of its own."""
    elsewhere: list[int] = []
    with node.database.write() as transaction:
        transaction.connection.executemany("INSERT INTO out (n) VALUES (:n)", [(1,), (2,)])

    def refuse(items: list[int]) -> None:
        raise Wrong

    def rows(step: Any) -> list[int]:
        return [n for (n,) in step.query("SELECT n FROM out ORDER BY n")]

    execution, _ = run(
        node,
        chunks(
            events,
            0,
            reader=IterableReader(rows),
            processor=lambda n: elsewhere.append(n) or n,
            writer=Sink(events, refuse),
        ),
    )

    assert BatchStatus.FAILED is execution.batch_status
    assert ([1, 2], [1, 2]) == (elsewhere, out(node))


def test_a_file_is_truncated_to_its_checkpoint(node: Node, events: Events, tmp_path: Path) -> None:
    """S94: a ready-made reader and writer stand where the last commit left them."""
    broken = [7]
    path = tmp_path / "out.txt"

    class Late(Raising):
        """Fails behind the write, when the file holds the lines already."""

    def fail_once(items: list[str]) -> None:
        if broken and str(broken[0]) in items:
            broken.clear()
            raise Wrong

    late = Late("after_write")
    late.after_write = fail_once  # type: ignore[attr-defined]
    step: ChunkStep[Any, Any] = ChunkStep(
        "load",
        IterableReader(range(1, 10)),
        str,
        LinesWriter(path),
        chunk_size=4,
        listeners=[late],
    )
    failed, _ = run(node, step)
    run(node, step)

    assert BatchStatus.FAILED is failed.batch_status
    assert [str(n) for n in range(1, 10)] == path.read_text().split()


def test_a_checkpoint_is_the_value_at_commit_time(node: Node, events: Events) -> None:
    """S95: the reader returns the same dict every time and changes it behind the commit."""

    class Mutable(Source):
        position: dict[str, int]

        def open(self, checkpoint: Any) -> None:
            super().open(checkpoint and checkpoint["at"])
            self.position = {}

        def checkpoint(self) -> Any:
            self.position["at"] = self.at
            return self.position

        def read(self) -> int | None:
            item = super().read()
            self.position["at"] = self.at
            if item == 4:
                raise RuntimeError("crash")
            return item

    reader = Mutable(events, 5)
    _, step = run(node, chunks(events, 5, reader=reader, chunk_size=2))

    assert '{"at":2}' == step.reader_checkpoint


def test_an_item_that_is_none_ends_the_data(node: Node, events: Events) -> None:
    """S96: there is no item behind it."""

    class Holey(Source):
        def read(self) -> int | None:
            return None if self.at == 2 else super().read()

    _, step = run(node, chunks(events, 0, reader=Holey(events, 9)))

    assert (BatchStatus.COMPLETED, [1, 2]) == (step.batch_status, out(node))


def test_open_receives_what_was_committed_last(node: Node, events: Events) -> None:
    """S99: None at first and without a committed chunk, with the persistent data; also when a
    COMPLETED step runs again."""
    faults = [2, 4]
    seen: list[dict[str, Any]] = []

    def write(items: list[int], step: Any) -> None:
        seen.append(dict(step.context))
        step.context["lists"] = step.context.get("lists", 0) + 1
        if faults and faults[0] in items:
            raise Wrong(faults.pop(0))
        insert(items, step)

    step = chunks(events, 5, writer=write, chunk_size=2, allow_start_if_complete=True)
    again = TaskletStep("end", lambda: 1 / 0)
    from stepwell import Job

    for _ in range(4):
        node.operator.run(Job("job", steps=[step, again]))

    opened = [event for event in events if event.startswith("open_reader")]
    assert ["None", "None", "2", "None"] == [event.split(":")[1] for event in opened]
    # E1 fails on its first list, E2 on its second, E3 completes, E4 runs again from the beginning.
    assert [{}, {"lists": 1}, {"lists": 2}, {"lists": 3}] == seen[:4]
    assert {"lists": 5} == seen[5]


def test_close_is_called_on_what_was_opened(node: Node, events: Events) -> None:
    """S100, S105: an exception of open or close fails the step without on_error."""

    class NoOpen(Source):
        def open(self, checkpoint: Any) -> None:
            raise Wrong("reader")

    class NoOpenSink(Sink):
        def open(self, checkpoint: Any) -> None:
            raise Wrong("writer")

    class NoClose(Sink):
        def close(self) -> None:
            super().close()
            raise Wrong("close")

    one, first = run(node, chunks(events, 1, reader=NoOpen(events, 1)), name="a")
    neither = work(events.take())
    two, _ = run(node, chunks(events, 1, writer=NoOpenSink(events)), name="b")
    reader_only = work(events.take())
    three, last = run(node, chunks(events, 1, writer=NoClose(events)), name="c")

    assert [] == neither
    assert expected("open_reader:None close_reader") == reader_only
    assert expected(
        "open_reader:None open_writer:None [ r p r0 w1 ] close_writer close_reader"
    ) == work(events)
    assert ["Wrong: reader", "Wrong: writer", "Wrong: close"] == [
        failure(execution) for execution in (one, two, three)
    ]
    assert ({}, {"read": 1, "write": 1, "commit": 1}) == (counts(first), counts(last))
    assert [1] == out(node)


# --- the checkpoint condition -------------------------------------------------------------------


def test_item_count_counts_filtered_and_skipped_items_but_no_skipped_read(
    node: Node, events: Events
) -> None:
    """S101. Item 2 cannot be read, 3 cannot be processed, 4 is filtered; chunks of 3."""

    def change(n: int) -> int | None:
        if n == 3:
            raise Wrong(n)
        return None if n == 4 else n

    step = chunks(
        events,
        6,
        reader=Source(events, 6, faulty=[2]),
        processor=Through(events, change),
        chunk_size=3,
        skip=Skip(Wrong),
    )
    with transactions(events):
        _, recorded = run(node, step)

    assert expected(
        """
        open_reader:None open_writer:None
        [ r p r! r p! r p B w1 ] C   [ r p r p r0 B w2 ] C
        close_writer close_reader
        """
    ) == work(events)
    assert {
        "read": 5,
        "filter": 1,
        "write": 3,
        "commit": 2,
        "read_skip": 1,
        "process_skip": 1,
    } == counts(recorded)


def test_a_chunk_ends_when_its_time_is_up(node: Node, events: Events, clock: FrozenClock) -> None:
    """S101: time_limit since the chunk began, checked after each item."""

    def slow(n: int) -> int:
        clock.advance(4.0)
        return n

    step = chunks(
        events, 7, processor=Through(events, slow), chunk_size=5, time_limit_s=10.0, writer=_sizes
    )
    unlimited = chunks(events, 7, processor=Through(events, slow), chunk_size=5, writer=_sizes)
    _sizes.lists.clear()
    run(node, step, name="limited")
    run(node, unlimited, name="unlimited")

    assert [3, 3, 1, 5, 2] == _sizes.lists


class _Sizes:
    def __init__(self) -> None:
        self.lists: list[int] = []

    def __call__(self, items: list[int]) -> None:
        self.lists.append(len(items))


_sizes = _Sizes()


class Algorithm:
    """Ready after the items that it is told."""

    def __init__(self, events: Events, ready: tuple[int, ...], timeout_s: float = 0) -> None:
        self.events = events
        self.ready = ready
        self.timeout_s = timeout_s
        self.asked = 0

    def checkpoint_timeout(self) -> float:
        self.events.add("timeout")
        return self.timeout_s

    def begin_checkpoint(self) -> None:
        self.events.add("begin")

    def is_ready_to_checkpoint(self) -> bool:
        self.asked += 1
        self.events.add("ready?")
        return self.asked in self.ready

    def end_checkpoint(self) -> None:
        self.events.add("end")


def test_a_custom_algorithm_is_asked_after_each_item_that_was_read(
    node: Node, events: Events
) -> None:
    """S102: kept or not, but not after None and not after a skipped read; size is ignored."""
    step = chunks(
        events,
        5,
        reader=Source(events, 5, faulty=[2]),
        processor=Through(events, lambda n: None if n == 3 else n),
        checkpoint=Algorithm(events, ready=(2,)),
        chunk_size=1,
        skip=Skip(Wrong),
    )
    with transactions(events):
        run(node, step)

    assert expected(
        """
        open_reader:None open_writer:None
        timeout begin [ r p ready? r! r p ready? B w1 ] C end
        timeout begin [ r p ready? r p ready? r0 B w2 ] C end
        close_writer close_reader
        """
    ) == work(events)


def test_a_chunk_beyond_its_timeout_is_not_committed(
    node: Node, events: Events, clock: FrozenClock
) -> None:
    """S103, S120: like a failed write, filters apply; retried in place it has its time again."""
    slow = [2]

    def slowly(n: int) -> int:
        if n in slow:
            slow.clear()
            clock.advance(3.0)
        return n

    def step(**options: Any) -> ChunkStep[Any, Any]:
        slow[:] = [2]
        return chunks(
            events,
            3,
            processor=Through(events, slowly),
            checkpoint=Algorithm(events, ready=(2, 3), timeout_s=2.5),
            listeners=[Ear(events, "before_step", "after_step", *CHUNK, *ERRORS)],
            **options,
        )

    with transactions(events):
        failed, _ = run(node, step(), name="a")
        once = work(events.take())
        retry = Retry(Exception, limit=1, no_rollback=(Exception,))
        repeated, _ = run(node, step(retry=retry), name="b")
        twice = work(events.take())
        skipped, lost = run(node, step(skip=Skip(Exception), write_skip="chunk"), name="c")

    assert failure(failed).startswith("CheckpointTimeout: ")
    error = "'achunkofstep'load'didnotreachitscommitintime'"
    assert (
        expected(
            f"""
            open_reader:None open_writer:None
            timeout begin [ r p ready? r p ready? B w2 ] U on_write_error:[1,2]:"{error[1:-1]}"
            close_writer close_reader on_error:"{error[1:-1]}"
            """
        )
        == once
    )
    assert BatchStatus.COMPLETED is repeated.batch_status
    assert 'U on_write_error:[1,2]:"' + error[1:-1] + '" B w2 ] C end' in " ".join(twice)
    assert BatchStatus.COMPLETED is skipped.batch_status
    assert {"read": 3, "write": 1, "commit": 3, "write_skip": 1} == counts(lost)
    assert [1, 2, 3, 3] == out(node)


def test_a_stop_commits_the_items_so_far_and_the_restart_goes_on_behind_them(
    node: Node, events: Events
) -> None:
    """S104: after the current item; nothing is read or processed twice."""
    execution_ids: list[int] = []

    def stop(n: int) -> int:
        if n == 4:
            stop_now(node, execution_ids[-1])
        return n

    class Early:
        def before_step(self, step: Any) -> None:
            execution_ids.append(step.execution_id)

    ear = Ear(events, "before_step", "after_step", *CHUNK)
    step = chunks(
        events, 6, processor=Through(events, stop), chunk_size=5, listeners=[Early(), ear]
    )
    with transactions(events):
        stopped, first = run(node, step)
        before = work(events.take())
        completed, second = run(node, step)

    assert expected("p B w4 ] C close_writer close_reader") == before[-7:]
    assert (BatchStatus.STOPPED, BatchStatus.STOPPED, None, "STOPPED") == (
        stopped.batch_status,
        first.batch_status,
        first.result,
        first.exit_status,
    )
    assert {"read": 4, "write": 4, "commit": 1} == counts(first)
    assert "open_reader:4" == work(events)[0]
    assert {"read": 2, "write": 2, "commit": 1} == counts(second)
    assert BatchStatus.COMPLETED is completed.batch_status


def test_a_stop_that_comes_when_the_data_has_ended_completes_the_step(
    node: Node, events: Events
) -> None:
    """S104, section 3.1: the reader had returned None before the stop took hold."""
    contexts: list[Any] = []

    class Ending(Source):
        def open(self, checkpoint: Any, step: Any = None) -> None:
            super().open(checkpoint)
            contexts.append(step)

        def read(self) -> int | None:
            item = super().read()
            if item is None:
                stop_now(node, contexts[-1].execution_id)
            return item

    execution, step = run(node, chunks(events, 2, reader=Ending(events, 2)))

    assert (BatchStatus.STOPPED, BatchStatus.COMPLETED) == (
        execution.batch_status,
        step.batch_status,
    )


# --- the failure path -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "story", "rollbacks"),
    [
        ("before_chunk", "", 1),
        ("before_read", "[", 1),
        ("after_read", "[ r", 1),
        ("before_process", "[ r", 1),
        ("after_process", "[ r p", 1),
        ("before_write", "[ r p r p B U", 1),
        ("after_write", "[ r p r p B w2 U", 1),
        ("after_chunk", "[ r p r p B w2 ] U", 1),
    ],
)
def test_an_exception_of_a_listener_takes_the_failure_path(
    node: Node, events: Events, where: str, story: str, rollbacks: int
) -> None:
    """S105, S106, S111: no filter applies; rolled back, closed, then on_error, once."""
    ear = Ear(events, "before_step", "after_step", *CHUNK)
    # `before` in order of declaration, all others in reverse: the ear hears it either way.
    raising = Raising(where)
    listeners = [raising, ear] if where.startswith("after") else [ear, raising]
    if where == "before_chunk":
        listeners = [raising, ear]
    step = chunks(
        events,
        4,
        chunk_size=2,
        listeners=listeners,
        skip=Skip(Exception),
        retry=Retry(Exception, limit=9),
    )
    with transactions(events):
        execution, recorded = run(node, step)

    assert [
        *expected(f"open_reader:None open_writer:None {story} close_writer close_reader"),
        f"on_error:'{where}'",
    ] == work(events)
    assert f"RuntimeError: {where}" == failure(execution)
    assert {"rollback": rollbacks} == counts(recorded)
    assert [] == out(node)


@pytest.mark.parametrize("what", ["reader", "writer"])
def test_an_exception_of_checkpoint_takes_the_failure_path(
    node: Node, events: Events, what: str
) -> None:
    """S105, S111, S106: the list was written, its transaction is undone."""

    class BadSource(Source):
        def checkpoint(self) -> int:
            raise Wrong("checkpoint")

    class BadSink(Sink):
        def checkpoint(self) -> int:
            raise Wrong("checkpoint")

    bad: dict[str, Any] = (
        {"reader": BadSource(events, 2)} if what == "reader" else {"writer": BadSink(events)}
    )
    with transactions(events):
        execution, recorded = run(
            node, chunks(events, 2, **bad, skip=Skip(Exception), retry=Retry(Exception, limit=9))
        )

    assert expected(
        """
        open_reader:None open_writer:None [ r p r p r0 B w2 ] U
        close_writer close_reader on_error:'checkpoint'
        """
    ) == work(events)
    assert "Wrong: checkpoint" == failure(execution)
    assert ({"rollback": 1}, []) == (counts(recorded), out(node))


@pytest.mark.parametrize(
    ("method", "story"),
    [
        ("checkpoint_timeout", ""),
        ("begin_checkpoint", "timeout"),
        ("is_ready_to_checkpoint", "timeout begin [ r p"),
    ],
)
def test_an_exception_of_the_algorithm_takes_the_failure_path(
    node: Node, events: Events, method: str, story: str
) -> None:
    """S105, S111."""
    algorithm = Algorithm(events, ready=())
    setattr(algorithm, method, Raising("x").x)  # type: ignore[attr-defined]
    execution, recorded = run(
        node, chunks(events, 2, checkpoint=algorithm, skip=Skip(Exception), retry=Retry(Exception))
    )

    assert [
        *expected(f"open_reader:None open_writer:None {story} close_writer close_reader"),
        "on_error:'x'",
    ] == work(events)
    assert ("RuntimeError: x", {"rollback": 1}) == (failure(execution), counts(recorded))


def test_what_is_committed_stays_when_end_checkpoint_raises(node: Node, events: Events) -> None:
    """S105: it runs behind the commit; the step fails, without on_error, the chunk is there."""
    algorithm = Algorithm(events, ready=(1,))
    algorithm.end_checkpoint = Raising("x").x  # type: ignore[attr-defined]
    execution, recorded = run(node, chunks(events, 3, checkpoint=algorithm))

    assert expected(
        """
        open_reader:None open_writer:None timeout begin [ r p ready? w1 ] close_writer close_reader
        """
    ) == work(events)
    assert "RuntimeError: x" == failure(execution)
    assert ({"read": 1, "write": 1, "commit": 1}, "1", [1]) == (
        counts(recorded),
        recorded.reader_checkpoint,
        out(node),
    )


def test_before_step_that_raises_opens_nothing(node: Node, events: Events) -> None:
    """S105, S169: after_step runs, no on_error."""
    ear = Ear(events, "after_step", *CHUNK)
    execution, _ = run(node, chunks(events, 1, listeners=[ear, Raising("before_step")]))

    assert (["after_step"], "RuntimeError: before_step") == (events, failure(execution))


def test_further_errors_of_the_failure_path_are_only_logged(
    node: Node, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 10.3: the closes and on_error cannot hide what failed; it is seen (S73)."""
    seen: list[Any] = []

    class Stuck(Sink):
        def close(self) -> None:
            super().close()
            raise RuntimeError("close")

    def fail(n: int) -> None:
        raise Wrong("first")

    class Last:
        def after_step(self, step: Any) -> None:
            seen.append((step.exception, step.metrics.rollback_count, step.batch_status))

    step = chunks(
        events,
        2,
        processor=Through(events, fail),
        writer=Stuck(events),
        listeners=[
            Ear(events, "before_step", "after_step", *CHUNK),
            Raising("on_error"),
            Last(),
        ],
    )
    execution, _ = run(node, step)

    assert "Wrong: first" == failure(execution)
    assert execution.exception is seen[0][0]
    assert (1, BatchStatus.FAILED) == seen[0][1:]
    assert expected("close_writer close_reader on_error:'first'") == work(events)[-3:]
    assert 2 == len([record for record in caplog.records if record.exc_info])


def test_persistent_data_is_stored_as_it_is_when_the_chunk_fails(
    node: Node, events: Events
) -> None:
    """Section 10.3, S72, S133: counters go back, the context does not."""
    contexts: list[Any] = []

    class Noting(Source):
        def open(self, checkpoint: Any, step: Any = None) -> None:
            super().open(checkpoint)
            contexts.append((step, dict(step.context)))

        def read(self) -> int | None:
            contexts[-1][0].context["last"] = self.at + 1
            return super().read()

    reader = Noting(events, 5, faulty=[4])
    step = chunks(events, 5, reader=reader, chunk_size=2)
    _, first = run(node, step)
    run(node, step)

    assert {"read": 2, "write": 2, "commit": 1, "rollback": 1} == counts(first)
    assert [{}, {"last": 4}] == [context for _, context in contexts]


def test_rollbacks_count_in_memory_and_in_the_database(node: Node, events: Events) -> None:
    """S106, S133: stored with the next commit, also with a stop that comes first."""
    faults = {"process": True, "write": True}

    def change(n: int) -> int:
        if n == 2 and faults.pop("process", False):
            raise Wrong
        return n

    def check(items: list[int]) -> None:
        if 3 in items and faults.pop("write", False):
            raise Wrong

    step = chunks(
        events,
        4,
        chunk_size=2,
        processor=Through(events, change),
        writer=Sink(events, check),
        retry=Retry(Wrong, limit=5),
    )
    _, recorded = run(node, step)

    assert {"read": 4, "write": 4, "commit": 5, "rollback": 2} == counts(recorded)


# --- the step's connection ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    ["COMMIT", "ROLLBACK", "BEGIN", "PRAGMA synchronous = OFF", "SELECT 1; SELECT 2", "END"],
)
def test_the_steps_connection_refuses_what_would_bend_the_transaction(
    node: Node, events: Events, sql: str
) -> None:
    """S192."""

    def sly(items: list[int], step: Any) -> None:
        insert(items, step)
        step.connection.execute(sql)

    execution, _ = run(node, chunks(events, 1, writer=sly))

    assert failure(execution).startswith("StatementRefused: ")
    assert [] == out(node)


def test_named_parameters_and_savepoints_pass(node: Node, events: Events) -> None:
    """S192: a savepoint that user code opens itself isolates an item (S196)."""

    def isolate(items: list[int], step: Any) -> None:
        for n in items:
            step.connection.execute("SAVEPOINT item")
            step.connection.execute("INSERT INTO out (n) VALUES (:n)", {"n": n})
            step.connection.execute("ROLLBACK TO item" if n % 2 else "RELEASE item")

    run(node, chunks(events, 4, writer=isolate))

    assert [2, 4] == out(node)


@pytest.mark.parametrize("raises", [False, True])
def test_a_transaction_that_the_writer_ended_is_a_failed_commit(
    node: Node, events: Events, raises: bool
) -> None:
    """S192, S120: looked at after every return and exception; filters apply, nothing is kept."""
    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE once (n INTEGER PRIMARY KEY)")
        transaction.connection.execute("INSERT INTO once VALUES (2)")
    broken = [True]

    def end_it(items: list[int], step: Any) -> None:
        insert(items, step)
        if 2 in items and broken:
            broken.clear()
            try:
                step.connection.execute("INSERT OR ROLLBACK INTO once VALUES (2)")
            except Exception:
                if raises:
                    raise

    step = chunks(
        events,
        2,
        writer=end_it,
        retry=Retry(Exception, limit=1, no_rollback=(Exception,)),
        listeners=[Ear(events, "before_step", "after_step", "on_write_error")],
    )
    execution, recorded = run(node, step)

    assert BatchStatus.COMPLETED is execution.batch_status
    assert 1 == len([event for event in events if event.startswith("on_write_error:[1,2]")])
    assert ([1, 2], {"read": 2, "write": 2, "commit": 1}) == (out(node), counts(recorded))


# --- ownership ------------------------------------------------------------------------------------


def test_after_lost_ownership_nothing_is_called_but_the_closes(node: Node, events: Events) -> None:
    """S25, S35: the rows vanish, no listener hears of it, nothing is written any more."""

    def recovered(n: int) -> int:
        if n == 4:
            execution_id = node.operator.get_running_executions("job")[0]
            node.operator.recover(execution_id, force=True, reason="the test")
        return n

    step = chunks(
        events,
        6,
        chunk_size=3,
        processor=Through(events, recovered),
        skip=Skip(Exception),
        retry=Retry(Exception, limit=9),
        listeners=[Ear(events, "before_step", "after_step", *CHUNK, *ERRORS)],
    )
    with pytest.raises(LostOwnership):
        run(node, step)

    assert expected("[ r p r p r p w3 ] close_writer close_reader") == events[-11:]
    assert [1, 2, 3] == out(node)
    (recorded,) = node.operator.get_step_executions(1)
    assert (BatchStatus.FAILED, "3", 1) == (
        recorded.batch_status,
        recorded.reader_checkpoint,
        recorded.metrics.commit_count,
    )


def test_a_chunk_partition_that_has_lost_its_ownership_keeps_quiet_too(
    node: Node, events: Events
) -> None:
    """S25, S194: the partition's row is guarded by fence and status."""

    def recovered(n: int) -> int:
        if n == 2:
            node.repository.recover(1, Because("operator", "the test"), force=True)
        return n

    inner = chunks(
        events,
        4,
        chunk_size=2,
        processor=Through(events, recovered),
        skip=Skip(Exception),
        listeners=[Ear(events, *CHUNK, *ERRORS)],
    )
    outer = PartitionedStep("parts", [1], inner, executor="inline")
    with pytest.raises(LostOwnership):
        run(node, outer)

    assert expected("[ r p r p w2 ] close_writer close_reader") == events[-9:]
    assert [] == out(node)
    (recorded,) = node.operator.get_step_executions(1)
    assert [("FAILED", None)] == [(a.batch_status, a.outcome) for a in attempts(node, recorded)]
