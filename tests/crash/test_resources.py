"""T2 for resources and pools: real processes, killed at any moment, watched meanwhile (S197)."""

from __future__ import annotations

import random
import time
from pathlib import Path

from stepwell import Node
from stepwell.repository.blockers import read_occupancy
from stepwell.repository.invariants import examine
from stepwell.testing import Child, WarmParent
from tests.support.databases import Databases
from tests.support.items import POOLS
from tests.support.processes import recover_when_proven

RUN = "tests.support.items:run_items"
KILLS = 10


def watch(node: Node, for_s: float, seen: list[str]) -> int:
    """Look at what runs, again and again; the most that was ever at work at once."""
    most, end = 0, time.monotonic() + for_s
    while time.monotonic() < end:
        with node.database.read() as reader:
            occupancy = read_occupancy(reader)
        for pool, holders in occupancy.pools.items():
            if len(holders) > POOLS[pool]:
                seen.append(f"pool {pool} has {len(holders)}")
        seen += [str(overlap) for overlap in occupancy.overlaps()]
        most = max(most, len(occupancy.paths))
    return most


def test_no_two_items_on_one_file_and_no_pool_above_its_size_at_any_observation(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: S197 across processes. Method: the rows at any moment, and the items' own evidence."""
    url = databases.migrated(warm_parent)
    chance, seen, most = random.Random(7), [], 0
    with Node.open(url) as node:
        for pool, size in POOLS.items():
            node.pools.set(pool, size)

        def start(seed: int) -> Child:
            return warm_parent.start(RUN, url=url, folder=str(tmp_path), seed=seed)

        children = [start(seed) for seed in range(5)]
        for seed in range(5, 5 + KILLS):
            most = max(most, watch(node, chance.uniform(0.05, 0.3), seen))
            children.pop(chance.randrange(len(children))).kill()
            children.append(start(seed))
        most = max(most, watch(node, 1.0, seen))
        (tmp_path / "enough").touch()
        ended = [child.wait() for child in children]
        recover_when_proven(node)
        with node.database.read() as reader:
            findings = examine(reader)

    assert [] == seen
    assert not (tmp_path / "broken").exists(), (tmp_path / "broken").read_text("utf-8")
    assert [] == findings
    assert [] == [end.error for end in ended if end.exit_code]
    assert most > 1
    assert sum(end.result["ran"] for end in ended) > 0
    assert sum(end.result["blocked"] for end in ended) > 0
