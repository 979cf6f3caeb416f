"""``db``: what there is to know about the database, and its tables brought up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.database_copy import copy

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.database.connect import Database
    from stepwell.database.dialect import DatabaseInfo, OldestReader
    from stepwell.database.moves import Move

commands = typer.Typer(no_args_is_help=True)
commands.command("copy")(copy)

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
        reader = database.oldest_reader()
        epoch = _epoch(database)
        move = _move(database)
    if wants_json:
        output.json(
            {
                **dataclasses.asdict(found),
                "epoch": epoch,
                "copy": _move_json(move),
                "oldest_reader": dataclasses.asdict(reader) if reader else None,
                "schema_version_wanted": HEAD,
                "migration_needed": found.schema_version != HEAD,
                "advice": _advice(found),
            }
        )
    else:
        _print(output, found, HEAD, epoch, _reader_text(reader), _move_text(move))


@commands.command("checkpoint")
def checkpoint(
    context: typer.Context,
    wait_s: Annotated[
        int, typer.Option("--wait", metavar="S", min=0, help="Seconds to wait for readers.")
    ] = 5,
    wants_json: WantsJson = False,
) -> None:
    """Move the write-ahead log into the database file and cut it to nothing.

    It is never needed: commits do it by themselves. Writers wait for its end. Exit status 3: a
    reader kept some of it; `db info` names the oldest one.
    """
    import dataclasses

    from stepwell.cli.output import DONE, STOPPED, Output
    from stepwell.looks.text import count, size

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database(migrated=False) as database:
        done = database.empty_log(float(wait_s))
        reader = database.oldest_reader() if done and done.is_blocked else None
    if wants_json:
        output.json(
            {
                "log": dataclasses.asdict(done) if done else None,
                "oldest_reader": dataclasses.asdict(reader) if reader else None,
            }
        )
    elif done is None:
        output.line("nothing to do: the server cares for its log by itself")
    elif done.is_blocked:
        output.line(
            f"{count(done.pages_left)} pages stay in the log, {size(done.bytes_after)}: somebody"
            f" reads, {_reader_text(reader) or 'nobody knows who'}"
        )
        output.hint("end that process, or its transaction, and try again")
    else:
        output.line(f"the log is empty, it had {size(done.bytes_before)}")
    raise typer.Exit(STOPPED if done and done.is_blocked else DONE)


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


def _epoch(database: Database) -> int | None:
    """The epoch; None where there are no tables of Stepwell."""
    from stepwell.database.epoch import current_epoch

    if database.schema_version() is None:
        return None
    with database.read() as reader:
        return current_epoch(reader)


def _reader_text(reader: OldestReader | None) -> str:
    from stepwell.looks.text import count, duration

    if reader is None:
        return ""
    who = f"pid {reader.pid}" if reader.pid else "a process elsewhere"
    name = f" ({reader.name})" if reader.name else ""
    if reader.pages_behind is not None:
        return f"{who}{name}, {count(reader.pages_behind)} pages behind"
    return f"{who}{name}, for {duration(reader.seconds)}"


def _advice(found: DatabaseInfo) -> str:
    """What to do about a SQLite with the WAL-reset bug; empty when there is nothing to do."""
    if not found.wal_reset_affected:
        return ""
    return (
        f"SQLite {found.version} can damage a database in WAL mode in a rare race"
        " (sqlite.org/wal.html#walresetbug). Stepwell's own checkpoints stay out of its way, other"
        " programs' may not: `pip install 'stepwell[sqlite]'` brings a SQLite without it"
    )


def _move(database: Database) -> Move | None:
    from stepwell.database.moves import find_move

    with database.read() as reader:
        return find_move(database, reader)


def _move_json(move: Move | None) -> dict[str, object] | None:
    from stepwell.database.types import utc_text

    if move is None:
        return None
    return {
        "side": move.side,
        "other": move.other,
        "began_at": utc_text(move.began_at),
        "completed_at": utc_text(move.completed_at) if move.completed_at else None,
    }


def _move_text(move: Move | None) -> str:
    from stepwell.looks.text import local_time

    if move is None:
        return ""
    if move.side == "target":
        return (
            f"it is becoming a copy of {move.other!r}, nobody else can write it"
            if move.completed_at is None
            else f"it was copied from {move.other!r} at {local_time(move.completed_at)}"
        )
    if move.completed_at is None:
        return (
            f"it is being copied to {move.other!r} since {local_time(move.began_at)}, nobody can"
            " write it"
        )
    return f"closed: {move.other!r} goes on in its place since {local_time(move.completed_at)}"


def _print(
    output: Output,
    found: DatabaseInfo,
    head: str,
    epoch: int | None,
    reader: str,
    move: str,
) -> None:
    from stepwell.cli.output import Page
    from stepwell.looks.text import size

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
            "oldest reader": reader,
            "epoch": str(epoch) if epoch else "",
            "copy": move,
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
