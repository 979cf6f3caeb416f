"""JobFile: the job of one file, read and substituted anew at each start (S63, S81)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from stepwell.errors import JobFileUnreadable, JobStartError
from stepwell.execution.parameters import render_parameter
from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.job import Job
from stepwell.job.parameters import Parameters, resolve_parameters
from stepwell.job.registry import JobRegistry
from stepwell.jsl.build import Given, build_job, job_parameters
from stepwell.jsl.fault import Fault, Faults, did_you_mean
from stepwell.jsl.model import JobElement
from stepwell.jsl.show import ShownJob
from stepwell.jsl.structure import check_definition
from stepwell.jsl.translate import as_yaml
from stepwell.jsl.xml_reader import read_xml
from stepwell.jsl.yaml_reader import read_yaml
from stepwell.jsl.yaml_text import yaml_data

logger = logging.getLogger("stepwell.jsl")

READERS = {".xml": read_xml, ".yaml": read_yaml, ".yml": read_yaml}
FILE_BYTES_MAX = 1024 * 1024  # A plan of that size belongs into a mapper.


class JobFile:
    """A JobSource: the file is read again at each start, so an edit needs no restart of anything.

    Attributes:
        name: The job's name; that of the file, without its suffix, when it cannot be read.
        has_name: Whether the name could be read.
        path: The file.
        shown: ``jobs/night.xml``, the path for messages.
        line: Where the job's name stands; 1 when it cannot be read.
        origin: ``jobs/night.xml:2``.
        reuses_parameters: Whether ``restart`` without parameters runs with those of the execution;
            a Jakarta Batch job runs without (S10).
    """

    def __init__(
        self,
        path: Path,
        *,
        artifacts: ArtifactRegistry | None = None,
        system_properties: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.path = path
        self._artifacts = artifacts or ArtifactRegistry()
        self._system_properties = dict(system_properties or {})
        document, _ = self._read()
        self.has_name = document is not None and document.id.text != ""
        self.name = document.id.text if document is not None and self.has_name else path.stem
        self.reuses_parameters = path.suffix.lower() != ".xml"
        self.line = document.id.line if document is not None else 1
        shown = path.relative_to(folder) if folder and path.is_relative_to(folder) else path
        self.shown = str(shown)
        self.origin = f"{shown}:{self.line}"

    def load(self, parameters: Mapping[str, object]) -> Job:
        """The job with ``parameters`` substituted, those of this start or restart alone (S10).

        Raises:
            JobStartError: names every fault of the file, or of its typed parameters; ``fields``
                has them one by one.
        """
        document, faults = self._read()
        model = self._model(document, faults)
        job: Job | None = None
        if document is not None and document.id.text == self.name:
            texts = _texts(self.name, model, parameters)
            given = Given(texts, self._system_properties, self._artifacts)
            job = build_job(document, given, model, faults)
            check_definition(document, job, faults)
        elif document is not None and document.id.text:
            faults.error(
                document.id.line,
                f"the file holds job {document.id.text!r} now",
                "start that one; it is known when the program starts anew",
            )
        self._refuse(faults)
        assert job is not None  # Without a document there is a fault.
        return job

    def preview(self) -> Job:
        """The job as far as it is known without parameters: to be shown, never to be run."""
        document, faults = self._read()
        if document is None:
            found = "; ".join(str(fault) for fault in faults.sorted())
            return Job(self.name, [], description=f"cannot be read: {found}")
        given = Given(None, self._system_properties, self._artifacts)
        return build_job(document, given, self._model(document, faults), faults)

    def check(self, parameters: Mapping[str, object] | None = None) -> list[Fault]:
        """Every fault and warning, by line; nothing is started or recorded.

        Without ``parameters`` what depends on them is left out, and their defaults are taken.

        Raises:
            JobStartError: ``parameters`` do not fit the job's model.
        """
        document, faults = self._read()
        if document is not None:
            model = self._model(document, faults)
            texts = None if parameters is None else _texts(self.name, model, parameters)
            given = Given(texts, self._system_properties, self._artifacts)
            check_definition(document, build_job(document, given, model, faults), faults)
        return faults.sorted()

    def show(self) -> ShownJob:
        """The file as YAML, with its expressions; an XML file with what differs written out.

        What is faulty in it is shown as far as it could be read.

        Raises:
            JobStartError: nothing could be read.
        """
        document, faults = self._read()
        if document is None:
            self._refuse(faults)
            raise AssertionError("without a document there is a fault")
        losses: list[str] = []
        return ShownJob(yaml_data(as_yaml(document, losses)), tuple(losses))

    def require_readable(self) -> None:
        """Refuse a path that leads to no job file at all; what stands in it is not looked at.

        Raises:
            JobFileUnreadable: it is not there, a folder, not ours to read, or of another kind.
        """
        unreadable = self._unreadable()
        if unreadable is None:
            return
        fact, hint = unreadable
        raise JobFileUnreadable(
            f"cannot read job file {str(self.path)!r}: {fact}",
            hint=hint,
            fields={"file": str(self.path)},
        )

    def _unreadable(self) -> tuple[str, str] | None:
        """Why the file cannot be read, with a hint; None when it can."""
        folder = self.path.parent
        if self.path.is_dir():
            return "it is a folder", "name one of its files"
        if not self.path.exists():
            near = [str(one) for one in folder.glob("*") if one.suffix.lower() in READERS]
            return "there is no such file", did_you_mean(str(self.path), near)
        if self.path.suffix.lower() not in READERS:
            return f"its name must end in {', '.join(READERS)}", "rename it as what it holds"
        if not self.path.is_file():
            return "it is no file that can be read twice", "save it in a file"
        if not os.access(self.path, os.R_OK):
            return "this user may not read it", f"let this user read it: `chmod u+r {self.path}`"
        return None

    def _read(self) -> tuple[JobElement | None, Faults]:
        faults = Faults()
        content = self._content(faults)
        if content is None:
            return None, faults
        return READERS[self.path.suffix.lower()](content, faults), faults

    def _content(self, faults: Faults) -> bytes | None:
        """What stands in the file; None, with a fault, when that is not to be had."""
        unreadable = self._unreadable()
        if unreadable is not None:
            faults.error(0, f"the file cannot be read: {unreadable[0]}", unreadable[1])
            return None
        try:
            with self.path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            faults.error(0, f"the file cannot be read: {error.strerror or error}")
            return None
        if len(content) > FILE_BYTES_MAX:
            faults.error(
                0,
                f"the file is too large: at most {FILE_BYTES_MAX // 1024} KiB are read",
                "give a long plan with a mapper",
            )
            return None
        return content

    def _model(self, document: JobElement | None, faults: Faults) -> type[Parameters] | None:
        return None if document is None else job_parameters(document, self._artifacts, faults)

    def _refuse(self, faults: Faults) -> None:
        """Log the warnings, raise the errors."""
        found = faults.sorted()
        for fault in found:
            if not fault.is_error:
                logger.warning("%s: %s", self.shown, fault)
        errors = [fault for fault in found if fault.is_error]
        if not errors:
            return
        listed = "; ".join(str(fault) for fault in errors)
        raise JobStartError(
            f"cannot start job {self.name!r}: {self.shown}: {listed}",
            hint=f"`stepwell jobs check {self.shown}` says more; nothing was recorded",
            fields={
                "job": self.name,
                "file": str(self.path),
                "faults": [
                    {"line": fault.line, "message": fault.message, "hint": fault.hint}
                    for fault in errors
                ],
            },
        )


def _texts(
    job_name: str, model: type[Parameters] | None, parameters: Mapping[str, object]
) -> dict[str, str]:
    """The parameters as text (S8); with a model its defaults too, in both spellings."""
    if model is None:
        rendered = (render_parameter(name, value) for name, value in parameters.items())
        return {p.name: p.value for p in rendered if p.value is not None}
    texts: dict[str, str] = {}
    for parameter in resolve_parameters(job_name, model, parameters).recorded:
        if parameter.value is not None:
            alias = model.model_fields[parameter.name].alias or parameter.name
            texts |= {parameter.name: parameter.value, alias: parameter.value}
    return texts


def load_job_files(
    registry: JobRegistry,
    paths: Iterable[Path],
    folder: Path,
    *,
    system_properties: Mapping[str, str] | None = None,
) -> None:
    """Register the job of each file; messages name it relative to ``folder``.

    A faulty file is registered too: its faults are raised when it is started.

    Raises:
        InvalidSetting: two jobs have one name.
    """
    for path in paths:
        source = JobFile(
            path,
            artifacts=registry.artifacts,
            system_properties=system_properties,
            folder=folder,
        )
        registry.add(source, origin=source.origin)
