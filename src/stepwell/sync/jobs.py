"""The built-in jobs of the change log: an export like any other job, with history and restart.

They are described in the words of ``job/`` alone; what they do is ``node.sync``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepwell.job.job import Job
from stepwell.job.parameters import Parameters
from stepwell.job.step import TaskletStep
from stepwell.sync.import_job import import_job

if TYPE_CHECKING:
    from stepwell.job.registry import JobRegistry
    from stepwell.sync.session import Sync

EXPORT = "stepwell.sync.export"
ORIGIN = "built in"
MB = 1_000_000


class ExportParameters(Parameters):
    """What an export is asked for.

    Attributes:
        to: The file.
        client: The peer that it is for; empty for anybody.
        since: The LSN behind which it begins; by default the last one that the client has.
        part_mb: Cut into parts of about this size.
    """

    to: str
    client: str = ""
    since: int | None = None
    part_mb: float | None = None


class _Stopped(Exception):
    """The job is asked to stop: what is written so far is no file."""


def add_sync_jobs(registry: JobRegistry, sync: Callable[[], Sync]) -> None:
    """Register the jobs as ones that nobody has defined; a second time changes nothing."""
    from stepwell.sync.hub_jobs import pull_job, push_job

    if EXPORT not in registry:
        for job in (export_job(sync), push_job(sync), import_job(sync), pull_job(sync)):
            registry.add(job, origin=ORIGIN)


def export_job(sync: Callable[[], Sync]) -> Job:
    """Writes changes to a file that is whole or not there.

    A restart writes the same file: its id is recorded before its first byte.
    """
    return Job(
        EXPORT,
        description="writes the changes that a peer lacks to a file",
        parameters=ExportParameters,
        identity="each-start",
        run_lock="job",
        steps=[TaskletStep("write", lambda step: write_file(step, sync()))],
    )


def write_file(step: Any, sync: Sync) -> None:
    """The step of an export: the file, and what it holds in the step's context."""
    asked: ExportParameters = step.parameters
    _name_file(step, sync)

    def tell(done: int, total: int) -> None:
        if step.stop_requested:
            raise _Stopped
        step.progress(done, total, "changes")

    try:
        exported = sync.export(
            asked.to,
            client=asked.client or None,
            since=asked.since,
            file_id=step.context["file_id"],
            part_bytes_max=None if asked.part_mb is None else max(1, int(asked.part_mb * MB)),
            tell=tell,
        )
    except _Stopped:
        return
    step.context = {
        **step.context,
        "files": [str(path) for path in exported.written.paths],
        "from_lsn": exported.meta.from_lsn,
        "to_lsn": exported.written.to_lsn,
        "rows": exported.written.rows,
        "groups": exported.written.groups,
        "sha256": exported.written.sha256,
    }


def _name_file(step: Any, sync: Sync) -> None:
    """Commit the id of the file, once for all attempts."""
    if "file_id" not in step.context:
        with step.transaction():
            step.context = {**step.context, "file_id": sync.new_file_id()}
