"""A gate that many processes wait at, and pass at once."""

from __future__ import annotations

import fcntl
from pathlib import Path


class held:  # noqa: N801 - reads as a statement
    """Nobody passes the gate inside this block, and everybody at its end."""

    def __init__(self, gate: Path) -> None:
        self._file = gate.open("r+")

    def __enter__(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *details: object) -> None:
        self._file.close()
