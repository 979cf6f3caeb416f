"""The doctor of one database: examines, plans and repairs; on a timer, on demand, as a job."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Collection, Iterable
from functools import partial

from stepwell.backup.folder import BackupFolder
from stepwell.database.connect import Database
from stepwell.doctor.copy import backup_beside, backup_into
from stepwell.doctor.examine import EXPLANATIONS, counts_by_code, examine
from stepwell.doctor.project import metrics
from stepwell.doctor.repair import Copy, Outcome, Surgeon
from stepwell.doctor.script import as_sql
from stepwell.errors import InvalidSetting, PlanChanged
from stepwell.finding import Finding, Repair, Severity
from stepwell.job.registry import JobRegistry
from stepwell.repository.repairs import ACTOR

METRIC = "stepwell_doctor_findings"
FINGERPRINT_CHARACTERS = 8

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ERROR: logging.ERROR,
}

logger = logging.getLogger("stepwell.doctor")


class Doctor:
    """One database's doctor; ``Node.doctor`` is one. Threads may share it.

    Args:
        registry: The jobs that are known, for their evidence, and the project's invariants; None
            when they are not known.
        folder: Where copies stand: it is examined too, and a copy is made there before a repair.
        copy: Makes that copy in another way.
        auto_repair: The codes whose repairs ``run_once`` does by itself.
    """

    def __init__(
        self,
        database: Database,
        registry: JobRegistry | None = None,
        *,
        folder: BackupFolder | None = None,
        copy: Copy | None = None,
        auto_repair: Collection[str] = (),
    ) -> None:
        self._database = database
        self._registry = registry
        self._folder = folder
        into_folder = partial(backup_into, folder) if folder is not None else backup_beside
        self._copy = copy or into_folder
        self._auto_repair = frozenset(auto_repair)
        self._last: list[Finding] = []

    def examine(self, *, thorough: bool = True) -> list[Finding]:
        """Everything that is wrong; nothing is written. Without ``thorough`` see ``examine.py``."""
        self._last = self._look(thorough=thorough)
        return self._last

    def _look(self, *, thorough: bool = True) -> list[Finding]:
        return examine(
            self._database, registry=self._registry, folder=self._folder, thorough=thorough
        )

    def repair(
        self,
        *,
        only: Collection[str] | None = None,
        expected_plan: str | None = None,
        actor: str = ACTOR,
    ) -> Outcome:
        """Examine, make a copy, mend what can be mended, examine again.

        ``only`` names the codes that may be mended. ``expected_plan`` is the fingerprint of the
        plan that somebody has read; ``actor``, who has asked, stands beside each repair.

        Raises:
            PlanChanged: the plan is another one by now; nothing was done.
            DatabaseError: no copy could be made; nothing was done.
        """
        found = self._look()
        if expected_plan is not None and expected_plan != fingerprint(found):
            raise PlanChanged(self._database.location, expected_plan, fingerprint(found))
        surgeon = Surgeon(
            self._database,
            self._registry,
            copy=self._copy,
            folder=self._folder,
            only=only,
            actor=actor,
        )
        outcome = surgeon.repair(found)
        self._last = outcome.after
        return outcome

    def plan_as_sql(self, findings: Iterable[Finding]) -> str:
        """The repairs of ``findings`` as a migration; see ``script.py``."""
        now = self._database.clock.now()
        return as_sql(findings, location=self._database.location, now=now)

    def run_once(self, *, thorough: bool = False) -> list[Finding]:
        """One periodic look; logs what is found, mends what it may, answers what is left.

        Only the codes of ``doctor_auto_repair`` are mended, none by default.
        """
        found = self.examine(thorough=thorough)
        for finding in found:
            logger.log(
                _LEVELS[finding.severity],
                "%s at %s: %s",
                finding.code,
                finding.where,
                finding.what,
                extra={"code": finding.code},
            )
        if self._auto_repair.intersection(finding.code for finding in found):
            self.repair(only=self._auto_repair)
        return self._last

    def refuse_unknown_codes(self) -> None:
        """Refuse a code to be mended by itself that is neither Stepwell's nor the project's.

        Raises:
            InvalidSetting: with the nearest one as the hint.
        """
        known = {*EXPLANATIONS, *(self._registry.invariants if self._registry is not None else ())}
        for code in sorted(self._auto_repair - known):
            close = difflib.get_close_matches(code, known, n=1)
            raise InvalidSetting(
                f"doctor_auto_repair must name codes of findings, got {code!r}",
                hint=f"did you mean {close[0]!r}?" if close else "docs/doctor.md lists them",
                fields={"setting": "doctor_auto_repair", "code": code},
            )

    @property
    def last(self) -> tuple[Finding, ...]:
        """What the last look has found, or what its repair has left; nothing before the first."""
        return tuple(self._last)

    def counts(self) -> dict[str, int]:
        """Findings of the last look by code: the metric ``stepwell_doctor_findings{code}``.

        The project's invariants are among them with 0 when they hold.
        """
        codes = dict.fromkeys(self._registry.invariants if self._registry is not None else (), 0)
        return {**codes, **counts_by_code(self._last)}

    def metrics(self) -> dict[str, int]:
        """The metrics that the project's invariants name, as of the last look."""
        invariants = self._registry.invariants.values() if self._registry is not None else ()
        return metrics(invariants, self._last)


def fingerprint(findings: Iterable[Finding]) -> str:
    """A short text that tells one plan from another: what would be done, and to what.

    Opening a database for work switches its journal mode; that is no part of a plan by then.
    """
    digest = hashlib.sha256()
    for finding in findings:
        repair = finding.repair
        if isinstance(repair, Repair) and repair.operation != "open":
            digest.update(repr((finding.code, finding.where, repair)).encode())
    return digest.hexdigest()[:FINGERPRINT_CHARACTERS]
