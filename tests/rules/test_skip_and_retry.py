"""Section 10.4 and 10.5, rule by rule, and traces A and B letter by letter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Job, Node, PartitionedStep, Retry, Skip, WriteReport
from stepwell.database.transaction import Transaction
from stepwell.errors import (
    ConstraintViolation,
    ItemSourceMissing,
    JobStartError,
    LostOwnership,
    OptimisticLockingFailure,
    ValueNotJson,
)
from stepwell.job.policy import ExceptionFilter
from stepwell.testing import FrozenClock
from tests.rules.events import (
    CHUNK,
    ERRORS,
    RETRY,
    SKIP,
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
    out,
    run,
    skips,
    stop_now,
    transactions,
    work,
)

EVERYTHING = ("before_step", "after_step", *CHUNK, *ERRORS, *SKIP, *RETRY)


class Worse(Wrong):
    """A child, for filters."""


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def node(database_url: str, clock: FrozenClock) -> Iterator[Node]:
    """On both databases: an undone write is the database's own work."""
    with Node.open(database_url, clock=clock) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def lite(tmp_path: Path, clock: FrozenClock) -> Iterator[Node]:
    """Where the database makes no difference."""
    with Node.open(f"sqlite:///{tmp_path}/rules.db", clock=clock) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(TABLE)
        yield node


@pytest.fixture
def events() -> Events:
    return Events()


def heard(events: Events, n: int, **options: Any) -> ChunkStep[Any, Any]:
    """A step of which every chunk, error, skip and retry callback is written down."""
    return chunks(events, n, listeners=[Ear(events, *EVERYTHING)], **options)


def raises_at(*faulty: int, times: int | None = None) -> Callable[[Any], Any]:
    """Raises for these items, always or so many times; for a list when it holds one of them."""
    left = [times]

    def check(item: Any) -> Any:
        met = set(item) & set(faulty) if isinstance(item, list) else {item} & set(faulty)
        if met and left[0] != 0:
            left[0] = None if left[0] is None else left[0] - 1
            raise Wrong(min(met))
        return None if isinstance(item, list) else item

    return check


# --- the traces ---------------------------------------------------------------------------------


def test_trace_a_retry_with_rollback_then_skip(node: Node, events: Events) -> None:
    """S115, S122, S126: item 8 of 20 always fails in the processor, by 5."""
    step = heard(
        events,
        20,
        chunk_size=5,
        processor=Through(events, raises_at(8)),
        skip=Skip(Wrong),
        retry=Retry(Wrong, limit=100),
    )
    with transactions(events):
        execution, recorded = run(node, step)

    assert expected(
        """
            open_reader:None open_writer:None
            [ r p r p r p r p r p B w5 ] C
            [ r p r p r p! on_process_error:8:'8'
                on_retry_process_exception:8:'8' close_writer close_reader on_error:'8'
            open_reader:5 open_writer:5
            [ r p B w1 ] C   [ r p B w1 ] C
            [ r p! on_process_error:8:'8' on_skip_process_item:8:'8' B ] C
            [ r p r p r p r p r p B w5 ] C
            [ r p r p r p r p r p B w5 ] C
            [ r p r p r0 B w2 ] C
            close_writer close_reader
            """
    ) == work(events)
    assert BatchStatus.COMPLETED is execution.batch_status
    assert {
        "read": 20,
        "write": 19,
        "commit": 7,
        "rollback": 1,
        "process_skip": 1,
    } == counts(recorded)
    assert [n for n in range(1, 21) if n != 8] == out(node)


def test_trace_b_a_skipped_write_that_loses_one_item(node: Node, events: Events) -> None:
    """S118, S130, write_skip 'item': item 6 of 12 cannot be written, by 4."""
    step = heard(
        events,
        12,
        chunk_size=4,
        processor=Through(events),
        writer=Sink(events, raises_at(6)),
        skip=Skip(Wrong),
    )
    with transactions(events):
        execution, recorded = run(node, step)

    assert expected(
        """
            open_reader:None open_writer:None
            [ r p r p r p r p B w4 ] C
            [ r p r p r p r p B w4! U on_write_error:[5,6,7,8]:'6'
                close_writer close_reader on_error:'6' open_reader:4 open_writer:4
            [ r p B w1 ] C
            [ r p B w1! U on_write_error:[6]:'6' on_skip_write_item:[6]:'6' B ] C
            [ r p B w1 ] C   [ r p B w1 ] C
            [ r p r p r p r p B w4 ] C
            [ r0 B ] C
            close_writer close_reader
            """
    ) == work(events)
    assert {
        "read": 12,
        "write": 11,
        "commit": 7,
        "rollback": 1,
        "write_skip": 1,
    } == counts(recorded)
    assert [n for n in range(1, 13) if n != 6] == out(node)
    assert [("write", 6, "6", "Wrong")] == _told(node, execution)


