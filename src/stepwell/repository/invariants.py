"""What is true of the batch tables at every moment that a reader can see, and who checks it.

- **R1** History replays to the row: the changes of each job and step execution begin at none, each
  begins where the one before it ended, each is legal (S11), the last one ends at the row's status.
  What stands before a row of the doctor's it has seen.
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
- **R10** The result follows from the status (S21): COMPLETED or PARTIAL, FAILED, or none; a step
  with failed or partial partitions is PARTIAL (S162), and so is a job with a PARTIAL step.
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
- **R19** What waits for a worker has not begun: no step, no start time, no last step.
- **R20** What has ended has an end time, what runs has none (S13).
- **R21** A status is one of those of section 3.1, a result one of those of section 3.3.

A transaction keeps them all (law 2), so they hold after any crash too. Nothing here writes. R22 and
the following, which need more than the rows of one execution, are in ``surroundings.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Repair
from stepwell.repository.explanations import EXPLANATIONS
from stepwell.repository.held import shared_locks, shared_resources
from stepwell.repository.history_rules import HISTORY_RULES
from stepwell.repository.partition_rules import PARTITION_RULES
from stepwell.repository.record_rules import CURRENT_STEPS, RECORD_RULES
from stepwell.repository.repairs import mend
from stepwell.repository.rule import FIRST, LAST, Breach, Rule
from stepwell.repository.status_rules import STATUS_RULES

RULES = (*HISTORY_RULES, *STATUS_RULES, *PARTITION_RULES, *RECORD_RULES)

OF_PROJECT = 1_000  # Its rules have no number.

Check = Callable[[Reader], list[Finding]]


def examine(reader: Reader, *, first: int = FIRST, last: int = LAST) -> list[Finding]:
    """Every broken invariant, in the order of the rules; none on a sound database.

    Only those of the job executions from ``first`` to ``last``, both included.
    """
    found = [finding for check in checks(first, last).values() for finding in check(reader)]
    return in_order(found)


def checks(first: int = FIRST, last: int = LAST) -> dict[str, Check]:
    """The checks of :func:`examine`, each by a name, for whoever goes on when one of them fails."""
    named: dict[str, Check] = {
        f"{rule.rule} {rule.code} {number}": _check(rule, first, last)
        for number, rule in enumerate(RULES)
    }
    named["R9 current_step"] = lambda reader: _current_steps(reader, first, last)
    if first < last:  # More than one execution: what they have from each other.
        named["R17 shared_resource"] = shared_resources
        named["R18 shared_lock"] = shared_locks
    return named


def in_order(findings: list[Finding]) -> list[Finding]:
    """By the number of the rule, a project's own last; those of one rule as they were found."""
    return sorted(findings, key=lambda finding: int(finding.rule[1:] or OF_PROJECT))


def _check(rule: Rule, first: int, last: int) -> Check:
    values = {"first": first, "last": last}
    return lambda reader: rule.findings(reader, EXPLANATIONS, values)


def _current_steps(reader: Reader, first: int, last: int) -> list[Finding]:
    """R9: the steps that the job's row names are the ones that run; several in a split (S51)."""
    jobs: dict[int, Breach] = {}
    running: dict[int, list[str]] = {}
    result = reader.connection.execute(CURRENT_STEPS, {"first": first, "last": last})
    columns = result.columns
    for row in result.fetchall():
        breach = dict(zip(columns, row, strict=True))
        jobs[breach["execution_id"]] = breach
        steps = running.setdefault(breach["execution_id"], [])
        steps += [breach["step_name"]] if breach["step_name"] else []
    return [
        finding
        for execution_id, breach in jobs.items()
        for finding in [_named_steps(breach, running[execution_id])]
        if finding is not None
    ]


def _named_steps(breach: Breach, running: list[str]) -> Finding | None:
    if set(running) == set((breach["current_step"] or "").split(",")) - {""}:
        return None

    def repair(of: Breach) -> Repair:
        return mend(
            of,
            "name the steps that run, and nothing else",
            "nothing: the steps' own rows say it",
            sets="current_step = :steps",
            steps=",".join(running) or None,
        )

    rule = Rule(
        "R9",
        "current_step",
        "job execution {execution_id}",
        "it is {status} and names {current_step!r} as its current step, running are {running}",
        "",
        repair,
    )
    shown: dict[str, Any] = {**breach, "running": sorted(running)}
    return rule.finding(shown, EXPLANATIONS["current_step"])
