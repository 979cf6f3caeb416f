"""Evidence: what a job says about the outputs of one of its executions, and what follows from it.

A job's function is asked while an examination is made, with a connection that reads and outside of
any write transaction. What it answers is written into the plan, so that a person can read it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from stepwell.database.connect import Database
from stepwell.execution.result import message_of
from stepwell.finding import Choice, Finding
from stepwell.job.function import with_arguments
from stepwell.job.registry import JobRegistry
from stepwell.repository.executions import get_readable_execution

logger = logging.getLogger("stepwell.doctor")

# True: the outputs exist; False: they do not; None: the job names no evidence.
Ask = Callable[[int], bool | None]


class EvidenceFailed(Exception):
    """The job's function has raised; nobody knows."""


def evidence_of(database: Database, registry: JobRegistry | None) -> Ask:
    """Asks the jobs of ``registry`` for their evidence."""

    def ask(execution_id: int) -> bool | None:
        if registry is None:
            return None
        with database.read() as reader:
            try:
                execution = get_readable_execution(reader, execution_id)
                if execution.job_name not in registry:
                    return None
                function = registry.get(execution.job_name).evidence
                if function is None:
                    return None
                return bool(with_arguments(function, 2)(execution, reader.connection))
            except Exception as error:
                logger.warning("no evidence of execution %s: %s", execution_id, error)
                raise EvidenceFailed(f"{type(error).__name__}: {message_of(error)}") from error

    return ask


def decide(finding: Finding, ask: Ask) -> Finding:
    """The finding with one repair where it had two; none when the evidence could not be had."""
    choice = finding.repair
    if not isinstance(choice, Choice):
        return finding
    try:
        exist = ask(choice.execution_id)
    except EvidenceFailed as failed:
        return replace(
            finding,
            repair=None,
            what=f"{finding.what}; its job's evidence function failed, {failed}",
            hint="correct the function, then examine again",
        )
    if exist:
        return replace(finding, repair=choice.if_outputs_exist)
    repair = choice.otherwise
    if exist is False:
        repair = replace(repair, does=f"{repair.does}; its outputs do not exist", cannot_know="")
    return replace(finding, repair=repair)
