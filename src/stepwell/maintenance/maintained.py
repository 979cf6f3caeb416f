"""What the built-in jobs care for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stepwell.clock import Clock
    from stepwell.database.connect import Database
    from stepwell.doctor.doctor import Doctor
    from stepwell.settings import Settings


class Maintained(Protocol):
    """A database with its settings and its doctor; a node is one."""

    @property
    def database(self) -> Database:
        """The database that the jobs care for, and run on."""

    @property
    def settings(self) -> Settings:
        """Where its copies stand."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def doctor(self) -> Doctor:
        """Its doctor."""


# Asked when a job runs: a registry may only be looked at.
Care = Callable[[], Maintained]
