"""How a page is drawn: the templates, the words and shapes that all of them share."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from stepwell.execution.parameters import describe_parameters
from stepwell.looks.definitions import kind_of, parameter_text
from stepwell.looks.text import (
    count,
    duration,
    how_many,
    local_time,
    seconds_between,
    size,
)
from stepwell.repository.statistics import Statistics
from stepwell.web.face import Face

_SHAPES = {
    "COMPLETED": "✓",
    "SUCCESS": "✓",
    "FAILED": "✕",
    "FAILURE": "✕",
    "PARTIAL": "◐",
    "STARTED": "▶",
    "STARTING": "◌",
    "STOPPING": "◧",
    "STOPPED": "■",
    "ABANDONED": "⊘",
    "alive": "●",
    "dead": "✕",
    "error": "✕",
    "warning": "◐",
    "info": "○",
    "waiting": "◌",
    "decided": "✓",
    "resolved": "✓",
    "applied": "✓",
    "dropped": "⊘",
}
_INPUTS = {"date": "date", "int": "number", "time": "time"}


def _took(one: Any) -> str:
    return duration(seconds_between(one.start_time, one.end_time)) if one.end_time else ""


def _coded(text: str) -> Markup:
    """A hint; what stands between backticks is what a person types."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _share(found: Statistics) -> str:
    """``97.5 %``: rounded down, so that 100 % means all."""
    if not found.judged:
        return "–"
    tenths = 1000 * found.completed // found.judged
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stepwell.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        coded=_coded,
        count=count,
        duration=duration,
        kind=kind_of,
        local_time=local_time,
        parameter_text=parameter_text,
        parameters=describe_parameters,
        how_many=how_many,
        seconds_until=seconds_between,
        share=_share,
        size=size,
        took=_took,
    )
    environment.globals.update(shapes=_SHAPES, inputs=_INPUTS)
    return environment


_TEMPLATES = _environment()


def draw_page(
    name: str, face: Face | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A template with its values; ``events`` is what the page listens to, if to anything."""
    location = None if face is None else face.node.database.location
    text = _TEMPLATES.get_template(name).render({"events": None, "location": location, **values})
    return HTMLResponse(text, status)
