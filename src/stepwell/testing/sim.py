"""A deterministic simulation of nodes that write, exchange, fail and come back (T18).

>>> simulate(7, folder)           # what happened, when all invariants held
>>> python -m stepwell.testing.sim 7 --operations 300

One seed is one history, on real databases: transactions of Stepwell's own and of strangers, files
that are lost, doubled and late, imports that end in the middle, clocks that jump, logs that are
pruned, databases that are put back from a copy, or written in two copies, tables that are altered
behind the triggers' back, conflicts that people settle. Then everything is
exchanged until nothing is new, and the invariants L1 to L8 of the change log are asked.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from stepwell.errors import CannotResolve, CaptureBroken
from stepwell.testing import sim_checks as checks
from stepwell.testing.dice import Dice
from stepwell.testing.sim_accidents import Accidents
from stepwell.testing.sim_node import Crash, Packet, SimNode, known_of
from stepwell.testing.sim_tables import ALL

OPERATIONS = 200
ROUNDS_MAX = 12  # Of a whole exchange, until nothing is new.
WAYS_MAX = 8  # Packets under way.


class SimulationFailed(AssertionError):
    """An invariant does not hold; the message names the seed, and how to see it again."""


@dataclass
class Simulation:
    """One history.

    Attributes:
        happened: How often what was done.
        post: Packets under way.
        sent: All packets ever, for what must hold when they come again.
    """

    seed: int
    folder: Path
    main_url: str | None = None
    operations: int = OPERATIONS
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.dice = Dice(self.seed)
        count = 3 + self.dice.below(3)
        start = self.dice.below(len(ALL))
        # A child never without its parent.
        chosen = {*ALL[start : start + 3], *ALL[: max(0, start + 3 - len(ALL))]}
        if any(table.name in ("parent", "child") for table in chosen):
            chosen |= {table for table in ALL if table.name in ("parent", "child")}
        tables = tuple(table for table in ALL if table in chosen)
        self.post: list[Packet] = []
        self.sent: list[Packet] = []
        self.accidents = Accidents(self)
        url = self.main_url or f"sqlite:///{self.folder}/main.db"
        self.nodes = [SimNode("main", url, tables, is_main=True)]
        for number in range(1, count):
            name = f"shop-{number}"
            self.nodes.append(SimNode(name, f"sqlite:///{self.folder}/{name}.db", tables))
        self.main, *self.shops = self.nodes
        for shop in self.shops:
            shop.sync.add_peer("main", is_main=True)
            self.main.sync.add_peer(shop.name)

    def run(self) -> Counter[str]:
        """The whole history; answers how often what was done.

        Raises:
            SimulationFailed: an invariant does not hold.
        """
        try:
            for _ in range(self.operations):
                self._operation()
            self._bring_together()
            self._settle()
            self._require(checks.differences(self.nodes), "after everything was exchanged")
            if not self.happened["restored"]:  # That takes away what a node had recorded.
                losers = checks.losers(
                    self.nodes, self.sent, column_default=self.accidents.column_default
                )
                self._require(losers, "after everything was exchanged")
            self._require(checks.passed(self.nodes), "after everything was exchanged")
            for shop in self.nodes:
                self._require(checks.twice(shop, self.sent), "after everything came again")
            self._decide_everything()
            self._require(checks.differences(self.nodes), "after people have decided")
            self._require(checks.findings(self.nodes), "at the end")
            for node in self.nodes:
                for parked in node.sync.list_quarantine(limit=10_000):
                    self.happened[f"left: {parked.reason}"] += 1
        except SimulationFailed:
            raise
        except Exception as error:
            raise SimulationFailed(self._told(f"{type(error).__name__}: {error}")) from error
        finally:
            for node in self.nodes:
                node.close()
        return self.happened

    # --- what happens

    def _operation(self) -> None:
        node = self.dice.choose(self.nodes)
        what = self.dice.choose(_OPERATIONS)
        self.happened[what] += 1
        getattr(self, f"_{what}")(node)

    def _write(self, node: SimNode) -> None:
        node.clock.advance(self.dice.below(20) / 10)
        node.write(self.dice)

    def _send(self, node: SimNode) -> None:
        other = self.main if node is not self.main else self.dice.choose(self.shops)
        try:
            packet = node.packet_for(other.name)
        except CaptureBroken:
            self.happened["mended"] += 1
            self.accidents.mend(node)
            packet = node.packet_for(other.name)
        self.sent.append(packet)
        match self.dice.below(8):
            case 0:
                self.happened["lost"] += 1
            case 1:
                self.post += [packet, packet]
            case _:
                self.post.append(packet)
        del self.post[:-WAYS_MAX]

    def _deliver(self, node: SimNode) -> None:
        """Any packet under way arrives, perhaps not the oldest."""
        if not self.post:
            return
        packet = self.post.pop(self.dice.below(len(self.post)))
        receiver = self._node(packet.receiver)
        if self.dice.one_in(6):
            self.happened["crash"] += 1
            try:
                receiver.receive(packet, crash_after=self.dice.below(6))
            except Crash:
                self.post.append(packet)
            except Exception:  # noqa: BLE001 - what is wrong with it shows when it comes whole
                self.happened["refused"] += 1
        elif not receiver.receive_what_fits(packet):
            self.happened["gap"] += 1

    def _jump(self, node: SimNode) -> None:
        if self.dice.one_in(2):
            node.clock.advance(self.dice.below(120))
        else:
            node.clock.set_back(self.dice.below(60))

    def _prune(self, node: SimNode) -> None:
        if node is not self.main:
            self.happened["pruned"] += node.sync.prune().changes

    def _copy(self, node: SimNode) -> None:
        self.accidents.copy(node)

    def _restore(self, node: SimNode) -> None:
        self.accidents.restore(node)

    def _clone(self, node: SimNode) -> None:
        self.accidents.clone(node)

    def _alter(self, node: SimNode) -> None:
        self.accidents.alter(node)

    def _person(self, node: SimNode) -> None:
        waiting = node.sync.list_conflicts(status="waiting")
        if waiting:
            self._decide(node, self.dice.choose(waiting).conflict_id)

    def _decide(self, node: SimNode, conflict_id: int) -> None:
        try:
            node.sync.resolve(conflict_id, take=self.dice.choose(("ours", "theirs")))
        except CannotResolve:
            self.happened["cannot resolve"] += 1
        else:
            self.happened["resolved"] += 1

    # --- until nothing is new

    def _bring_together(self) -> None:
        """Everything that is under way arrives; the tables are alike, the clocks agree."""
        for packet in self.post:
            self._node(packet.receiver).receive_what_fits(packet)
        self.post = []
        self.accidents.alter_everywhere()
        latest = max(node.clock.now() for node in self.nodes)
        for node in self.nodes:
            node.clock.advance((latest - node.clock.now()).total_seconds() + 1)

    def _settle(self) -> None:
        """Everything is sent and arrives, until nobody has anything new."""
        for _ in range(ROUNDS_MAX):
            before = self._known()
            for shop in self.shops:
                for sender, receiver in ((shop, self.main), (self.main, shop)):
                    packet = sender.packet_for(receiver.name)
                    self.sent.append(packet)
                    receiver.receive(packet)
            if self._known() == before:
                for node in self.nodes:
                    node.sync.retry_all()
                if self._known() == before:
                    return
        raise SimulationFailed(
            self._told(f"nodes still have something new after {ROUNDS_MAX} rounds")
        )

    def _known(self) -> list[dict[str, tuple[int, int]]]:
        return [known_of(node) for node in self.nodes]

    def _decide_everything(self) -> None:
        """At a time one conflict of each row: what is decided of it is known before the next."""
        for _ in range(ROUNDS_MAX):
            waiting = {
                conflict.key: (node, conflict.conflict_id)
                for node in reversed(self.nodes)
                for conflict in reversed(node.sync.list_conflicts(status="waiting"))
            }
            if not waiting:
                return
            for node, conflict_id in waiting.values():
                node.clock.advance(1)
                self._decide(node, conflict_id)
            self._settle()

    # --- telling

    def _node(self, name: str) -> SimNode:
        return next(node for node in self.nodes if node.name == name)

    def fail(self, what: str) -> NoReturn:
        """An invariant does not hold."""
        raise SimulationFailed(self._told(what))

    def _require(self, problems: list[str], when: str) -> None:
        if problems:
            raise SimulationFailed(self._told(f"{when}:\n  " + "\n  ".join(problems[:10])))

    def _told(self, what: str) -> str:
        main = " --main URL" if self.main_url else ""
        return (
            f"seed {self.seed} ({len(self.nodes)} nodes, {self.operations} operations): {what}\n"
            f"again: python -m stepwell.testing.sim {self.seed}"
            f" --operations {self.operations}{main}"
        )


_OPERATIONS = (
    *(["write"] * 10),
    *(["send"] * 4),
    *(["deliver"] * 6),
    *("jump", "prune", "copy", "restore", "clone", "alter", "person"),
)


def simulate(
    seed: int, folder: Path, *, main_url: str | None = None, operations: int = OPERATIONS
) -> Counter[str]:
    """One history in a folder of its own; answers how often what was done.

    ``main_url`` names an empty database for the main node; the others are SQLite files.

    Raises:
        SimulationFailed: an invariant does not hold.
    """
    return Simulation(seed, folder, main_url, operations).run()


def _main(arguments: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m stepwell.testing.sim")
    parser.add_argument("seed", type=int)
    parser.add_argument("--operations", type=int, default=OPERATIONS)
    parser.add_argument("--main", metavar="URL", help="an empty database for the main node")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        try:
            happened = simulate(
                asked.seed, Path(folder), main_url=asked.main, operations=asked.operations
            )
        except SimulationFailed as failed:
            sys.stdout.write(f"{failed}\n")
            return 1
    sys.stdout.write(f"seed {asked.seed}: all invariants hold; {dict(sorted(happened.items()))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
