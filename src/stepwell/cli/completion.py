"""Completion of job names in the shell: what the settings define, silent when they are wrong."""

from __future__ import annotations


def complete_job_names(incomplete: str) -> list[str]:
    """The known jobs that begin with what is typed; the database is not opened."""
    from stepwell.cli.session import Session
    from stepwell.errors import StepwellError

    try:
        registry = Session().load_jobs()
    except StepwellError:
        return []
    names = (registered.job.name for registered in registry)
    return [name for name in names if name.startswith(incomplete)]
