"""T4: an owner that is stopped, recovered and woken writes nothing more (S33 to S35, trace E)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import DatabaseBusy, JobExecutionIsRunning
from stepwell.repository.history import list_changes
from stepwell.repository.invariants import examine
from stepwell.settings import Settings
from stepwell.testing import Child, Ended, WarmParent
from tests.support.gate import held
from tests.support.zombie_job import CHUNK_SIZE, INSERT, ITEMS, UPSERT

WITHIN_S = 20.0


@pytest.fixture
def node(database_url: str) -> Iterator[Node]:
    """The operator's side, in this process."""
    with Node.open(Settings(database=database_url, gate_timeout_s=1.0)) as node:
        yield node


class Runner:
    """A runner in a process of its own, stopped at ``place``."""

    def __init__(
        self, parent: WarmParent, url: str, folder: Path, job: str, place: str, statement: str
    ) -> None:
        marker = folder / "stopped"
        self.child: Child = parent.start(
            "tests.support.zombie_job:run_and_stop",
            url=url,
            job=job,
            place=place,
            marker=str(marker),
            statement=statement,
        )
        until(lambda: marker.exists() and state(self.child.pid) == "T")

    def wake(self) -> Ended:
        self.child.send(signal.SIGCONT)
        return self.child.wait()


def until(holds: Any) -> None:
    """A bounded wait for something that another process does."""
    event, tries = Event(), 0
    while not holds():
        event.wait(0.002)
        tries += 1
        assert tries < WITHIN_S / 0.002


def state(pid: int) -> str:
    """R, S, T (stopped), … as the kernel says."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def output(node: Node) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        sql = "SELECT item, written_by FROM output ORDER BY item"
        return [tuple(row) for row in reader.connection.execute(sql)]


def findings(node: Node) -> list[Any]:
    with node.database.read() as reader:
        return examine(reader)


@pytest.mark.parametrize("statement", [UPSERT, INSERT], ids=["upserts", "inserts"])
@pytest.mark.parametrize("job", ["chunks", "tasklet", "partitions"])
def test_a_zombie_cannot_write_after_it_was_recovered_and_restarted_elsewhere(
    job: str,
    statement: str,
    node: Node,
    database_url: str,
    warm_parent: WarmParent,
    tmp_path: Path,
) -> None:
    """Method: trace E with real processes; with inserts, the zombie's own write fails first."""
    runner = Runner(warm_parent, database_url, tmp_path, job, "reading", statement)

    with pytest.raises(JobExecutionIsRunning) as refused:
        node.operator.recover(1)
    recovered_without_proof = node.operator.recover_dead()
    recovered = node.operator.recover(1, force=True, reason="hangs")
    restarted = warm_parent.run(
        "tests.support.zombie_job:restart",
        url=database_url,
        job=job,
        execution_id=1,
        statement=statement,
    )
    rows_of_the_successor = output(node)
    woken = runner.wake()

    first, second = (node.operator.get_job_execution(n) for n in (1, 2))
    assert f"pid {runner.child.pid}" in refused.value.message
    assert [] == recovered_without_proof
    assert (BatchStatus.FAILED, 2) == (recovered.batch_status, recovered.fence)
    assert {"execution_id": 2, "ended": "COMPLETED"} == restarted.result
    assert {"ended": "lost_ownership", "zero_row_updates": 1} == woken.result
    assert rows_of_the_successor == output(node)
    assert list(range(1, ITEMS + 1)) == [item for item, _ in output(node)]
    assert {2} == {by for item, by in output(node) if item > 2 * CHUNK_SIZE}
    assert recovered == first
    assert (BatchStatus.COMPLETED, 1) == (second.batch_status, second.fence)
    assert [2, 2] == [step.fence for step in node.operator.get_step_executions(1)]
    with node.database.read() as reader:
        changes = list_changes(reader, 1)
    assert [("FAILED", "operator", "hangs")] * 2 == [
        (change.to_status, change.actor, change.reason) for change in changes[-2:]
    ]
    assert [] == findings(node)


