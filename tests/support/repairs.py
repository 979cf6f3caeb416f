"""A database that is broken in many ways, and its repair; what child processes run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell.backup.folder import BackupFolder
from stepwell.database.connect import open_database
from stepwell.doctor.doctor import Doctor
from stepwell.finding import Severity
from tests.doctor.patients import no_copy, without_machine
from tests.support.upgrades import tell

# By hand, behind Stepwell's back; the story's last execution is at work, and its owner is dead.
BREAKS = (
    "DROP INDEX batch_skip_step",
    "DROP VIEW batch_job_execution_tracking",
    "UPDATE batch_job_execution SET exit_code = NULL WHERE status = 'FAILED'",
    "UPDATE batch_job_execution SET last_step = NULL WHERE job_execution_id = 1",
    (
        "UPDATE batch_job_execution SET status = 'STARTING', owner_id = NULL, end_time = NULL,"
        " result = NULL WHERE job_execution_id = 1"
    ),
    "DELETE FROM batch_step_execution_context WHERE step_execution_id = 1",
    "INSERT INTO batch_purge (job_execution_id) VALUES (1)",
    (
        "INSERT INTO batch_owner (host, pid, purpose, started_at, ended_at, epoch)"
        " SELECT host, pid, purpose, started_at, started_at, 1 FROM batch_owner WHERE owner_id = 1"
    ),
    (
        "INSERT INTO batch_owner (host, pid, purpose, started_at, ended_at, epoch)"
        " SELECT host, pid, purpose, started_at, started_at, 0 FROM batch_owner WHERE owner_id = 1"
    ),
)


def tell_and_break(url: str) -> None:
    """A story, and then everything of ``BREAKS``."""
    tell(url)
    with open_database(url) as database:
        for sql in BREAKS:
            with database.write() as transaction:
                transaction.connection.execute(sql)


def repair(url: str, folder: str = "") -> dict[str, Any]:
    """Examine and repair it, with a copy into ``folder``, if there is one."""
    copies = BackupFolder(Path(folder), may_be_made=True) if folder else None
    with open_database(url) as database:
        doctor = Doctor(database, folder=copies, copy=None if folder else no_copy)
        outcome = doctor.repair()
    left = [f for f in without_machine(outcome.after) if f.severity is not Severity.INFO]
    return {
        "repaired": [each.finding.code for each in outcome.repaired],
        "not_repaired": [each.why for each in outcome.not_repaired],
        "left": [finding.code for finding in left if finding.code != "wal_reset_bug"],
    }


def repairs(url: str) -> list[list[str]]:
    """What was recorded of repairs, in the order of their codes and places."""
    with open_database(url) as database, database.read() as reader:
        found = reader.connection.execute("SELECT code, place, done FROM batch_repair")
        return sorted([str(value) for value in row] for row in found.fetchall())
