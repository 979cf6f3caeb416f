"""The built-in job ``stepwell.doctor``: an examination on a schedule, in the list of all jobs.

The command ``stepwell doctor`` is no job: it must run where no job can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import TaskletStep

if TYPE_CHECKING:
    from stepwell.doctor.doctor import Doctor
    from stepwell.finding import Finding
    from stepwell.job.registry import JobRegistry

NAME = "stepwell.doctor"
ORIGIN = "built in"
SHOWN_MAX = 20  # Findings in the step's context; the others are counted.


class Examination(Parameters):
    """What the job is asked to do."""

    thorough: bool = True
    repair: bool = False


def doctor_job(doctor: Callable[[], Doctor]) -> Job:
    """The job of the database whose doctor this is.

    It is COMPLETED whatever it finds; its exit status is CLEAN or FINDINGS. With ``repair`` it
    mends what can be mended; else only what ``doctor_auto_repair`` names.
    """

    def examine(step: Any) -> str:
        from stepwell.doctor.examine import counts_by_code
        from stepwell.finding import Severity

        asked: Examination = step.parameters
        if asked.repair:
            outcome = doctor().repair()
            found, mended = outcome.after, len(outcome.repaired)
        else:
            found, mended = doctor().run_once(thorough=asked.thorough), 0
        step.context = {
            "counts": counts_by_code(found),
            "repaired": mended,
            "findings": [_shown(finding) for finding in found[:SHOWN_MAX]],
        }
        worse = [finding for finding in found if finding.severity is not Severity.INFO]
        return "FINDINGS" if worse else "CLEAN"

    return Job(
        NAME,
        description="examines the database and its records; repairs what it may",
        parameters=Examination,
        identity="each-start",
        run_lock="job",
        steps=[TaskletStep("examine", examine)],
    )


def add_doctor_job(registry: JobRegistry, doctor: Callable[[], Doctor]) -> None:
    """Register the job as one that nobody has defined."""
    registry.add(doctor_job(doctor), origin=ORIGIN)


def nobody() -> NoReturn:
    """For a registry that is only looked at."""
    raise AssertionError("this registry was made to be looked at")


def _shown(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "where": finding.where, "what": finding.what}
