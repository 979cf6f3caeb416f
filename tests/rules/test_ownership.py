"""Section 4, rule by rule: records, transactions, ownership.

What needs many databases, dying processes or both owners of one row stands in tests/conformance and
tests/crash; here is what one owner does and does not do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import patch

import pytest

from stepwell import BatchStatus, ChunkStep, MigrationTasklet, Node, Repeat, StepContext
from stepwell.errors import (
    CannotOpenDatabase,
    ConnectionLost,
    JobExecutionAlreadyRunning,
    JobExecutionIsRunning,
    JobRestartError,
    JobStartError,
    LostOwnership,
    StepwellError,
)
from stepwell.execution.records import JobExecution
from stepwell.runner.running import RunningExecution
from stepwell.runner.stop import UNBORN_S
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    ended,
    execute,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    until,
    waiting,
)
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
)

FAILED, COMPLETED, STOPPED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.STOPPED


@pytest.fixture
def walk() -> Walk:
    return Walk()


def records(node: Node) -> list[tuple[Any, ...]]:
    return rows(node, "SELECT status, version, fence, owner_id FROM batch_job_execution")


# --- S22: records before work -------------------------------------------------------------------


def test_the_execution_is_recorded_before_start_returns(any_node: Node, any_other: Node) -> None:
    """S22, S29: STARTING, owned at birth, fence 1. Method: nobody begins it."""
    with patch("stepwell.runner.background.Thread"):
        started = any_node.operator.start(tasklet_job("billing", nothing))
    record = any_other.operator.get_job_execution(started)
    registered = waiting(any_node, "report")

    assert (BatchStatus.STARTING, 1) == (record.batch_status, record.fence)
    assert record.owner_id is not None
    assert (BatchStatus.STARTING, 0, None) == (
        registered.batch_status,
        registered.fence,
        registered.owner_id,
    )
    any_node.operator._runner._running.clear()
    any_other.operator.recover(started, force=True, reason="the test")


def test_the_step_is_recorded_before_any_of_its_code(any_node: Node) -> None:
    """S22: at version 0, before its artifacts are made and before before_step."""
    seen: list[Any] = []

    class Listener:
        def create_artifact(self, scope: Any) -> Listener:
            seen.append(rows(any_node, "SELECT status, version FROM batch_step_execution"))
            return self

        def before_step(self) -> None:
            seen.append(rows(any_node, "SELECT status, version FROM batch_step_execution"))

    run(any_node, Walk().step("a", listeners=[Listener()]))

    assert 2 * [[("STARTED", 0)]] == seen


def test_a_step_that_cannot_be_recorded_does_not_run(
    any_node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """S22: logged with the step's name; the job ends FAILED with the error as its outcome."""
    walk = Walk()
    lost = ConnectionLost("cannot write: the connection was lost", fields={})
    with patch.object(any_node.repository, "start_step", side_effect=lost):
        execution = run(any_node, walk.step("a", listeners=[Heard(walk, "x")]), walk.step("b"))

    assert ([], FAILED, lost) == (walk, execution.batch_status, execution.exception)
    assert [] == steps(any_node, execution)
    assert "cannot insert step 'a' of execution 1, its code was not called" in caplog.text


# --- S24: after a row was changed under the same fence ------------------------------------------


@pytest.mark.parametrize("table", ["batch_step_execution", "batch_job_execution"])
@pytest.mark.parametrize("where", ["work", "after_job"])
def test_the_failure_path_reads_a_version_once_more(table: str, where: str, any_node: Node) -> None:
    """S24, S23. Method: somebody's SQL raises the version; the fence stays."""

    def meddle() -> None:
        execute(any_node, f"UPDATE {table} SET version = version + 1")

    class Listener:
        def after_job(self) -> None:
            if where == "after_job":
                meddle()

    walk = Walk()
    step = walk.step("a", lambda s: meddle() if where == "work" else None)
    execution = run(any_node, step, listeners=[Listener()])

    if (table, where) == ("batch_step_execution", "after_job"):
        assert COMPLETED is execution.batch_status  # Nobody writes that row any more.
        return
    assert execution.failure is not None
    assert (FAILED, "OptimisticLockingFailure") == (execution.batch_status, execution.failure.type)
    assert [FAILED if where == "work" else COMPLETED] == [
        s.batch_status for s in steps_of(any_node, execution)
    ]


