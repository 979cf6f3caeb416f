"""Evidence decides between COMPLETED and FAILED; without it nothing is claimed to be done."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import Job, JobExecution, Node, TaskletStep
from stepwell.finding import Repair
from stepwell.job.registry import JobRegistry
from tests.conformance.stories import execute, rows, statuses
from tests.doctor.patients import codes, doctor_of, found_by, without_machine

ANSWERS: dict[str, tuple[Any, str, str]] = {
    "the outputs exist": (lambda: True, "COMPLETED", "it was registered and had begun, and its"),
    "they do not": (lambda: False, "FAILED", "it was registered and had begun"),
    "nobody can say": (None, "FAILED", "it was registered and had begun"),
}


def put_back(node: Node, job: Job) -> int:
    """Run a job and put its status back, as an older program did; the history with it."""
    execution_id = node.operator.run(job).execution_id
    execute(
        node,
        "UPDATE batch_job_execution SET status = 'STARTING', end_time = NULL, result = NULL,"
        " owner_id = NULL WHERE job_execution_id = 1",
    )
    # So that the history says nothing about the end.
    execute(
        node,
        "INSERT INTO batch_status_history (job_execution_id, from_status, to_status, changed_at,"
        " actor) SELECT 1, 'COMPLETED', 'STARTING', create_time, 'doctor'"
        " FROM batch_job_execution",
    )
    return execution_id


def registered(job: Job) -> JobRegistry:
    registry = JobRegistry()
    registry.add(job, origin="the test")
    return registry


@pytest.mark.parametrize("name", ANSWERS)
def test_evidence_chooses_the_end(name: str, node: Node) -> None:
    evidence, status, reason = ANSWERS[name]
    job = Job("job", steps=[TaskletStep("load", print)], evidence=evidence)
    execution_id = put_back(node, job)
    doctor = doctor_of(node, registered(job))

    [found] = found_by(doctor)
    outcome = doctor.repair()

    assert "registered_with_last_step" == found.code
    assert isinstance(found.repair, Repair)
    assert ("whether its outputs exist" == found.repair.cannot_know) == (evidence is None)
    assert status == node.repository.get_execution(execution_id).batch_status
    *_, (step, _, to, actor, why) = statuses(node, execution_id)
    assert (None, status, "doctor") == (step, to, actor)
    assert why.startswith(reason)
    assert [] == without_machine(outcome.after)


def test_evidence_is_asked_with_the_execution_and_a_connection_that_reads(node: Node) -> None:
    execute(node, "CREATE TABLE output (execution_id INTEGER)")
    asked: list[JobExecution] = []

    def outputs_exist(execution: JobExecution, connection: Any) -> bool:
        asked.append(execution)
        found = connection.execute(
            "SELECT 1 FROM output WHERE execution_id = :id", {"id": execution.execution_id}
        )
        return found.fetchone() is not None

    job = Job("job", steps=[TaskletStep("load", print)], evidence=outputs_exist)
    execution_id = put_back(node, job)
    execute(node, f"INSERT INTO output VALUES ({execution_id})")

    doctor_of(node, registered(job)).repair()

    assert {(execution_id, "job")} == {(e.execution_id, e.job_name) for e in asked}
    assert "COMPLETED" == node.repository.get_execution(execution_id).batch_status


def test_evidence_that_writes_is_refused_and_decides_nothing(node: Node) -> None:
    def outputs_exist(execution: JobExecution, connection: Any) -> bool:
        connection.execute("DELETE FROM batch_job_instance")
        return True

    job = Job("job", steps=[TaskletStep("load", print)], evidence=outputs_exist)
    execution_id = put_back(node, job)
    doctor = doctor_of(node, registered(job))

    [found] = found_by(doctor)
    outcome = doctor.repair()

    assert "its job's evidence function failed" in found.what
    assert None is found.repair
    assert "STARTING" == node.repository.get_execution(execution_id).batch_status
    assert [] == outcome.repaired
    assert [(1,)] == rows(node, "SELECT COUNT(*) FROM batch_job_instance")


def test_the_history_counts_where_there_is_no_evidence(node: Node) -> None:
    """Somebody sets a FAILED execution to COMPLETED by hand: its history says otherwise."""

    def fails() -> None:
        raise ValueError("not today")

    job = Job("job", steps=[TaskletStep("load", fails)])
    execution_id = node.operator.run(job).execution_id
    execute(node, "UPDATE batch_job_execution SET status = 'COMPLETED', result = 'COMPLETED'")
    doctor = doctor_of(node, registered(job))

    assert ["history_disagrees"] == codes(found_by(doctor))
    doctor.repair()

    ended = node.repository.get_execution(execution_id)
    assert ("FAILED", "FAILED", "ValueError") == (
        ended.batch_status,
        ended.result,
        ended.failure and ended.failure.type,
    )


def test_evidence_overrules_the_history(node: Node) -> None:
    def fails() -> None:
        raise ValueError("after the outputs were there")

    job = Job("job", steps=[TaskletStep("load", fails)], evidence=lambda: True)
    execution_id = node.operator.run(job).execution_id
    execute(node, "UPDATE batch_job_execution SET status = 'COMPLETED', result = 'COMPLETED'")

    doctor_of(node, registered(job)).repair()

    assert "COMPLETED" == node.repository.get_execution(execution_id).batch_status
    assert [] == found_by(doctor_of(node, registered(job)))
