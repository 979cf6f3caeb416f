"""The built-in jobs, registered like any other."""

from __future__ import annotations

from stepwell.job.registry import JobRegistry
from stepwell.maintenance.backup import backup_job
from stepwell.maintenance.examination import doctor_job
from stepwell.maintenance.maintained import Care
from stepwell.maintenance.purge import purge_job

ORIGIN = "built in"


def add_maintenance_jobs(registry: JobRegistry, care: Care) -> None:
    """Register the jobs as ones that nobody has defined.

    ``care`` answers what they care for when one of them runs.
    """
    for job in (backup_job(care), doctor_job(care), purge_job(care)):
        registry.add(job, origin=ORIGIN)