def test_trace_b_a_skipped_write_that_loses_the_chunk(node: Node, events: Events) -> None:
    """S118, S130, write_skip 'chunk': nothing rolls back, the list is dropped."""
    step = heard(
        events,
        12,
        chunk_size=4,
        processor=Through(events),
        writer=Sink(events, raises_at(6)),
        skip=Skip(Wrong),
        write_skip="chunk",
    )
    with transactions(events):
        execution, recorded = run(node, step)

    assert expected(
        """
            open_reader:None open_writer:None
            [ r p r p r p r p B w4 ] C
            [ r p r p r p r p B w4! U on_write_error:[5,6,7,8]:'6'
                on_skip_write_item:[5,6,7,8]:'6' B ] C
            [ r p r p r p r p B w4 ] C
            [ r0 B ] C
            close_writer close_reader
            """
    ) == work(events)
    assert {"read": 12, "write": 8, "commit": 4, "write_skip": 1} == counts(recorded)
    assert [1, 2, 3, 4, 9, 10, 11, 12] == out(node)
    assert [("write", 8, "[5,6,7,8]", "Wrong")] == _told(node, execution)


def _told(node: Node, execution: Any) -> list[tuple[str, int, str | None, str]]:
    return [(s.phase, s.position, s.item, s.error_type) for s in skips(node, execution)]


# --- filters ------------------------------------------------------------------------------------


class _Grandchild(Worse):
    pass


@pytest.mark.parametrize(
    ("include", "exclude", "error", "matches"),
    [
        ((Wrong,), (), Wrong, True),
        ((Wrong,), (), Worse, True),
        ((Worse,), (), Wrong, False),
        ((Wrong,), (Worse,), Wrong, True),
        ((Wrong,), (Worse,), _Grandchild, False),  # Worse is nearer than Wrong.
        ((Wrong, _Grandchild), (Worse,), _Grandchild, True),
        ((Worse,), (Wrong,), _Grandchild, True),
        ((Wrong,), (Wrong,), Wrong, False),
        ((), (), Wrong, False),
        ((), (Worse,), Wrong, False),
        ((Exception,), (), KeyboardInterrupt, False),
    ],
)
def test_the_class_that_is_nearest_in_the_mro_decides(
    include: Any, exclude: Any, error: type[BaseException], matches: bool
) -> None:
    """S110."""
    assert matches is ExceptionFilter(include, exclude).matches(error("x"))


def test_the_excluded_are_neither_skipped_nor_retried(lite: Node, events: Events) -> None:
    """S110 in a step; S112: a class outside of Exception ends the step, whatever is included."""

    def fail(n: int) -> None:
        raise {1: Wrong("skipped"), 2: Worse("fails")}[n]

    step = heard(
        events,
        2,
        processor=Through(events, fail),
        skip=Skip(Wrong, exclude=(Worse,)),
        retry=Retry(Wrong, limit=0, exclude=(Worse,)),
    )
    execution, recorded = run(lite, step)

    assert "Worse: fails" == failure(execution)
    assert {"rollback": 1} == counts(recorded)
    assert ["on_skip_process_item:1:'skipped'"] == [e for e in events if e.startswith("on_skip")]


@pytest.mark.parametrize("where", ["open", "close", "checkpoint"])
def test_filters_do_not_apply_to_open_close_and_checkpoint(
    lite: Node, events: Events, where: str
) -> None:
    """S111."""
    reader = Source(events, 2)
    setattr(reader, where, _raise)
    options: dict[str, Any] = {"skip": Skip(Exception), "retry": Retry(Exception, limit=9)}
    execution, _ = run(lite, heard(events, 2, reader=reader, **options))

    assert "Wrong: always" == failure(execution)
    assert not [event for event in events if event.startswith(("on_skip", "on_retry"))]


def _raise(*arguments: object) -> Any:
    raise Wrong("always")


