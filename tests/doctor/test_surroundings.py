"""T14 for R20 and R22 to R28: what needs a broken table, a dead process, another clock."""

from __future__ import annotations

import pytest

from stepwell import BatchStatus, Job, Node, TaskletStep
from stepwell.doctor.doctor import fingerprint
from stepwell.errors import PlanChanged
from stepwell.job.registry import JobRegistry
from stepwell.job.resource import Declared
from stepwell.repository.creation import NewExecution
from stepwell.repository.surroundings import STALLED_AFTER_S
from stepwell.testing import FrozenClock
from tests.conformance.stories import execute, nothing, owned, rows, waiting
from tests.conformance.test_invariants import tell_a_story
from tests.doctor.patients import (
    codes,
    constraint_off,
    doctor_of,
    execute_unchecked,
    found_by,
    to_be_mended,
    without_machine,
)

STARTED = BatchStatus.STARTED
JOB_END = ("batch_job_execution", "batch_job_execution_end")
STEP_END = ("batch_step_execution", "batch_step_execution_end")
FUTURE = "'2999-01-01T00:00:00.000000Z'"
TO_FUTURE = f"end_time = {FUTURE}, last_updated = {FUTURE}"

# By name: what breaks it, and the code that it is found under.
BREAKS: dict[str, tuple[tuple[str, ...], str]] = {
    "R20 a job has ended and has no end time": (
        ("UPDATE batch_job_execution SET end_time = NULL WHERE job_execution_id = 1",),
        "end_time_disagrees",
    ),
    "R20 a step has ended and has no end time": (
        ("UPDATE batch_step_execution SET end_time = NULL WHERE job_execution_id = 1",),
        "end_time_disagrees",
    ),
    "R22 a job execution is lost": (
        ("DELETE FROM batch_job_execution WHERE job_execution_id = 1",),
        "orphan",
    ),
    "R22 a step execution is lost": (
        ("DELETE FROM batch_step_execution WHERE job_execution_id = 1",),
        "orphan",
    ),
    "R22 an instance is lost": (
        ("DELETE FROM batch_job_instance WHERE job_instance_id = 1",),
        "orphan",
    ),
    "R22 an owner is lost": (
        ("DELETE FROM batch_owner WHERE owner_id = 1",),
        "orphan",
    ),
    "R22 a partition is lost": (
        ("DELETE FROM batch_partition WHERE partition_number = 1",),
        "orphan",
    ),
    "R26 a job of the future": (
        (f"UPDATE batch_job_execution SET {TO_FUTURE} WHERE job_execution_id = 1",),
        "future_timestamp",
    ),
    "R26 a step of the future": (
        (f"UPDATE batch_step_execution SET {TO_FUTURE} WHERE job_execution_id = 1",),
        "future_timestamp",
    ),
    "R28 the history can be deleted": (
        ("INSERT INTO batch_purge (job_execution_id) VALUES (1)",),
        "purge_open",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_explained_repaired_and_clean(
    name: str, node: Node, clock: FrozenClock
) -> None:
    statements, code = BREAKS[name]
    tell_a_story(node, clock)
    doctor = doctor_of(node)
    assert [] == to_be_mended(found_by(doctor))
    execute_unchecked(
        node, *constraint_off(node, *JOB_END), *constraint_off(node, *STEP_END), *statements
    )

    found = found_by(doctor)
    assert code in codes(found)
    assert all(f.explanation and f.hint for f in found)
    outcome = doctor.repair()
    assert [] == outcome.not_repaired
    assert [] == without_machine(outcome.after)
    assert [] == found_by(doctor)


def test_what_is_left_of_a_lost_execution_goes_and_nothing_else(
    node: Node, clock: FrozenClock
) -> None:
    tell_a_story(node, clock)
    before = rows(node, "SELECT * FROM batch_status_history WHERE job_execution_id <> 1")
    execute_unchecked(node, "DELETE FROM batch_job_execution WHERE job_execution_id = 1")

    doctor_of(node).repair()

    assert before == rows(node, "SELECT * FROM batch_status_history")
    assert [] == rows(node, "SELECT * FROM batch_step_execution WHERE job_execution_id = 1")
    assert [(1,)] == rows(node, "SELECT COUNT(*) FROM batch_step_execution")
    assert [] == rows(node, "SELECT * FROM batch_purge")
    assert ("orphan",) in rows(node, "SELECT code FROM batch_repair")


def test_an_execution_of_a_dead_owner_is_recovered_by_the_doctor(node: Node) -> None:
    record = owned(node, "runs", owned(node, "other").batch_status.STARTED)
    assert record.owner_id is not None
    node.database.liveness.release(record.owner_id)  # As the system does when a process is killed.
    doctor = doctor_of(node)

    found = found_by(doctor)
    outcome = doctor.repair()

    assert ["dead_owner"] == codes(found)
    assert "FAILED" == node.repository.get_execution(record.execution_id).batch_status
    assert [("doctor",)] == rows(
        node, "SELECT DISTINCT actor FROM batch_status_history WHERE to_status = 'FAILED'"
    )
    assert [] == to_be_mended(outcome.after)


def test_a_dead_owner_that_left_nothing_is_only_told(node: Node) -> None:
    owner_id = node.repository.register_owner("test")
    node.database.liveness.release(owner_id)
    doctor = doctor_of(node)

    assert ["owner_not_ended"] == codes(found_by(doctor))
    assert [] == to_be_mended(found_by(doctor))
    assert [] == without_machine(doctor.repair().after)


def test_an_owner_that_lives_and_is_recorded_as_ended_is_put_back(node: Node) -> None:
    record = owned(node, "runs")
    execute(node, "UPDATE batch_owner SET ended_at = started_at")
    doctor = doctor_of(node)

    assert ["runs_without_owner"] == codes(found_by(doctor))
    assert [] == without_machine(doctor.repair().after)
    assert "STARTING" == node.repository.get_execution(record.execution_id).batch_status
    assert [(None,)] == rows(node, "SELECT ended_at FROM batch_owner")


def test_what_commits_nothing_for_too_long_is_asked_to_stop(node: Node, clock: FrozenClock) -> None:
    record = owned(node, "hangs", owned(node, "other").batch_status.STARTED)
    node.operator.recover(1, force=True, reason="only one of the two hangs")
    clock.advance(STALLED_AFTER_S + 1)
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("no_progress", record.execution_id) == (found.code, found.execution_id)
    assert "86,401 s; 86,400 s are allowed" in found.what
    [left] = without_machine(doctor.repair().after)
    assert ("no_progress", None) == (left.code, left.repair)
    assert node.repository.get_execution(record.execution_id).stop_requested
    node.operator.recover(record.execution_id, force=True, reason="it does not listen")
    assert [] == without_machine(doctor.repair().after)


def test_a_waiting_execution_of_an_unknown_job_is_found(node: Node) -> None:
    record = waiting(node, "nobody-knows")
    known = JobRegistry()
    known.add(Job("known", steps=[TaskletStep("step", nothing)]), origin="the test")

    assert ["unknown_job"] == codes(found_by(doctor_of(node, known)))
    node.operator.stop(record.execution_id)
    assert [] == found_by(doctor_of(node, known))


def test_a_plan_that_went_stale_is_refused_whatever_the_database(
    node: Node, clock: FrozenClock
) -> None:
    tell_a_story(node, clock)
    execute(node, "UPDATE batch_job_execution SET exit_code = NULL WHERE status = 'FAILED'")
    doctor = doctor_of(node)
    read = fingerprint(doctor.examine())
    execute(node, "UPDATE batch_job_execution SET last_step = NULL WHERE job_execution_id = 1")

    with pytest.raises(PlanChanged):
        doctor.repair(expected_plan=read)
    assert [] == rows(node, "SELECT * FROM batch_repair")
    now = fingerprint(doctor.examine())
    assert 2 == len(doctor.repair(expected_plan=now).repaired)


def hold(node: Node, owner_id: int) -> None:
    """Somebody's INSERT: a lock that is held to write."""
    execute(
        node,
        "INSERT INTO batch_lock (lock_name, mode, owner_id, priority, requested_at, acquired_at)"
        f" SELECT 'state', 'write', {owner_id}, 0, started_at, started_at FROM batch_owner"
        f" WHERE owner_id = {owner_id}",
    )


def test_a_lock_that_two_hold_is_taken_from_the_earlier_one(node: Node) -> None:
    owner_id = node.repository.register_owner("test")
    hold(node, owner_id)
    hold(node, owner_id)
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("shared_lock", "lock 'state'") == (found.code, found.where)
    assert [] == without_machine(doctor.repair().after)
    assert [(True, False), (False, True)] == rows(
        node,
        "SELECT ended_at IS NOT NULL, ended_reason IS NULL FROM batch_lock ORDER BY lock_id",
    )


def test_a_lock_of_a_dead_owner_is_taken_from_it(node: Node) -> None:
    owner_id = node.repository.register_owner("test")
    hold(node, owner_id)
    node.database.liveness.release(owner_id)
    doctor = doctor_of(node)

    assert {"stale_lock", "owner_not_ended"} == set(codes(found_by(doctor)))
    assert [] == without_machine(doctor.repair().after)
    assert [("found by the doctor: its owner is dead",)] == rows(
        node, "SELECT ended_reason FROM batch_lock"
    )


def test_what_two_have_for_themselves_is_told_until_one_of_them_ends(node: Node) -> None:
    first = owned(node, "one", STARTED)
    second = owned(node, "two", STARTED)
    for record in (first, second):
        execute(
            node,
            "INSERT INTO batch_resource (job_execution_id, kind, value)"
            f" SELECT job_execution_id, 'path', '/data/a' FROM batch_job_execution"
            f" WHERE job_execution_id = {record.execution_id}",
        )
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("shared_resource", None) == (found.code, found.repair)
    assert f"`stepwell stop {second.execution_id}`" == found.hint
    node.operator.recover(second.execution_id, force=True, reason="the hint's way")
    assert [] == found_by(doctor)


def test_what_waits_for_a_pool_that_lets_nobody_in_is_found(node: Node) -> None:
    node.pools.set("gpu", 0)
    for name in ("first", "second"):
        register(node, name, Declared((), ("gpu",)))
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("pool_closed", "pool 'gpu'") == (found.code, found.where)
    assert "its size is 0, and execution 1 waits for it, with 1 more" == found.what
    assert "`stepwell pool set gpu N` lets N in" in found.hint
    execute(node, "DELETE FROM batch_pool")
    [found] = found_by(doctor)
    assert "there is no such pool, and execution 1 waits for it, with 1 more" == found.what
    assert [] == doctor.repair().repaired
    node.pools.set("gpu", 1)
    assert [] == found_by(doctor)


def register(node: Node, name: str, declared: Declared) -> None:
    node.repository.create_execution(NewExecution(name, (), None, declared=declared))


def test_a_waiting_execution_that_was_overtaken_is_stopped(node: Node, clock: FrozenClock) -> None:
    waits = waiting(node, "job")
    execute_unchecked(
        node,
        "INSERT INTO batch_job_execution (version, job_instance_id, create_time, start_time,"
        " end_time, status, exit_code, last_updated, fence, trigger_source, failure_type, result)"
        " SELECT 0, job_instance_id, create_time, create_time, create_time, 'FAILED', 'FAILED',"
        " create_time, 1, 'user', 'X', 'FAILED' FROM batch_job_execution",
    )
    doctor = doctor_of(node)

    assert {"never_runs", "history_disagrees", "context_missing"} == set(codes(found_by(doctor)))
    assert [] == without_machine(doctor.repair().after)
    assert "STOPPED" == node.repository.get_execution(waits.execution_id).batch_status


def test_two_that_run_are_found_ended_and_kept_apart_again(node: Node, clock: FrozenClock) -> None:
    first = waiting(node, "job")
    columns = "version, job_instance_id, create_time, status, last_updated, fence, trigger_source"
    execute_unchecked(
        node,
        "DROP INDEX batch_job_execution_one_running",
        f"INSERT INTO batch_job_execution ({columns}) SELECT {columns} FROM batch_job_execution",
    )
    doctor = doctor_of(node)

    assert {"two_running", "missing_index"} <= set(codes(found_by(doctor)))
    outcome = doctor.repair()
    assert [] == without_machine(outcome.after)
    assert [] == outcome.not_repaired
    assert "FAILED" == node.repository.get_execution(first.execution_id).batch_status
