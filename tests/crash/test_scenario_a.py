"""T5: the first run on a database that is missing, empty, or somebody else's (scenario A)."""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from stepwell import BatchStatus, Job, Node, StepContext, TaskletStep
from stepwell.errors import DatabaseBusy, DatabaseError, DatabaseFull, DatabaseReadOnly
from stepwell.execution.status import Result
from stepwell.repository.invariants import examine
from stepwell.repository.zero_rows import ZeroRowUpdates
from stepwell.settings import Settings
from stepwell.testing import WarmParent, each_statement
from tests.support.gate import held
from tests.support.weather_job import FORECASTS, LOAD, MIGRATE, weather_job, write_migrations

STARTS = ("missing", "empty", "application tables only", "batch tables without rows")
PROCESSES = 8
ROUNDS = 5


@pytest.fixture
def migrations(tmp_path: Path) -> str:
    return write_migrations(tmp_path / "migrations")


def prepare(url: str, start: str) -> None:
    """Bring a database that nobody has touched into one of the four states."""
    path = url.removeprefix("sqlite:///")
    if start == "empty" and url.startswith("sqlite"):
        Path(path).touch()
    elif start == "application tables only":
        sql = "CREATE TABLE customer (name TEXT)"
        if url.startswith("sqlite"):
            connection = sqlite3.connect(path)
            connection.execute(sql)
            connection.close()
        else:
            with psycopg.connect(url) as session:
                session.execute(sql)
    elif start == "batch tables without rows":
        with Node.open(url):
            pass