@pytest.mark.parametrize(
    "error",
    [
        LostOwnership("gone"),
        OptimisticLockingFailure("moved"),
        ValueNotJson("odd"),
        ItemSourceMissing("no file"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("phase", ["read", "process", "write"])
def test_what_says_that_the_step_cannot_go_on_is_never_skipped(
    lite: Node, events: Events, error: Exception, phase: str
) -> None:
    """S112, also when Exception is included."""

    def fail(*subjects: object) -> Any:
        raise error

    reader = Source(events, 2)
    options: dict[str, Any] = {"reader": reader}
    if phase == "read":
        reader.read = fail  # type: ignore[method-assign]
    elif phase == "process":
        options["processor"] = fail
    else:
        options["writer"] = fail
    step = heard(events, 2, skip=Skip(Exception), retry=Retry(Exception, limit=9), **options)
    if isinstance(error, LostOwnership):
        with pytest.raises(LostOwnership):
            run(lite, step)
    else:
        execution, _ = run(lite, step)
        assert execution.exception is error

    assert not [event for event in events if event.startswith(("on_skip", "on_retry"))]


def test_system_exit_is_never_skipped_and_goes_its_way(lite: Node, events: Events) -> None:
    """S112: recorded as FAILED first."""

    def leave(n: int) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(lite, heard(events, 1, processor=leave, skip=Skip(BaseException)))

    (step,) = lite.operator.get_step_executions(1)
    assert "SystemExit: 3" == failure(step)
    assert ["close_writer", "close_reader"] == work(events)[-2:]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"skip": Skip("ValueError")}, "skip must name exception classes, got 'ValueError'"),
        ({"skip": Skip(Wrong, exclude=[int])}, "skip must name exception classes, got <class"),
        ({"retry": Retry(Wrong())}, r"retry must name exception classes, got Wrong\(\)"),
        (
            {"retry": Retry(Wrong, limit=1, no_rollback=["Wrong"])},
            "retry must name exception classes, got 'Wrong'",
        ),
        ({"skip": Skip(Wrong, limit=-1)}, "skip limit must be 0 or more, got -1"),
    ],
)
@pytest.mark.parametrize("partitioned", [False, True])
def test_a_policy_that_could_match_nothing_is_refused_at_start(
    lite: Node, events: Events, options: dict[str, Any], fault: str, partitioned: bool
) -> None:
    """S183, S110: not when the first exception comes, hours later."""
    step: Any = ChunkStep("load", [1], None, list, **options)
    if partitioned:
        step = PartitionedStep("parts", [1], step)
    with pytest.raises(JobStartError, match=fault):
        lite.operator.run(Job("job", steps=[step]))

    assert [] == lite.operator.get_job_names()


def test_lists_of_classes_will_do(lite: Node, events: Events) -> None:
    """S110, S121."""
    policy = Retry(Wrong, exclude=[KeyError], no_rollback=[Wrong])

    assert policy.matches(Wrong())
    assert policy.no_rollback.matches(Wrong())


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "written"), [(None, [2, 4, 6]), (3, [2, 4, 6]), (2, []), (0, [])]
)
def test_with_limit_n_the_next_matching_exception_is_not_skipped(
    lite: Node, events: Events, limit: int | None, written: list[int]
) -> None:
    """S113: absent is unlimited, 0 is none; one counter for read, process and write together."""
    step = heard(
        events,
        6,
        reader=Source(events, 6, faulty=[1]),
        processor=Through(events, raises_at(3)),
        writer=Sink(events, raises_at(5)),
        skip=Skip(Wrong, limit=limit),
    )
    execution, _ = run(lite, step)

    assert written == out(lite)
    assert (not written) == (execution.batch_status is BatchStatus.FAILED)
    skipped = [event.split(":")[0] for event in events if event.startswith("on_skip")]
    if limit == 2:
        # The third would be the write: no window is opened for it (S130).
        assert ["on_skip_read_item", "on_skip_process_item"] == skipped
        assert {"rollback": 1} == counts(lite.operator.get_step_executions(1)[0])
    if limit == 0:
        assert [] == skipped


def test_counters_are_a_steps_own_and_not_carried_into_a_restart(
    lite: Node, events: Events
) -> None:
    """S113: and each partition has its own."""
    step = heard(
        events,
        4,
        processor=Through(events, raises_at(1, 3)),
        chunk_size=1,
        skip=Skip(Wrong, limit=1),
    )
    first, _ = run(lite, step)
    second, _ = run(lite, step)
    inner = heard(events, 2, processor=Through(events, raises_at(1)), skip=Skip(Wrong, limit=1))
    partitions, _ = run(
        lite, PartitionedStep("parts", [0, 1], inner, executor="inline"), name="parts"
    )

    assert ["FAILED", "COMPLETED", "COMPLETED"] == [
        e.batch_status for e in (first, second, partitions)
    ]


def test_the_skip_counter_is_restored_by_a_rollback_and_the_retry_counter_is_not(
    lite: Node, events: Events
) -> None:
    """S114, S131: item 1 is skipped again in the window; with limit 1 it is the same skip."""
    fails = {2: 1}

    def change(n: int) -> int:
        if n == 1:
            raise Worse(n)
        if fails.get(n):
            fails[n] -= 1
            raise Wrong(n)
        return n

    def step(times: int, limit: int) -> ChunkStep[Any, Any]:
        fails[2] = times
        return heard(
            events,
            3,
            processor=Through(events, change),
            skip=Skip(Worse, limit=1),
            retry=Retry(Wrong, limit=limit, exclude=(Worse,)),
        )

    once, recorded = run(lite, step(1, 1), name="once")
    told = [event for event in events.take() if event.startswith("on_skip")]
    twice, _ = run(lite, step(2, 1), name="twice")

    assert ["on_skip_process_item:1:'1'"] * 2 == told  # A listener may hear of an item twice.
    assert BatchStatus.COMPLETED is once.batch_status
    assert {
        "read": 3,
        "write": 2,
        "commit": 3,
        "rollback": 1,
        "process_skip": 1,
    } == counts(recorded)
    assert [("process", 1, "1", "Worse")] == _told(lite, once)
    assert "Wrong: 2" == failure(twice)


