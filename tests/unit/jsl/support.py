"""Job files written by the tests, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.job import Job
from stepwell.jsl.fault import Fault
from stepwell.jsl.source import JobFile
from tests.unit.jsl import artifacts

JAKARTA = "https://jakarta.ee/xml/ns/jakartaee"
FILES = Path(__file__).parent / "files"


def known_artifacts() -> ArtifactRegistry:
    registry = ArtifactRegistry()
    for name, artifact in artifacts.artifacts.items():
        registry.add(name, artifact, origin="tests")
    return registry


def xml_file(folder: Path, body: str, *, attributes: str = "", name: str = "night") -> JobFile:
    """The body begins on line 2."""
    root = f'<job id="{name}" xmlns="{JAKARTA}" version="2.0" {attributes}>'
    return job_file(folder / f"{name}.xml", f"{root}\n{dedent(body).strip()}\n</job>\n")


def yaml_file(folder: Path, body: str, *, name: str = "night") -> JobFile:
    """The body begins on line 2."""
    return job_file(folder / f"{name}.yaml", f"job: {name}\n{dedent(body).strip()}\n")


def job_file(path: Path, text: str | bytes, **options: Any) -> JobFile:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return JobFile(path, artifacts=known_artifacts(), folder=path.parent, **options)


def load_xml(folder: Path, body: str, **parameters: object) -> Job:
    return xml_file(folder, body).load(parameters)


def load_yaml(folder: Path, body: str, **parameters: object) -> Job:
    return yaml_file(folder, body).load(parameters)


def said(faults: list[Fault]) -> list[tuple[int, str]]:
    """Line and message of every error."""
    return [(fault.line, fault.message) for fault in faults if fault.is_error]


def warned(faults: list[Fault]) -> list[tuple[int, str]]:
    """Line and message of every warning."""
    return [(fault.line, fault.message) for fault in faults if not fault.is_error]


def xml_faults(
    folder: Path, body: str, parameters: Mapping[str, object] | None = None
) -> list[tuple[int, str]]:
    return said(xml_file(folder, body).check(parameters))


def yaml_faults(
    folder: Path, body: str, parameters: Mapping[str, object] | None = None
) -> list[tuple[int, str]]:
    return said(yaml_file(folder, body).check(parameters))
