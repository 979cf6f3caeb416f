"""Copies of a SQLite database: ``VACUUM INTO``, and back through SQLite's own backup interface.

A restore never puts a file over one that is in use: renaming beneath an open connection sends its
commits into the void, and the old log would be applied to the new file. Instead the pages of the
copy are written into the live database as one transaction of SQLite's (sqlite.org/backup.html): a
kill at any instruction leaves the old state or the new one, and every open connection, also of
other programs, sees the new one from then on. Only where no database is, or a damaged one that
nobody has open, a file is put in its place.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepwell.clock import Clock
from stepwell.database import sqlite_findings, sqlite_state
from stepwell.database.connect import open_database
from stepwell.database.connections import Connections
from stepwell.database.copies import NO_FENCE, Contents, Copies, CopyFiles, Fence, Unfolded
from stepwell.database.dialect import DatabaseOptions, KeptConnection
from stepwell.database.durable import disk_refusal, move_into_place, sync_file, sync_folder
from stepwell.database.file_users import users_of
from stepwell.database.gate import RETRY_AFTER_S
from stepwell.database.lockfile import LockFile
from stepwell.database.process_file import PROCESS_FILES, ProcessFile
from stepwell.database.schema import drift
from stepwell.database.sqlite import SqliteDialect
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import BackupUnderWay, DatabaseBusy, DatabaseDamaged, DatabaseInUse
from stepwell.finding import Finding

MAGIC = b"SQLite format 3\0"
BESIDE = ("-wal", "-shm", "-journal")

_IN_WAL_MODE = b"\x02\x02"  # The read and write versions (sqlite.org/fileformat2.html).

_CHECKPOINT_WITHIN_MS = 1_000

logger = logging.getLogger(__name__)


class _FileDialect(SqliteDialect):
    """A database file that is only read; ``immutable`` when it is a finished copy."""

    def __init__(
        self, path: str, options: DatabaseOptions, clock: Clock, *, immutable: bool
    ) -> None:
        super().__init__(path, options, clock)
        self._immutable = immutable

    def connect(self, *, writes: bool) -> KeptConnection:
        raw = self.connect_raw("ro&immutable=1" if self._immutable else "ro")
        raw.execute("PRAGMA trusted_schema = OFF")
        raw.execute("PRAGMA mmap_size = 0")
        return KeptConnection(raw)


class SqliteCopies(Copies):
    """The copies of one SQLite file; it need not exist."""

    kind = "sqlite"

    def __init__(self, path: str, options: DatabaseOptions, clock: Clock) -> None:
        self.location = path
        self._path = Path(os.path.realpath(path))
        self._options = replace(options, create=False)
        self._clock = clock
        self._dialect = SqliteDialect(path, self._options, clock)
        self._is_alone = False

    @property
    def engine(self) -> str:
        """Of SQLite itself."""
        return self._dialect.library_version

    def is_mine(self, files: CopyFiles) -> bool:
        """By the first bytes."""
        with files.main.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC

    def is_database(self, path: Path) -> bool:
        """Also through a link."""
        return Path(os.path.realpath(path)) == self._path

    def user_of(self, path: Path) -> str:
        """By its locks."""
        pids = users_of(str(path)).pids
        if not pids:
            return ""
        return f"pid {pids[0]}" if pids[0] else "another process"

    def files_of(self, path: Path) -> CopyFiles:
        """With its write-ahead log, or the journal of a transaction that was never finished."""
        logs = [path.with_name(path.name + suffix) for suffix in ("-wal", "-journal")]
        return CopyFiles(path, next((log for log in logs if log.exists()), None))

    def may_lack_commits(self, files: CopyFiles) -> bool:
        """By the header: who writes in WAL mode leaves its last commits in the log."""
        if files.log is not None:
            return False
        with files.main.open("rb") as file:
            return file.read(len(MAGIC) + 4)[18:] == _IN_WAL_MODE

    # --- writing a copy

    @contextmanager
    def write(self, path: Path) -> Iterator[Reader]:
        """One statement, and so one moment; writers go on."""
        what = f"back up database {self.location!r}"
        with self._opened():
            # As private as the database, from its first byte on.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            with closing(self._dialect.connect_raw("ro")) as raw, self._translated(what):
                raw.execute("VACUUM INTO ?", (str(path),))
            path.chmod(self._path.stat().st_mode & 0o777)
        sync_file(path)
        with self._reading(path, what, immutable=True) as reader:
            self._refuse_damage(reader, what)
            yield reader

    def _opened(self) -> AbstractContextManager[object]:
        """Somebody who writes has it open, so that a reader need not make the log's files."""
        if self._is_alone:
            return nullcontext()
        return open_database(self._url(self._path), clock=self._clock, options=self._options)

    def contents(self, reader: Reader) -> Contents:
        """See ``sqlite_state.py``."""
        return reader.ask(sqlite_state.contents)

    def findings(self, reader: Reader) -> list[Finding]:
        """Foreign keys may be off where other programs write, and any value fits any column."""
        reader.close_results()
        found = reader.ask(lambda connection: list(sqlite_findings.of_contents(connection.raw)))
        return found + reader.ask(lambda connection: drift(self._dialect, connection))

    def _refuse_damage(self, reader: Reader, what: str) -> None:
        found = reader.ask(lambda connection: sqlite_findings.damage(connection.raw))
        if found:
            raise DatabaseDamaged(
                f"cannot {what}: the copy is damaged, {found}",
                hint="`PRAGMA integrity_check` in the sqlite3 shell tells all of it",
                fields={"database": self.location, "damage": found},
            )

    # --- unfolding one

    @contextmanager
    def unfold(self, files: CopyFiles) -> Iterator[Unfolded]:
        """A file in a folder beside the database, so that it can take its place."""
        what = f"unfold copy {str(files.main)!r}"
        lock = LockFile(self._beside("unfolding"))
        folder = self._beside("unfolded")
        file = folder / "copy.db"
        try:
            if not lock.acquire():
                raise BackupUnderWay(
                    f"cannot {what}: {lock.holder()} restores or verifies at the same place",
                    hint="wait for its end",
                    fields={"database": self.location},
                )
            try:
                # What a process that was killed has left: nobody holds the lock any more.
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(0o700)
                shutil.copyfile(files.main, file)
                if files.log is not None:
                    suffix = files.log.name.removeprefix(files.main.name)
                    shutil.copyfile(files.log, Path(f"{file}{suffix}"))
                with open_database(
                    self._url(file), clock=self._clock, options=self._options
                ) as database:
                    with database.read(what=what) as reader:
                        self._refuse_damage(reader, what)
                    yield Unfolded(database, str(file))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                lock.release()
        except OSError as error:
            raise disk_refusal(error, what) from error

    # --- putting one in place

    def replace(
        self,
        unfolded: Unfolded,
        *,
        force: bool,
        keep: Callable[[], str],
        begin_epoch: Callable[[Fence], None],
    ) -> str:
        """Through SQLite where SQLite can read what is there."""
        what = f"restore database {self.location!r}"
        try:
            if not self._path.exists():
                begin_epoch(NO_FENCE)
                unfolded.database.close()
                return self._put_where_nothing_is(Path(unfolded.location), what)
            with self._alone(what) as process:
                if not force:
                    self._refuse_living_owners(process, what)
                kept = self._put_through_sqlite(unfolded, what, keep, begin_epoch)
                if kept is None:
                    kept = self._put_over_damaged(Path(unfolded.location), process, what)
                return kept
        except OSError as error:
            raise disk_refusal(error, what) from error

    @contextmanager
    def _alone(self, what: str) -> Iterator[ProcessFile]:
        """Behind the writer gate: nobody of Stepwell's writes, and no owner can be added."""
        process = PROCESS_FILES.share(str(self._path), self._dialect.driver_name)
        try:
            process.gate.enter(self._options.gate_timeout_s, self._options.owner, what)
            self._is_alone = True
            try:
                yield process
            finally:
                self._is_alone = False
                process.gate.leave()
        finally:
            PROCESS_FILES.give_up(str(self._path))

    def _refuse_living_owners(self, process: ProcessFile, what: str) -> None:
        owner = process.any_living_owner()
        if owner is not None:
            owner_id, who = owner
            raise DatabaseInUse(
                f"cannot {what}: owner {owner_id} ({who}) is alive",
                hint="`stepwell status` shows what is at work: stop it, then restore",
                fields={"database": self.location, "owner_id": owner_id},
            )

    def _put_through_sqlite(
        self,
        unfolded: Unfolded,
        what: str,
        keep: Callable[[], str],
        begin_epoch: Callable[[Fence], None],
    ) -> str | None:
        """Where the old state is kept; None when SQLite cannot read or write what is there."""
        fence, kept = NO_FENCE, None
        with closing(self._dialect.connect_raw("rw")) as live:
            try:
                with self._reading(self._path, what, immutable=False) as reader:
                    if reader.ask(sqlite_state.is_empty):
                        keep = str
                    elif reader.ask(self._dialect.schema_version) is not None:
                        fence = reader.ask(sqlite_state.fence)
                    # From its first look on it is a user of the database, until the end.
                    with self._translated(what):
                        live.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
                kept = keep()
            except DatabaseDamaged:
                logger.warning("cannot read database %r", self.location, exc_info=True)
            begin_epoch(fence)
            unfolded.database.close()
            if kept is not None:
                try:
                    self._write_pages(Path(unfolded.location), live, what)
                except DatabaseDamaged:
                    return None
        return kept

    def _write_pages(self, file: Path, live: Any, what: str) -> None:
        """Write a copy's pages into the live database, as one transaction of its own."""
        clock, timeout_s = self._clock, self._options.gate_timeout_s
        deadline = clock.monotonic() + timeout_s

        def go_on(_status: int, left: int, pages: int) -> None:
            # No page was written yet: a program that does not know the gate has the write lock.
            if (not pages or left == pages) and clock.monotonic() > deadline:
                raise DatabaseBusy(
                    f"cannot {what}: a program other than Stepwell has held the write lock of"
                    f" database {self.location!r} for {timeout_s:g} s",
                    hint=f"find it with `fuser {self.location}`, end its transaction",
                    fields={"database": self.location, "timeout_s": timeout_s},
                )

        with (
            closing(self._dialect_of(file).connect_raw("rw")) as copy,
            self._translated(what),
        ):
            for raw in (live, copy):
                raw.execute("PRAGMA wal_autocheckpoint = 0")
                raw.execute("PRAGMA synchronous = FULL")
            sqlite_state.give_page_size_of(live, copy)
            live.execute("PRAGMA busy_timeout = 0")
            try:
                copy.backup(live, pages=-1, progress=go_on, sleep=RETRY_AFTER_S[1])
            finally:
                # It has as many pages as the database. A reader may keep it: then the next one.
                live.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WITHIN_MS}")
                live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _put_where_nothing_is(self, file: Path, what: str) -> str:
        kept = ""
        strays = [stray for stray in self._files_beside() if stray.exists()]
        if strays:
            aside = self._aside()
            for stray in strays:
                stray.rename(aside / stray.name)
            kept = str(aside)
        sync_file(file)
        try:
            move_into_place(file, self._path)
        except FileExistsError as error:
            raise DatabaseInUse(
                f"cannot {what}: somebody has made it meanwhile",
                hint="look at it with `stepwell db info`, then restore again",
                fields={"database": self.location},
            ) from error
        return kept

    def _put_over_damaged(self, file: Path, process: ProcessFile, what: str) -> str:
        """Keep what SQLite cannot read, and take its place; at no moment there is nothing."""
        self._refuse_users(process, what)
        before = self._path.stat()
        aside = self._aside()
        os.link(self._path, aside / self._path.name)
        for stray in self._files_beside():
            if stray.exists():
                stray.rename(aside / stray.name)
        sync_folder(aside)
        file.chmod(before.st_mode & 0o777)
        if os.name == "posix" and os.geteuid() == 0:
            os.chown(file, before.st_uid, before.st_gid)
        sync_file(file)
        file.replace(self._path)
        sync_folder(self._path.parent)
        return str(aside)

    def _refuse_users(self, process: ProcessFile, what: str) -> None:
        if process.is_shared:
            raise self._in_use(what, "this process")
        who = self.user_of(self._path)
        if who:
            raise self._in_use(what, who)

    def _in_use(self, what: str, who: str) -> DatabaseInUse:
        return DatabaseInUse(
            f"cannot {what}: {who} has the file open, and it is too damaged to be written through"
            " SQLite",
            hint="end whatever uses it, then restore",
            fields={"database": self.location},
        )

    def fence(self, reader: Reader) -> Fence:
        """See ``sqlite_state.py``."""
        return reader.ask(sqlite_state.fence)

    def raise_identities(self, transaction: Transaction, identities: Mapping[str, int]) -> None:
        """In ``sqlite_sequence``."""
        transaction.ask(lambda connection: sqlite_state.raise_identities(connection, identities))

    # --- means

    def _url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    def _dialect_of(self, path: Path) -> SqliteDialect:
        return SqliteDialect(str(path), self._options, self._clock)

    def _beside(self, purpose: str) -> Path:
        return self._path.with_name(f".{self._path.name}-{purpose}")

    def _files_beside(self) -> list[Path]:
        return [Path(f"{self._path}{suffix}") for suffix in BESIDE]

    def _aside(self) -> Path:
        """A new folder beside the database for what a restore has found there."""
        stamp = self._clock.now().strftime("%Y%m%dT%H%M%S.%fZ")
        folder = self._path.with_name(f"{self._path.name}-before-{stamp}")
        folder.mkdir(0o700)
        return folder

    @contextmanager
    def _reading(self, path: Path, what: str, *, immutable: bool) -> Iterator[Reader]:
        dialect = _FileDialect(str(path), self._options, self._clock, immutable=immutable)
        connections = Connections(dialect, writes=False)
        try:
            with self._translated(what), Reader(dialect, connections, what) as reader:
                yield reader
        finally:
            connections.drop_idle()

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, what) from error
