"""Artifacts that are made anew for each scope, as job files name them by ``ref`` (S77)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stepwell.errors import InvalidSetting
from stepwell.job.importable import NotImportable, import_path, load_path

ARTIFACTS = "artifacts"  # The mapping of short names in a module (S79).


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


class _Place(NamedTuple):
    """Where another process finds a registered artifact: in a module's mapping, or by itself."""

    path: str
    key: str | None = None

    def load(self) -> Any:
        """Import it."""
        found = load_path(self.path)
        return found if self.key is None else found[self.key]


class ArtifactRegistry:
    """The short names that job files may use as ``ref`` (S79); two of one name are refused.

    A module that the settings name in ``jobs`` gives them in a mapping called ``artifacts``::

        artifacts = {"recalculateDay": RecalculateDay, "audit": AuditListener}

    In another process it finds the same names again, importing what is asked for (S193).
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, str]] = {}
        self._places: dict[str, _Place] = {}

    def add(self, name: str, artifact: Any, *, origin: str, module: str | None = None) -> None:
        """Register a class, a function or an object; the same a second time is nothing.

        ``module`` has it in its ``artifacts``.

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
        if module is not None:
            self._places.setdefault(name, _Place(f"{module}:{ARTIFACTS}", name))

    def find(self, name: str) -> Any | None:
        """The artifact of this name, or None."""
        if name in self._known:
            return self._known[name][0]
        place = self._places.get(name)
        return None if place is None else place.load()

    def require_portable(self, name: str) -> None:
        """Refuse a name that means nothing in another process.

        Raises:
            NotImportable: neither does a module have it in ``artifacts``, nor has it a path.
        """
        if name not in self._known or name in self._places:
            return
        try:
            self._places[name] = _Place(import_path(self._known[name][0]))
        except NotImportable as error:
            raise NotImportable(f"no module of `jobs` has artifact {name!r}, and {error}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._known))

    def __getstate__(self) -> dict[str, Any]:
        """What travels to another process: where the artifacts are, not they themselves."""
        for name in self._known:
            with suppress(NotImportable):  # Whoever needs it has been refused.
                self.require_portable(name)
        return {"_known": {}, "_places": self._places}
