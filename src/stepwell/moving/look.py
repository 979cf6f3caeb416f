"""What stands on both sides of a copy, and everything that keeps one from being made.

Nothing is changed by looking; what is refused here was not begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from stepwell.database.connect import Database
from stepwell.database.dialect import Dialect, KeptConnection
from stepwell.database.epoch import is_of_an_earlier_epoch
from stepwell.database.migrations import HEAD, migrate
from stepwell.database.moves import Move, find_move
from stepwell.database.transaction import Reader
from stepwell.errors import CannotOpenDatabase, CopyRefused, DatabaseInUse
from stepwell.moving.tables import tables_of
from stepwell.repository.owners import live_owners
from stepwell.sync.schema import is_made_in

GIVE_UP = "`stepwell db copy SOURCE --abandon` opens the source again"


@dataclass(frozen=True)
class Sides:
    """What there is to copy, and how far an earlier attempt has come.

    Attributes:
        rows: The number of rows of each table of the source, parents first.
        there: The same of the target.
        has_log: Whether the source has the tables of a change log.
        source, target: What each side knows of a copy; None before it has begun there.
    """

    rows: Mapping[str, int]
    there: Mapping[str, int]
    has_log: bool
    source: Move | None
    target: Move | None

    @property
    def state(self) -> str:
        """``new``, ``begun``, ``proven`` (only to be opened), or ``complete``."""
        if self.source is None or self.target is None:
            return "new" if self.source is None else "begun"
        if self.target.completed_at is not None:
            return "complete"
        return "begun" if self.source.completed_at is None else "proven"


def look_at(source: Database, target: Database | None, *, location: str = "") -> Sides:
    """Look at both sides; a target that is None is a file that is not there, of this path.

    Raises:
        CannotOpenDatabase: the source has no tables of Stepwell.
        SchemaTooNew: a newer release wrote one of them.
        CopyRefused: one has an older schema; the target holds something else; the source goes on,
            or is going to, in another place.
        DatabaseInUse: somebody works on the source.
    """
    location = location if target is None else target.place
    what = f"copy database {source.place!r} to {location!r}"
    if source.place == location:
        raise CopyRefused(f"cannot {what}: it is the same one", hint="name another target")
    _refuse_formats(what, source, target)
    with source.read(what=what) as reader:
        here = _as_source(what, source, find_move(source, reader))
        has_log = is_made_in(source, reader)
        tables = tables_of(has_log=has_log)
        rows = {table.name: table.count(reader) for table in tables}
        if here is None:
            refuse_owners(what, source, reader)
    there, found = None, dict[str, int]()
    if target is not None:
        with target.read(what=what) as reader:
            there, found = find_move(target, reader), _rows_there(target, reader)
    _refuse_strangers(what, here, there, found)
    if here is not None and there is None and here.other != location:
        fact = "was copied" if here.completed_at is not None else "is being copied"
        raise CopyRefused(
            f"cannot {what}: it {fact} to {here.other!r}",
            hint=f"name that target to go on; or {GIVE_UP}",
            fields={"database": source.place, "target": here.other},
        )
    if here is not None and there is None and here.completed_at is not None:
        raise CopyRefused(
            f"cannot {what}: it was copied there and proven at {here.completed_at:%Y-%m-%d %H:%M}"
            " UTC, and the target is empty now",
            hint="if the target is lost, `stepwell db copy SOURCE --abandon --force` opens the"
            " source again",
            fields={"database": source.place, "target": location},
        )
    return Sides(rows, {name: found.get(name, 0) for name in rows}, has_log, here, there)


def refuse_owners(what: str, database: Database, reader: Reader) -> None:
    """Refuse to go on while a process works on the database.

    Raises:
        DatabaseInUse: names it.
    """
    for owner in live_owners(reader):
        owner_id = owner.owner_id
        is_dead = is_of_an_earlier_epoch(reader, owner_id) or reader.ask(
            partial(_is_dead, database.dialect, owner_id)
        )
        if not is_dead:
            raise DatabaseInUse(
                f"cannot {what}: {owner} is alive ({owner.purpose})",
                hint=f"`stepwell owners stop {owner.owner_id}`, wait for its end, then copy",
                fields={"database": database.place, "owner_id": owner.owner_id},
            )


def _as_source(what: str, source: Database, move: Move | None) -> Move | None:
    """A source may have been a target once; while it is becoming one, it is nothing yet."""
    if move is None or move.side == "source":
        return move
    if move.completed_at is None:
        raise CopyRefused(
            f"cannot {what}: the source is becoming a copy of {move.other!r}",
            hint=f"complete that first: `stepwell db copy {move.other} {source.place}`",
            fields={"database": source.place},
        )
    return None


def _is_dead(dialect: Dialect, owner_id: int, connection: KeptConnection) -> bool:
    return dialect.owner_is_dead(connection, owner_id)


def _has_table(dialect: Dialect, name: str, connection: KeptConnection) -> bool:
    return dialect.has_table(connection, name)


def _refuse_formats(what: str, source: Database, target: Database | None) -> None:
    for database in (source, target) if target is not None else (source,):
        version = database.schema_version()
        if version is None and database is source:
            raise CannotOpenDatabase(
                f"cannot {what}: the source has no Stepwell tables",
                hint="correct the path",
                fields={"database": source.place},
            )
        if version is not None and version > HEAD:
            migrate(database)  # Says that it is too new.
        if version is not None and version < HEAD:
            raise CopyRefused(
                f"cannot {what}: the format of {database.place!r} is {version.lstrip('0') or 0},"
                f" this release copies {HEAD.lstrip('0')}",
                hint="`stepwell db migrate` brings that database up to date",
                fields={"database": database.place, "format": version},
            )


def _rows_there(target: Database, reader: Reader) -> dict[str, int]:
    """The rows of the target's tables, as far as there are tables."""
    found = {}
    for table in tables_of(has_log=True):
        if reader.ask(partial(_has_table, target.dialect, table.name)):
            found[table.name] = table.count(reader)
    return found


def _refuse_strangers(
    what: str, here: Move | None, there: Move | None, found: Mapping[str, int]
) -> None:
    """The target must be empty, or hold a copy of this very source."""
    if there is not None and (here is None or there.move_id != here.move_id):
        fact = (
            f"the target is itself copied to {there.other!r}"
            if there.side == "source"
            else f"the target holds another copy, of {there.other!r}, begun at"
            f" {there.began_at:%Y-%m-%d %H:%M} UTC"
        )
        raise CopyRefused(f"cannot {what}: {fact}", hint="name a new, empty database as target")
    full = [name for name, count in found.items() if count]
    if there is None and full:
        raise CopyRefused(
            f"cannot {what}: the target is not empty, table {full[0]!r} has {found[full[0]]} rows",
            hint="name a new, empty database as target; two histories cannot become one",
            fields={"table": full[0]},
        )