@pytest.mark.parametrize("start", STARTS)
def test_every_step_is_recorded_before_its_code_runs(
    start: str, database_url: str, migrations: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Method: a second connection looks at the tables from inside the steps' own code."""
    prepare(database_url, start)
    seen: dict[str, list[tuple[Any, ...]]] = {}
    zero_row_updates = ZeroRowUpdates.count

    def watch(place: str, step: StepContext | None) -> None:
        seen.setdefault(place, look(database_url))

    with Node.open(database_url) as node:
        execution = node.operator.run(weather_job(migrations, watch))
        steps = node.operator.get_step_executions(execution.execution_id)
        with node.database.read() as reader:
            rows = reader.connection.execute("SELECT hour, celsius FROM forecast").fetchall()
            findings = examine(reader)

    migrated, loading = (MIGRATE, "COMPLETED"), (LOAD, "STARTED", 0)
    assert {
        "migrate": [("STARTED", MIGRATE, "STARTED", 0)],
        "open": [("STARTED", *migrated, 4), ("STARTED", *loading)],
        "read": [("STARTED", *migrated, 4), ("STARTED", *loading)],
        "write": [("STARTED", *migrated, 4), ("STARTED", *loading)],
    } == seen
    assert (BatchStatus.COMPLETED, Result.COMPLETED) == (execution.batch_status, execution.result)
    assert [(MIGRATE, "MIGRATED"), (LOAD, "COMPLETED")] == [
        (step.step_name, step.exit_status) for step in steps
    ]
    assert FORECASTS == rows
    assert [] == findings
    assert zero_row_updates == ZeroRowUpdates.count
    assert [] == [r for r in caplog.records if r.levelno >= logging.ERROR]


def look(url: str) -> list[tuple[Any, ...]]:
    """Job status, step name, step status and step version, as another program sees them."""
    sql = (
        "SELECT e.status, s.step_name, s.status, s.version FROM batch_step_execution s"
        " JOIN batch_job_execution e ON e.job_execution_id = s.job_execution_id"
        " ORDER BY s.step_execution_id"
    )
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()
    with psycopg.connect(url) as session:
        return session.execute(sql).fetchall()


def test_the_final_update_of_a_step_without_transactions_finds_version_0(
    database_url: str,
) -> None:
    versions: list[int] = []

    def tasklet(step: StepContext) -> None:
        versions.append(look(database_url)[0][3])

    with Node.open(database_url) as node:
        execution = node.operator.run(Job("plain", steps=[TaskletStep("only", tasklet)]))
        (step,) = node.operator.get_step_executions(execution.execution_id)

    assert [0] == versions
    assert (BatchStatus.COMPLETED, 1) == (step.batch_status, step.version)


# --- a fault at the first step insert ----------------------------------------------------------


class Fault:
    """Something that goes wrong once the job has begun, and may be gone again later."""

    def __init__(self, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.begin = begin
        self.end = end


class OnMessage(logging.Handler):
    """Calls a function when the engine logs a line that begins like this."""

    def __init__(self, logger: str, beginning: str, action: Callable[[], None]) -> None:
        super().__init__()
        self._logger = logging.getLogger(logger)
        self._beginning = beginning
        self._action = action

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self._beginning):
            self._action()

    def __enter__(self) -> None:
        self._logger.addHandler(self)

    def __exit__(self, *details: object) -> None:
        self._logger.removeHandler(self)


@pytest.fixture
def full_disk(small_filesystem: Path) -> tuple[str, Fault]:
    """A filesystem of its own that somebody else fills to the last byte."""
    filler = small_filesystem / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            for size in (65536, 1):
                while True:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        break

    return f"sqlite:///{small_filesystem}/weather.db", Fault(fill, filler.unlink)


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[tuple[str, Fault]]:
    """Another program, which does not know the gate, is inside a write transaction."""
    path = tmp_path / "weather.db"
    path.touch()
    connection = sqlite3.connect(path, isolation_level=None)
    yield (
        f"sqlite:///{path}",
        Fault(
            lambda: connection.execute("BEGIN IMMEDIATE") and None,
            lambda: connection.execute("ROLLBACK") and None,
        ),
    )
    connection.close()


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[tuple[str, Fault]]:
    """Every statement that writes is refused by SQLite itself."""
    wanted = [False]

    def hook(when: str, sql: str, connection: Any) -> None:
        if when == "before" and sql.startswith("BEGIN IMMEDIATE"):
            switch = f"PRAGMA query_only = {'ON' if wanted[0] else 'OFF'}"
            sqlite3.Cursor(connection).execute(switch)

    with each_statement(hook):
        yield (
            f"sqlite:///{tmp_path}/weather.db",
            Fault(lambda: wanted.__setitem__(0, True), lambda: wanted.__setitem__(0, False)),
        )


FAULTS = {"full_disk": DatabaseFull, "locked": DatabaseBusy, "read_only": DatabaseReadOnly}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> tuple[str, Fault, type[DatabaseError]]:
    url, found = request.getfixturevalue(request.param)
    return url, found, FAULTS[request.param]


def opened(url: str) -> Node:
    return Node.open(Settings(database=url, gate_timeout_s=0.2))


def lines_that_name(caplog: pytest.LogCaptureFixture, step_name: str) -> list[logging.LogRecord]:
    return [
        record
        for record in caplog.records
        if record.levelno >= logging.ERROR and repr(step_name) in record.getMessage()
    ]


def test_a_step_that_cannot_be_inserted_does_not_run_and_the_job_is_failed(
    fault: tuple[str, Fault, type[DatabaseError]],
    migrations: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The fault is gone when the job's end is recorded: the job FAILED with the cause."""
    url, trouble, error_class = fault
    called: list[str] = []
    caplog.set_level(logging.INFO, "stepwell")

    with opened(url) as node:
        job = weather_job(migrations, lambda place, step: called.append(place))
        with (
            OnMessage("stepwell.runner", "execution 1 of job 'weather' started", trouble.begin),
            OnMessage("stepwell.runner", f"cannot insert step '{MIGRATE}'", trouble.end),
        ):
            failed = node.operator.run(job)
        called_by_then, called[:] = called[:], []
        recorded = node.operator.get_job_execution(failed.execution_id)
        steps = node.operator.get_step_executions(failed.execution_id)
        again = node.operator.run(job)
        with node.database.read() as reader:
            findings = examine(reader)

    assert [] == called_by_then
    assert [] == steps
    assert isinstance(failed.exception, error_class)
    assert recorded.failure is not None
    assert (BatchStatus.FAILED, Result.FAILED, error_class.__name__) == (
        recorded.batch_status,
        recorded.result,
        recorded.failure.type,
    )
    (line,) = lines_that_name(caplog, MIGRATE)
    assert line.exc_info is not None
    assert failed.exception is line.exc_info[1]
    assert BatchStatus.COMPLETED == again.batch_status
    assert [] == findings


def test_a_step_that_cannot_be_inserted_raises_when_not_even_that_can_be_recorded(
    fault: tuple[str, Fault, type[DatabaseError]],
    migrations: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The fault stays: the error is raised; when it is gone the owner itself settles the row."""
    url, trouble, error_class = fault
    called: list[str] = []
    caplog.set_level(logging.INFO, "stepwell")

    with opened(url) as node:
        job = weather_job(migrations, lambda place, step: called.append(place))
        with (
            OnMessage("stepwell.runner", "execution 1 of job 'weather' started", trouble.begin),
            pytest.raises(error_class) as raised,
        ):
            node.operator.run(job)
        called_by_then, called[:] = called[:], []
        trouble.end()
        settled = until_ended(node, execution_id=1)
        again = node.operator.run(job)
        with node.database.read() as reader:
            findings = examine(reader)

    assert [] == called_by_then
    (line,) = lines_that_name(caplog, MIGRATE)
    assert line.exc_info is not None
    assert isinstance(line.exc_info[1], error_class)
    assert raised.value is not None
    assert settled.failure is not None
    assert (BatchStatus.FAILED, error_class.__name__) == (
        settled.batch_status,
        settled.failure.type,
    )
    assert BatchStatus.COMPLETED == again.batch_status
    assert [] == findings


@pytest.mark.parametrize("outcome", ["returns", "raises"])
def test_an_end_that_cannot_be_recorded_is_settled_as_soon_as_it_can(
    outcome: str, fault: tuple[str, Fault, type[DatabaseError]]
) -> None:
    """Goal: S190. Method: the fault begins in the step's own code and ends after the run."""
    url, trouble, error_class = fault

    def work(step: StepContext) -> None:
        if step.execution_id == 1:
            trouble.begin()
            if outcome == "raises":
                raise ValueError("not today")

    job = Job("billing", steps=[TaskletStep("only", work)])
    with opened(url) as node:
        with pytest.raises(error_class):
            node.operator.run(job)
        while_it_lasts = node.operator.get_job_execution(1).batch_status
        with node.database.read() as reader:
            findings_by_then = examine(reader)
        trouble.end()
        settled = until_ended(node, execution_id=1)
        (step,) = node.operator.get_step_executions(1)
        again = node.operator.run(job)
        with node.database.read() as reader:
            findings = examine(reader)

    assert BatchStatus.STARTED == while_it_lasts
    assert [] == findings_by_then
    assert (BatchStatus.FAILED, BatchStatus.FAILED) == (settled.batch_status, step.batch_status)
    assert error_class.__name__ == settled.failure.type
    assert BatchStatus.COMPLETED == again.batch_status
    assert [] == findings


def until_ended(node: Node, execution_id: int) -> Any:
    """The execution once its owner's own timer has settled it (S190)."""
    deadline = node.clock.monotonic() + 20
    while True:
        execution = node.operator.get_job_execution(execution_id)
        if not execution.batch_status.is_running:
            return execution
        assert node.clock.monotonic() < deadline, execution
        node.clock.wait(Event(), 0.01)


# --- eight processes at once -------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
def test_of_eight_processes_that_start_at_once_one_runs_and_the_others_are_told(
    start: str, databases: Any, warm_parent: WarmParent, tmp_path: Path, migrations: str
) -> None:
    """Goal: 8 processes × 5 databases × 4 states, no database error among them."""
    gate = tmp_path / "gate"
    gate.touch()
    answers: Counter[str] = Counter()

    for _ in range(ROUNDS):
        url = databases.empty()
        prepare(url, start)
        with held(gate):
            children = [
                warm_parent.start(
                    "tests.support.processes:run_when_released",
                    url=url,
                    gate=str(gate),
                    folder=migrations,
                )
                for _ in range(PROCESSES)
            ]
        ended = [child.wait() for child in children]
        assert [] == [end.error for end in ended if end.error]
        results = Counter(end.result for end in ended)
        assert 1 == results["COMPLETED"], results
        answers += results
        with Node.open(url) as node, node.database.read() as reader:
            rows = reader.connection.execute("SELECT hour, celsius FROM forecast").fetchall()
            executions = reader.connection.execute(
                "SELECT status FROM batch_job_execution"
            ).fetchall()
            assert (FORECASTS, [("COMPLETED",)], []) == (rows, executions, examine(reader))
        databases.drop(url)

    refused = answers["job_execution_already_running"] + answers["job_instance_already_complete"]
    assert (ROUNDS, ROUNDS * (PROCESSES - 1)) == (answers["COMPLETED"], refused)