def test_a_row_that_moves_again_is_a_stray_which_its_owner_settles(any_node: Node) -> None:
    """S24, S190. Method: the second look does not see the change either."""

    def meddle(step: StepContext) -> None:
        execute(any_node, "UPDATE batch_step_execution SET version = version + 1")

    with (
        patch.object(RunningExecution, "refresh"),
        pytest.raises(StepwellError),
    ):
        run(any_node, Walk().step("a", meddle))
    settled = until_ended(any_node, 1)

    assert (FAILED, 2) == (settled.batch_status, settled.fence)
    assert settled.failure is not None
    assert "OptimisticLockingFailure" == settled.failure.type
    assert [("a", FAILED, "FAILED")] == steps(any_node, settled)


def until_ended(node: Node, execution_id: int) -> JobExecution:
    """The execution once the watcher has settled it; the frozen clock is let on."""

    def has_ended() -> bool:
        clock = node.clock
        assert isinstance(clock, FrozenClock)
        clock.advance(1)
        return not node.operator.get_job_execution(execution_id).batch_status.is_running

    until(has_ended)
    return node.operator.get_job_execution(execution_id)


# --- S25: after lost ownership ------------------------------------------------------------------


@pytest.mark.parametrize("where", ["before_step", "after_step", "after_job", "between"])
def test_lost_ownership_ends_the_run_wherever_it_is_noticed(
    where: str, any_node: Node, any_other: Node
) -> None:
    """S25: no further listener, nothing more is written, it raises to its caller."""
    walk = Walk()

    class Listener:
        def __getattr__(self, name: str) -> Callable[[Any], None]:
            if name != where:
                raise AttributeError(name)
            return self._recover

        def _recover(self, context: Any) -> None:
            any_other.operator.recover(context.execution_id, force=True, reason="the test")

    listener = Listener()
    between = walk.step("between", listener._recover if where == "between" else None)
    a = walk.step("a", listeners=[Heard(walk, "heard"), listener])
    first = between if where == "between" else a
    with pytest.raises(LostOwnership):
        run(any_node, first, walk.step("z"), listeners=[listener])
    record = any_node.operator.get_job_execution(1)

    assert (FAILED, 2) == (record.batch_status, record.fence)
    assert [] == [one for one in walk if one in ("b", "after_job heard")]
    assert ("z" in walk) is (where == "after_job")
    assert 1 == len(
        rows(
            any_node,
            "SELECT 1 FROM batch_status_history WHERE to_status = 'FAILED'"
            " AND step_execution_id IS NULL",
        )
    )


def test_reader_and_writer_are_closed_after_lost_ownership(any_node: Node, any_other: Node) -> None:
    """S25, S35: the chunk rolls back with what it wrote."""
    execute(any_node, "CREATE TABLE made (id INTEGER)")
    closed: list[str] = []

    class Reader:
        def open(self, checkpoint: Any) -> None:
            self.left = 3

        def read(self) -> int | None:
            self.left -= 1
            return self.left if self.left >= 0 else None

        def checkpoint(self) -> int:
            return self.left

        def close(self) -> None:
            closed.append("reader")

    class Writer:
        def open(self, checkpoint: Any) -> None:
            """It has no position."""

        def write(self, items: list[int], step: StepContext) -> None:
            inserts(items, step)

        def checkpoint(self) -> None:
            """It has no position."""

        def close(self) -> None:
            closed.append("writer")

    def recover(item: int) -> int:
        if item == 0:
            any_other.operator.recover(1, force=True, reason="the test")
        return item

    with pytest.raises(LostOwnership):
        run(any_node, ChunkStep("load", Reader(), recover, Writer(), chunk_size=2))

    assert ["writer", "reader"] == closed
    assert [(2,), (1,)] == rows(any_node, "SELECT id FROM made")


# --- S26: one transaction per fact --------------------------------------------------------------


