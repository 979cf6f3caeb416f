"""The built-in jobs: copies, examinations and purges that run, wait and are recorded like any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, TaskletStep
from stepwell.doctor.copy import folder_of
from stepwell.errors import JobStartError
from stepwell.maintenance import backup as backup_job
from stepwell.settings import JobSettings, ScheduleSettings, Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import Toggle, execute, findings, nothing, rows


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return replace(settings, folder=tmp_path)


@pytest.fixture
def node(settings: Settings, clock: FrozenClock) -> Iterator[Node]:
    with Node.open(settings, clock=clock) as node:
        node.load_jobs()
        yield node


def run(node: Node, job: str, /, **parameters: object) -> Any:
    return node.operator.run(job, parameters)


def names(node: Node) -> list[str]:
    return [backup.name for backup in folder_of(node.settings).backups()]


def exits(node: Node, execution_id: int) -> dict[str, str | None]:
    steps = node.operator.get_step_executions(execution_id)
    return {step.step_name: step.exit_status for step in steps}


def context(node: Node, execution_id: int, step_name: str) -> Any:
    steps = node.operator.get_step_executions(execution_id)
    return {step.step_name: step.context for step in steps}[step_name]


def test_a_backup_is_made_and_proven_and_what_is_superfluous_goes(
    node: Node, clock: FrozenClock
) -> None:
    first = run(node, "stepwell.backup", name="first")
    clock.advance(60)
    second = run(node, "stepwell.backup", keep=1)

    assert [BatchStatus.COMPLETED] * 2 == [first.batch_status, second.batch_status]
    assert {"create": "CLEAN", "verify": "CLEAN", "prune": "NOT ASKED"} == exits(node, 1)
    assert {"create": "CLEAN", "verify": "CLEAN", "prune": "COMPLETED"} == exits(node, 2)
    assert ["first"] == context(node, 2, "prune")["deleted"]
    [name] = names(node)
    made = context(node, 2, "create")
    assert (name, 0) == (made["backup"], made["findings"])
    assert made["path"].endswith(f"/{name}.backup")
    assert [] == findings(node)


def test_findings_in_a_copy_are_told_and_fail_nothing(node: Node) -> None:
    node.operator.run(Job("good", steps=[TaskletStep("only", nothing)]))
    execute(node, "UPDATE batch_job_execution SET exit_code = NULL")
    made = run(node, "stepwell.backup")

    assert (BatchStatus.COMPLETED, "FINDINGS") == (made.batch_status, made.exit_status)
    assert {"create": "FINDINGS", "verify": "FINDINGS", "prune": "NOT ASKED"} == exits(node, 2)
    assert {"ended_without_exit_status": 1} == context(node, 2, "verify")["counts"]


@pytest.mark.parametrize(
    ("job", "parameters", "fact"),
    [
        ("stepwell.backup", {"name": "a/b"}, "parameter 'name': a name has letters, digits and"),
        ("stepwell.backup", {"keep": 0}, "parameter 'keep'"),
        ("stepwell.backup", {"older_than": "soon"}, "it must be a number with m, h, d or w"),
        ("stepwell.purge", {}, "neither an age nor a number says what is kept"),
        ("stepwell.purge", {"keep": -1}, "parameter 'keep'"),
        ("stepwell.purge", {"keep": 1, "status": ["GONE"]}, "parameter 'status"),
        ("stepwell.purge", {"keep": 1, "status": ["STARTED"]}, "one of an end, such as COMPLETED"),
    ],
)
def test_what_is_asked_wrongly_is_refused_and_nothing_recorded(
    job: str, parameters: dict[str, object], fact: str, node: Node
) -> None:
    with pytest.raises(JobStartError) as refused:
        run(node, job, **parameters)

    assert fact in refused.value.message
    assert [] == rows(node, "SELECT * FROM batch_job_instance")


def test_a_copy_that_was_whole_when_its_process_was_killed_is_not_made_again(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the step fails behind the copy, and is restarted."""
    create = backup_job._create

    def behind(step: Any, care: Any) -> str:
        create(step, care)
        raise OSError("behind the copy")

    with monkeypatch.context() as broken:
        broken.setattr(backup_job, "_create", behind)
        failed = run(node, "stepwell.backup")
    made = names(node)
    restarted = node.operator.restart(failed.execution_id)
    node.operator.wait(restarted)

    assert (BatchStatus.FAILED, 1) == (failed.batch_status, len(made))
    assert made == names(node)
    assert "COMPLETED" == node.operator.get_job_execution(restarted).batch_status


