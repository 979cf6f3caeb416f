"""Examine a database: every package's invariants, and the project's own.

Nothing is written, and nothing that is found ends the examination: a check that cannot be done is
a finding itself. What the tables hold is looked at only when they are this release's tables.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from stepwell.backup import invariants as of_backups
from stepwell.backup.folder import BackupFolder
from stepwell.database import (
    invariants as of_database,
)
from stepwell.database import (
    postgresql_findings,
    schema,
    sqlite_findings,
    sqlite_values,
)
from stepwell.database.connect import Database
from stepwell.database.transaction import Reader
from stepwell.doctor.evidence import decide, evidence_of
from stepwell.doctor.project import project_checks
from stepwell.errors import DatabaseError, StepwellError
from stepwell.execution.result import message_of
from stepwell.finding import Finding, Severity
from stepwell.job.registry import JobRegistry
from stepwell.repository import explanations
from stepwell.repository import invariants as of_executions
from stepwell.repository import surroundings as of_surroundings
from stepwell.repository.browse import newest_execution_id
from stepwell.repository.invariants import Check, in_order
from stepwell.repository.rule import FIRST, LAST
from stepwell.repository.surroundings import Known
from stepwell.sync import invariants as of_sync

CHECK_FAILED = (
    "A check could not be made: a row holds something that no rule foresees, or a statement was"
    " refused. What it would have found is not known."
)
JOBS_NOT_LOADED = (
    "The modules or job files of the settings cannot be loaded. Evidence of outputs and the"
    " project's own invariants are in them, so those were not asked."
)
# Every code with its explanation, but those of errors when a database cannot be opened.
EXPLANATIONS: dict[str, str] = {
    **of_database.EXPLANATIONS,
    **schema.EXPLANATIONS,
    **postgresql_findings.EXPLANATIONS,
    **sqlite_findings.EXPLANATIONS,
    **sqlite_values.EXPLANATIONS,
    **explanations.EXPLANATIONS,
    **of_backups.EXPLANATIONS,
    **of_sync.EXPLANATIONS,
    "check_failed": CHECK_FAILED,
    "jobs_not_loaded": JOBS_NOT_LOADED,
}
EPOCHS: dict[str, Check] = {"B4 epoch_falls": of_backups.examine}
# Of an examination that is not thorough: what happened lately, so that a long history costs little.
RECENT_EXECUTIONS = 10_000

_RULE = re.compile(r"[A-Z]\d+")

logger = logging.getLogger("stepwell.doctor")


def examine(
    database: Database,
    *,
    registry: JobRegistry | None = None,
    folder: BackupFolder | None = None,
    thorough: bool = True,
    execution_id: int | None = None,
) -> list[Finding]:
    """Everything that is wrong with ``database``; what needs a choice is decided by evidence.

    ``registry`` holds the jobs, for their evidence, and the project's invariants; ``folder`` the
    copies. Without ``thorough`` no check reads every page of the file, and only the last executions
    are looked at. With ``execution_id`` only that execution is.
    """
    found: list[Finding] = []
    checks: dict[str, Check] = {}
    if execution_id is None:
        found = _of_database(database, thorough=thorough)
    # Tables that are not as they should be are not asked; the project's own are, all the same.
    if not any(finding.rule == "D8" or finding.code == "schema_drift" for finding in found):
        first, last = _range(database, thorough=thorough, execution_id=execution_id)
        checks |= of_executions.checks(first, last)
        if execution_id is None:
            # A program that hands its jobs over as values has none registered: nobody can say.
            names = {each.name for each in registry or () if not each.is_built_in} or None
            known = Known(database.clock.now(), names, _timeouts(registry))
            checks |= of_surroundings.checks(database, known) | EPOCHS
            checks |= of_sync.checks(database, thorough=thorough)
    if execution_id is None and registry is not None:
        checks |= project_checks(registry.invariants.values())
    found += in_order(run_checks(database, checks))
    if execution_id is None and folder is not None:
        found += _of_folder(folder)
    ask = evidence_of(database, registry)
    return [decide(finding, ask) for finding in found]


def examine_copy(reader: Reader) -> list[Finding]:
    """What a reader of a copy can see: every promise about its rows; time stands still in it.

    A check that cannot be made is a finding. Tables and values are asked of the copy's database,
    see ``backup/copy.py``.
    """
    checks = {**of_executions.checks(), **of_surroundings.checks_of_copy(), **EPOCHS}
    found: list[Finding] = []
    for name, check in checks.items():
        try:
            found += check(reader)
        except Exception as error:  # noqa: BLE001 - rows may hold anything at all
            found.append(_failed(name, error))
            if not _can_go_on(reader):
                break
    return [decide(finding, _nobody_answers) for finding in in_order(found)]


def _can_go_on(reader: Reader) -> bool:
    """On PostgreSQL a statement that failed has ended the reader's transaction."""
    try:
        reader.connection.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def examine_project(database: Database, registry: JobRegistry) -> list[Finding]:
    """The project's own invariants alone."""
    return run_checks(database, project_checks(registry.invariants.values()))


