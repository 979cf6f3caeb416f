"""Artifacts that job files of these tests name, and how such a file is written, started and heard.

Everything that was injected or called stands in ``SEEN``, which each test finds empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

from stepwell import Node
from stepwell.execution.records import JobExecution
from stepwell.jsl import batch_property, step_context
from stepwell.jsl.source import JobFile

JAKARTA = "https://jakarta.ee/xml/ns/jakartaee"
HERE = __name__
SEEN: list[Any] = []


class Show:
    """A tasklet that shows what it was given, and returns it as its exit status."""

    a: str = batch_property("own a")
    b: str | None = batch_property()

    def process(self) -> str:
        SEEN.append((self.a, self.b))
        return self.a


class ShowOther(Show):
    """Another implementation of the same step."""

    def process(self) -> str:
        SEEN.append("other")
        return super().process()


class Typed:
    """One property of each kind."""

    text: str = batch_property(name="another.name")
    flag: bool = batch_property()
    whole: int = batch_property(7)
    number: float = batch_property(0.5)
    day: date | None = batch_property()
    step = step_context()

    def process(self) -> None:
        SEEN.append((self.text, self.flag, self.whole, self.number, self.day))


class Listener:
    """Hears the job, or its step."""

    whole: int = batch_property(7)

    def before_job(self) -> None:
        SEEN.append(("before_job", self.whole))

    def before_step(self) -> None:
        SEEN.append(("before_step", self.whole))


class Chooser:
    """Answers what it was given."""

    a: str = batch_property("own a")

    def decide(self, step_executions: Any) -> str:
        return self.a


class Numbers:
    """Reads 1 to ``count``."""

    count: int = batch_property(3)

    def open(self, checkpoint: int | None) -> None:
        self.at = checkpoint or 0

    def read(self) -> int | None:
        self.at += 1
        return self.at if self.at <= self.count else None

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None: ...


class Wrong(Exception):
    """What the items of these tests raise."""


def write(items: list[int]) -> None:
    if 2 in items:
        raise Wrong(items)
    SEEN.append(items)


def note(items: list[int]) -> None:
    SEEN.append(items)


def odd(item: int) -> int | None:
    if item == 2:
        raise Wrong(item)
    return item


# --- files ---------------------------------------------------------------------------------------


def job_file(node: Node, folder: Path, language: str, body: str, **options: Any) -> JobFile:
    """Write the job ``night`` and register it; in XML the body begins on line 2, in YAML too."""
    body = dedent(body).strip()
    if language == "xml":
        text = f'<job id="night" xmlns="{JAKARTA}" version="2.0">\n{body}\n</job>\n'
    else:
        text = f"job: night\n{body}\n"
    path = folder / f"night.{language}"
    path.write_text(text, encoding="utf-8")
    file = JobFile(path, artifacts=node.registry.artifacts, folder=folder, **options)
    if file.name not in node.registry:
        node.registry.add(file, origin=file.origin)
    return file


def know(node: Node, **artifacts: Any) -> None:
    """Give short names to artifacts."""
    for name, artifact in artifacts.items():
        node.registry.artifacts.add(name, artifact, origin="the test")


def run(node: Node, parameters: Mapping[str, object] | None = None) -> JobExecution:
    return node.operator.run("night", parameters)
