"""Artifacts that are made anew for each scope, as job files name them by ``ref`` (S77)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from stepwell.errors import InvalidSetting


@dataclass(frozen=True)
class Scope:
    """Where an artifact will live: what may be injected into it.

    Attributes:
        job: The JobContext.
        step: The StepContext; None for job listeners and deciders.
        partition: The properties of the partition, for ``#{partitionPlan[…]}``; None outside.
    """

    job: Any
    step: Any = None
    partition: Mapping[str, str] | None = None


@runtime_checkable
class ArtifactFactory(Protocol):
    """Makes one instance of an artifact for a scope; stands wherever an artifact may stand."""

    def create_artifact(self, scope: Scope) -> Any:
        """A new instance, its properties and contexts injected (S76, S77)."""


def make_artifact(artifact: Any, scope: Scope) -> Any:
    """What a factory makes for ``scope``; anything else is itself."""
    if isinstance(artifact, ArtifactFactory):
        return artifact.create_artifact(scope)
    return artifact


class ArtifactRegistry:
    """The short names that job files may use as ``ref`` (S79); two of one name are refused.

    A module that the settings name in ``jobs`` gives them in a mapping called ``artifacts``::

        artifacts = {"recalculateDay": RecalculateDay, "audit": AuditListener}
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, str]] = {}

    def add(self, name: str, artifact: Any, *, origin: str) -> None:
        """Register a class, a function or an object; the same a second time is nothing.

        Raises:
            InvalidSetting: another artifact has the name.
        """
        known, first = self._known.setdefault(name, (artifact, origin))
        if known is not artifact:
            raise InvalidSetting(
                f"artifacts must have names of their own, got {name!r} twice:"
                f" in {first} and in {origin}",
                hint="rename one of them",
                fields={"artifact": name, "origins": [first, origin]},
            )

    def find(self, name: str) -> Any | None:
        """The artifact of this name, or None."""
        return self._known.get(name, (None, ""))[0]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))
