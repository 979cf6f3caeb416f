"""T2, T4 for locks: real processes, killed and stopped; only a proof of death frees a lock."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.errors import LockHeld
from stepwell.repository.invariants import examine
from stepwell.testing import Child, WarmParent
from tests.crash.test_zombie import WITHIN_S, state, until
from tests.support.databases import Databases

HOLD, GUARD = "tests.support.locking:hold", "tests.support.locking:guard"


def holder(parent: WarmParent, url: str, folder: Path) -> Child:
    """A process that has the lock ``report``."""
    marker = folder / "has it"
    child: Child = parent.start(
        HOLD, url=url, name="report", marker=str(marker), release=str(folder / "let go")
    )
    until(lambda: marker.exists() and marker.read_text("utf-8"))
    return child


def test_the_lock_of_a_killed_process_is_had_by_the_next(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: no lock outlives its owner. Method: SIGKILL its process while another waits."""
    url = databases.migrated(warm_parent)
    child = holder(warm_parent, url, tmp_path)
    with Node.open(url) as node:
        with pytest.raises(LockHeld):
            node.locks.acquire("report", wait_s=0)
        child.kill()
        before = time.monotonic()
        with node.locks.acquire("report", wait_s=WITHIN_S) as lock:
            took_s = time.monotonic() - before

        assert lock.fence > int((tmp_path / "has it").read_text("utf-8"))
        assert took_s < WITHIN_S / 2


def test_a_stopped_process_keeps_its_lock_and_is_told_when_it_was_taken_by_force(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path
) -> None:
    """Goal: T4. Method: SIGSTOP, nobody gets it; force, SIGCONT, its release is refused."""
    url = databases.migrated(warm_parent)
    child = holder(warm_parent, url, tmp_path)
    child.send(signal.SIGSTOP)
    until(lambda: state(child.pid) == "T")
    with Node.open(url) as node:
        with pytest.raises(LockHeld):
            node.locks.acquire("report", wait_s=0.6)
        with pytest.raises(LockHeld, match="is alive"):
            node.locks.take("report", reason="", force=False)
        node.locks.take("report", reason="it hangs", force=True)
        with node.locks.acquire("report", wait_s=0):
            (tmp_path / "let go").touch()
            child.send(signal.SIGCONT)
            ended = child.wait()

    assert 0 == ended.exit_code, ended.error
    assert "cannot release lock 'report'" in ended.result
    assert "taken by force: it hangs" in ended.result


@pytest.mark.parametrize("reads", [False, True], ids=["write", "read and write"])
def test_killed_at_any_moment_nobody_is_ever_inside_with_another(
    databases: Databases, warm_parent: WarmParent, tmp_path: Path, reads: bool
) -> None:
    """Goal: T2. Method: six processes share one lock, again and again one of them is killed."""
    url = databases.migrated(warm_parent)
    chance = random.Random(4)
    numbers = iter(range(100))

    def start() -> Child:
        return warm_parent.start(
            GUARD, url=url, folder=str(tmp_path), number=next(numbers), rounds=10_000, reads=reads
        )

    children = [start() for _ in range(6)]
    for _ in range(12):
        time.sleep(chance.uniform(0.02, 0.25))  # T2: the moment is what varies.
        victim = children.pop(chance.randrange(len(children)))
        victim.kill()
        children.append(start())
    fences_then = (tmp_path / "fences").read_text("utf-8").count("\n")
    until(lambda: (tmp_path / "fences").read_text("utf-8").count("\n") > fences_then + 10)
    (tmp_path / "enough").touch()
    ended = [child.wait() for child in children]

    assert [] == [end for end in ended if end.exit_code or "broken" in end.result]
    fences = [int(line) for line in (tmp_path / "fences").read_text("utf-8").split()]
    assert fences == sorted(set(fences))
    with Node.open(url) as node, node.database.read() as reader:
        assert [] == examine(reader)