def test_each_fact_is_one_transaction(any_node: Node, walk: Walk) -> None:
    """S26. Method: after each commit somebody looks at everything; it all fits together."""
    broken: list[Any] = []
    commits: list[str] = []
    dialect = any_node.database.dialect
    commit = dialect.commit

    def looks(connection: Any, what: str) -> None:
        commit(connection, what)
        commits.append(what)
        broken.extend(findings(any_node))

    def process(step: StepContext) -> Any:
        step.context["n"] = step.context.get("n", 0) + 1
        return Repeat if step.context["n"] == 1 else "DONE"

    with patch.object(dialect, "commit", looks):
        run(any_node, walk.step("a", process), walk.step("b", ValueError()))

    assert [] == broken
    # Owner, birth, STARTED; two a step and one for Repeat; the end.
    assert 3 + 2 + 1 + 2 + 1 == len(commits)


# --- S28: everything is JSON --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ({"a": [1, {"b": object()}]}, "cannot store the step's context at ['a'][1]['b']: object"),
        ({1: "x"}, "the key 1 is no string"),
        ({"x": float("nan")}, "at ['x']: nan is no JSON number"),
        ({"x": b"bytes"}, "at ['x']: bytes is no JSON type"),
    ],
)
def test_a_value_that_is_not_json_fails_the_step_with_its_path(
    value: Any, fact: str, any_node: Node
) -> None:
    """S28. What was stored before stays; the job's listeners hear of it as ever."""
    walk = Walk()

    def process(step: StepContext) -> None:
        step.context = value

    execution = run(
        any_node,
        walk.step("a", process, transitions=[on_failed("b")]),
        walk.step("b"),
        listeners=[Heard(walk, "job")],
    )
    failure = steps_of(any_node, execution)[0].failure

    assert failure is not None
    assert ("ValueNotJson", True) == (failure.type, fact in failure.message)
    assert ["before_job job", "a", "b", "after_job job"] == walk


def on_failed(to: str) -> Any:
    from stepwell import on

    return on("FAILED").to(to)


def test_no_module_can_pickle() -> None:
    """S28: nothing of the package imports pickle. (tests/tidy keeps it so.)"""
    import stepwell

    package = Path(stepwell.__file__).parent
    importing = [
        path.name
        for path in package.rglob("*.py")
        if any(
            line.strip().startswith(("import pickle", "from pickle"))
            for line in path.read_text("utf-8").splitlines()
        )
    ]

    assert [] == importing


# --- S29 to S32: who writes what ----------------------------------------------------------------


def test_everybody_else_writes_request_rows(any_node: Node, any_other: Node) -> None:
    """S29, S30, S175: the status is the owner's; the row tells who asked, why, and when taken."""
    record = owned(any_node, "billing", BatchStatus.STARTED)
    any_other.operator.stop(record.execution_id, actor="anna", reason="too slow")
    asked = rows(any_node, "SELECT kind, actor, reason, taken_at FROM batch_request")
    untouched = records(any_node)
    running = RunningExecution(any_node.repository, record)
    running.read_requests()
    taken = rows(any_node, "SELECT taken_at IS NOT NULL, late FROM batch_request")

    assert [("stop", "anna", "too slow", None)] == asked
    assert [("STARTED", record.version, 1, record.owner_id)] == untouched
    assert (BatchStatus.STOPPING, [(True, False)]) == (
        running.job.batch_status,
        [(bool(t), bool(late)) for t, late in taken],
    )
    assert (None, "STARTED", "STOPPING", "anna", "too slow") == statuses(any_node, 1)[-1]


def test_where_nobody_reads_the_caller_takes_the_execution(any_node: Node) -> None:
    """S30: fence + 1, the request taken, one transaction; ended, or waiting without an owner."""
    waits = waiting(any_node, "waits")
    stopped = any_node.operator.stop(waits.execution_id, actor="anna", reason="no")
    failed = ended(any_node, "failed", FAILED)
    abandoned = any_node.operator.abandon(failed.execution_id, actor="anna", reason="old")

    assert [("STOPPED", 1), ("ABANDONED", 2)] == [
        (e.batch_status, e.fence) for e in (stopped, abandoned)
    ]
    assert [("STOPPED", 1), ("ABANDONED", 2)] == [row[::2] for row in records(any_node)]
    assert [("stop", True), ("abandon", True)] == [
        (kind, bool(taken))
        for kind, taken in rows(
            any_node,
            "SELECT kind, taken_at IS NOT NULL FROM batch_request ORDER BY request_id",
        )
    ]
    assert [
        (None, "FAILED", "ABANDONED", "anna", "old"),
    ] == statuses(any_node, failed.execution_id)[-1:]


