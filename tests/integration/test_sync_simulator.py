"""T18: whatever nodes write, lose, double and survive, L1 to L8 hold when all has arrived."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.testing import sim_checks
from stepwell.testing.dice import Dice
from stepwell.testing.sim import SimulationFailed, simulate
from stepwell.testing.sim_node import Packet, SimNode

IN_MAKE_TEST = range(1, 49)  # Two seconds each; all of a thousand in `make test-all`.
ALL_SEEDS = 1_000
SEEDS_A_TEST = 20


@pytest.mark.parametrize("seed", IN_MAKE_TEST)
def test_a_history_ends_with_equal_nodes(seed: int, tmp_path: Path) -> None:
    happened = simulate(seed, tmp_path)

    assert happened["write"] > 50
    assert happened["deliver"] > 20


@pytest.mark.parametrize("seed", [101, 102])
def test_a_history_with_postgresql_in_the_middle_ends_so_too(
    seed: int, tmp_path: Path, new_postgresql_database: Callable[[], str]
) -> None:
    simulate(seed, tmp_path, main_url=new_postgresql_database())


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("first", range(1, ALL_SEEDS, SEEDS_A_TEST))
def test_a_thousand_histories_end_with_equal_nodes(
    first: int, tmp_path: Path, new_postgresql_database: Callable[[], str]
) -> None:
    """Method: the main of one in twenty is on PostgreSQL."""
    for seed in range(first, first + SEEDS_A_TEST):
        folder = tmp_path / str(seed)
        folder.mkdir()
        url = new_postgresql_database() if seed == first else None
        simulate(seed, folder, main_url=url)


def test_a_seed_is_one_history(tmp_path: Path) -> None:
    one, other = (tmp_path / name for name in ("one", "other"))
    one.mkdir()
    other.mkdir()

    assert simulate(4, one, operations=60) == simulate(4, other, operations=60)
    assert [Dice(4).below(9) for _ in range(9)] == [Dice(4).below(9) for _ in range(9)]


def test_a_divergence_is_seen_and_says_how_to_see_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: nobody applies anything that comes."""

    def receive(self: SimNode, packet: Packet, *, crash_after: int | None = None) -> list[object]:
        return []

    monkeypatch.setattr(SimNode, "receive", receive)
    with pytest.raises(SimulationFailed, match=r"python -m stepwell\.testing\.sim 4 ") as failed:
        simulate(4, tmp_path, operations=60)

    assert "L1 " in str(failed.value)


def test_an_image_that_lost_and_is_recorded_nowhere_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the records of conflicts cannot be read."""
    monkeypatch.setattr(sim_checks, "list_conflicts", lambda *args, **options: [])
    with pytest.raises(SimulationFailed, match="L4 "):
        simulate(34, tmp_path)
