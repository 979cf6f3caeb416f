"""A job's definition as a picture: its elements from top to bottom, and what leads from one on.

Flows and splits are frames around what is in them; the flows of a split stand side by side. What
goes on to another element than the next one is a line around, on the right. Conditions stand in
words beneath the name, so that nothing depends on following a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stepwell.job.flow import Decision, Transition, next_of, transitions_of
from stepwell.job.job import Job
from stepwell.job.step import ChunkStep, PartitionedStep
from stepwell.looks.definitions import kind_of
from stepwell.looks.text import count, how_many, shorten

ELEMENTS_MAX = 200  # Of a longer job there is a list.
WIDTH = 236
HEIGHT = 46
LINE = 17  # Of a condition beneath the name.
GAP = 22  # An arrow between two elements.
PADDING = 12
TITLE = 24
LANE = 34  # Where lines around run.
NAME_CHARACTERS = 24
NOTE_CHARACTERS = 32


class Place(NamedTuple):
    """A rectangle."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """A step, a decision, or the frame of a flow or split.

    Attributes:
        kind: ``chunk of 1,000``, ``decision``, and the like.
        notes: One line a condition.
        status: Of the execution that the picture is drawn of; empty for none.
    """

    place: Place
    name: str
    shown: str
    kind: str
    is_frame: bool
    is_decision: bool
    notes: tuple[str, ...]
    status: str


@dataclass
class FlowPicture:
    """Boxes, and arrows as SVG paths."""

    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    arrows: list[str] = field(default_factory=list)


def draw_flow(job: Job, statuses: Mapping[str, str]) -> FlowPicture:
    """The picture of a job; ``statuses`` are of its steps, by name."""
    picture = FlowPicture()
    width, height = _size_of_column(job.steps)
    _draw_column(picture, job.steps, 1, 1, width, statuses, implied_next=job.implied_next)
    picture.width, picture.height = width + 2, height + 2
    return picture


def _parts(element: Any) -> Sequence[Any]:
    """What stands in a frame; nothing for a step or a decision."""
    return getattr(element, "elements", ()) or getattr(element, "flows", ())


def _is_split(element: Any) -> bool:
    return hasattr(element, "flows")


def _size(element: Any) -> tuple[int, int]:
    parts = _parts(element)
    notes = LINE * len(transitions_of(element))
    if not parts:
        return WIDTH, HEIGHT + notes
    if _is_split(element):
        sizes = [_size(part) for part in parts]
        width = sum(w for w, _ in sizes) + PADDING * (len(sizes) - 1)
        height = max(h for _, h in sizes)
    else:
        width, height = _size_of_column(parts)
    return width + 2 * PADDING, height + 2 * PADDING + TITLE + notes


def _size_of_column(elements: Sequence[Any]) -> tuple[int, int]:
    sizes = [_size(element) for element in elements]
    lane = LANE if _jumps(elements) else 0
    width = max((w for w, _ in sizes), default=0) + lane
    return width, sum(h for _, h in sizes) + GAP * (len(sizes) - 1)


def _draw_column(
    picture: FlowPicture,
    elements: Sequence[Any],
    x: int,
    y: int,
    width: int,
    statuses: Mapping[str, str],
    *,
    implied_next: bool,
) -> None:
    jumps = _jumps(elements)
    width -= LANE if jumps else 0
    places = []
    for element in elements:
        own_width, height = _size(element)
        place = Place(x + (width - own_width) // 2, y, own_width, height)
        _draw(picture, element, place, statuses)
        places.append(place)
        y += height + GAP
    for number in _straight(elements, implied_next=implied_next):
        above, below = places[number], places[number + 1]
        middle = above.x + above.width // 2
        picture.arrows.append(f"M{middle} {above.y + above.height}V{below.y - 2}")
    for number, target in jumps:
        one, other = places[number], places[target]
        lane = x + width + LANE - 4
        begin, end = one.y + one.height // 2, other.y + 14
        turns = f"H{lane - 8}q8 0 8 8V{end - 8}q0 8 -8 8"
        picture.arrows.append(f"M{one.x + one.width} {begin}{turns}H{other.x + other.width + 2}")


def _draw(picture: FlowPicture, element: Any, place: Place, statuses: Mapping[str, str]) -> None:
    parts = _parts(element)
    picture.boxes.append(
        Box(
            place=place,
            name=element.name,
            shown=shorten(element.name, NAME_CHARACTERS),
            kind=_kind(element),
            is_frame=bool(parts),
            is_decision=isinstance(element, Decision),
            notes=tuple(shorten(_note(t), NOTE_CHARACTERS) for t in transitions_of(element)),
            status=statuses.get(element.name, ""),
        )
    )
    x, y = place.x + PADDING, place.y + PADDING + TITLE
    if _is_split(element):
        for part in parts:
            width, height = _size(part)
            _draw(picture, part, Place(x, y, width, height), statuses)
            x += width + PADDING
    elif parts:
        inner = place.width - 2 * PADDING
        _draw_column(picture, parts, x, y, inner, statuses, implied_next=element.implied_next)


def _straight(elements: Sequence[Any], *, implied_next: bool) -> list[int]:
    """The numbers of those that may go on to their successor."""
    found = []
    for number, element in enumerate(elements[:-1]):
        following = elements[number + 1].name
        implied = implied_next and next_of(element) is None and not isinstance(element, Decision)
        if implied or following in _targets(element):
            found.append(number)
    return found


def _jumps(elements: Sequence[Any]) -> list[tuple[int, int]]:
    """From which to which number one may go that is not the successor."""
    numbers = {element.name: number for number, element in enumerate(elements)}
    return [
        (number, numbers[name])
        for number, element in enumerate(elements)
        for name in dict.fromkeys(_targets(element))
        if name in numbers and numbers[name] != number + 1
    ]


def _targets(element: Any) -> list[str]:
    names = [transition.to for transition in transitions_of(element)]
    return [name for name in (*names, next_of(element)) if name is not None]


def _note(transition: Transition) -> str:
    goal = transition.to if transition.kind == "next" else transition.kind
    return f"on {transition.pattern}: {goal}"


def _kind(element: Any) -> str:
    if isinstance(element, ChunkStep):
        return f"chunks of {count(element.chunk_size)}"
    if isinstance(element, PartitionedStep):
        workers = how_many(element.workers, "worker") if element.workers else "all at once"
        return f"partitioned, {workers}"
    return kind_of(element)
