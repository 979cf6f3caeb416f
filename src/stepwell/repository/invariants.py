"""What is true of the batch tables at every moment that a reader can see, and who checks it.

- **R1** History replays to the row: the changes of each job and step execution begin at none, each
  begins where the one before it ended, each is legal (S11), the last one ends at the row's status.
- **R2** An execution that has ended has no running step, a step that has ended no unfinished
  attempt at a partition.
- **R3** A COMPLETED step has a result for every partition of its plan.
- **R4** The partition counters of a step equal its rows: total the plan, completed the results it
  has or has kept, failed and partial those among them (S161).
- **R5** No partition of a plan succeeds twice (S156).
- **R6** A FAILED row says why, and has FAILED as its result; ended rows have an exit status.
- **R7** A running execution has an owner that has not ended; only STARTING may wait without (S29).
- **R8** Fences agree: a running step has its execution's, an unfinished attempt its step's; none is
  ahead of its parent's (S187).
- **R9** ``current_step`` names the running step and nothing else; ``last_step`` names a step that
  completed in the instance, and is there once one of the execution's own has.
- **R10** The result follows from the status (S21): COMPLETED or PARTIAL, FAILED, or none.
- **R11** create ≤ start ≤ end (S13).
- **R12** A COMPLETED execution is the last of its instance (S6).
- **R13** An execution that has ended has no request that nobody has taken (S12).
- **R14** An attempt's result follows from its status: COMPLETED has SUCCESS or PARTIAL, FAILED has
  FAILURE or, recovered, none; others have none.
- **R15** Each job and step execution has exactly one context.
- **R16** A step has no more skipped items than its counters say (S117).
- **R17** No two executions at work have resources that overlap (S197). A pool may have more of them
  than its size, when that was lowered.
- **R18** A lock that is held to write has no other holder, and none that reads.

A transaction keeps them all (law 2), so they hold after any crash too. Nothing here writes.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from sqlalchemy import text

from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.errors import IllegalTransition
from stepwell.execution.status import BatchStatus, check_transition
from stepwell.finding import Finding, Severity
from stepwell.repository.blockers import read_occupancy
from stepwell.repository.invariant_queries import CURRENT_STEPS, HINT, INVARIANTS
from stepwell.repository.locks import list_locks


def examine(reader: Reader) -> list[Finding]:
    """Every broken invariant, in the order of the rules; none on a sound database."""
    found = [*_illegal_changes(reader), *_current_steps(reader), *_shared_resources(reader)]
    found += _shared_locks(reader)
    for invariant in INVARIANTS:
        found += invariant.findings(reader)
    return sorted(found, key=lambda finding: int(finding.rule[1:]))


_CHANGES = Prepared(
    text("""
    SELECT CASE WHEN step_execution_id IS NULL THEN 'job' ELSE 'step' END AS kind,
      from_status, to_status, COUNT(*), MIN(history_id)
    FROM batch_status_history GROUP BY 1, 2, 3
    """)
)


def _illegal_changes(reader: Reader) -> list[Finding]:
    """R1: each kind of change that the history holds is in the tables of section 3.1."""
    found = []
    for kind, from_status, to_status, count, first in reader.fetch_all(_CHANGES):
        if not _is_legal(kind, from_status, to_status):
            found.append(
                Finding(
                    code="illegal_change",
                    severity=Severity.ERROR,
                    where=f"history row {first}",
                    what=f"{count} changes of a {kind} from {from_status} to {to_status}",
                    hint="no change of Stepwell's is illegal: find the program that wrote it",
                    rule="R1",
                )
            )
    return found


def _current_steps(reader: Reader) -> list[Finding]:
    """R9: the steps that the job's row names are the ones that run; several in a split (S51)."""
    named: dict[tuple[int, str, str | None], set[str]] = {}
    for execution_id, status, current_step, running in reader.fetch_all(CURRENT_STEPS):
        steps = named.setdefault((execution_id, status, current_step), set())
        steps.update([running] if running else [])
    return [
        Finding(
            code="current_step",
            severity=Severity.ERROR,
            where=f"job execution {execution_id}",
            what=f"it is {status} and names {current_step!r} as its current step,"
            f" running are {sorted(running)}",
            hint=HINT,
            rule="R9",
        )
        for (execution_id, status, current_step), running in named.items()
        if running != set((current_step or "").split(",")) - {""}
    ]


def _shared_resources(reader: Reader) -> list[Finding]:
    """R17: what one execution at work has for itself, no other one has."""
    return [
        Finding(
            code="shared_resource",
            severity=Severity.ERROR,
            where=f"job execution {first}",
            what=f"it has {ours!r} while execution {second} has {theirs!r}",
            hint=HINT,
            rule="R17",
        )
        for first, second, ours, theirs in read_occupancy(reader).overlaps()
    ]


def _shared_locks(reader: Reader) -> list[Finding]:
    """R18: those who have a lock now; who waits for one has nothing."""
    held = [lock for lock in list_locks(reader) if lock.acquired_at is not None]
    return [
        Finding(
            code="shared_lock",
            severity=Severity.ERROR,
            where=f"lock {one.name!r}",
            what=f"owner {one.owner_id} has it to {one.mode} (fence {one.fence}) while owner"
            f" {other.owner_id} has it to {other.mode} (fence {other.fence})",
            hint=HINT,
            rule="R18",
        )
        for one, other in combinations(held, 2)
        if one.name == other.name and one.excludes(other)
    ]


def _is_legal(kind: Any, from_status: str | None, to_status: str) -> bool:
    try:
        before = None if from_status is None else BatchStatus(from_status)
        check_transition(kind, None, before, BatchStatus(to_status))
    except (IllegalTransition, ValueError):
        return False
    return True
