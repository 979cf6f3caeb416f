"""``jobs show``: a job of any origin as a YAML job file, and what it does not say as comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from stepwell.job.registry import JobRegistry, RegisteredJob
from stepwell.jsl.show import ShownJob, show_job
from stepwell.jsl.source import JobFile
from stepwell.looks.definitions import Definition, parameter_text
from stepwell.looks.text import one_line
from stepwell.settings import JobSettings, Settings


def shown(found: RegisteredJob, registry: JobRegistry) -> ShownJob:
    """The job as its file says it, or as a file would.

    Raises:
        JobStartError: it comes from a file that cannot be read.
    """
    source = found.source
    if isinstance(source, JobFile):
        return source.show()
    return show_job(found.job, registry.artifacts)


def shown_text(
    found: RegisteredJob, as_file: ShownJob, settings: Settings, recorded: Mapping[str, str]
) -> str:
    """The job file, with what a person wants to know of it beside.

    ``recorded`` is what the database says, label by label.
    """
    definition = Definition.of(found)
    job = definition.job
    facts = {
        "defined in": definition.origin
        if definition.path or not definition.file
        else f"{definition.origin}, {definition.file}",
        "parameters": "any, as text"
        if job.parameters is None
        else ", ".join(map(parameter_text, definition.parameters)) or "none",
        "stepwell.toml says": ", ".join(_set_by_operators(settings.job.get(job.name))),
        **recorded,
    }
    lines = [f"# {label}: {one_line(value)}" for label, value in facts.items() if value]
    if isinstance(found.source, JobFile):
        errors = [fault for fault in found.source.check() if fault.is_error]
        if errors:
            lines.append(f"# It cannot start: {errors[0]}")
            lines.append(f"#   `stepwell jobs check {found.source.shown}` says all")
    if as_file.losses:
        lines.append("# This text does not say:")
        lines += [f"#   {one_line(loss)}" for loss in as_file.losses]
    return "\n".join([*lines, as_file.yaml])


def _set_by_operators(section: JobSettings | None) -> Iterator[str]:
    """What ``[job."NAME"]`` puts in the place of the job's own."""
    if section is not None:
        for field in fields(section):
            value = getattr(section, field.name)
            if value is not None:
                yield f"{field.name} = {value!r}"
