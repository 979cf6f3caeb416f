"""``db copy``: a database goes on in another one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Display, Output
    from stepwell.cli.session import Session
    from stepwell.database.connect import Database
    from stepwell.moving.copying import Copied, Step

_LINE_EACH = 10  # Percent, where nothing can be drawn.


def copy(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="sqlite:///FILE or postgresql://…")
    ],
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="A new, empty database, of either kind."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done, and what is in the way.")
    ] = False,
    abandon: Annotated[
        bool,
        typer.Option("--abandon", help="Give up a copy that is not complete: open SOURCE again."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="With --abandon: although it is complete. For a lost target."),
    ] = False,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Have everything that Stepwell has recorded go on in another database.

    SOURCE must be at rest; it is closed first and takes no write any more, so that there is one
    truth. Every row is copied, then compared; then TARGET opens. Killed at any moment, the same
    command goes on. Your own tables stay where they are: copy them yourself, before you go on.
    """
    from stepwell.cli.output import Output
    from stepwell.errors import CopyRefused

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    session.prefer_newer_sqlite()
    with _opened(session, source) as ours:
        if abandon:
            _give_up(output, ours, force=force)
            return
        if target is None:
            raise CopyRefused(
                f"cannot copy database {ours.place!r}: it is not said where to",
                hint="`stepwell db copy SOURCE TARGET`",
            )
        if plan:
            _tell_plan(output, session, ours, target)
            return
        with _opened(session, target, create=True) as theirs:
            copied = _copy(output, session, ours, theirs)
    _tell(output, copied, target)


def _copy(output: Output, session: Session, source: Database, target: Database) -> Copied:
    from stepwell.cli.output import note
    from stepwell.moving.copying import copy_database

    try:
        if not output.is_terminal:
            lines = _Lines(output)
            return copy_database(source, target, clock=session.clock, tell=lines.tell)
        with output.display() as display:
            drawing = _Drawing(display)
            return copy_database(source, target, clock=session.clock, tell=drawing.tell)
    except KeyboardInterrupt:
        note("the copy is not complete: the same command goes on; `--abandon` opens the source")
        raise


def _opened(session: Session, url: str, *, create: bool = False) -> Database:
    from stepwell.database.connect import open_database

    return open_database(url, clock=session.clock, options=session.database_options(create))


def _give_up(output: Output, source: Database, *, force: bool) -> None:
    from stepwell.moving.copying import give_up_copy

    move = give_up_copy(source, force=force)
    if output.wants_json:
        output.json({"database": source.place, "abandoned": move.other})
        return
    output.line(f"{source.place} is open again; the copy in {move.other!r} is given up")
    output.hint("that one stays closed: drop it, and copy to a new, empty database next time")


def _tell_plan(output: Output, session: Session, source: Database, target: str) -> None:
    from stepwell.cli.output import Page
    from stepwell.database.connect import sqlite_path
    from stepwell.looks.text import count
    from stepwell.moving.look import look_at

    path = sqlite_path(target)
    if path is not None and not Path(path).exists():
        location = os.path.realpath(path)
        sides = look_at(source, None, location=location)
    else:
        with _opened(session, target) as theirs:
            location, sides = theirs.place, look_at(source, theirs)
    if output.wants_json:
        output.json(
            {
                "source": source.place,
                "target": location,
                "state": sides.state,
                "tables": [
                    {"table": name, "rows": rows, "copied": sides.there[name]}
                    for name, rows in sides.rows.items()
                ],
            }
        )
        return
    page = Page()
    page.table(
        ["TABLE", ">ROWS", ">COPIED"],
        [
            [name, count(rows), count(sides.there[name]) if sides.target else ""]
            for name, rows in sides.rows.items()
            if rows
        ],
    )
    page.line()
    page.line(
        {
            "new": f"{count(sum(sides.rows.values()))} rows would be copied to {location}",
            "begun": f"a copy to {location} was begun, and would go on",
            "proven": f"every row is in {location}, which would be opened",
            "complete": f"the copy is complete: {location} goes on in its place",
        }[sides.state]
    )
    if sides.state == "new":
        page.line("from then on the source takes no write any more")
    output.page(page)


def _tell(output: Output, copied: Copied, target: str) -> None:
    from stepwell.cli.output import Page
    from stepwell.looks.text import count

    rows = sum(table.row_count for table in copied.tables)
    if output.wants_json:
        output.json(
            {
                "source": copied.source,
                "target": copied.target,
                "epoch": copied.epoch,
                "was_complete": copied.was_complete,
                "rows": rows,
                "tables": [
                    {"table": table.name, "rows": table.row_count, "sha256": table.sha256}
                    for table in copied.tables
                ],
            }
        )
        return
    page = Page()
    if copied.was_complete:
        page.line(f"nothing to do: {copied.target} is a complete copy of {copied.source}")
    else:
        page.line(
            f"{count(rows)} rows in {len(copied.tables)} tables are in {copied.target}, each"
            " compared with the source"
        )
        page.line(f"epoch {copied.epoch} begins there; {copied.source} takes no write any more")
        page.hint(f'copy your own tables, then `database = "{_shown(target)}"` in stepwell.toml')
    output.page(page)


def _shown(url: str) -> str:
    from stepwell.database.connect import sqlite_path
    from stepwell.database.postgresql_url import without_password

    return url if sqlite_path(url) is not None else without_password(url)


class _Drawing:
    """Progress on a terminal."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def tell(self, step: Step) -> None:
        from stepwell.cli.output import Page, bar

        page = Page()
        percent = 100 * step.done // max(step.total, 1)
        page.line(f"{bar(percent)} {percent} % {step.doing}, {step.table}")
        self._display.show(page)


class _Lines:
    """Progress elsewhere: a line now and then."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last = ("", 0)

    def tell(self, step: Step) -> None:
        from stepwell.looks.text import count

        tenth = 100 * step.done // max(step.total, 1) // _LINE_EACH
        if not self._output.wants_json and (step.doing, tenth) != self._last:
            self._last = (step.doing, tenth)
            self._output.line(
                f"{step.doing} {count(step.done)} of {count(step.total)} rows ({step.table})"
            )
