"""Find a job by its name: the Job values at the top level of the modules that the settings name."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import InvalidSetting, NoSuchJob
from stepwell.job.job import Job


@dataclass(frozen=True)
class RegisteredJob:
    """A job and the place that it comes from, e.g. ``module jobs``."""

    job: Job
    origin: str


class JobRegistry:
    """The jobs that this process knows, by name; two of one name are refused."""

    def __init__(self) -> None:
        self._jobs: dict[str, RegisteredJob] = {}

    def add(self, job: Job, *, origin: str) -> None:
        """Register ``job``; the same value a second time, say imported by two modules, is nothing.

        Raises:
            InvalidSetting: another job has the name.
        """
        known = self._jobs.get(job.name)
        if known is not None and known.job is not job:
            raise InvalidSetting(
                f"jobs must have names of their own, got {job.name!r} twice:"
                f" in {known.origin} and in {origin}",
                hint="rename one of them",
                fields={"job": job.name, "origins": [known.origin, origin]},
            )
        self._jobs.setdefault(job.name, RegisteredJob(job, origin))

    def load_modules(self, names: Iterable[str], folder: Path) -> None:
        """Import the modules, found from ``folder`` on, and register the jobs of each.

        Raises:
            InvalidSetting: a module cannot be imported; the cause is the module's own error.
        """
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        for name in names:
            try:
                module = importlib.import_module(name)
            except Exception as error:
                raise InvalidSetting(
                    f"jobs must name importable modules, got {name!r}:"
                    f" {type(error).__name__}: {error}",
                    hint=f"try `python -c 'import {name}'` in {folder}",
                    fields={"module": name},
                ) from error
            for value in vars(module).values():
                if isinstance(value, Job):
                    self.add(value, origin=f"module {name}")

    def get(self, name: str) -> Job:
        """The job of this name.

        Raises:
            NoSuchJob: with the nearest known name as the hint.
        """
        found = self._jobs.get(name)
        if found is None:
            close = difflib.get_close_matches(name, self._jobs, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise NoSuchJob(
                f"cannot find job {name!r}: no module of the settings defines it",
                hint=hint + "`stepwell jobs` lists the jobs that are known",
                fields={"job": name, "known": sorted(self._jobs)},
            )
        return found.job

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def __iter__(self) -> Iterator[RegisteredJob]:
        return iter(sorted(self._jobs.values(), key=lambda registered: registered.job.name))