@pytest.mark.parametrize("job", ["chunks", "tasklet", "partitions"])
def test_a_killed_runner_is_recovered_within_moments(
    job: str, node: Node, database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    runner = Runner(warm_parent, database_url, tmp_path, job, "reading", UPSERT)
    before = node.operator.recover_dead()
    killed = runner.child.kill()
    began = node.clock.monotonic()
    recovered: list[Any] = []
    until(lambda: recovered.extend(node.operator.recover_dead()) or recovered)
    seconds = node.clock.monotonic() - began
    restarted = warm_parent.run(
        "tests.support.zombie_job:restart", url=database_url, job=job, execution_id=1
    )

    (execution,) = recovered
    assert execution.failure is not None
    assert ([], -signal.SIGKILL) == (before, killed.exit_code)
    assert (BatchStatus.FAILED, "OwnerDied") == (execution.batch_status, execution.failure.type)
    assert f"pid {runner.child.pid}" in execution.failure.message
    assert seconds < 5
    assert {"execution_id": 2, "ended": "COMPLETED"} == restarted.result
    assert list(range(1, ITEMS + 1)) == [item for item, _ in output(node)]
    assert [] == findings(node)


def test_a_runner_that_is_woken_before_anybody_recovers_it_just_goes_on(
    node: Node, database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    runner = Runner(warm_parent, database_url, tmp_path, "chunks", "reading", INSERT)
    recovered = node.operator.recover_dead()
    woken = runner.wake()

    assert [] == recovered
    assert {"ended": "COMPLETED", "zero_row_updates": 0} == woken.result
    assert [(item, 1) for item in range(1, ITEMS + 1)] == output(node)
    assert [] == findings(node)


def test_many_processes_that_recover_at_once_recover_once(
    node: Node, database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: nobody takes another one's look at the proof for a living owner."""
    runner = Runner(warm_parent, database_url, tmp_path, "chunks", "reading", INSERT)
    gate = tmp_path / "gate"
    gate.touch()
    with held(gate):
        recovering = [
            warm_parent.start(
                "tests.support.processes:recover_when_released", url=database_url, gate=str(gate)
            )
            for _ in range(6)
        ]
        runner.child.kill()
        until(lambda: node.database.liveness.is_dead(1))
    ended = [child.wait() for child in recovering]

    assert [] == [end.error for end in ended if end.error]
    assert [1] == rows_of_failures(node)
    assert [] == findings(node)


def rows_of_failures(node: Node) -> list[Any]:
    """The executions whose history has a change to FAILED of the job's own."""
    with node.database.read() as reader:
        sql = (
            "SELECT job_execution_id FROM batch_status_history"
            " WHERE to_status = 'FAILED' AND step_execution_id IS NULL"
        )
        return [row[0] for row in reader.connection.execute(sql)]


def test_writers_learn_who_is_stopped_inside_its_write_transaction(
    warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: S189 on SQLite, where one writer blocks all; readers are not blocked (law 4)."""
    url = f"sqlite:///{tmp_path}/stepwell.db"
    with Node.open(Settings(database=url, gate_timeout_s=0.3)) as node:
        runner = Runner(warm_parent, url, tmp_path, "chunks", "writing", INSERT)
        with pytest.raises(DatabaseBusy) as busy:
            node.operator.stop(1)
        seen = node.operator.get_job_execution(1)
        woken = runner.wake()

        assert f"pid {runner.child.pid}" in busy.value.message
        assert BatchStatus.STARTED == seen.batch_status
        assert {"ended": "COMPLETED", "zero_row_updates": 0} == woken.result
        assert [] == findings(node)


def test_postgresql_takes_the_rows_from_a_runner_that_is_stopped_inside_its_transaction(
    postgresql_database_url: str, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: S34. Method: the frozen session holds the step's row; recovery ends the session."""
    with Node.open(Settings(database=postgresql_database_url, gate_timeout_s=5)) as node:
        runner = Runner(
            warm_parent, postgresql_database_url, tmp_path, "tasklet_inside", "inside", INSERT
        )
        recovered = node.operator.recover(1, force=True, reason="hangs")
        restarted = warm_parent.run(
            "tests.support.zombie_job:restart",
            url=postgresql_database_url,
            job="tasklet_inside",
            execution_id=1,
            statement=INSERT,
        )
        woken = runner.wake()

        assert BatchStatus.FAILED == recovered.batch_status
        assert {"execution_id": 2, "ended": "COMPLETED"} == restarted.result
        assert "lost_ownership" == woken.result["ended"]
        assert [(item, 2) for item in range(1, ITEMS + 1)] == output(node)
        assert [] == findings(node)
