"""T18: whatever nodes write, lose, double and survive, L1 to L8 hold when all has arrived."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.testing.dice import Dice
from stepwell.testing.sim import SimulationFailed, simulate
from stepwell.testing.sim_node import Packet, SimNode

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SEEDS = range(1, 7)
KNOWN_FAULTS: dict[int, str] = {}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_history_ends_with_equal_nodes(seed: int, tmp_path: Path) -> None:
    happened = simulate(seed, tmp_path)

    assert happened["write"] > 50
    assert happened["deliver"] > 20


def test_a_seed_is_one_history(tmp_path: Path) -> None:
    one, other = (tmp_path / name for name in ("one", "other"))
    one.mkdir()
    other.mkdir()

    assert simulate(4, one, operations=60) == simulate(4, other, operations=60)
    assert [Dice(4).below(9) for _ in range(9)] == [Dice(4).below(9) for _ in range(9)]


def test_a_divergence_is_seen_and_says_how_to_see_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: one node takes every packet for received without applying it."""

    def receive(self: SimNode, packet: Packet, *, crash_after: int | None = None) -> list[object]:
        return []

    monkeypatch.setattr(SimNode, "receive", receive)
    with pytest.raises(SimulationFailed, match=r"python -m stepwell\.testing\.sim 4 ") as failed:
        simulate(4, tmp_path, operations=60)

    assert "L1 " in str(failed.value)
