"""``db``: what there is to know about the database, and its tables brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.database.dialect import DatabaseInfo

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@commands.callback()
def db() -> None:
    """Look at the database and care for it."""


@commands.command("info")
def info(context: typer.Context, wants_json: WantsJson = False) -> None:
    """Show version, size, write-ahead log, schema and filesystem of the database.

    It changes nothing, not even an old schema.
    """
    import dataclasses

    from stepwell.cli.output import Output
    from stepwell.database.migrations import HEAD

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database(migrated=False) as database:
        found = database.info()
    if wants_json:
        output.json(
            {
                **dataclasses.asdict(found),
                "schema_version_wanted": HEAD,
                "migration_needed": found.schema_version != HEAD,
                "advice": _advice(found),
            }
        )
    else:
        _print(output, found, HEAD)


@commands.command("migrate")
def migrate(
    context: typer.Context,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the pending SQL and change nothing.")
    ] = False,
    wants_json: WantsJson = False,
) -> None:
    """Bring Stepwell's tables up to date, or print the SQL that would.

    `run` and every command that opens the database for work does it by itself.
    """
    from stepwell.cli.output import Output
    from stepwell.database.migrations import migrate, pending_sql

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database(migrated=False) as database:
        before = database.schema_version()
        if sql:
            pending = pending_sql(database)
            if wants_json:
                output.json({"schema_version": before, "sql": pending})
            else:
                output.text(pending or f"-- nothing is pending, the schema is {before}")
            return
        applied = migrate(database)
        after = database.schema_version()
    if wants_json:
        output.json({"schema_version": after, "applied": applied})
    elif applied:
        output.line(f"applied {', '.join(applied)}: the schema is {after}")
    else:
        output.line(f"nothing is pending, the schema is {after}")


def _advice(found: DatabaseInfo) -> str:
    """What to do about a SQLite with the WAL-reset bug; empty when there is nothing to do."""
    if not found.wal_reset_affected:
        return ""
    return (
        f"SQLite {found.version} can damage a database in WAL mode in a rare race"
        " (sqlite.org/wal.html#walresetbug). Stepwell's own checkpoints stay out of its way, other"
        " programs' may not: `pip install 'stepwell[sqlite]'` brings a SQLite without it"
    )


def _print(output: Output, found: DatabaseInfo, head: str) -> None:
    from stepwell.cli.output import Page
    from stepwell.cli.text import size

    page = Page()
    schema = found.schema_version or "none, `stepwell db migrate` makes the tables"
    page.facts(
        {
            "database": found.location,
            "kind": f"{found.dialect} {found.version}, driver {found.driver}",
            "schema": schema if found.schema_version in (None, head) else f"{schema}, not {head}",
            "size": size(found.size_bytes)
            + (f" in {found.page_count:,} pages" if found.page_count else ""),
            "journal mode": found.journal_mode,
            "write-ahead log": size(found.wal_bytes) if found.journal_mode == "wal" else "",
            "durability": found.synchronous,
            "filesystem": found.filesystem,
            "WAL-reset bug": ""
            if found.journal_mode != "wal"
            else "yes"
            if found.wal_reset_affected
            else "no",
        }
    )
    if found.wal_reset_affected:
        page.hint(_advice(found))
    output.page(page)
