"""T4, S33, S189, S191: ``stepwell work`` as it is, killed, stopped and ended, on each database."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Node
from stepwell.database.postgresql_owners import HEARTBEAT_S, LEASE_S
from stepwell.errors import JobExecutionIsRunning
from stepwell.execution.records import JobExecution
from stepwell.repository.invariants import examine
from stepwell.worker import RECOVER_S
from tests.cli.program import Folder, Running, until
from tests.crash.test_zombie import state

COMPLETED, FAILED, STOPPED = BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STOPPED

# The fourth chunk waits for the gate, with no transaction open; then everything goes on.
JOBS = """
import time
from pathlib import Path

from stepwell import ChunkStep, Job, TaskletStep


def make_table(step):
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER, written_by INTEGER)")


def wait_at_gate(number):
    if number == 35:
        Path("arrived").touch()
        while not Path("gate").exists():
            time.sleep(0.005)
    return number


def write(items, step):
    rows = [(number, step.execution_id) for number in items]
    step.connection.executemany("INSERT INTO item (id, written_by) VALUES (:id, :by)", rows)


gated = Job(
    "gated",
    [
        TaskletStep("table", make_table),
        ChunkStep("items", range(50), wait_at_gate, write, chunk_size=10),
    ],
)
quick = Job("quick", [TaskletStep("only", lambda: None)], identity="each-start")
"""


class Shop:
    """A folder with jobs, and a database beside them that the test looks into."""

    def __init__(self, path: Path, url: str, node: Node) -> None:
        (path / "stepwell.toml").write_text('jobs = ["jobs"]\n', encoding="utf-8")
        (path / "jobs.py").write_text(JOBS, encoding="utf-8")
        self.folder = Folder(path, STEPWELL_DATABASE=url)
        self.path, self.node = path, node

    def worker(self) -> Running:
        """A worker that has begun to look for work."""
        working = self.folder.start("work")
        working.until("working, 1 execution at a time")
        return working

    def worker_at_gate(self) -> Running:
        """A worker whose execution has committed three chunks, and waits."""
        self.folder.done("register", "gated")
        working = self.worker()
        until((self.path / "arrived").exists, what="the gate")
        return working

    def open_gate(self) -> None:
        (self.path / "gate").touch()

    def ended(self, execution_id: int) -> JobExecution:
        """The execution, as soon as it has ended."""

        def look() -> Any:
            with self.node.database.read() as reader:
                sql = (
                    f"SELECT 1 FROM batch_job_execution WHERE job_execution_id = {execution_id}"
                    " AND end_time IS NOT NULL"
                )
                return reader.connection.execute(sql).fetchall()

        until(look, what=f"the end of execution {execution_id}")
        return self.node.operator.get_job_execution(execution_id)

    def written(self) -> list[tuple[int, int]]:
        """Each item with the execution that has written it."""
        with self.node.database.read() as reader:
            sql = "SELECT id, written_by FROM item ORDER BY id"
            return [tuple(row) for row in reader.connection.execute(sql)]

    def check(self, second_from: int = 30) -> None:
        """Every item once: the first execution up to the gate, the second from there on."""
        assert [(n, 1 if n < second_from else 2) for n in range(50)] == self.written()
        with self.node.database.read() as reader:
            assert [] == examine(reader)


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    with Node.open(database_url) as node:
        yield Shop(tmp_path, database_url, node)


@pytest.fixture
def postgresql_shop(postgresql_database_url: str, tmp_path: Path) -> Iterator[Shop]:
    with Node.open(postgresql_database_url) as node:
        yield Shop(tmp_path, postgresql_database_url, node)


@pytest.fixture
def sqlite_shop(tmp_path: Path) -> Iterator[Shop]:
    url = f"sqlite:///{tmp_path}/stepwell.db"
    with Node.open(url) as node:
        yield Shop(tmp_path, url, node)


def test_what_a_killed_worker_ran_goes_on_in_a_running_one(shop: Shop) -> None:
    """S188, S191: within two seconds on a machine that is not busy with anything else."""
    first = shop.worker_at_gate()
    second = shop.worker()
    stop(first)
    shop.open_gate()  # It finds nobody but the successor.
    killed_at = shop.node.clock.now()
    first.kill()
    after = shop.ended(2)
    second.send(signal.SIGTERM)
    told = second.end()
    before = shop.node.operator.get_job_execution(1)

    assert after.start_time is not None
    went_on_s = (after.start_time - killed_at).total_seconds()
    print(f"it went on after {went_on_s:.2f} s")
    assert went_on_s < 10
    assert (FAILED, COMPLETED, "execution 1") == (
        before.batch_status,
        after.batch_status,
        after.triggered_by,
    )
    assert 0 == told.code
    assert "recovered execution 1 of job 'gated': OwnerDied" in told.out
    shop.check()


def test_a_worker_that_is_ended_leaves_a_successor_for_the_next(shop: Shop) -> None:
    """S191. Method: SIGTERM at the gate; what is under way is written, then it ends."""
    first = shop.worker_at_gate()
    first.send(signal.SIGTERM)
    until(lambda: _status(shop, 1) is BatchStatus.STOPPING, what="STOPPING")
    shop.open_gate()
    ended = first.end()
    left = shop.node.operator.get_job_execution(2)
    shop.folder.done("work", "--drain")
    after = shop.node.operator.get_job_execution(2)

    assert (0, STOPPED) == (ended.code, _status(shop, 1))
    assert (BatchStatus.STARTING, None) == (left.batch_status, left.owner_id)
    assert COMPLETED is after.batch_status
    shop.check(second_from=36)  # A stop ends the chunk after its item, and writes it (S104).


def _status(shop: Shop, execution_id: int) -> BatchStatus:
    return shop.node.operator.get_job_execution(execution_id).batch_status


def stop(worker: Running) -> None:
    worker.send(signal.SIGSTOP)
    until(lambda: state(worker.pid) == "T", what="the stop")


def test_on_sqlite_a_stopped_worker_keeps_its_work_until_it_is_taken_by_force(
    sqlite_shop: Shop,
) -> None:
    """S189, S35. Method: another worker is at work meanwhile, and looks for the dead four times."""
    shop = sqlite_shop
    first = shop.worker_at_gate()
    second = shop.worker()
    stop(first)
    looked_until, number = time.monotonic() + 4 * RECOVER_S, 2
    while time.monotonic() < looked_until:
        shop.folder.done("register", "quick")
        assert COMPLETED is shop.ended(number).batch_status
        number += 1
    kept = _status(shop, 1)
    with pytest.raises(JobExecutionIsRunning):
        shop.node.operator.recover(1)
    shop.open_gate()
    shop.folder.done("recover", "1", "--force", "--reason", "it hangs")
    after = shop.ended(number)
    written = shop.written()
    first.send(signal.SIGCONT)
    first.until("execution 1 of job 'gated' was taken by another process")
    for worker in (first, second):
        worker.send(signal.SIGTERM)
        assert 0 == worker.end().code

    assert (BatchStatus.STARTED, FAILED, COMPLETED) == (kept, _status(shop, 1), after.batch_status)
    assert written == shop.written()
    assert [(n, 1 if n < 30 else number) for n in range(50)] == written
    with shop.node.database.read() as reader:
        assert [] == examine(reader)


@pytest.mark.parametrize(
    "waits_for_it",
    [
        pytest.param(False, id="run out"),
        pytest.param(True, id="waited for", marks=[pytest.mark.slow, pytest.mark.timeout(200)]),
    ],
)
def test_on_postgresql_the_lease_of_a_stopped_worker_runs_out_and_it_is_fenced(
    waits_for_it: bool, postgresql_shop: Shop
) -> None:
    """S33, S34: by the database's clock; another worker takes it by itself."""
    shop = postgresql_shop
    first = shop.worker_at_gate()
    second = shop.worker()
    stop(first)
    shop.open_gate()
    if waits_for_it:
        end = time.monotonic() + LEASE_S + HEARTBEAT_S
        while _status(shop, 1) is BatchStatus.STARTED:
            assert time.monotonic() < end + 30
            time.sleep(0.2)
    else:
        owner_id = shop.node.operator.get_job_execution(1).owner_id
        with shop.node.database.write() as transaction:
            transaction.connection.execute(
                "UPDATE batch_owner SET lease_until = clock_timestamp() - interval '1 s'"
                f" WHERE owner_id = {owner_id}"
            )
    after = shop.ended(2)
    written = shop.written()
    first.send(signal.SIGCONT)
    first.until("execution 1 of job 'gated' was taken by another process")
    shop.folder.done("register", "quick")
    both = shop.ended(3)  # The one that was fenced is an owner again, or the other took it.
    for worker in (first, second):
        worker.send(signal.SIGTERM)
        assert 0 == worker.end().code

    assert (FAILED, COMPLETED) == (_status(shop, 1), after.batch_status)
    assert COMPLETED is both.batch_status
    assert written == shop.written()
    shop.check()
