"""Makes the tables of the change log in a database, once, under the write lock.

They are apart from the batch tables' migrations because they may lie in another file, and because
a database that takes part in no sync has none of them.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import select
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader, Transaction
from stepwell.errors import SchemaTooNew
from stepwell.sync.tables import metadata, sync_schema

VERSION = 1

_READ_VERSION = Prepared(select(sync_schema.c.version))


def make_tables(database: Database) -> bool:
    """Make the tables unless they are there; answers whether they were made now.

    Any number of processes may call it at once.

    Raises:
        SchemaTooNew: a newer release made them.
    """
    if is_made(database):
        return False
    what = f"make the tables of the change log in {database.location!r}"
    return database.run(partial(_make, database), what=what)


def is_made(database: Database) -> bool:
    """Whether the database has the tables.

    Raises:
        SchemaTooNew: a newer release made them.
    """
    with database.read() as reader:
        return is_made_in(database, reader)


def is_made_in(database: Database, reader: Reader) -> bool:
    """The same, inside a transaction."""
    if not reader.ask(lambda connection: database.dialect.has_table(connection, "sync_schema")):
        return False
    [(version,)] = reader.fetch_all(_READ_VERSION)
    if version > VERSION:
        raise SchemaTooNew(
            f"cannot open database {database.location!r}: the format of its change log is"
            f" {version}, this release reads up to {VERSION}",
            hint="upgrade Stepwell, or restore an older copy of the database",
            fields={"database": database.location, "format": version, "format_max": VERSION},
        )
    return True


def _make(database: Database, transaction: Transaction) -> bool:
    dialect = database.dialect
    transaction.ask(lambda connection: dialect.lock_migration(connection, "make the change log"))
    if is_made_in(database, transaction):
        return False
    for statement in statements(database):
        transaction.connection.execute(statement)
    transaction.ask(transaction.application.make_raw_tables)
    transaction.connection.execute(
        "INSERT INTO sync_schema (version) VALUES (:version)", {"version": VERSION}
    )
    return True


def statements(database: Database) -> list[str]:
    """The SQL that makes the tables, in the database's own words."""
    core = database.dialect.core
    made: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        made.append(CreateTable(table))
        made += [CreateIndex(each) for each in sorted(table.indexes, key=lambda i: str(i.name))]
    return [str(each.compile(dialect=core)).strip() for each in made]
