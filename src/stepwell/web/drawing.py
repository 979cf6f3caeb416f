"""How a page is drawn: the templates, the words and shapes that all of them share."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from stepwell.execution.parameters import describe_parameters
from stepwell.looks.definitions import kind_of, parameter_text
from stepwell.looks.progress import StepProgress
from stepwell.looks.text import (
    between,
    count,
    duration,
    fine_duration,
    how_many,
    local_time,
    rate,
    seconds_between,
    shorten,
    size,
)
from stepwell.repository.statistics import Statistics
from stepwell.web.face import Face
from stepwell.web.history import STATUSES
from stepwell.web.pictures import CELLS_MAX, KIND_OF

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


def _took(one: Any) -> str:
    return duration(seconds_between(one.start_time, one.end_time)) if one.end_time else ""


def _coded(text: str) -> Markup:
    """A hint; what stands between backticks is what a person types."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _lasted(one: Any, at: datetime) -> str:
    """How long something took, or how long it has been at work by now."""
    return duration(seconds_between(one.start_time, one.end_time or at))


def _lasted_finely(one: Any, at: datetime) -> str:
    """The same for what may take next to no time."""
    seconds = seconds_between(one.start_time, one.end_time or at)
    return "" if seconds is None else fine_duration(seconds)


def _remaining(one: StepProgress) -> str:
    return "" if one.eta_range_s is None else between(*one.eta_range_s)


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
        fine_duration=fine_duration,
        how_many=how_many,
        kind=kind_of,
        lasted=_lasted,
        lasted_finely=_lasted_finely,
        local_time=local_time,
        parameter_text=parameter_text,
        parameters=describe_parameters,
        rate=rate,
        remaining=_remaining,
        seconds_until=seconds_between,
        share=_share,
        shorten=shorten,
        size=size,
        took=_took,
    )
    environment.globals.update(
        shapes=_SHAPES, kinds=KIND_OF, statuses=STATUSES, cells_max=CELLS_MAX
    )
    return environment


_TEMPLATES = _environment()


def draw_page(
    name: str, face: Face | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    """A template with its values; ``events`` is what the page listens to, if to anything."""
    location = None if face is None else face.node.database.location
    text = _TEMPLATES.get_template(name).render({"events": None, "location": location, **values})
    return HTMLResponse(text, status)
