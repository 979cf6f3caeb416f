"""An UPDATE that hit no row: it is logged once, counted, and raised under its name (S23).

Not meant is a race that somebody wins and everybody else passes by: a claim from the queue, a
schedule that another worker has fired.
"""

from __future__ import annotations

import logging

from stepwell.errors import OptimisticLockingFailure
from stepwell.execution.current import current_run

logger = logging.getLogger("stepwell.repository")


class ZeroRowUpdates:
    """How many updates of this process hit no row; a metric (S23)."""

    count = 0


def report_zero_rows(
    what: str, *, job: str | None = None, status: str | None, stage: str | None
) -> None:
    """Log and count an UPDATE that missed its row; whoever calls raises the error.

    ``what`` is the row, such as ``"step execution 12 of execution 7"``. The job is that of the code
    that runs here, when the caller does not know it.
    """
    ZeroRowUpdates.count += 1
    job = job or current_run()["job"]
    logger.warning(
        "affected 0 rows - the job may not exist or was deleted: job %r, %s, status %s, stage %s",
        job,
        what,
        status,
        stage,
        extra={"what": what, "job": job, "status": status and str(status), "stage": stage},
    )


def missing_row(what: str, *, stage: str | None = None) -> OptimisticLockingFailure:
    """The error of an UPDATE of a row that must be there; logged and counted, to be raised."""
    report_zero_rows(what, status=None, stage=stage or current_run()["step"])
    return OptimisticLockingFailure(
        f"cannot update {what}: no such row exists",
        hint="another program deleted it; `stepwell status` shows what is there",
        fields={"what": what},
    )
