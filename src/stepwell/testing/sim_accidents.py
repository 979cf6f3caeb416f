"""What befalls the nodes of a simulation: copies put back, or written apart, and altered tables.

A seed has either copies or altered tables: a node that comes back from before a column was added
must be migrated before it begins anew, which is for its owner to do.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.errors import CaptureBroken, HistoryForked, NodeRestored
from stepwell.testing.sim_checks import untouched, versions_of
from stepwell.testing.sim_node import SimNode, known_of
from stepwell.testing.sim_tables import SimTable, some_statement

if TYPE_CHECKING:
    from stepwell.testing.sim import Simulation

TRIES_MAX = 20  # Until a node has written something that no constraint refused.


class Accidents:
    """The accidents of one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._dice = simulation.dice
        self._happened = simulation.happened
        self._copies: dict[str, Path] = {}
        self._has_copies = self._dice.one_in(2)
        self.column_default = 1 if self._dice.one_in(3) else None  # Of the column that tables get.

    # --- copies

    def copy(self, node: SimNode) -> None:
        """A shop's database is copied, to be put back some day."""
        if self._may_come_back(node):
            self._copies[node.name] = path = self._file(node, "copy")
            node.save(path)

    def restore(self, node: SimNode) -> None:
        """A shop comes back from a copy: it is detected, and begins anew with the main's rows."""
        copy = self._copies.get(node.name)
        if copy is None or not self._dice.one_in(3) or self._simulation.main.sync.list_quarantine():
            return
        before = known_of(self._simulation.main).get(node.name, (0, 0))
        node.restore(copy)
        if before > (1, node.sync.status().node.last_seq) and self._dice.one_in(2):
            self._require_restored(node)
        self._begin_anew(node)

    def clone(self, node: SimNode) -> None:
        """A copy of a shop goes on writing, and so does the shop: the second to come is refused."""
        main = self._simulation.main
        if not self._may_come_back(node) or not self._dice.one_in(3) or main.sync.list_quarantine():
            return
        path = self._file(node, "clone")
        node.save(path)
        clone = node.clone(path)
        clone.clock.advance(1)  # Two groups that are the same to the letter are one.
        try:
            if not (self._writes(clone) and self._writes(node)):
                return
            if not main.receive_what_fits(clone.packet_for("main")):
                return
            try:
                main.receive(node.packet_for("main"))
            except HistoryForked:
                self._happened["forked"] += 1
            else:
                self._simulation.fail(f"L7 two databases wrote as {node.name} and nobody saw it")
            clone.save(path.with_suffix(".kept"))
        finally:
            clone.close()
        if main.sync.list_quarantine():  # A snapshot would be refused: the copy is the shop now.
            node.restore(path.with_suffix(".kept"))
        else:
            self._begin_anew(node)

    def _may_come_back(self, node: SimNode) -> bool:
        return self._has_copies and node is not self._simulation.main and node.path is not None

    def _file(self, node: SimNode, ending: str) -> Path:
        return self._simulation.folder / f"{node.name}.{ending}"

    def _writes(self, node: SimNode) -> bool:
        before = known_of(node).get(node.name, (0, 0))
        for _ in range(TRIES_MAX):
            node.write(self._dice)
            if known_of(node).get(node.name, (0, 0)) > before:
                return True
        return False

    def _require_restored(self, node: SimNode) -> None:
        """L7: the preflight of a file that knows more of this node than it does itself."""
        main = self._simulation.main
        own = node.sync.status().node
        if known_of(main)[node.name] <= (own.epoch, own.last_seq):
            return
        path = self._file(node, f"{self._happened['restored']}.jsonl")
        main.sync.export(path, client=node.name)
        refusals = node.sync.preflight(path).refusals
        if not any(isinstance(error, NodeRestored) for error in refusals):
            self._simulation.fail(f"L7 {node.name} came back and nobody saw it")
        self._happened["detected"] += 1

    def _begin_anew(self, node: SimNode) -> None:
        """What it wrote and main has not is lost, and nothing of it is under way any more."""
        simulation = self._simulation
        self._happened["restored"] += 1
        simulation.post = [p for p in simulation.post if p.sender != node.name]
        simulation.sent = [p for p in simulation.sent if p.sender != node.name]
        path = self._file(node, f"{self._happened['restored']}.snapshot")
        simulation.main.sync.write_snapshot(path)
        node.sync.bootstrap(path, new_epoch=True)

    # --- tables

    def alter(self, node: SimNode) -> None:
        """A program alters a table, and perhaps writes it before anybody has tracked it again."""
        if self._has_copies:
            return
        table = self._dice.choose(node.tables)
        may_be_rebuilt = node.path is not None and table.may_be_rebuilt
        if table.name not in node.grown and (not may_be_rebuilt or self._dice.one_in(2)):
            self._grow(node, table)
        elif node.path is not None and may_be_rebuilt:
            _rebuild(node.path, table)
            node.rebuilt.add(table.name)
            self._happened["rebuilt"] += 1
        else:
            return
        if node.path is not None:
            statements = [
                some_statement(self._dice, table, is_sqlite=True, grown=node.grown)
                for _ in range(self._dice.below(3))
            ]
            node.write_as_a_stranger(statements)
        self.require_refused(node)

    def require_refused(self, node: SimNode) -> None:
        """What nobody captured is not left out of a file in silence."""
        try:
            node.packet_for("main" if node is not self._simulation.main else "shop-1")
        except CaptureBroken:
            self._happened["refused export"] += 1
        else:
            self._simulation.fail(f"a table of {node.name} was altered and its export says nothing")
        if self._dice.one_in(2):
            self.mend(node)

    def mend(self, node: SimNode) -> None:
        """Whoever migrates a table tracks it again: nothing is announced that nobody wrote."""
        before = versions_of(node)
        for table in node.tables:
            node.sync.track(table.name, policy=table.policy)
        for key, version in untouched(node, self.column_default).items():
            if version != before.get(key, version):
                self._simulation.fail(f"{node.name} announces {key}: {version} is {before[key]}")
        node.rebuilt.clear()

    def alter_everywhere(self) -> None:
        """The migration that a node has had comes to all others."""
        nodes = self._simulation.nodes
        for name in sorted(set().union(*(node.grown for node in nodes))):
            for node in nodes:
                if name not in node.grown:
                    self._grow(node, next(table for table in node.tables if table.name == name))
        for node in nodes:
            self.mend(node)

    def _grow(self, node: SimNode, table: SimTable) -> None:
        with node.database.write() as transaction:
            default = "" if self.column_default is None else f" DEFAULT {self.column_default}"
            sql = f"ALTER TABLE {table.name} ADD COLUMN extra INTEGER{default}"
            transaction.connection.execute(sql)
        node.grown.add(table.name)
        self._happened["column added"] += 1


def _rebuild(path: Path, table: SimTable) -> None:
    """As one does who wants another column type: a new table in the place of the old one."""
    name = table.name
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        [(sql,)] = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
        ).fetchall()
        indexes = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql NOT NULL",
            (name,),
        ).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(re.sub(rf"\b{name}\b", f"{name}_new", sql, count=1))
        connection.execute(f"INSERT INTO {name}_new SELECT * FROM {name}")
        connection.execute(f"DROP TABLE {name}")
        connection.execute(f"ALTER TABLE {name}_new RENAME TO {name}")
        for (index,) in indexes:
            connection.execute(index)
        connection.execute("COMMIT")