def test_a_retry_without_a_limit_is_warned_of_at_start(
    lite: Node, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    """S114."""
    endless = heard(events, 1, retry=Retry(Wrong))
    run(lite, endless, name="a")
    run(lite, PartitionedStep("parts", [1, 2], endless), name="b")
    run(lite, heard(events, 1, retry=Retry(Wrong, limit=0)), name="c")

    told = [record.message for record in caplog.records if "without a limit" in record.message]
    assert 2 == len(told)


@pytest.mark.parametrize("phase", ["read", "process", "write"])
def test_a_stop_is_seen_between_two_attempts(lite: Node, events: Events, phase: str) -> None:
    """S114: an endless retry in place ends with a stop; the chunk is discarded, nothing is lost."""
    tries = [0]
    works: list[bool] = []

    def fail(*subjects: object) -> Any:
        tries[0] += 1
        assert tries[0] < 100
        raise Wrong("again")

    class Stopping:
        def after_step(self) -> None:
            works.append(True)

        def on_error(self, error: Exception) -> None:
            events.add("on_error", error)

    def retried(*subjects: object) -> None:
        if tries[0] == 3:
            stop_now(lite, lite.operator.get_running_executions("job")[0])

    listener = Stopping()
    setattr(listener, f"on_retry_{phase}_exception", retried)

    class Failing(Source):
        def read(self) -> int | None:
            return super().read() if phase != "read" or self.at < 3 or works else fail()

    def process(n: int) -> int:
        return n if phase != "process" or n < 4 or works else fail()

    def write(items: list[int]) -> None:
        if phase == "write" and 4 in items and not works:
            fail()

    step = chunks(
        events,
        4,
        reader=Failing(events, 4),
        processor=Through(events, process),
        writer=Sink(events, write),
        chunk_size=2,
        retry=Retry(Wrong, no_rollback=(Wrong,)),
        listeners=[Ear(events, "before_step", "after_step"), listener],
    )
    stopped, first = run(lite, step)
    before = out(lite)
    completed, _ = run(lite, step)

    assert (BatchStatus.STOPPED, BatchStatus.STOPPED) == (stopped.batch_status, first.batch_status)
    assert ([1, 2], {"read": 2, "write": 2, "commit": 1, "rollback": 1}) == (before, counts(first))
    assert (BatchStatus.COMPLETED, [1, 2, 3, 4]) == (completed.batch_status, out(lite))


# --- choices and callbacks ------------------------------------------------------------------------


def test_callbacks_come_in_their_order_and_only_for_what_is_done(
    lite: Node, events: Events
) -> None:
    """S116: the error callback always, then retry or skip; over the limit neither of them."""
    step = heard(
        events,
        3,
        processor=Through(events, raises_at(1, 2)),
        skip=Skip(Wrong, limit=1),
        retry=Retry(Wrong, limit=1),
    )
    execution, _ = run(lite, step)

    assert expected(
        """
            on_process_error:1:'1' on_retry_process_exception:1:'1' on_error:'1'
            on_process_error:1:'1' on_skip_process_item:1:'1'
            on_process_error:2:'2' on_error:'2'
            """
    ) == [e for e in events if e.startswith("on_")]
    assert "Wrong: 2" == failure(execution)


@pytest.mark.parametrize("phase", ["read", "process", "write"])
@pytest.mark.parametrize("action", ["skip", "retry"])
def test_a_skip_or_retry_listener_that_raises_fails_the_step(
    lite: Node, events: Events, phase: str, action: str
) -> None:
    """S116: nothing was skipped, nothing is counted."""
    name = f"on_skip_{phase}_item" if action == "skip" else f"on_retry_{phase}_exception"
    step = chunks(
        events,
        2,
        reader=Source(events, 2, faulty=[1] if phase == "read" else []),
        processor=Through(events, raises_at(1) if phase == "process" else lambda n: n),
        writer=Sink(events, raises_at(1) if phase == "write" else lambda items: None),
        chunk_size=1,
        skip=Skip(Wrong) if action == "skip" else None,
        retry=Retry(Wrong, limit=3) if action == "retry" else None,
        listeners=[Raising(name, RuntimeError("listener"))],
    )
    execution, recorded = run(lite, step)

    assert "RuntimeError: listener" == failure(execution)
    assert ({"rollback": 1}, []) == (counts(recorded), skips(lite, execution))


def test_an_error_listener_that_raises_fails_the_step(lite: Node, events: Events) -> None:
    """S105, S111: a listener's exception is not the item's."""
    step = chunks(
        events,
        2,
        processor=Through(events, raises_at(1)),
        skip=Skip(Exception),
        listeners=[Raising("on_process_error", RuntimeError("listener"))],
    )
    execution, _ = run(lite, step)

    assert "RuntimeError: listener" == failure(execution)


def test_skipped_reads_and_items_are_dropped_and_recorded_with_their_chunk(
    node: Node, events: Events
) -> None:
    """S117: the chunk goes on, nothing rolls back; what rolls back later takes its skips along."""
    with transactions(events):
        execution, recorded = run(
            node,
            heard(
                events,
                5,
                reader=Source(events, 5, faulty=[2]),
                processor=Through(events, raises_at(4)),
                chunk_size=3,
                skip=Skip(Wrong),
            ),
        )
        story = work(events.take())
        broken, _ = run(
            node,
            heard(
                events,
                5,
                reader=Source(events, 5, faulty=[2]),
                writer=Sink(events, _raise),
                skip=Skip(Wrong, limit=1),
            ),
            name="rolls-back",
        )

    assert (
        expected(
            """
            open_reader:None open_writer:None
            [ r p r! on_read_error:'2' on_skip_read_item:'2' r p
              r p! on_process_error:4:'4' on_skip_process_item:4:'4' B w2 ] C
            [ r p r0 B w1 ] C
            close_writer close_reader
            """
        )
        == story
    )
    assert {
        "read": 4,
        "write": 3,
        "commit": 2,
        "read_skip": 1,
        "process_skip": 1,
    } == counts(recorded)
    assert [("read", 2, None, "Wrong"), ("process", 4, "4", "Wrong")] == _told(node, execution)
    assert [] == skips(node, broken)


def test_nothing_is_open_when_a_failed_write_is_told(node: Node, events: Events) -> None:
    """S118: the transaction is undone and the gate released before any further callback."""

    class Writing:
        def on_write_error(self, items: list[int], error: Exception) -> None:
            with node.database.write() as transaction:  # It would wait for itself.
                transaction.connection.execute("INSERT INTO out (n) VALUES (-1)")

    step = chunks(
        events,
        2,
        writer=Sink(events, raises_at(2)),
        skip=Skip(Wrong),
        write_skip="chunk",
        listeners=[Writing()],
    )
    _, recorded = run(node, step)

    assert [-1] == out(node)
    assert {"read": 2, "commit": 1, "write_skip": 1} == counts(recorded)


class Commits:
    """Makes the next ``failures`` commits behind a write fail, as a constraint at COMMIT does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
        self.failures = 0
        leave = Transaction.__exit__

        def end(transaction: Transaction, kind: Any, error: Any, trace: Any) -> None:
            if kind is None and self.failures:
                self.failures -= 1
                refused = ConstraintViolation("refused at commit")
                leave(transaction, ConstraintViolation, refused, None)
                raise refused
            leave(transaction, kind, error, trace)

        monkeypatch.setattr(Transaction, "__exit__", end)
        self._planned = failures

    def begin(self, items: list[int]) -> None:
        self.failures, self._planned = self._planned, 0


def test_a_failed_commit_is_like_a_failed_write(
    node: Node, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S120: on_write_error, filters, limits; skipped, or retried in place, or the step fails."""

    def step(**options: Any) -> ChunkStep[Any, Any]:
        commits = Commits(monkeypatch, 1)
        return heard(events, 3, chunk_size=2, writer=Sink(events, commits.begin), **options)

    told = "on_write_error:[1,2]:'refusedatcommit'"
    failed, _ = run(node, step(), name="fails")
    assert f"[ r p r p w2 ] {told} close_writer".split() == work(events.take())[2:-2]
    assert failure(failed).startswith("ConstraintViolation")

    in_place = Retry(ConstraintViolation, limit=1, no_rollback=(ConstraintViolation,))
    _, retried = run(node, step(retry=in_place), name="retried")
    story = work(events.take())
    assert [1, 2, 3] == out(node)
    assert {"read": 3, "write": 3, "commit": 2} == counts(retried)
    error = "'refusedatcommit'"
    assert (
        f"w2 ] {told} on_retry_write_exception:[1,2]:{error} w2 ]".split()
        == story[story.index("w2") :][:6]
    )

    _, dropped = run(node, step(skip=Skip(ConstraintViolation), write_skip="chunk"), name="dropped")
    assert {"read": 3, "write": 1, "commit": 2, "write_skip": 1} == counts(dropped)

    _, scanned = run(node, step(skip=Skip(ConstraintViolation)), name="scanned")
    assert {"read": 3, "write": 3, "commit": 3, "rollback": 1} == counts(scanned)


def test_a_commit_of_an_empty_list_that_fails_can_be_retried_but_not_skipped(
    lite: Node, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S120, S98: there is nothing to drop; it must not go on for ever."""

    def step(**options: Any) -> ChunkStep[Any, Any]:
        commits = Commits(monkeypatch, 1)
        processor = lambda n: commits.begin([]) or None
        return heard(events, 1, processor=processor, skip=Skip(ConstraintViolation), **options)

    failed, _ = run(lite, step(), name="a")
    repeated, recorded = run(lite, step(retry=Retry(ConstraintViolation, limit=1)), name="b")

    assert failure(failed).startswith("ConstraintViolation")
    assert BatchStatus.COMPLETED is repeated.batch_status
    assert {"read": 1, "filter": 1, "commit": 2, "rollback": 1} == counts(recorded)


@pytest.mark.parametrize("phase", ["read", "process", "write"])
def test_a_retry_without_rollback_repeats_the_operation(
    node: Node, events: Events, phase: str
) -> None:
    """S121: read again, process the same item, write the same list, in the same chunk."""

    class Stubborn(Source):
        """Gives the same number again after a fault."""

        left = 2

        def read(self) -> int | None:
            if phase == "read" and self.at == 1 and Stubborn.left:
                Stubborn.left -= 1
                self.events.add("r!")
                raise Wrong("again")
            return super().read()

    Stubborn.left = 2
    step = heard(
        events,
        3,
        reader=Stubborn(events, 3),
        processor=Through(events, raises_at(2, times=2) if phase == "process" else lambda n: n),
        writer=Sink(events, raises_at(2, times=2) if phase == "write" else lambda items: None),
        retry=Retry(Wrong, limit=2, no_rollback=(Wrong,)),
    )
    with transactions(events):
        execution, recorded = run(node, step)

    told = {
        "read": "on_read_error:'again' on_retry_read_exception:'again'",
        "process": "on_process_error:2:'2' on_retry_process_exception:2:'2'",
        "write": "on_write_error:[1,2,3]:'2' on_retry_write_exception:[1,2,3]:'2'",
    }[phase]
    story = {
        "read": f"[ r p r! {told} r! {told} r p r p r0 B w3 ] C",
        "process": f"[ r p r p! {told} p! {told} p r p r0 B w3 ] C",
        "write": f"[ r p r p r p r0 B w3! U {told} B w3! U {told} B w3 ] C",
    }[phase]
    assert BatchStatus.COMPLETED is execution.batch_status
    assert expected(f"open_reader:None open_writer:None {story} close_writer close_reader") == work(
        events
    )
    assert ({"read": 3, "write": 3, "commit": 1}, [1, 2, 3]) == (counts(recorded), out(node))


def test_no_rollback_means_nothing_for_what_is_not_retried(node: Node, events: Events) -> None:
    """S121, S130: a skipped write is scanned all the same."""
    step = heard(
        events,
        3,
        writer=Sink(events, raises_at(2)),
        skip=Skip(Wrong),
        retry=Retry(Worse, limit=1, no_rollback=(Wrong,)),
    )
    _, recorded = run(node, step)

    assert {
        "read": 3,
        "write": 2,
        "commit": 4,
        "rollback": 1,
        "write_skip": 1,
    } == counts(recorded)
    assert [1, 3] == out(node)


def test_a_retry_with_rollback_opens_at_the_last_commit(node: Node, events: Events) -> None:
    """S122, S126, S131: the window is as long as the failed chunk's read attempts; None is none."""
    step = heard(
        events,
        7,
        reader=Source(events, 7, faulty=[6]),
        writer=Sink(events, raises_at(7, times=1)),
        chunk_size=4,
        skip=Skip(Wrong, exclude=(Worse,)),
        retry=None,
        write_skip="item",
    )
    with transactions(events):
        _, recorded = run(node, step)

    assert expected(
        """
            open_reader:None open_writer:None
            [ r p r p r p r p B w4 ] C
            [ r p r! on_read_error:'6' on_skip_read_item:'6' r p r0 B w2! U
                on_write_error:[5,7]:'7' close_writer close_reader on_error:'7'
            open_reader:4 open_writer:4
            [ r p B w1 ] C
            [ r! on_read_error:'6' on_skip_read_item:'6' B ] C
            [ r p B w1 ] C
            [ r0 B ] C
            close_writer close_reader
            """
    ) == work(events)
    assert {
        "read": 6,
        "write": 6,
        "commit": 5,
        "rollback": 1,
        "read_skip": 1,
    } == counts(recorded)


def test_a_rollback_inside_the_window_keeps_the_rest_of_it(node: Node, events: Events) -> None:
    """S126: it reopens at the last mini-chunk; afterwards chunks have their size again."""
    step = heard(
        events,
        8,
        processor=Through(events, raises_at(3, times=2)),
        chunk_size=4,
        retry=Retry(Wrong, limit=5),
    )
    with transactions(events):
        _, recorded = run(node, step)

    failed = "on_process_error:3:'3' on_retry_process_exception:3:'3'"
    closed = "close_writer close_reader on_error:'3'"
    assert expected(
        f"""
            open_reader:None open_writer:None
            [ r p r p r p! {failed} {closed} open_reader:None open_writer:None
            [ r p B w1 ] C [ r p B w1 ] C
            [ r p! {failed} {closed} open_reader:2 open_writer:2
            [ r p B w1 ] C
            [ r p r p r p r p B w4 ] C
            [ r p r0 B w1 ] C
            close_writer close_reader
            """
    ) == work(events)
    assert {"read": 8, "write": 8, "commit": 5, "rollback": 2} == counts(recorded)


def test_the_policy_is_not_asked_in_the_window(lite: Node, events: Events) -> None:
    """S126: neither a custom algorithm nor size."""

    class Every2:
        asked = 0

        def begin_checkpoint(self) -> None:
            events.add("begin")

        def is_ready_to_checkpoint(self) -> bool:
            self.asked += 1
            events.add("ready?")
            return self.asked % 2 == 0

    step = heard(
        events,
        3,
        checkpoint=Every2(),
        processor=Through(events, raises_at(2, times=1)),
        retry=Retry(Wrong, limit=1),
    )
    run(lite, step)

    # The item that failed was not asked for; the third is the second that is.
    story = work(events)
    assert (
        expected(
            "[ r p w1 ] [ r p w1 ] begin [ r p ready? w1 ] begin [ r0 ] close_writer close_reader"
        )
        == story[story.index("on_error:'2'") + 3 :]
    )


@pytest.mark.parametrize(("in_place", "waits"), [(True, [1.0, 2.0, 3.0]), (False, [1.0, 2.0, 3.0])])
def test_a_backoff_is_waited_outside_of_any_transaction(
    lite: Node, events: Events, clock: FrozenClock, in_place: bool, waits: list[float]
) -> None:
    """S123."""
    waited: list[float] = []

    def wait(event: Event, timeout_s: float | None) -> bool:
        if timeout_s in (1.0, 2.0, 3.0):
            waited.append(timeout_s)
            with lite.database.write():  # It would wait for itself.
                clock.advance(timeout_s)
        else:
            Event.wait(event, timeout_s)
        return event.is_set()

    clock.wait = wait  # type: ignore[method-assign]
    step = heard(
        events,
        1,
        writer=Sink(events, raises_at(1, times=3)),
        retry=Retry(Wrong, limit=3, backoff=float, no_rollback=(Wrong,) if in_place else ()),
    )
    execution, _ = run(lite, step)

    assert (BatchStatus.COMPLETED, waits) == (execution.batch_status, waited)


@pytest.mark.parametrize("where", ["open", "close"])
def test_an_exception_of_open_or_close_during_a_rewind_fails_the_step(
    lite: Node, events: Events, where: str
) -> None:
    """S127: it is not secondary; what is open is closed once."""

    class Breaking(Source):
        opened = 0

        def open(self, checkpoint: Any) -> None:
            super().open(checkpoint)
            self.opened += 1
            if where == "open" and self.opened == 2:
                raise RuntimeError("open")

        def close(self) -> None:
            super().close()
            if where == "close":
                raise RuntimeError("close")

    step = heard(
        events,
        2,
        reader=Breaking(events, 2),
        processor=Through(events, raises_at(2)),
        retry=Retry(Exception, limit=5),
    )
    execution, recorded = run(lite, step)

    assert f"RuntimeError: {where}" == failure(execution)
    assert {"rollback": 1} == counts(recorded)
    assert (1, 1) == (events.count("close_writer"), events.count("close_reader"))


def test_in_item_mode_only_what_fails_alone_is_lost(node: Node, events: Events) -> None:
    """S130: on_skip_write_item once a lost item; no retry is counted for the scan."""
    step = heard(
        events,
        6,
        writer=Sink(events, raises_at(2, 5)),
        chunk_size=6,
        skip=Skip(Wrong, limit=2),
    )
    _, recorded = run(node, step)

    assert [1, 3, 4, 6] == out(node)
    assert [f"on_skip_write_item:[{n}]:'{n}'" for n in (2, 5)] == [
        event for event in events if event.startswith("on_skip")
    ]
    assert {
        "read": 6,
        "write": 4,
        "commit": 7,
        "rollback": 1,
        "write_skip": 2,
    } == counts(recorded)


@pytest.mark.parametrize("mode", ["item", "chunk"])
def test_a_list_of_one_item_has_failed_alone_and_is_dropped_in_place(
    node: Node, events: Events, mode: Any
) -> None:
    """S130: both modes; nothing rolls back."""
    step = heard(
        events,
        2,
        writer=Sink(events, raises_at(1)),
        chunk_size=1,
        skip=Skip(Wrong),
        write_skip=mode,
    )
    _, recorded = run(node, step)

    assert ([2], {"read": 2, "write": 1, "commit": 3, "write_skip": 1}) == (
        out(node),
        counts(recorded),
    )


def test_a_used_up_limit_fails_the_step_without_a_window(lite: Node, events: Events) -> None:
    """S130."""
    step = heard(events, 3, writer=Sink(events, raises_at(2)), skip=Skip(Wrong, limit=0))
    _, recorded = run(lite, step)

    assert (1, {"rollback": 1}) == (events.count("open_reader:None"), counts(recorded))


def test_a_retryable_write_is_retried_before_it_is_skipped(node: Node, events: Events) -> None:
    """S115: retry first in a normal chunk, skip first in the window."""
    step = heard(
        events,
        3,
        writer=Sink(events, raises_at(2)),
        skip=Skip(Wrong),
        retry=Retry(Wrong, limit=5),
    )
    run(node, step)

    assert ["on_retry_write_exception:[1,2,3]:'2'", "on_skip_write_item:[2]:'2'"] == [
        event for event in events if event.startswith(("on_skip", "on_retry"))
    ]
    assert [1, 3] == out(node)


def test_in_the_window_an_item_is_retried_when_it_must_not_be_skipped(
    node: Node, events: Events
) -> None:
    """S115, the last line: skip is used up, so retry; then the failure path."""
    step = heard(
        events,
        2,
        processor=Through(events, raises_at(1, times=3)),
        skip=Skip(Wrong, limit=0),
        retry=Retry(Wrong, limit=3),
    )
    execution, recorded = run(node, step)

    assert BatchStatus.COMPLETED is execution.batch_status
    assert {"read": 2, "write": 2, "commit": 2, "rollback": 3} == counts(recorded)


def test_a_writer_may_isolate_items_itself(node: Node, events: Events) -> None:
    """S196: its report is what counts; no limit, no listener; None is the whole list."""
    reports: list[Any] = [WriteReport(written=1, skipped=2), None]
    step = heard(
        events, 6, writer=lambda items: reports.pop(0), chunk_size=3, skip=Skip(Wrong, limit=1)
    )
    execution, recorded = run(node, step)

    assert {"read": 6, "write": 4, "commit": 3, "write_skip": 2} == counts(recorded)
    assert not [event for event in events if event.startswith("on_skip")]
    assert [] == skips(node, execution)


# --- metrics --------------------------------------------------------------------------------------


def test_all_metrics_are_seen_in_after_step_and_on_the_record(node: Node, events: Events) -> None:
    """S132: on every kind of step."""
    seen: list[Any] = []

    class Last:
        def after_step(self, step: Any) -> None:
            seen.append((step.step_name, dict(vars(step.metrics))))

    from stepwell import Job, TaskletStep

    load = ChunkStep("load", range(3), None, lambda items: None, listeners=[Last()])
    call = TaskletStep("call", lambda: None, listeners=[Last()])
    parts = PartitionedStep("parts", [1, 2], load, listeners=[Last()])
    execution = node.operator.run(Job("all", steps=[load, call, parts]))

    steps = node.operator.get_step_executions(execution.execution_id)
    assert [(s.step_name, dict(vars(s.metrics))) for s in steps] == [
        entry for entry in seen if entry in seen[:2] or entry[0] == "parts"
    ]
    none = dict.fromkeys(seen[0][1], 0)
    assert 8 == len(none)
    assert none == seen[1][1]
    assert {**none, "read_count": 6, "write_count": 6, "commit_count": 2} == dict(
        vars(steps[2].metrics)
    )


def test_counters_hold_committed_chunks_only(node: Node, events: Events) -> None:
    """S133: a rollback restores all of them but rollback_count."""

    def change(n: int) -> int | None:
        if n == 5:
            raise Wrong
        if n == 4:
            raise Worse
        return None if n == 3 else n

    step = heard(
        events,
        6,
        reader=Source(events, 6, faulty=[6]),
        processor=Through(events, change),
        chunk_size=2,
        skip=Skip(Worse),
    )
    _, recorded = run(node, step)

    assert {
        "read": 4,
        "write": 2,
        "filter": 1,
        "commit": 2,
        "process_skip": 1,
        "rollback": 1,
    } == counts(recorded)


def test_a_partitioned_chunk_step_sums_its_partitions_of_this_execution(
    node: Node, events: Events
) -> None:
    """S134: also of those that failed, as they were committed last; a restart counts anew."""
    broken = [True]

    def change(n: int) -> int:
        if n == 5 and broken:
            broken.clear()
            raise Wrong
        return n

    inner = heard(events, 6, processor=Through(events, change), chunk_size=2)
    step = PartitionedStep("parts", [0, 1], inner, executor="inline")
    _, first = run(node, step)
    _, second = run(node, step)

    assert {"read": 10, "write": 10, "commit": 6, "rollback": 1} == counts(first)
    assert [
        {"read": 4, "write": 4, "commit": 2, "rollback": 1},
        {"read": 6, "write": 6, "commit": 4},
    ] == [counts(attempt) for attempt in attempts(node, first)]
    assert {"read": 2, "write": 2, "commit": 2} == counts(second)