@pytest.mark.parametrize("by", ["same process", "another owner"])
def test_a_watcher_reads_requests_while_a_tasklet_runs(
    by: str, any_node: Node, any_other: Node
) -> None:
    """S31, S136: STOPPING first, then stop(); a caller in the same process wakes it at once."""
    seen: list[str] = []

    class Tasklet:
        def __init__(self) -> None:
            self.told, self.begun = Event(), Event()

        def process(self) -> str:
            self.begun.set()
            assert self.told.wait(WITHIN_S)
            return "KEPT"

        def stop(self) -> None:
            seen.extend(row[0] for row in rows(any_node, "SELECT status FROM batch_step_execution"))
            seen.extend(row[0] for row in records(any_node))
            self.told.set()

    tasklet = Tasklet()
    job = job_of(replaced(tasklet))
    execution_id = any_node.operator.start(job)
    assert tasklet.begun.wait(WITHIN_S)
    asker = any_node if by == "same process" else any_other
    asker.operator.stop(execution_id)
    while by == "another owner" and not tasklet.told.wait(0.005):
        any_node.clock.advance(1)  # type: ignore[attr-defined]
    ended = any_node.operator.wait(execution_id, WITHIN_S)

    assert ended is not None
    assert ((STOPPED, "STOPPED"), [("a", STOPPED, "KEPT")]) == (ends(ended), steps(any_node, ended))
    assert ["STOPPING", "STOPPING"] == seen


def replaced(tasklet: Any) -> Any:
    from stepwell import TaskletStep

    return TaskletStep("a", tasklet)


def test_a_priority_changes_the_place_of_what_is_not_handed_out_yet(any_node: Node) -> None:
    """S32, S30, S175: of one that waits at once; of one that runs it is asked for."""
    waits = waiting(any_node, "waits")
    runs = owned(any_node, "runs", BatchStatus.STARTED)
    any_node.operator.set_priority(waits.execution_id, 5, actor="anna", reason="urgent")
    any_node.operator.set_priority(runs.execution_id, 7)

    priorities = "SELECT priority, status, version FROM batch_job_execution ORDER BY 1 DESC"
    assert [(5, "STARTING", 1), (0, "STARTED", 1)] == rows(any_node, priorities)
    assert [("priority", 5, "anna", "urgent", True), ("priority", 7, "operator", None, False)] == [
        (*row[:4], bool(row[4]))
        for row in rows(
            any_node,
            "SELECT kind, value, actor, reason, taken_at IS NOT NULL FROM batch_request"
            " ORDER BY request_id",
        )
    ]
    assert not any_node.operator.get_job_execution(runs.execution_id).stop_requested
    RunningExecution(any_node.repository, runs).end(
        batch_status=COMPLETED, result="COMPLETED", exit_status="COMPLETED"
    )


# --- S33, S34, S188, S189: recovery -------------------------------------------------------------


def test_recovery_needs_proof_and_settles_everything_in_one_transaction(
    any_node: Node, any_other: Node
) -> None:
    """S33, S34: what was committed stays; the exit status that was stored is kept."""

    def process(item: int) -> int:
        if item == 5:
            raise KeyboardInterrupt
        return item

    load = ChunkStep("load", range(1, 9), process, list, chunk_size=2)
    with (
        patch.object(any_node.repository, "end_step", side_effect=LostOwnership("gone")),
        pytest.raises(LostOwnership),
    ):
        run(any_node, load)
    owner = any_node.operator.get_job_execution(1).owner_id
    any_other.operator.stop(1)
    with pytest.raises(JobExecutionIsRunning) as refused:
        any_other.operator.recover(1)
    any_node.database.liveness.release(owner or 0)
    recovered = any_other.operator.recover(1, actor="anna")
    (step,) = any_other.operator.get_step_executions(1)

    assert f"pid {__import__('os').getpid()}" in refused.value.message
    assert recovered.failure is not None
    assert (FAILED, "FAILED", 2, "OwnerDied") == (
        recovered.batch_status,
        recovered.exit_status,
        recovered.fence,
        recovered.failure.type,
    )
    assert (FAILED, "FAILED", 2, 4, "3") == (
        step.batch_status,
        step.exit_status,
        step.fence,
        step.metrics.read_count,
        str(int(step.reader_checkpoint or 0) - 1),
    )
    assert recovered.end_time == step.end_time
    assert [(True,)] == [(bool(r[0]),) for r in rows(any_node, "SELECT late FROM batch_request")]
    assert 2 == sum(change[3] == "anna" for change in statuses(any_node, 1))


