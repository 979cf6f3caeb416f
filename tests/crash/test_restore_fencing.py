"""A worker from before a restore writes nothing afterwards: real processes, stopped and woken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Node
from stepwell.database.epoch import current_epoch
from stepwell.errors import DatabaseInUse
from stepwell.settings import Settings
from stepwell.testing import WarmParent
from tests.crash.test_zombie import Runner, findings, output
from tests.support.backups import Copier
from tests.support.zombie_job import ITEMS, UPSERT, chunk_job

FENCED = ("lost_ownership", "optimistic_locking_failure", "constraint_violation")


@pytest.fixture
def copier(database_url: str, tmp_path: Path) -> Copier:
    return Copier(database_url, tmp_path / "backups")


def restart_until_complete(
    warm_parent: WarmParent, url: str, job: str, execution_id: int
) -> dict[str, Any]:
    ended = warm_parent.run(
        "tests.support.zombie_job:restart", url=url, job=job, execution_id=execution_id
    )
    result: dict[str, Any] = ended.result
    return result


@pytest.mark.parametrize("job", ["chunks", "tasklet", "partitions"])
def test_what_ran_while_the_copy_was_made_is_fenced_recovered_and_restarted(
    job: str, database_url: str, warm_parent: WarmParent, tmp_path: Path, copier: Copier
) -> None:
    """Method: the worker sleeps, its database is restored to a copy in which it is at work."""
    runner = Runner(warm_parent, database_url, tmp_path, job, "reading", UPSERT)
    copier.create("while-it-runs")

    with pytest.raises(DatabaseInUse, match=r"owner 1.* is alive"):
        copier.restore("while-it-runs")
    copier.restore("while-it-runs", force=True, reason="it hangs")
    with Node.open(Settings(database=database_url)) as node:
        recovered = [execution.execution_id for execution in node.operator.recover_dead()]
        before = output(node)
        woken = runner.wake()
        after = output(node)
        wrong = findings(node)
    restarted = restart_until_complete(warm_parent, database_url, job, 1)

    assert [1] == recovered
    assert woken.result is not None, woken
    assert woken.result["ended"] in FENCED
    assert before == after
    assert [] == wrong
    assert ("COMPLETED", True) == (restarted["ended"], restarted["execution_id"] > 1)
    with Node.open(Settings(database=database_url)) as node:
        assert list(range(1, ITEMS + 1)) == [row[0] for row in output(node)]
        assert [] == findings(node)


def test_a_worker_that_wakes_before_anybody_recovers_it_is_fenced_too(
    database_url: str, warm_parent: WarmParent, tmp_path: Path, copier: Copier
) -> None:
    runner = Runner(warm_parent, database_url, tmp_path, "chunks", "reading", UPSERT)
    copier.create("while-it-runs")
    copier.restore("while-it-runs", force=True, reason="it hangs")
    with Node.open(Settings(database=database_url)) as node:
        before = output(node)
        woken = runner.wake()

        assert woken.result["ended"] in FENCED
        assert before == output(node)
        assert BatchStatus.STARTED is node.operator.get_job_execution(1).batch_status
        assert [1] == [execution.execution_id for execution in node.operator.recover_dead()]
        assert [] == findings(node)


def test_a_number_of_an_execution_that_is_gone_is_not_given_to_another(
    database_url: str, warm_parent: WarmParent, tmp_path: Path, copier: Copier
) -> None:
    """Goal: who holds execution 1 must not meet another execution 1 with the same version.

    Method: the copy is older than the worker's execution; the job is run anew after the restore.
    """
    warm_parent.run("tests.support.processes:create", url=database_url)
    copier.create("before-it")
    runner = Runner(warm_parent, database_url, tmp_path, "chunks", "reading", UPSERT)
    copier.restore("before-it", force=True, reason="it hangs")
    with Node.open(Settings(database=database_url)) as node:
        again = node.operator.run(chunk_job(lambda place: None, UPSERT))
        before = output(node)
        woken = runner.wake()

        assert (BatchStatus.COMPLETED, 2) == (again.batch_status, again.execution_id)
        assert woken.result["ended"] in FENCED
        assert before == output(node)
        assert [] == findings(node)
        with node.database.read() as reader:
            assert 1 == current_epoch(reader)
