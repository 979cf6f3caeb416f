"""The built-in job ``stepwell.doctor``: an examination on a schedule, in the list of all jobs.

The command ``stepwell doctor`` is no job: it must run where no job can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import TaskletStep
from stepwell.maintenance.maintained import Care

if TYPE_CHECKING:
    from stepwell.finding import Finding

NAME = "stepwell.doctor"
SHOWN_MAX = 20  # Findings in the step's context; the others are counted.


class Examination(Parameters):
    """What the job is asked to do."""

    thorough: bool = True
    repair: bool = False


def doctor_job(care: Care) -> Job:
    """The job that has the doctor look.

    It is COMPLETED whatever it finds; its exit status is FINDINGS then. With ``repair`` it
    mends what can be mended; else only what ``doctor_auto_repair`` names.
    """

    def examine(step: Any) -> str:
        asked: Examination = step.parameters
        doctor = care().doctor
        if asked.repair:
            outcome = doctor.repair()
            found, mended = outcome.after, len(outcome.repaired)
        else:
            found, mended = doctor.run_once(thorough=asked.thorough), 0
        step.context = {"repaired": mended, **shown(found)}
        return tell(step, exit_status(found))

    return Job(
        NAME,
        description="examines the database and its records; repairs what it may",
        parameters=Examination,
        identity="each-start",
        run_lock="job",
        steps=[TaskletStep("examine", examine)],
    )


def exit_status(findings: list[Finding]) -> str:
    """FINDINGS, or CLEAN: what is only told is no reason to act."""
    from stepwell.finding import Severity

    worse = [finding for finding in findings if finding.severity is not Severity.INFO]
    return "FINDINGS" if worse else "CLEAN"


def tell(step: Any, exit_status: str) -> str:
    """The exit status of the step; findings are the job's too."""
    if exit_status == "FINDINGS":
        step.job.exit_status = exit_status
    return exit_status


def shown(findings: list[Finding]) -> dict[str, Any]:
    """Findings as a step's context keeps them."""
    from stepwell.doctor.examine import counts_by_code

    return {
        "counts": counts_by_code(findings),
        "findings": [
            {"code": finding.code, "where": finding.where, "what": finding.what}
            for finding in findings[:SHOWN_MAX]
        ],
    }
