"""Find a job by its name: Job values in the modules that the settings name, and job files."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol

from stepwell.errors import InvalidSetting, NoSuchJob
from stepwell.job.artifact import ARTIFACTS, ArtifactRegistry
from stepwell.job.invariant import Invariant
from stepwell.job.job import Job


class JobSource(Protocol):
    """A job whose text is substituted at each start, read from a file say.

    Attributes:
        name: The job's name.
        reuses_parameters: False: a restart without parameters runs without any (S10).
    """

    name: str
    reuses_parameters: bool

    def load(self, parameters: Mapping[str, object]) -> Job:
        """The job for a start with ``parameters``.

        Raises:
            JobStartError: names every fault; nothing was recorded.
        """

    def preview(self) -> Job:
        """The job as far as it is known without parameters, faulty or not: to be shown alone."""


class RegisteredJob:
    """A job, or the source of one, and the place it comes from: ``jobs.py:12``, ``night.xml:2``."""

    def __init__(self, job: Job | JobSource, module: ModuleType | None, origin: str) -> None:
        self.name = job.name
        self.origin = origin
        self._job = job
        self._module = module

    @property
    def source(self) -> JobSource | None:
        """What loads the job; None for a Job value."""
        return None if isinstance(self._job, Job) else self._job

    @property
    def job(self) -> Job:
        """The job, to be looked at; of a source without parameters, so it is not to be run."""
        return self._job if isinstance(self._job, Job) else self._job.preview()

    @property
    def place(self) -> str:
        """The origin with file and line."""
        line = _line_of(self._module, self._job) if self._module is not None else None
        return self.origin if line is None else f"{self.origin} ({line})"

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of Stepwell's own, which care for the database."""
        return self.name.startswith("stepwell.")

    def load(self, parameters: Mapping[str, object]) -> Job:
        """The job for a start with ``parameters``.

        Raises:
            JobStartError: names every fault of a job file; nothing was recorded.
        """
        return self._job if isinstance(self._job, Job) else self._job.load(parameters)

    def is_same(self, other: Job | JobSource) -> bool:
        """Whether it is this very value, say imported by two modules."""
        return self._job is other


class JobRegistry:
    """The jobs that this process knows, by name; two of one name are refused.

    Attributes:
        artifacts: The short names that job files may use (S79).
        invariants: The modules' own, by code, for the doctor.
    """

    def __init__(self) -> None:
        self.artifacts = ArtifactRegistry()
        self.invariants: dict[str, Invariant] = {}
        self._jobs: dict[str, RegisteredJob] = {}

    def add(self, job: Job | JobSource, *, origin: str, module: ModuleType | None = None) -> None:
        """Register ``job``; the same value a second time, say imported by two modules, is nothing.

        Raises:
            InvalidSetting: another job has the name.
        """
        known = self._jobs.get(job.name)
        registered = RegisteredJob(job, module, origin)
        if known is not None and not known.is_same(job):
            raise InvalidSetting(
                f"jobs must have names of their own, got {job.name!r} twice:"
                f" in {known.place} and in {registered.place}",
                hint="rename one of them",
                fields={"job": job.name, "origins": [known.place, registered.place]},
            )
        self._jobs.setdefault(job.name, registered)

    def load_modules(self, names: Iterable[str], folder: Path) -> None:
        """Import the modules, found from ``folder`` on, and register the jobs of each.

        What a module's ``artifacts`` maps becomes known by its names to job files.

        Raises:
            InvalidSetting: a module cannot be imported, the cause is the module's own error; or
                two jobs or artifacts have one name.
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
                    self.add(value, origin=f"module {name}", module=module)
                elif isinstance(value, Invariant):
                    self.add_invariant(value, origin=f"module {name}")
            named = getattr(module, ARTIFACTS, None)
            if isinstance(named, Mapping):
                for short_name, artifact in named.items():
                    self.artifacts.add(
                        str(short_name), artifact, origin=f"module {name}", module=name
                    )

    def add_invariant(self, invariant: Invariant, *, origin: str) -> None:
        """Register an invariant of the project's; the same value a second time is nothing.

        Raises:
            InvalidSetting: another one has its code.
        """
        known = self.invariants.setdefault(invariant.code, invariant)
        if known is not invariant:
            raise InvalidSetting(
                f"invariants must have codes of their own, got {invariant.code!r} twice,"
                f" the second time in {origin}",
                hint="rename one of them",
                fields={"invariant": invariant.code, "origin": origin},
            )

    def find(self, name: str) -> RegisteredJob:
        """What is registered under this name.

        Raises:
            NoSuchJob: with the nearest known name as the hint.
        """
        found = self._jobs.get(name)
        if found is None:
            close = difflib.get_close_matches(name, self._jobs, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise NoSuchJob(
                f"cannot find job {name!r}: no module or job file of the settings defines it",
                hint=hint + "`stepwell jobs` lists the jobs that are known",
                fields={"job": name, "known": sorted(self._jobs)},
            )
        return found

    def get(self, name: str) -> Job:
        """The job of this name, to be looked at; ``load`` is for running it.

        Raises:
            NoSuchJob: see :meth:`find`.
        """
        return self.find(name).job

    def load(self, name: str, parameters: Mapping[str, object]) -> Job:
        """The job of this name for a start with ``parameters``; a Job value is itself.

        Raises:
            NoSuchJob: see :meth:`find`.
            JobStartError: the job file is faulty, or the parameters do not fit it (S8, S183).
        """
        return self.find(name).load(parameters)

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def __iter__(self) -> Iterator[RegisteredJob]:
        return iter(sorted(self._jobs.values(), key=lambda registered: registered.name))


def _line_of(module: ModuleType, job: object) -> str | None:
    """``jobs.py:12``: where the module binds the name of the job; None when its text is not read.

    The text is only parsed for the message about two jobs of one name.
    """
    names = [name for name, value in vars(module).items() if value is job]
    try:
        tree = ast.parse(inspect.getsource(module))
        file = Path(inspect.getfile(module)).name
    except (OSError, TypeError, SyntaxError):
        return None
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id in names for target in targets):
            return f"{file}:{node.lineno}"
    return file
