"""What child processes do with locks: each function is named by its import path and takes JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell import Node, PartitionResult, StepContext
from stepwell.errors import LostLock


def hold(url: str, name: str, marker: str, release: str) -> str:
    """Have a lock until the test says so, with a file that tells it."""
    with Node.open(url) as node:
        lock = node.locks.acquire(name)
        Path(marker).write_text(str(lock.fence), encoding="utf-8")
        while not Path(release).exists():
            node.clock.sleep(0.005)
        try:
            lock.release()
        except LostLock as error:
            return error.message
        return "released"


def guard(url: str, folder: str, number: int, rounds: int, *, reads: bool) -> dict[str, Any]:
    """Again and again: have the lock, look that nobody else is inside, and say so in a file.

    ``inside`` is made exclusively by who writes and must not be there for who reads. Whoever is
    killed inside leaves it, so it holds the owner's number, and its heir takes it away.
    """
    inside = Path(folder) / "inside"
    done = 0
    with Node.open(url) as node:
        while done < rounds and not (Path(folder) / "enough").exists():
            mode = "read" if reads and done % 3 else "write"
            with node.locks.acquire("guarded", mode=mode, wait_s=None) as lock:
                found = inside.read_text("utf-8") if inside.exists() else ""
                if found and not node.database.liveness.is_dead(int(found)):
                    return {"broken": f"{number} is inside with owner {found}"}
                if mode == "write":
                    inside.write_text(str(node.operator.owner_id), encoding="utf-8")
                    with (Path(folder) / "fences").open("a", encoding="utf-8") as fences:
                        fences.write(f"{lock.fence}\n")
                    node.clock.sleep(0.001)
                    inside.unlink()
            done += 1
    return {"done": done}


def locked_share(number: int, step: StepContext) -> PartitionResult:
    """A partition that is alone under a lock, wherever it runs; its owner as the message."""
    with step.lock("one at a time"):
        [[owner_id, execution_id]] = step.query(
            "SELECT owner_id, job_execution_id FROM batch_lock WHERE acquired_at IS NOT NULL"
        )
        assert step.execution_id == execution_id
        return PartitionResult.success(str(owner_id))
