"""The command that restarts an execution, as a person can copy it.

A job in Jakarta Batch XML never remembers parameters (S10): whoever restarts it gives them again.
Which jobs those are is read from the job files alone; nobody's modules are imported for a hint.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from stepwell.errors import InvalidSetting
from stepwell.execution.records import JobExecution
from stepwell.settings import Settings

Restart = Callable[[JobExecution], str]


def restart_by_id(execution: JobExecution) -> str:
    """``stepwell restart 41``."""
    return f"stepwell restart {execution.execution_id}"


def restart_in(settings: Settings) -> Restart:
    """The command for each execution, where these settings say what jobs there are."""

    def restart(execution: JobExecution) -> str:
        command = restart_by_id(execution)
        if execution.job_name not in _names_in_xml(settings):
            return command
        given = (f"{p.name}={p.value}" for p in execution.parameters if p.value is not None)
        return " ".join([command, *map(shlex.quote, given)])

    return restart


def _names_in_xml(settings: Settings) -> set[str]:
    try:
        paths = [path for path in settings.job_file_paths() if path.suffix.lower() == ".xml"]
    except InvalidSetting:  # Whatever starts a job says so.
        return set()
    if not paths:
        return set()  # Nobody pays for a reader of XML that is not needed.
    from stepwell.jsl.source import JobFile

    return {JobFile(path).name for path in paths}
