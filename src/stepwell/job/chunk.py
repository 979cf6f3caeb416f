"""When a chunk ends: the protocol of a custom checkpoint algorithm (S102, S103)."""

from __future__ import annotations

from typing import Protocol


class CheckpointAlgorithm(Protocol):
    """Decides after each item whether the chunk is to be committed."""

    def checkpoint_timeout(self) -> float:
        """Seconds within which a chunk must reach its commit; 0 is no limit (S103)."""

    def begin_checkpoint(self) -> None:
        """A chunk begins."""

    def is_ready_to_checkpoint(self) -> bool:
        """Asked once for each item read, after processing, kept or not (S102)."""

    def end_checkpoint(self) -> None:
        """The chunk is committed."""