def test_the_library_recovers_nobody_by_itself(any_node: Node, any_other: Node) -> None:
    """S188: start, run and restart say that the owner is dead; recover_dead is the CLI's call."""
    dead = owned(any_other, "billing", BatchStatus.STARTED)
    any_other.database.liveness.release(dead.owner_id or 0)
    job = tasklet_job("billing", nothing)
    any_node.registry.add(job, origin="the test")
    for verb in (any_node.operator.start, any_node.operator.run):
        with pytest.raises(JobExecutionAlreadyRunning) as refused:
            verb(job)
        assert "its owner is dead" in refused.value.message
        assert "recover" in refused.value.hint
    with pytest.raises(JobRestartError) as refused_restart:
        any_node.operator.restart(dead.execution_id)
    assert "its owner is dead" in refused_restart.value.message
    still = records(any_node)
    recovered = any_node.operator.recover_dead()

    assert "STARTED" == still[0][0]
    assert [(dead.execution_id, FAILED)] == [(e.execution_id, e.batch_status) for e in recovered]
    assert COMPLETED is any_node.operator.run(job).batch_status


def test_force_needs_a_reason_and_does_without_proof(any_node: Node, any_other: Node) -> None:
    """S189: the reason goes to the history."""
    record = owned(any_node, "billing", BatchStatus.STARTED)
    with pytest.raises(JobStartError) as refused:
        any_other.operator.recover(record.execution_id, force=True)
    untouched = records(any_node)
    recovered = any_other.operator.recover(
        record.execution_id, force=True, actor="anna", reason="hangs"
    )

    assert "a reason is required" in refused.value.message
    assert "STARTED" == untouched[0][0]
    assert recovered.failure is not None
    assert (FAILED, "RecoveredByForce") == (recovered.batch_status, recovered.failure.type)
    assert (None, "STARTED", "FAILED", "anna", "hangs") == statuses(any_node, 1)[-1]


# --- S36: a crash inside the last listeners -----------------------------------------------------


def test_after_step_and_after_job_run_before_the_final_status_is_committed(
    any_node: Node,
) -> None:
    """S36: so a crash inside them leaves the row as it was."""
    seen: list[Any] = []

    class Listener:
        def after_step(self, step: StepContext) -> None:
            row = "SELECT status FROM batch_step_execution"
            seen.append((str(step.batch_status), *rows(any_node, row)[0]))

        def after_job(self, job: Any) -> None:
            seen.append((str(job.batch_status), records(any_node)[0][0]))

    listener = Listener()
    run(any_node, Walk().step("a", listeners=[listener]), listeners=[listener])

    assert [("COMPLETED", "STARTED"), ("COMPLETED", "STARTED")] == seen


# --- S37: a connection that is lost during COMMIT -----------------------------------------------


@pytest.fixture
def server(postgresql_database_url: str, clock: FrozenClock) -> Iterator[Node]:
    """PostgreSQL: on SQLite a COMMIT always has an outcome."""
    with Node.open(postgresql_database_url, clock=clock) as node:
        execute(node, "CREATE TABLE made (id INTEGER PRIMARY KEY)")
        yield node
        assert [] == findings(node)


