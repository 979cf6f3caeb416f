"""Flow control as values: transitions, flows, splits and decisions (sections 5 and 6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile, pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from stepwell.job.step import Step


@dataclass(frozen=True)
class Transition:
    """What follows when an element ends with an exit status that matches ``pattern`` (S41).

    Attributes:
        kind: ``next`` goes to the sibling ``to``; ``end``, ``stop`` and ``fail`` end the whole job
            from any depth (S48).
        exit_status: Becomes the job's, unless it is None (S16).
        restart: With ``stop``: the job-level element where the next restart begins (S64).
    """

    pattern: str
    kind: Literal["next", "end", "stop", "fail"]
    to: str | None = None
    exit_status: str | None = None
    restart: str | None = None

    def matches(self, exit_status: str) -> bool:
        """``*`` stands for any characters, ``?`` for one; the whole string must match (S44)."""
        return _compiled(self.pattern).fullmatch(exit_status) is not None


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    return re.compile("".join(wild.get(c) or re.escape(c) for c in pattern), re.DOTALL)


class on:  # noqa: N801 - it reads as a word: on("FAILED").to("mend")
    """The beginning of a transition.

    >>> on("FAILED*").to("mend")
    >>> on("NOTHING TO DO").end(exit_status="IDLE")
    >>> on("WAIT").stop(restart="report")
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def to(self, name: str) -> Transition:
        """Go to a sibling of the element."""
        return Transition(self._pattern, "next", to=name)

    def end(self, exit_status: str | None = None) -> Transition:
        """End the job COMPLETED."""
        return Transition(self._pattern, "end", exit_status=exit_status)

    def stop(self, exit_status: str | None = None, *, restart: str | None = None) -> Transition:
        """End the job STOPPED; a restart begins at ``restart``, once."""
        return Transition(self._pattern, "stop", exit_status=exit_status, restart=restart)

    def fail(self, exit_status: str | None = None) -> Transition:
        """End the job FAILED."""
        return Transition(self._pattern, "fail", exit_status=exit_status)


@dataclass(frozen=True)
class Decision:
    """Chooses what follows: ``decide(step_executions)`` returns the job's exit status (S58, S60).

    It is decided on every pass, restarts included; without a matching transition its container
    ends normally (S61).
    """

    name: str
    decide: Callable[..., str]
    transitions: Sequence[Transition] = ()


@dataclass(frozen=True)
class Flow:
    """Elements that run as one, on the thread and contexts of their caller (S54).

    Args:
        elements: Steps, flows, splits and decisions; the first one is no decision (S40).
        transitions: Asked when the flow has ended, with the exit status of its last element (S45).
        next: The sibling that follows when no transition matches.
        implied_next: Each element but the last goes on to its successor when COMPLETED (S53);
            False for job files, where only ``next`` and transitions lead on (S43).
    """

    name: str
    elements: Sequence[Element]
    transitions: Sequence[Transition] = ()
    next: str | None = None
    implied_next: bool = True


@dataclass(frozen=True)
class Split:
    """Flows that run at once, each on a thread of its own, with contexts of its own (S55)."""

    name: str
    flows: Sequence[Flow]
    next: str | None = None


Element: TypeAlias = "Step | Flow | Split | Decision"


def transitions_of(element: Any) -> Sequence[Transition]:
    """The transitions of any element; a split has none (S45)."""
    return getattr(element, "transitions", ())


def next_of(element: Any) -> str | None:
    """The ``next`` of any element; a decision has none (S61)."""
    return getattr(element, "next", None)


def targets_of(element: Any) -> Iterator[str]:
    """Every name that a transition or ``next`` of an element leads to."""
    yield from (t.to for t in transitions_of(element) if t.to is not None)
    following = next_of(element)
    if following is not None:
        yield following


def cycle_of(elements: Sequence[Any], *, implied_next: bool) -> list[str] | None:
    """The names along one cycle of a container (S47), the first again at the end; None without."""
    graph: dict[str, list[str]] = {}
    for element in elements:  # A name that stands twice by mistake has the targets of both.
        graph.setdefault(element.name, []).extend(targets_of(element))
    if implied_next:
        for element, successor in pairwise(elements):
            if next_of(element) is None and not isinstance(element, Decision):
                graph[element.name].append(successor.name)
    return find_cycle(graph)


def find_cycle(graph: Mapping[str, Sequence[str]]) -> list[str] | None:
    """The names along one cycle of a graph, the first one again at the end; None without any."""
    done: set[str] = set()
    for start in graph:
        # Without recursion: a job may be a chain of thousands of steps.
        path: dict[str, None] = {}
        stack = [iter([start])]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if path:
                    done.add(path.popitem()[0])
            elif name in path:
                return [*dropwhile(name.__ne__, path), name]
            elif name in graph and name not in done:
                path[name] = None
                stack.append(iter(graph[name]))
    return None
