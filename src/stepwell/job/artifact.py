"""Artifacts that are made anew for each scope, as job files name them by ``ref`` (S77)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


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
