"""Mend what was found: a copy first, then each repair in its own transaction, then another look.

What belongs to one execution is mended one repair after the other, each from a fresh look at that
execution, because one repair may answer the next finding. A repair that has gone stale, or that
does not mend what it should, changes nothing and is told. A process that is killed in between
leaves some findings mended and some not; the next one goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from stepwell.backup.folder import BackupFolder
from stepwell.backup.invariants import CLEAR
from stepwell.database.connect import Database
from stepwell.database.migrations import migrate
from stepwell.database.transaction import Transaction
from stepwell.database.types import utc_text
from stepwell.doctor.examine import examine
from stepwell.errors import StepwellError
from stepwell.finding import Finding, Repair, Statement
from stepwell.job.registry import JobRegistry
from stepwell.repository.history import Because
from stepwell.repository.owners import reopen_owner
from stepwell.repository.repair_log import record_repair
from stepwell.repository.repairs import ACTOR
from stepwell.repository.repository import JobRepository

ROUNDS_MAX = 20  # A missing table hides what is wrong with its rows, and so on.
TURNS_MAX = 50  # Repairs of one execution in one round.
TRIES_MAX = 3
LATER = "later"  # Stands for a repair in a plan; nothing that could be done.
OF_MORE_ROWS = 22  # From R22 on.

logger = logging.getLogger("stepwell.doctor")

# Makes a copy of the database and answers where it stands, or why there is none.
Copy = Callable[[Database], str]


@dataclass(frozen=True)
class Repaired:
    """One repair that was done; ``rows_changed`` is 0 for what is no row."""

    finding: Finding
    does: str
    rows_changed: int


@dataclass(frozen=True)
class NotRepaired:
    """One repair that changed nothing, and why."""

    finding: Finding
    why: str


@dataclass
class Outcome:
    """What a repair has come to.

    Attributes:
        copy: Where the copy stands that was made first; None when nothing was to be mended.
        before: The findings that it began with.
        after: Those of another look at the end.
    """

    before: list[Finding]
    copy: str | None = None
    repaired: list[Repaired] = field(default_factory=list)
    not_repaired: list[NotRepaired] = field(default_factory=list)
    after: list[Finding] = field(default_factory=list)


class _NotMended(Exception):
    """Ends the transaction of a repair that must not stand."""


class Surgeon:
    """Mends one database.

    Args:
        copy: Called once, before the first repair.
        folder: Where copies stand, to be examined and cleared too.
        only: The codes that may be mended; None is all.
        actor: Who has asked for it.
    """

    def __init__(
        self,
        database: Database,
        registry: JobRegistry | None,
        *,
        copy: Copy,
        folder: BackupFolder | None = None,
        only: Collection[str] | None = None,
        actor: str = ACTOR,
    ) -> None:
        self._database = database
        self._actor = actor
        self._registry = registry
        self._copy = copy
        self._folder = folder
        self._only = only
        self._repository = JobRepository(database, database.clock)
        self._tried: Counter[tuple[str, str, str]] = Counter()
        self._failed: dict[tuple[str, str, str], str] = {}

    def repair(self, findings: list[Finding]) -> Outcome:
        """Mend ``findings`` and what comes to light behind them."""
        outcome = Outcome(before=findings, after=findings)
        self._mend_in_rounds(outcome)
        for each in outcome.not_repaired:
            finding = each.finding
            logger.warning("%s at %s was not mended: %s", finding.code, finding.where, each.why)
        return outcome

    def _mend_in_rounds(self, outcome: Outcome) -> None:
        pending = self._pending(outcome.before)
        if pending:
            outcome.copy = self._copy(self._database)
        for _ in range(ROUNDS_MAX):
            if not pending:
                return
            done = len(outcome.repaired)
            self._round(pending, outcome)
            outcome.after = examine(self._database, registry=self._registry, folder=self._folder)
            outcome.not_repaired = [
                NotRepaired(finding, self._failed[_key(finding)])
                for finding in outcome.after
                if _key(finding) in self._failed
            ]
            if len(outcome.repaired) == done:
                return
            pending = self._pending(outcome.after)
        logger.warning("findings are left after %d rounds of repairs", ROUNDS_MAX)

    def _pending(self, findings: list[Finding]) -> list[Finding]:
        return [
            finding
            for finding in findings
            if isinstance(finding.repair, Repair)
            and (self._only is None or finding.code in self._only)
            and self._tried[_key(finding)] < TRIES_MAX
        ]

    def _round(self, pending: list[Finding], outcome: Outcome) -> None:
        for finding in pending:
            if finding.execution_id is None:
                self._mend(finding, outcome)
        for execution_id in sorted({f.execution_id for f in pending if f.execution_id is not None}):
            for finding in pending:
                # First of all it is recovered; what needs more than its own rows is not seen below.
                if finding.execution_id == execution_id and _rule_number(finding) >= OF_MORE_ROWS:
                    self._mend(finding, outcome)
            for _ in range(TURNS_MAX):
                findings = examine(
                    self._database, registry=self._registry, execution_id=execution_id
                )
                left = self._pending(findings)
                if not left:
                    break
                self._mend(left[0], outcome)

    def _mend(self, finding: Finding, outcome: Outcome) -> None:
        repair = finding.repair
        assert isinstance(repair, Repair)
        self._tried[_key(finding)] += 1
        try:
            rows = self._do(finding, repair, outcome.copy)
        except (_NotMended, StepwellError) as error:
            # Another repair may have to come first, or has answered it: the next look tells.
            why = getattr(error, "message", None) or str(error)
            self._failed[_key(finding)] = why
            # Another repair may have to go first; what is left at the end is told.
            logger.info("%s at %s is not mended yet: %s", finding.code, finding.where, why)
        else:
            self._failed.pop(_key(finding), None)
            logger.info("%s at %s: %s (%d rows)", finding.code, finding.where, repair.does, rows)
            outcome.repaired.append(Repaired(finding, repair.does, rows))

    def _do(self, finding: Finding, repair: Repair, copy: str | None) -> int:
        if repair.operation:
            self._operate(finding, repair.operation)
            self._database.run(
                lambda transaction: self._record(transaction, finding, repair, 0, copy)
            )
            return 0
        return self._database.run(
            lambda transaction: self._change(transaction, finding, repair, copy),
            what=f"repair {finding.code!r} at {finding.where}",
        )

    def _change(
        self, transaction: Transaction, finding: Finding, repair: Repair, copy: str | None
    ) -> int:
        """In one transaction: proven to apply, done, proven to have mended, recorded."""
        now = {"now": utc_text(self._database.clock.now())}
        if repair.guard is not None and not self._answers(transaction, repair.guard, now):
            raise _NotMended("what was found has changed since: the repair is stale")
        rows = sum(self._execute(transaction, each, now) for each in repair.statements)
        if repair.guard is not None and self._answers(transaction, repair.guard, now):
            raise _NotMended("its statements do not mend what was found; nothing was changed")
        if finding.rule == "" and self._changes_again(transaction, repair, now):
            raise _NotMended(
                "its statements change rows a second time: say in their WHERE which state they"
                " mend; nothing was changed"
            )
        self._record(transaction, finding, repair, rows, copy)
        return rows

    def _changes_again(self, transaction: Transaction, repair: Repair, now: dict[str, str]) -> bool:
        """Whether a second time would have an effect (law 5); it is undone."""

        class Undo(Exception):
            pass

        rows = 0
        try:
            with transaction.savepoint():
                rows = sum(self._execute(transaction, each, now) for each in repair.statements)
                raise Undo
        except Undo:
            return rows > 0

    def _execute(self, transaction: Transaction, statement: Statement, now: dict[str, str]) -> int:
        values = {**statement.values, **now}
        result = transaction.connection.execute(statement.sql, values)
        if result.columns:
            result.fetchall()  # An open result would keep its table from being changed.
            return 0
        return max(result.rowcount, 0)

    def _answers(self, transaction: Transaction, guard: Statement, now: dict[str, str]) -> bool:
        result = transaction.connection.execute(guard.sql, {**guard.values, **now})
        return result.fetchone() is not None

    def _record(
        self,
        transaction: Transaction,
        finding: Finding,
        repair: Repair,
        rows: int,
        copy: str | None,
    ) -> None:
        record_repair(
            transaction,
            finding,
            repair.does,
            rows_changed=rows,
            copy=copy,
            at=self._database.clock.now(),
            actor=self._actor,
        )

    def _operate(self, finding: Finding, operation: str) -> None:
        """What is no SQL. A database that is open for work is in WAL mode already."""
        if operation == "migrate":
            migrate(self._database)
        elif operation == "checkpoint":
            self._database.checkpoint()
        elif operation == CLEAR and self._folder is not None:
            with self._folder.writing("delete what is left of backups"):
                """Whoever begins to write there clears it first."""
        elif operation == "recover":
            assert finding.execution_id is not None
            self._recover(finding.execution_id, f"{finding.code}: {finding.what}")

    def _recover(self, execution_id: int, reason: str) -> None:
        """By proof of death; an owner that is recorded as ended and lives is put back."""
        owner_id = self._repository.get_execution(execution_id).owner_id
        if owner_id is not None and not self._database.liveness.is_dead(owner_id):
            self._database.run(lambda transaction: reopen_owner(transaction, owner_id))
            return
        self._repository.recover(execution_id, Because(ACTOR, reason))


def in_turn(findings: Iterable[Finding]) -> list[Finding]:
    """``findings`` as a plan: of one execution only the first repair is sure.

    It may answer the others, or change what they need; they are looked at again behind it.
    """
    findings = list(findings)
    first: dict[int, Finding] = {}
    for finding in sorted(findings, key=lambda each: _rule_number(each) < OF_MORE_ROWS):
        if finding.execution_id is not None and isinstance(finding.repair, Repair):
            first.setdefault(finding.execution_id, finding)
    planned = []
    for finding in findings:
        leads = first.get(finding.execution_id or 0, finding)
        if leads is not finding and isinstance(finding.repair, Repair):
            later = Repair(f"look again after the repair of {leads.code}", operation=LATER)
            planned.append(replace(finding, repair=later))
        else:
            planned.append(finding)
    return planned


def _key(finding: Finding) -> tuple[str, str, str]:
    return finding.code, finding.where, finding.what


def _rule_number(finding: Finding) -> int:
    return int(finding.rule[1:]) if finding.rule.startswith("R") else 0
