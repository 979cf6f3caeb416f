"""Copies of a PostgreSQL database: ``pg_dump`` of one snapshot, ``pg_restore`` into a new database.

A restore fills a database of its own beside the old one and then exchanges their names in one
transaction: a kill at any moment leaves the old state or the new one, and the old database is kept
under another name. Sessions do not survive it: whoever was connected connects again, to the new
one. The user must be allowed to create databases.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

from stepwell.clock import Clock
from stepwell.database import postgresql_state
from stepwell.database.connect import open_database
from stepwell.database.copies import NO_FENCE, Contents, Copies, CopyFiles, Fence, Unfolded
from stepwell.database.dialect import DatabaseOptions, KeptConnection
from stepwell.database.durable import disk_refusal, sync_file
from stepwell.database.postgresql import PostgresqlDialect
from stepwell.database.postgresql_owners import LOCK_CLASS
from stepwell.database.postgresql_programs import run_program
from stepwell.database.postgresql_url import conninfo_of, url_of
from stepwell.database.schema import drift
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import BackupError, BackupUnderWay, CannotOpenDatabase, DatabaseInUse
from stepwell.finding import Finding

MAGIC = b"PGDMP"

_MAINTENANCE = ("postgres", "template1")  # Databases that nobody restores.
_NAME_BYTES_MAX = 63
_OBJECT_IN_USE = "55006"
_NO_PRIVILEGE = "42501"
_LOOK_AGAIN_S = 0.05

_OWNERS = (
    "SELECT l.objid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
    " WHERE d.datname = %s AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 2"
    f" AND l.classid = {LOCK_CLASS} AND l.objid > 0 ORDER BY 1 LIMIT 1"
)
_SESSIONS = (
    "SELECT pid, application_name FROM pg_stat_activity"
    " WHERE datname = %s AND pid <> pg_backend_pid()"
)
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtext(%s), hashtext('stepwell unfold'))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtext(%s), hashtext('stepwell unfold'))"


class PostgresqlCopies(Copies):
    """The copies of one database of a server; it need not exist, the server must."""

    kind = "postgresql"

    def __init__(self, url: str, options: DatabaseOptions, clock: Clock) -> None:
        self._url = f"postgresql://{url.partition('://')[2]}"
        self._options = options
        self._clock = clock
        self._dialect = PostgresqlDialect(self._url, options, clock)
        self.location = self._dialect.location
        self._conninfo: dict[str, Any] = conninfo_of(self._dialect.url)
        self._name = str(self._conninfo.get("dbname") or self._conninfo.get("user") or "")
        self._version = 0

    @property
    def engine(self) -> str:
        """The server's major version."""
        return str(self._server())

    def is_mine(self, files: CopyFiles) -> bool:
        """By the first bytes."""
        with files.main.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC

    def is_database(self, path: Path) -> bool:
        """No file is one."""
        return False

    def user_of(self, path: Path) -> str:
        """Nobody works on a dump."""
        return ""

    def files_of(self, path: Path) -> CopyFiles:
        """A dump stands alone."""
        return CopyFiles(path)

    def may_lack_commits(self, files: CopyFiles) -> bool:
        """A dump holds all of its snapshot, or cannot be read."""
        return False

    # --- writing a copy

    @contextmanager
    def write(self, path: Path) -> Iterator[Reader]:
        """The reader shares its snapshot with ``pg_dump``."""
        what = f"back up database {self.location!r}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with (
            open_database(self._url, clock=self._clock, options=self._options) as database,
            database.read(what=what) as reader,
        ):
            snapshot = reader.ask(postgresql_state.export_snapshot)
            dump = ["--format=custom", f"--file={path}", f"--snapshot={snapshot}"]
            self._run("pg_dump", dump, what=what)
            self._run("pg_restore", ["--list", str(path)], what=what)
            sync_file(path)
            yield reader

    def contents(self, reader: Reader) -> Contents:
        """See ``postgresql_state.py``."""
        version = reader.ask(self._dialect.schema_version)
        return reader.ask(lambda connection: postgresql_state.contents(connection, version))

    def findings(self, reader: Reader) -> list[Finding]:
        """The server lets nobody break a foreign key, or keep a value of another type."""

        def look(connection: KeptConnection) -> list[Finding]:
            self._dialect.rollback(connection)  # A statement may have failed in it.
            return drift(self._dialect, connection)

        reader.close_results()
        return reader.ask(look)

    # --- unfolding one

    @contextmanager
    def unfold(self, files: CopyFiles) -> Iterator[Unfolded]:
        """Into a database of its own, whose name tells what it is for."""
        what = f"unfold copy {str(files.main)!r}"
        name = f"{self._name[: _NAME_BYTES_MAX - 18]}_stepwell_unfolded"
        with self._maintenance(what) as session:
            (is_mine,) = session.execute(_TRY_LOCK, (self._name,)).fetchone()
            if not is_mine:
                raise BackupUnderWay(
                    f"cannot {what}: another process restores or verifies at the same place",
                    hint="wait for its end",
                    fields={"database": self.location},
                )
            # What a process that was killed has left: nobody holds the lock any more.
            self._drop(session, name)
            self._create(session, name, what)
            try:
                self._run(
                    "pg_restore", ["--exit-on-error", str(files.main)], what=what, database=name
                )
                with open_database(
                    self._url_of(name), clock=self._clock, options=self._options
                ) as database:
                    yield Unfolded(database, name)
            finally:
                with suppress(self._dialect.driver_errors[0]):
                    self._drop(session, name)
                    # The end of the session would free it, too, but when the server finds the time.
                    session.execute(_UNLOCK, (self._name,))

    def _create(self, session: Any, name: str, what: str) -> None:
        """As the database that it may replace: encoding, collation and owner."""
        model = session.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider,"
            " pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s",
            (self._name,),
        ).fetchone()
        options = ""
        if model is not None and model[3] == "c":
            encoding, collate, ctype = (_literal(value) for value in model[:3])
            options = f" ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}"
        try:
            session.execute(f"CREATE DATABASE {_quoted(name)} TEMPLATE template0{options}")
        except self._dialect.driver_errors as error:
            if getattr(error, "sqlstate", "") == _NO_PRIVILEGE:
                raise BackupError(
                    f"cannot {what}: this user of the server may not create databases",
                    hint="ALTER ROLE … CREATEDB, or use another user",
                    fields={"database": self.location},
                ) from error
            raise
        if model is not None:
            with suppress(self._dialect.driver_errors[0]):
                session.execute(f"ALTER DATABASE {_quoted(name)} OWNER TO {_quoted(model[4])}")

    def _drop(self, session: Any, name: str) -> None:
        session.execute(f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")

    # --- putting one in place

    def replace(
        self,
        unfolded: Unfolded,
        *,
        force: bool,
        keep: Callable[[], str],
        begin_epoch: Callable[[Fence], None],
    ) -> str:
        """Two names are exchanged; nothing is copied, so ``keep`` is not called."""
        what = f"restore database {self.location!r}"
        with self._maintenance(what) as session:
            exists = bool(
                session.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (self._name,)
                ).fetchone()
            )
            kept, fence = "", NO_FENCE
            if exists:
                stamp = self._clock.now().strftime("%Y%m%dt%H%M%S_%fz")
                kept = f"{self._name[: _NAME_BYTES_MAX - 31]}_before_{stamp}"
                self._refuse_workers(session, what, force=force)
                fence = self._fence()
            begin_epoch(fence)
            unfolded.database.close()
            self._exchange(session, unfolded.location, kept, what, force=force)
        return f"database {kept}" if kept else ""

    def _fence(self) -> Fence:
        with (
            open_database(self._url, clock=self._clock, options=self._options) as database,
            database.read() as reader,
        ):
            if reader.ask(self._dialect.schema_version) is None:
                return NO_FENCE
            return reader.ask(postgresql_state.fence)

    def _exchange(self, session: Any, unfolded: str, kept: str, what: str, *, force: bool) -> None:
        """Both names change in one transaction, as soon as nobody is connected."""
        deadline = self._clock.monotonic() + self._options.gate_timeout_s
        while True:
            self._refuse_workers(session, what, force=force)
            for name in (self._name, unfolded):
                session.execute(
                    f"SELECT pg_terminate_backend(pid) FROM ({_SESSIONS}) sessions", (name,)
                )
            session.execute("BEGIN")
            try:
                if kept:
                    session.execute(
                        f"ALTER DATABASE {_quoted(self._name)} RENAME TO {_quoted(kept)}"
                    )
                session.execute(
                    f"ALTER DATABASE {_quoted(unfolded)} RENAME TO {_quoted(self._name)}"
                )
                session.execute("COMMIT")
            except self._dialect.driver_errors as error:
                session.execute("ROLLBACK")
                if getattr(error, "sqlstate", "") != _OBJECT_IN_USE:
                    raise
                if self._clock.monotonic() > deadline:
                    raise DatabaseInUse(
                        f"cannot {what}: somebody connects to it again and again",
                        hint="stop what uses it, then restore",
                        fields={"database": self.location},
                    ) from error
                self._clock.wait(Event(), _LOOK_AGAIN_S)
            else:
                return

    def _refuse_workers(self, session: Any, what: str, *, force: bool) -> None:
        """Owners, and sessions of other programs: those of Stepwell that own nothing are ended."""
        if force:
            return
        owner = session.execute(_OWNERS, (self._name,)).fetchone()
        if owner is not None:
            raise DatabaseInUse(
                f"cannot {what}: owner {owner[0]} is alive",
                hint="`stepwell status` shows what is at work: stop it, then restore",
                fields={"database": self.location, "owner_id": owner[0]},
            )
        others = [
            (pid, name)
            for pid, name in session.execute(_SESSIONS, (self._name,)).fetchall()
            if not str(name).startswith("stepwell")
        ]
        if others:
            pid, name = others[0]
            raise DatabaseInUse(
                f"cannot {what}: {len(others)} sessions of other programs are connected, such as"
                f" backend {pid} ({name or 'without a name'})",
                hint="end them, or restore with `--force --reason TEXT`, which ends them",
                fields={"database": self.location, "sessions": len(others)},
            )

    def fence(self, reader: Reader) -> Fence:
        """See ``postgresql_state.py``."""
        return reader.ask(postgresql_state.fence)

    def raise_identities(self, transaction: Transaction, identities: Mapping[str, int]) -> None:
        """In the sequences behind the identity columns."""
        transaction.ask(
            lambda connection: postgresql_state.raise_identities(connection, identities)
        )

    # --- means

    @contextmanager
    def _maintenance(self, what: str) -> Iterator[Any]:
        """A session in a database that stays; what the server refuses there is translated."""
        session = self._connect_elsewhere()
        try:
            yield session
        except self._dialect.driver_errors as error:
            raise self._dialect.translate(error, what) from error
        except OSError as error:
            raise disk_refusal(error, what) from error
        finally:
            session.close()

    def _connect_elsewhere(self) -> Any:
        refusal: CannotOpenDatabase | None = None
        for name in _MAINTENANCE:
            try:
                return (
                    PostgresqlDialect(self._url_of(name), self._options, self._clock)
                    .connect(writes=True)
                    .raw
                )
            except CannotOpenDatabase as error:
                refusal = error
        assert refusal is not None
        raise refusal

    def _url_of(self, database: str) -> str:
        return url_of(self._dialect.url, database)

    def _server(self) -> int:
        if not self._version:
            session = self._connect_elsewhere()
            self._version = int(session.info.server_version) // 10000
            session.close()
        return self._version

    def _run(self, program: str, arguments: list[str], *, what: str, database: str = "") -> None:
        run_program(
            program,
            arguments,
            conninfo={**self._conninfo, "dbname": database or self._name},
            server=self._server(),
            what=what,
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + str(value).replace("'", "''") + "'"
