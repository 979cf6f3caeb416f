"""Expressions, ``#{jobParameters['day']}?:today;``: parse them, fill them (S81 to S84).

::

    value     = { literal | expr [ default ] } ;
    expr      = "#{" operator "['" name "']" "}" ;
    default   = "?:" { deftext | expr } ";" ;
    operator  = "jobParameters" | "jobProperties" | "systemProperties" | "partitionPlan" ;
    name      = one or more characters other than "'" ;
    literal   = text without "#{" ;
    deftext   = text without "#{" and without ";" ;

A text becomes a Template, and ``fill`` answers its references as far as they are known. What is not
known yet, a partition's properties before it starts, stays in the template for the next ``fill``.
Everything here is pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

JOB_PARAMETERS = "jobParameters"
JOB_PROPERTIES = "jobProperties"
SYSTEM_PROPERTIES = "systemProperties"
PARTITION_PLAN = "partitionPlan"
OPERATORS = (JOB_PARAMETERS, JOB_PROPERTIES, SYSTEM_PROPERTIES, PARTITION_PLAN)

_EXPRESSION = re.compile(r"#\{(\w+)\['([^']+)'\]\}")
_SHOWN_CHARACTERS_MAX = 40  # Of a malformed expression; the document has the rest.


@dataclass(frozen=True)
class Reference:
    """``#{operator['name']}``."""

    operator: str
    name: str


@dataclass(frozen=True)
class OrElse:
    """``value?:default;``: the default applies when the value yields ``""`` (S83)."""

    value: Template
    default: Template


@dataclass(frozen=True)
class Joined:
    """Parts one behind the other; never nested, never two texts side by side."""

    parts: tuple[str | Reference | OrElse, ...]


Template: TypeAlias = str | Reference | OrElse | Joined


class MalformedExpression(ValueError):
    """A text with ``#{`` that the grammar does not allow (S82)."""

    def __init__(self, fact: str, hint: str) -> None:
        super().__init__(fact)
        self.fact = fact
        self.hint = hint


@lru_cache(maxsize=4_096)
def parse(text: str) -> Template:
    """The template of a text.

    Raises:
        MalformedExpression: an ``#{`` begins no expression, or a default has no ``;`` (S82).
    """
    parts: list[Template] = []
    place = 0
    while (start := text.find("#{", place)) >= 0:
        parts.append(text[place:start])
        reference, place = _reference_at(text, start)
        if not text.startswith("?:", place):
            parts.append(reference)
            continue
        default, place = _default_at(text, place + 2)
        parts.append(OrElse(reference, default))
    parts.append(text[place:])
    return join(parts)


def _reference_at(text: str, start: int) -> tuple[Reference, int]:
    found = _EXPRESSION.match(text, start)
    shown = text[start : start + _SHOWN_CHARACTERS_MAX]
    if found is None:
        raise MalformedExpression(
            f"malformed expression {shown!r}",
            "an expression is written `#{jobParameters['name']}`",
        )
    operator, name = found.groups()
    if operator not in OPERATORS:
        close = difflib.get_close_matches(operator, OPERATORS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise MalformedExpression(
            f"unknown operator {operator!r} in expression {found.group()!r}",
            f"{meant}there are {', '.join(OPERATORS)}",
        )
    return Reference(operator, name), found.end()


def _default_at(text: str, start: int) -> tuple[Template, int]:
    """The default that begins behind ``?:``; expressions in it have none of their own (S82)."""
    parts: list[Template] = []
    place = start
    while True:
        end = text.find(";", place)
        expression = text.find("#{", place)
        if 0 <= expression < end or end < 0 <= expression:
            parts.append(text[place:expression])
            reference, place = _reference_at(text, expression)
            parts.append(reference)
            continue
        if end < 0:
            shown = text[start - 2 :][:_SHOWN_CHARACTERS_MAX]
            raise MalformedExpression(
                f"the default {shown!r} has no end", "a default ends with `;`: `?:text;`"
            )
        parts.append(text[place:end])
        return join(parts), end + 1


def join(parts: Iterable[Template]) -> Template:
    """``parts`` one behind the other, in the simplest form."""
    flat: list[str | Reference | OrElse] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Joined) else (part,):
            if isinstance(piece, str) and flat and isinstance(flat[-1], str):
                flat[-1] += piece
            elif piece != "":
                flat.append(piece)
    if len(flat) == 1:
        return flat[0]
    return Joined(tuple(flat)) if flat else ""


def fill(template: Template, lookup: Callable[[Reference], Template]) -> Template:
    """Answer each reference by ``lookup``: with a text, or with what has to wait, say itself.

    What is inserted is not scanned for expressions again (S83).
    """
    match template:
        case str():
            return template
        case Reference():
            return lookup(template)
        case OrElse(value, default):
            value = fill(value, lookup)
            if isinstance(value, str):
                return value or fill(default, lookup)
            return OrElse(value, fill(default, lookup))
        case Joined(parts):
            return join(fill(part, lookup) for part in parts)


def write(template: Template) -> str:
    """The text of a template, as a file would have it."""
    match template:
        case str():
            return template
        case Reference(operator, name):
            return f"#{{{operator}['{name}']}}"
        case OrElse(value, default):
            return f"{write(value)}?:{write(default)};"
        case Joined(parts):
            return "".join(write(part) for part in parts)
