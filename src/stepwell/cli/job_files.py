"""What ``jobs check`` finds in job files: their faults, and what the settings make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.cli.output import DONE, FINDINGS, Page
from stepwell.finding import Severity
from stepwell.job.registry import JobRegistry
from stepwell.jsl.fault import Fault
from stepwell.jsl.source import JobFile
from stepwell.looks.definitions import fault_json

if TYPE_CHECKING:
    from stepwell.cli.session import Session


@dataclass(frozen=True)
class CheckedFile:
    """One job file and everything that is wrong with it, by line."""

    path: Path
    job: str
    faults: Sequence[Fault]

    @property
    def error_count(self) -> int:
        """How many faults refuse a start."""
        return sum(fault.is_error for fault in self.faults)

    @property
    def verdict(self) -> str:
        """What came of it, in words."""
        warnings = len(self.faults) - self.error_count
        counts = [
            f"{count} {word}{'s' if count > 1 else ''}"
            for count, word in ((self.error_count, "error"), (warnings, "warning"))
            if count
        ]
        if self.error_count:
            return f"job {self.job!r} cannot start, {' and '.join(counts)}"
        return f"job {self.job!r} can start, {counts[0] if counts else 'no faults'}"


def check_files(
    session: Session, file: Path | None, parameters: Mapping[str, object]
) -> list[CheckedFile]:
    """Check one file, or every file of ``job_files``; nothing is started or recorded.

    Raises:
        JobFileUnreadable: ``file`` leads to no job file.
        InvalidSetting: a module of ``jobs`` cannot be imported, or a path leads nowhere.
        JobStartError: ``parameters`` do not fit the job's model.
    """
    settings = session.settings
    registry = session.load_modules()

    def opened(path: Path) -> JobFile:
        return JobFile(
            path,
            artifacts=registry.artifacts,
            system_properties=settings.system_properties,
            folder=settings.folder,
        )

    if file is not None:
        opened(file).require_readable()
    named = [opened(path) for path in settings.job_file_paths()]
    wanted = named if file is None else [opened(file)]
    return [
        CheckedFile(
            _shown(one.path),
            one.name,
            sorted(
                [*one.check(parameters or None), *_faults_beside(one, named, registry, session)],
                key=lambda fault: fault.line,
            ),
        )
        for one in wanted
    ]


def _faults_beside(
    file: JobFile, named: Sequence[JobFile], registry: JobRegistry, session: Session
) -> list[Fault]:
    """What is wrong between a file and the others that the settings name."""
    others = [one for one in named if not one.path.samefile(file.path)]
    origins = []
    if file.has_name:
        origins = [one.origin for one in others if one.has_name and one.name == file.name]
        if file.name in registry:
            origins.append(registry.find(file.name).place)
    found = [
        Fault(
            file.line,
            f"job {file.name!r} is defined in {origin}, too",
            "a job has one definition: rename or remove one of them",
        )
        for origin in origins
    ]
    if session.settings.file is not None and len(others) == len(named):
        found.append(
            Fault(
                0,
                f"no command knows this file: `job_files` in {session.settings.file.name} does not"
                " name it",
                f"`job_files = [{file.shown!r}]`".replace("'", '"'),
                Severity.WARNING,
            )
        )
    return found


def _shown(path: Path) -> Path:
    """As the person who asked would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def checked_page(checked: Sequence[CheckedFile]) -> Page:
    """Every fault as a compiler would tell it, and a verdict for each file."""
    page = Page()
    for one in checked:
        for fault in one.faults:
            place = f"{one.path}:{fault.line}" if fault.line else str(one.path)
            page.line(f"{place}: {fault.severity}: {fault.message}")
            if fault.hint:
                page.hint(fault.hint)
        page.line(f"{one.path}: {one.verdict}")
    if not checked:
        page.line("no job files: the settings name none")
        page.hint('`job_files = ["jobs/*.yaml"]` in stepwell.toml names them')
    return page


def checked_json(checked: Sequence[CheckedFile]) -> dict[str, Any]:
    """The same as JSON, see ``docs/cli.md``."""
    return {
        "files": [
            {
                "file": str(one.path),
                "job": one.job,
                "can_start": not one.error_count,
                "faults": [fault_json(fault) for fault in one.faults],
            }
            for one in checked
        ]
    }


def checked_code(checked: Sequence[CheckedFile]) -> int:
    """The exit status: a fault in a file is a finding, a warning is not."""
    return FINDINGS if any(one.error_count for one in checked) else DONE