def test_a_name_that_is_taken_is_refused_at_a_restart_too(node: Node) -> None:
    run(node, "stepwell.backup", name="night")
    failed = run(node, "stepwell.backup", name="night")
    restarted = node.operator.restart(failed.execution_id)
    again = node.operator.wait(restarted)

    assert ["FAILED"] * 2 == [failed.batch_status, again.batch_status]
    assert "there is one of this name" in str(failed.exception)
    assert ["night"] == names(node)


def test_a_backup_is_scheduled_by_the_settings_alone(
    settings: Settings, clock: FrozenClock
) -> None:
    """Goal: a night without a person: registered when it is due, run by a worker, recorded."""
    nightly = ScheduleSettings("0 3 * * *", zone="UTC", parameters={"keep": 7, "older_than": "30d"})
    settings = replace(settings, job={"stepwell.backup": JobSettings(schedule=nightly)})
    with Node.open(settings, clock=clock) as node:
        node.load_jobs()
        node.schedules.reconcile()
        clock.advance(24 * 3600)
        node.worker(drain=True).run()

        assert [("stepwell.backup", "COMPLETED", "system")] == rows(
            node,
            "SELECT job_name, status, trigger_source FROM batch_job_execution"
            " JOIN batch_job_instance USING (job_instance_id)",
        )
        assert 1 == len(names(node))


def test_a_purge_deletes_what_is_old_and_tells_how_far_it_is(
    node: Node, clock: FrozenClock
) -> None:
    for _ in range(3):
        node.operator.run(Job("some", steps=[TaskletStep("only", nothing)]), again=True)
    node.operator.run(Job("fails", steps=[TaskletStep("only", Toggle())]))
    clock.advance(timedelta(days=91).total_seconds())
    node.operator.run(Job("some", steps=[TaskletStep("only", nothing)]), again=True)

    purged = run(node, "stepwell.purge", older_than="90d")

    assert BatchStatus.COMPLETED is purged.batch_status
    assert [("fails",), ("some",), ("stepwell.purge",)] == rows(
        node, "SELECT job_name FROM batch_job_instance ORDER BY job_name"
    )
    assert [(3, 3)] == rows(
        node,
        "SELECT progress_done, progress_total FROM batch_step_execution WHERE step_name = 'delete'",
    )
    told = context(node, purged.execution_id, "delete")
    assert (3, 3, True) == (told["instances"], told["executions"], told["rows"] > 10)
    assert [] == findings(node)


def test_a_purge_of_one_job_and_of_failures_is_asked_for(node: Node) -> None:
    for name in ("this", "that"):
        node.operator.run(Job(name, steps=[TaskletStep("only", Toggle())]))

    run(node, "stepwell.purge", keep=0, job="this", status="failed,stopped")

    assert [("stepwell.purge",), ("that",)] == rows(
        node, "SELECT job_name FROM batch_job_instance ORDER BY job_name"
    )


def test_the_doctor_mends_what_an_earlier_epoch_would_let_in(node: Node) -> None:
    """Goal: B4. Method: an owner of epoch 1, and behind it, by hand, one of epoch 0."""
    insert = (
        "INSERT INTO batch_owner (host, pid, purpose, started_at, ended_at, epoch)"
        " SELECT host, pid, purpose, started_at, started_at, {} FROM batch_owner"
        " ORDER BY owner_id LIMIT 1"
    )
    node.repository.register_owner("test")
    execute(node, insert.format(1))
    execute(node, insert.format(0))

    [found] = [f for f in node.doctor.examine() if f.rule == "B4"]
    assert ("epoch_falls", "owner 3") == (found.code, found.where)
    outcome = node.doctor.repair(only=["epoch_falls"])
    assert ["epoch_falls"] == [each.finding.code for each in outcome.repaired]
    assert [(0,), (1,), (1,)] == rows(node, "SELECT epoch FROM batch_owner ORDER BY owner_id")


def test_the_doctor_looks_after_the_folder_of_backups(node: Node) -> None:
    """Goal: B1 to B3 are gathered; what a killed process left is deleted, the rest is told."""
    run(node, "stepwell.backup", name="lonely")
    run(node, "stepwell.backup", name="torn")
    folder = folder_of(node.settings)
    folder.manifest_path("lonely").unlink()
    folder.copy_path("torn").write_bytes(b"torn")
    (folder.path / ".x.backup.partial").touch()

    def told() -> dict[str, str]:
        return {f.code: f.where for f in node.doctor.examine() if f.rule.startswith("B")}

    assert {
        "backup_without_manifest": "backup file lonely.backup",
        "backup_torn": "backup file torn.backup",
        "backup_leftover": "backup file .x.backup.partial",
    } == told()
    outcome = node.doctor.repair(only=["backup_leftover"])
    assert ["backup_leftover"] == [each.finding.code for each in outcome.repaired]
    assert {"backup_without_manifest", "backup_torn"} == set(told())
