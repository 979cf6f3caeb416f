"""Nodes that hand each other their groups without files, as an import does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from stepwell.database.connect import Database
from stepwell.sync.apply import Applied, Applier, applying
from stepwell.sync.change import Change, Values
from stepwell.sync.log import changes_of, last_lsn, seal_all
from stepwell.sync.peers import own_node
from stepwell.sync.rows import read_rows_after
from stepwell.sync.session import Sync
from stepwell.sync.table import tracked_tables
from stepwell.sync.touched import row_key

Groups = list[list[Change]]


def groups_of(database: Database, *, not_for: str | None = None, after: int = 0) -> Groups:
    """The groups in a node's log, as it would send them."""
    seal_all(database)
    with database.read() as reader:
        end = last_lsn(reader)
    changes = changes_of(database, after, end, not_for=not_for)
    return [
        list(together) for _, together in groupby(changes, key=lambda c: (c.origin, c.epoch, c.seq))
    ]


def apply_groups(
    sync: Sync, groups: Iterable[Sequence[Change]], *, source: str, at: datetime
) -> list[Applied]:
    """Apply groups, all in one transaction."""

    def fact(transaction: Any) -> list[Applied]:
        with applying(transaction, source_node=source, at=at, actor="test") as applier:
            return applier.apply_all(map(numbered, groups))

    return sync.database.run(fact, what="apply groups")


def numbered(group: Iterable[Change]) -> Iterator[tuple[int | None, Change]]:
    """The changes with a line each, as if they stood in a file."""
    return ((number, change) for number, change in enumerate(group, 2))


def send(source: Sync, target: Sync, *, at: datetime) -> list[Applied]:
    """Everything of one node to another; what that one has is skipped there."""
    with target.database.read() as reader:
        to = own_node(reader).node_id
    with source.database.read() as reader:
        name = own_node(reader).node_id
    groups = groups_of(source.database, not_for=to)
    return apply_groups(target, groups, source=name, at=at)


def with_applier(sync: Sync, at: datetime, do: Any) -> Any:
    """Call ``do`` with an applier, in a transaction of its own."""

    def fact(transaction: Any) -> Any:
        with applying(transaction, source_node="test", at=at, actor="test") as applier:
            assert isinstance(applier, Applier)
            return do(applier)

    return sync.database.run(fact, what="decide")


def rows(database: Database, *tables: str) -> dict[str, dict[str, Values]]:
    """Table → key → row, of the tracked tables."""
    with database.read() as reader:
        found = tracked_tables(reader)
        return {
            name: {
                row_key(table.shape, row).pk_json: row
                for row in read_rows_after(reader, table.shape, None, 10_000)
            }
            for name, table in found.items()
            if not tables or name in tables
        }