def run_checks(database: Database, checks: Mapping[str, Check]) -> list[Finding]:
    """What the checks find; one that fails is a finding, and the others go on."""
    found: list[Finding] = []
    pending = list(checks.items())
    while pending:
        with database.read() as reader:
            # On PostgreSQL a statement that failed has ended the reader's transaction.
            while pending:
                name, check = pending.pop(0)
                try:
                    found += check(reader)
                except Exception as error:  # noqa: BLE001 - rows may hold anything at all
                    found.append(_failed(name, error))
                    break
    return found


def finding_of(error: StepwellError) -> Finding:
    """A database that cannot even be opened, as a finding under the code of the error."""
    where = str(error.fields.get("database", "the database"))
    return Finding(
        code=error.code,
        severity=Severity.ERROR,
        where=where,
        what=error.message,
        hint=error.hint,
        explanation=" ".join((type(error).__doc__ or "").split()),
    )


def counts_by_code(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings there are of each code: the metric ``stepwell_doctor_findings{code}``."""
    return dict(sorted(Counter(finding.code for finding in findings).items()))


def _of_folder(folder: BackupFolder) -> list[Finding]:
    try:
        return of_backups.examine_folder(folder)
    except OSError as error:
        return [_failed("B3 of the backups", error)]


def _of_database(database: Database, *, thorough: bool) -> list[Finding]:
    found: list[Finding] = []
    for name, look in {
        "the database": lambda: of_database.examine(database, thorough=thorough),
        "the version of the tables": lambda: of_database.examine_version(database),
    }.items():
        found += _looked(name, look)
    if not any(finding.rule == "D8" for finding in found):
        found += _looked("the tables", lambda: of_database.examine_schema(database))
    return found


def _looked(name: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except DatabaseError as error:
        # Whatever else is asked of a damaged file is answered in the same way.
        return [replace(finding_of(error), rule="D8", where=name)]


def _timeouts(registry: JobRegistry | None) -> dict[str, float]:
    """How long each job may take; a job file's is known only with its parameters."""
    return {
        each.name: each.job.timeout_s
        for each in registry or ()
        if each.source is None and each.job.timeout_s is not None
    }


def _range(database: Database, *, thorough: bool, execution_id: int | None) -> tuple[int, int]:
    if execution_id is not None:
        return execution_id, execution_id
    if thorough:
        return FIRST, LAST
    with database.read() as reader:
        return newest_execution_id(reader) - RECENT_EXECUTIONS, LAST


def _failed(name: str, error: Exception) -> Finding:
    logger.debug("check %s failed", name, exc_info=error)
    first, _, rest = name.partition(" ")
    rule = first if _RULE.fullmatch(first) else ""
    return Finding(
        code="check_failed",
        severity=Severity.ERROR,
        where=f"check {rest if rule else name}",
        what=f"{type(error).__name__}: {message_of(error)}",
        hint="mend what else is found, then examine again",
        rule=rule,
        explanation=CHECK_FAILED,
    )


def _nobody_answers(_execution_id: int) -> bool | None:
    return None
