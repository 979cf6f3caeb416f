"""Pairs of measurements, interleaved, and the ratio that is quoted: the median of the pairs."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 5
Measure = Callable[[Path], float]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``better`` is ``"low"`` when both sides are seconds (ours / bare must be at most ``target``)
    and ``"high"`` when they are rates (at least ``target``).
    """

    name: str
    bare: float
    ours: float
    ratio: float
    target: float
    better: str
    unit: str
    note: str

    @property
    def is_met(self) -> bool:
        """Whether the median ratio is within the target."""
        return self.ratio <= self.target if self.better == "low" else self.ratio >= self.target

    def __str__(self) -> str:
        sign = "≤" if self.better == "low" else "≥"
        verdict = "met" if self.is_met else "MISSED"
        return (
            f"{self.name:<44} {self.bare:>11,.1f} {self.ours:>11,.1f} {self.unit:<7}"
            f" {self.ratio:>6.2f} × {sign} {self.target:<5} {verdict:<7} {self.note}"
        )


def compare(
    name: str,
    *,
    bare: Measure,
    ours: Measure,
    target: float,
    better: str,
    unit: str,
    note: Callable[[], str] = lambda: "",
    rounds: int = ROUNDS,
) -> Row:
    """Run the two in turn, each time in a fresh folder, after one round that does not count."""
    pairs = []
    for number in range(rounds + 1):
        with fresh_folder() as folder:
            b = bare(folder)
        with fresh_folder() as folder:
            o = ours(folder)
        if number:
            pairs.append((b, o))
    return Row(
        name,
        statistics.median(b for b, _ in pairs),
        statistics.median(o for _, o in pairs),
        statistics.median(o / b for b, o in pairs),
        target,
        better,
        unit,
        note(),
    )


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """A folder on the disk of the working folder: /tmp may be memory, where nothing is durable."""
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=Path.cwd()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
