"""Copies of a whole database: written while it is used, unfolded again, put in its place.

What differs between SQLite and PostgreSQL is an operation here; ``backup/`` gives the operations
their order and knows files, names and manifests. A copy is a file:

- SQLite: a database, complete in itself, with the rows of one moment (``VACUUM INTO``);
- PostgreSQL: what ``pg_dump --format=custom`` writes of one snapshot.

To unfold a copy is to restore it beside the database that it may replace: a rehearsal is a restore
without its last step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.clock import Clock
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.transaction import Reader, Transaction
from stepwell.finding import Finding

if TYPE_CHECKING:
    from stepwell.database.connect import Database


@dataclass(frozen=True)
class Contents:
    """What a database holds, as far as two of them can be compared by it.

    Attributes:
        schema_version: The revision of Stepwell's tables; None when there are none.
        schema_sha256: Of the definitions of all tables, indexes, views and triggers.
        tables: The number of rows of each table, the application's too.
    """

    schema_version: str | None
    schema_sha256: str
    tables: dict[str, int]


@dataclass(frozen=True)
class CopyFiles:
    """The files that a copy consists of.

    Attributes:
        main: The copy, or the database file of a stopped node.
        log: Its write-ahead log or rollback journal, if it has one.
    """

    main: Path
    log: Path | None = None


class Unfolded:
    """A copy that was restored beside the database that it may replace.

    Attributes:
        database: Opened; it may be migrated, examined and written.
        location: Where it is, for messages.
    """

    def __init__(self, database: Database, location: str) -> None:
        self.database = database
        self.location = location


@dataclass(frozen=True)
class Fence:
    """What must be known of the old state, so that nobody who worked on it can write the new one.

    Attributes:
        epoch: Its epoch; None when it could not be read.
        identities: The highest id that each of Stepwell's tables has given out.
    """

    epoch: int | None
    identities: Mapping[str, int]


NO_FENCE = Fence(None, {})


class Copies(ABC):
    """The database at one URL, as something that is copied and replaced; it need not exist.

    Attributes:
        location: Path or URL for messages, without a password.
        kind: What its copies are; only compared.
        engine: The version of SQLite or of the server.
    """

    location: str
    kind: str

    @property
    @abstractmethod
    def engine(self) -> str:
        """The version of the SQLite library, or of the server."""

    @abstractmethod
    def is_mine(self, files: CopyFiles) -> bool:
        """Whether the file looks like a copy of this kind of database."""

    @abstractmethod
    def is_database(self, path: Path) -> bool:
        """Whether the path is the database itself."""

    @abstractmethod
    def user_of(self, path: Path) -> str:
        """A process that has the file open as a database, for a message; empty when none has."""

    @abstractmethod
    def files_of(self, path: Path) -> CopyFiles:
        """The copy at a path with what belongs to it."""

    @abstractmethod
    def may_lack_commits(self, files: CopyFiles) -> bool:
        """Whether a log belongs to such a file, and is not there."""

    @abstractmethod
    def write(self, path: Path) -> AbstractContextManager[Reader]:
        """Write a copy to ``path``, where no file is; the reader sees what the copy holds.

        Nobody who writes the database is kept waiting. Inside the block the copy is complete, and
        its own structure has been checked.

        Raises:
            DatabaseDamaged: the database, or the copy, is damaged.
            DatabaseFull: the disk is full. The caller deletes what is there.
        """

    @abstractmethod
    def contents(self, reader: Reader) -> Contents:
        """What the database that the reader sees holds; it reads every table."""

    @abstractmethod
    def findings(self, reader: Reader) -> list[Finding]:
        """What the doctor finds wrong with tables and values: D7, D9 and D10.

        Asked last: it ends the transaction of the reader.
        """

    @abstractmethod
    def unfold(self, files: CopyFiles) -> AbstractContextManager[Unfolded]:
        """Restore a copy beside the database; it is gone at the end of the block.

        Raises:
            BackupUnderWay: somebody else unfolds a copy at the same place.
            DatabaseDamaged: the copy is damaged.
        """

    @abstractmethod
    def replace(
        self,
        unfolded: Unfolded,
        *,
        force: bool,
        keep: Callable[[], str],
        begin_epoch: Callable[[Fence], None],
    ) -> str:
        """Put an unfolded copy in the database's place: at every moment it is the old or the new.

        ``begin_epoch`` is called once, when nobody can write the old state any more, and completes
        the unfolded one; ``keep`` when the old state has to be copied first. Answers where the old
        state is kept; empty when there was none.

        Raises:
            DatabaseInUse: an owner lives, unless ``force`` does without it; or somebody has files
                open that would have to be moved.
        """

    @abstractmethod
    def fence(self, reader: Reader) -> Fence:
        """Epoch and identities of the database that the reader sees."""

    @abstractmethod
    def raise_identities(self, transaction: Transaction, identities: Mapping[str, int]) -> None:
        """Have Stepwell's tables give out only ids above these, and above their own (S3)."""


def copies_of(
    url: str, *, clock: Clock | None = None, options: DatabaseOptions | None = None
) -> Copies:
    """The copies of the database at a URL as ``open_database`` takes it; nothing is opened.

    Raises:
        CannotOpenDatabase: it is no URL of a database.
    """
    from stepwell.database.connect import sqlite_path

    clock, options = clock or Clock(), options or DatabaseOptions()
    path = sqlite_path(url)
    if path is not None:
        from stepwell.database.sqlite_copies import SqliteCopies

        return SqliteCopies(path, options, clock)
    from stepwell.database.postgresql_copies import PostgresqlCopies

    return PostgresqlCopies(url, options, clock)