@contextmanager
def loses_commit(node: Node, number: int, *, happens: bool) -> Iterator[list[str]]:
    """The ``number``-th commit from here on loses its connection, before or after it happens."""
    dialect: Any = node.database.dialect
    commit, seen = dialect.commit, []

    def unreliable(connection: Any, what: str) -> None:
        seen.append(what)
        if len(seen) == number:
            if happens:
                commit(connection, what)
            connection.raw.close()
            raise dialect._lost(what, during_commit=True)
        commit(connection, what)

    with patch.object(dialect, "commit", unreliable):
        yield seen


def inserts(items: list[int], step: StepContext) -> None:
    for item in items:
        step.connection.execute("INSERT INTO made VALUES (:id)", {"id": item})


SMALL = ChunkStep("load", range(1, 6), None, inserts, chunk_size=2)
# Owner and birth are the first two; then STARTED, the step, three chunks, its end, the job's end.
COMMITS = range(3, 10)


def made(node: Node) -> list[int]:
    return [row[0] for row in rows(node, "SELECT id FROM made ORDER BY id")]


def test_the_commits_of_the_small_job_are_the_ones_that_are_lost(server: Node) -> None:
    """Method of the next two: seven commits behind the birth."""
    with loses_commit(server, 99, happens=True) as seen:
        run(server, SMALL)

    assert COMMITS.stop - 1 == len(seen)


@pytest.mark.parametrize("number", COMMITS)
def test_a_commit_that_happened_is_found_to_have_happened(number: int, server: Node) -> None:
    """S37: the row has the new version; the job goes on as if nothing had been."""
    with loses_commit(server, number, happens=True):
        execution = run(server, SMALL)

    assert ((COMPLETED, "COMPLETED"), [1, 2, 3, 4, 5]) == (ends(execution), made(server))
    assert [5] == [s.metrics.write_count for s in steps_of(server, execution)]


@pytest.mark.parametrize("number", COMMITS)
def test_a_commit_that_did_not_happen_is_a_failed_commit(number: int, server: Node) -> None:
    """S37, S120: the row has the old version; the job FAILED, and its restart does the rest."""
    with loses_commit(server, number, happens=False):
        try:
            failed = run(server, SMALL)
        except ConnectionLost:  # Of the job's own begin or end: its owner settles it.
            failed = until_ended(server, 1)
    completed = server.operator.run("billing")

    assert failed.failure is not None
    assert (FAILED, "ConnectionLost") == (failed.batch_status, failed.failure.type)
    assert (COMPLETED, [1, 2, 3, 4, 5]) == (completed.batch_status, made(server))


def test_a_fence_that_has_moved_is_lost_ownership(server: Node) -> None:
    """S37, S25. Method: it is recovered while the connection is being lost."""
    dialect: Any = server.database.dialect
    lost = dialect._lost

    def recovers(what: str, *, during_commit: bool) -> ConnectionLost:
        until_released(server)
        with Node.open(server.database.url) as other:
            other.operator.recover(1, force=True, reason="the test")
        return lost(what, during_commit=during_commit)

    with (
        patch.object(dialect, "_lost", recovers),
        loses_commit(server, 5, happens=False),
        pytest.raises(LostOwnership),
    ):
        run(server, SMALL)

    assert FAILED is server.operator.get_job_execution(1).batch_status


def until_released(node: Node) -> None:
    """The server has noticed that the session is gone."""
    until(
        lambda: (
            not rows(
                node,
                "SELECT 1 FROM pg_locks l JOIN pg_class c ON l.relation = c.oid"
                " WHERE c.relname = 'made' AND l.pid <> pg_backend_pid()",
            )
        )
    )


