"""Stepwell's own tables, made and changed by numbered revisions.

One process migrates at a time, in one transaction: behind the writer gate on SQLite, under an
advisory lock on PostgreSQL. Whoever waited finds the work done. Foreign keys are off while tables
are rebuilt and are checked before the commit. The version stands in ``batch_schema_version``; the
application's own ``alembic_version`` is never touched.

A database that is up to date is recognised by a SELECT; Alembic is imported only to migrate.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.errors import SchemaTooNew

if TYPE_CHECKING:
    from alembic.runtime.environment import EnvironmentContext
    from sqlalchemy import Connection

    from stepwell.database.connect import Database

HEAD = "0001"  # The last revision of versions/; a test compares.
VERSION_TABLE = "batch_schema_version"


def migrate(database: Database) -> list[str]:
    """Bring the tables to this release's format; answers the revisions that were applied.

    Raises:
        SchemaTooNew: a newer release wrote the database.
    """
    dialect = database.dialect
    if _is_head(database.schema_version(), database.location):
        return []
    what = f"migrate database {database.location!r}"
    with _locked(dialect, what) as (connection, bind):
        # Somebody else may have migrated while this process waited.
        version = dialect.schema_version(connection)
        if _is_head(version, database.location):
            return []
        try:
            with _environment(version) as environment:
                environment.configure(connection=bind, version_table=VERSION_TABLE)
                environment.run_migrations()
        except DBAPIError as error:
            raise dialect.translate(_original(error), what) from error
        return _revisions_after(version)


def pending_sql(database: Database) -> str:
    """The SQL text that :func:`migrate` would execute, for whoever wants to read it first."""
    version = database.schema_version()
    if _is_head(version, database.location):
        return ""
    text = io.StringIO()
    with _environment(version, as_sql=True, starting_rev=version) as environment:
        environment.configure(
            dialect_name=database.dialect.core.name,
            output_buffer=text,
            version_table=VERSION_TABLE,
        )
        environment.run_migrations()
    return text.getvalue()


def _is_head(version: str | None, location: str) -> bool:
    if version is not None and version > HEAD:
        raise SchemaTooNew(
            f"cannot open database {location!r}: its format is {version.lstrip('0')},"
            f" this release reads up to {HEAD.lstrip('0')}",
            hint="upgrade Stepwell, or restore an older copy of the database",
            fields={"database": location, "format": version, "format_max": HEAD},
        )
    return version == HEAD


@contextmanager
def _locked(dialect: Dialect, what: str) -> Iterator[tuple[KeptConnection, Connection]]:
    """The one migrating transaction: SQLAlchemy's connection upon the driver's own.

    SQLAlchemy asks a new connection what it can do and rolls that back; so it goes first, and the
    transaction begins and ends beneath it.
    """
    dialect.enter(what)
    try:
        connection = dialect.connect_to_migrate()
        with closing(connection.raw), dialect.engine_upon(connection).connect() as bind:
            dialect.begin_write(connection, what)
            bind.begin()  # Says nothing to the driver; Alembic leaves an open transaction alone.
            try:
                dialect.lock_migration(connection, what)
                yield connection, bind
                dialect.check_foreign_keys(connection, what)
                dialect.commit(connection, what)
            except BaseException:
                dialect.rollback(connection)
                raise
    finally:
        dialect.leave()


def _environment(version: str | None, **options: Any) -> EnvironmentContext:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext

    script = _script()
    return EnvironmentContext(
        Config(),
        script,
        # What `alembic upgrade` itself hands over; there is no public name for it.
        fn=lambda _revision, _context: script._upgrade_revs(HEAD, version),  # noqa: SLF001
        **options,
    )


def _script() -> Any:
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(__file__).parent), version_locations=[_versions()])


def _versions() -> str:
    return str(Path(__file__).parent / "versions")


def _revisions_after(version: str | None) -> list[str]:
    revisions = sorted(revision.revision for revision in _script().walk_revisions())
    return [revision for revision in revisions if revision > (version or "")]


def _original(error: DBAPIError) -> Exception:
    return error.orig if isinstance(error.orig, Exception) else error