@contextmanager
def down_with_the_lost_commit(node: Node) -> Iterator[None]:
    """From the lost commit on the server does not answer."""
    dialect: Any = node.database.dialect
    down = Event()
    lost, begin_write, begin_read = dialect._lost, dialect.begin_write, dialect.begin_read
    connect = dialect.connect

    def goes_down(what: str, *, during_commit: bool) -> ConnectionLost:
        down.set()
        return lost(what, during_commit=during_commit)

    def unless_down(function: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if down.is_set():
                raise CannotOpenDatabase("cannot open the database: the server is down")
            return function(*arguments, **options)

        return guarded

    with (
        patch.object(dialect, "_lost", goes_down),
        patch.object(dialect, "begin_write", unless_down(begin_write)),
        patch.object(dialect, "begin_read", unless_down(begin_read)),
        patch.object(dialect, "connect", unless_down(connect)),
    ):
        yield


@pytest.mark.parametrize("happens", [True, False])
def test_while_the_repository_does_not_answer_the_outcome_is_unknown(
    happens: bool, server: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """S37, S190: the object and the log say so; a terminal row stands, a running one is FAILED."""
    with (
        down_with_the_lost_commit(server),
        loses_commit(server, COMMITS.stop - 1, happens=happens),
        caplog.at_level(logging.ERROR),
    ):
        execution = run(server, SMALL)
    settled = until_ended(server, 1)

    assert BatchStatus.UNKNOWN is execution.batch_status
    assert "execution 1 is UNKNOWN" in caplog.text
    assert (COMPLETED if happens else FAILED) is settled.batch_status
    assert [1, 2, 3, 4, 5] == made(server)


# --- S37: the birth itself: no row is held yet that could tell ------------------------------------

BIRTH = 1  # The owner is registered when the first job runs.
KINDS: dict[str, dict[str, Any]] = {
    "parameters": {},
    "each-start": {"identity": "each-start", "run_lock": None},
    "locked": {"identity": "each-start", "run_lock": "job"},
}


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_birth_whose_answer_was_lost_happens_once(
    kind: str, happens: bool, server: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """S37, S7: the same is asked for again; where it was born that is refused because of it."""
    run(server, Walk().step("warm"), name="warm")
    with loses_commit(server, BIRTH, happens=happens), caplog.at_level(logging.WARNING):
        execution = run(server, SMALL, **KINDS[kind])

    assert ((COMPLETED, "COMPLETED"), [1, 2, 3, 4, 5]) == (ends(execution), made(server))
    assert ["warm", "billing"] == [row[1] for row in all_executions(server)]
    assert happens == ("its birth succeeded, the answer was lost" in caplog.text)


@pytest.mark.parametrize("happens", [True, False])
@pytest.mark.parametrize("again", ["start", "restart"])
def test_so_does_that_of_a_restart(again: str, happens: bool, server: Node) -> None:
    """S37, S62."""
    walk = Walk()
    failed = run(server, walk.step("a", ValueError()))
    define(server, job_of(walk.step("a")))
    with loses_commit(server, BIRTH, happens=happens):
        if again == "start":
            server.operator.run("billing")
        else:
            server.operator.wait(server.operator.restart(failed.execution_id))

    assert ["FAILED", "COMPLETED"] == [row[2] for row in all_executions(server)]
    assert ["a", "a"] == walk


@pytest.mark.parametrize("happens", [True, False])
def test_a_birth_that_nobody_can_tell_of_is_settled_when_the_repository_answers(
    happens: bool, server: Node, clock: FrozenClock
) -> None:
    """S37, S190: its caller is told its id; what was born is run by nobody, and so FAILED."""
    walk = Walk()
    run(server, walk.step("warm"), name="warm")
    with (
        down_with_the_lost_commit(server),
        loses_commit(server, BIRTH, happens=happens),
        pytest.raises(ConnectionLost) as lost,
    ):
        run(server, walk.step("a"))
    born = lost.value.fields["execution_id"]
    watcher = server.operator._runner._watcher
    if happens:
        until(lambda: clock.advance(1) or not watcher._strays)
    else:
        watcher.run_once()
        assert [born] == list(watcher._strays)  # The server may still be at it.
        clock.advance(UNBORN_S + 1)
        until(lambda: not watcher._strays)

    assert lost.value.fields["during_commit"]
    assert f"`stepwell status {born}` tells" in lost.value.hint
    rest = [(born, "billing", "FAILED")] if happens else []
    assert rest == all_executions(server)[1:]
    assert ["warm"] == walk
    assert COMPLETED is run(server, walk.step("a")).batch_status


def all_executions(node: Node) -> list[Any]:
    return rows(
        node,
        "SELECT execution_id, job_name, status FROM batch_job_execution_tracking"
        " ORDER BY execution_id",
    )


# --- S38: shutdown ------------------------------------------------------------------------------


def test_a_shutdown_asks_everything_that_runs_here_to_stop(any_node: Node) -> None:
    """S38: actor runner, reason shutdown; a restart goes on."""
    begun = Event()

    def process(step: StepContext) -> Any:
        begun.set()
        return Repeat

    execution_id = any_node.operator.start(job_of(Walk().step("a", process)))
    assert begun.wait(WITHIN_S)
    any_node.operator.request_shutdown()
    ended = any_node.operator.wait(execution_id, WITHIN_S)

    assert ended is not None
    assert STOPPED is ended.batch_status
    assert [("stop", "runner", "shutdown")] == rows(
        any_node, "SELECT kind, actor, reason FROM batch_request"
    )


# --- S187, S190 ---------------------------------------------------------------------------------


def test_steps_take_their_fence_from_the_execution(any_node: Node) -> None:
    """S187: and every insert by an owner shares a transaction with an update of its parent."""
    execution = run(any_node, Walk().step("a"), Walk().step("b"))

    assert [1, 1] == [s.fence for s in steps_of(any_node, execution)]
    # STARTED, two a step, COMPLETED: each raised the version.
    assert 6 == execution.version


def test_what_an_owner_does_not_run_does_not_stay_started(any_node: Node) -> None:
    """S190: the end could not be recorded; when it can be, it is, without anybody's help."""
    lost = ConnectionLost("cannot write: the connection was lost", fields={})
    with (
        patch.object(any_node.repository, "end_execution", side_effect=lost),
        pytest.raises(ConnectionLost),
    ):
        run(any_node, Walk().step("a"))
    settled = until_ended(any_node, 1)
    again = run_job(any_node, job_of(Walk().step("a")))

    assert settled.failure is not None
    assert (FAILED, "ConnectionLost") == (settled.batch_status, settled.failure.type)
    assert (None, "STARTED", "FAILED", "runner", lost.message) == statuses(any_node, 1)[-1]
    assert COMPLETED is again.batch_status


def test_a_stray_is_settled_when_the_node_is_closed(database_url: str, clock: FrozenClock) -> None:
    """S190: its owner has not ended while one of its rows runs."""
    lost = ConnectionLost("cannot write: the connection was lost", fields={})
    with Node.open(database_url, clock=clock) as node:
        node.operator._runner._watcher.watch()
        with (
            patch.object(node.operator._runner._watcher, "run_once"),
            patch.object(node.repository, "end_execution", side_effect=lost),
            pytest.raises(ConnectionLost),
        ):
            run(node, Walk().step("a"))
    with Node.open(database_url, clock=clock) as after:
        assert FAILED is after.operator.get_job_execution(1).batch_status
        assert [] == findings(after)


def test_a_restart_after_a_stray_goes_on(any_node: Node) -> None:
    """S34, S190: like any other FAILED execution."""
    walk = Walk()
    lost = ConnectionLost("cannot write: the connection was lost", fields={})
    job = job_of(walk.step("a"), walk.step("b"))
    with (
        patch.object(any_node.repository, "end_execution", side_effect=lost),
        pytest.raises(ConnectionLost),
    ):
        run_job(any_node, job)
    settled = until_ended(any_node, 1)
    completed = restart(any_node, settled)

    assert (["a", "b"], COMPLETED) == (walk, completed.batch_status)


# --- S199: whose tables -------------------------------------------------------------------------


def test_stepwells_tables_are_there_before_any_execution_and_the_tasklet_adds_only_yours(
    any_node: Node, tmp_path: Path
) -> None:
    """S199: a second run applies nothing."""
    (tmp_path / "001_first.sql").write_text("CREATE TABLE basket (id INTEGER PRIMARY KEY);")
    before = any_node.database.schema_version()
    tasklet = MigrationTasklet(tmp_path)
    runs = [run(any_node, replaced(tasklet), identity="each-start") for _ in range(2)]
    mine = rows(any_node, "SELECT name FROM applied_migration")

    assert before is not None
    assert before == any_node.database.schema_version()
    assert [[("a", COMPLETED, "MIGRATED")], [("a", COMPLETED, "UP TO DATE")]] == [
        steps(any_node, execution) for execution in runs
    ]
    assert ([("001_first.sql",)], []) == (mine, rows(any_node, "SELECT id FROM basket"))
