"""T8: whatever fails while items are read, processed and written, each is accounted for once.

Written = read - filtered - skipped, in the rows, in the counters and in the skips, over all
attempts; for a step alone, for two in the flows of a split, for the partitions of a step.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import (
    BatchStatus,
    ChunkStep,
    Flow,
    Job,
    Node,
    PartitionedStep,
    Retry,
    Skip,
    Split,
)
from stepwell.execution.records import StepExecution
from tests.conformance.stories import findings, rows

SIZE_MAX = 25
PLACES = ("alone", "split", "inline", "threads")
FAULTY_ATTEMPTS = 2  # Then nothing fails any more.
FOR_EVER = 99


class Wrong(Exception):
    """What may be skipped or retried."""


class Odd(Wrong):
    """A Wrong that is retried in place, where the policy says so."""


@dataclass(frozen=True)
class Policy:
    """How the step takes faults."""

    chunk_size: int
    write_skip: str
    skip_limit: int | None
    retry_limit: int | None  # 0: no retry at all.
    in_place: bool

    def options(self) -> dict[str, Any]:
        retry = Retry(Wrong, limit=self.retry_limit, no_rollback=[Odd] if self.in_place else ())
        return {
            "chunk_size": self.chunk_size,
            "write_skip": self.write_skip,
            "skip": Skip(Wrong, limit=self.skip_limit),
            "retry": None if self.retry_limit == 0 else retry,
        }


@dataclass
class World:
    """The items of two shares, and what fails how often: by phase and item."""

    faults: dict[tuple[str, int], int]
    odd: bool
    failed: Counter[tuple[str, int]] = field(default_factory=Counter)
    works: bool = False

    def meet(self, phase: str, item: int) -> None:
        """Raise if this is to fail now; an item is met by one thread alone."""
        if not self.works and self.failed[phase, item] < self.faults.get((phase, item), 0):
            self.failed[phase, item] += 1
            # A read repeated in place is the reader's to answer, and this one goes on (S121).
            raise Odd(item) if self.odd and phase != "read" else Wrong(item)


class Reader:
    """Reads the numbers behind ``first``; one that cannot be read is left behind."""

    def __init__(self, world: World, size: int, first: int = 0) -> None:
        self.world, self.size, self.first = world, size, first

    def open(self, checkpoint: int | None, step: Any) -> None:
        self.at = checkpoint or 0
        if step.partition is not None:
            self.first = step.input

    def read(self) -> int | None:
        if self.at == self.size:
            return None
        self.at += 1
        self.world.meet("read", self.first + self.at)
        return self.first + self.at

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        """Nothing to give back."""


def make_job(place: str, world: World, size: int, policy: Policy, filters: bool) -> Job:
    def process(n: int) -> int | None:
        world.meet("process", n)
        return None if filters and n % 3 == 0 else n

    def write(items: list[int], step: Any) -> None:
        step.connection.executemany("INSERT INTO out (n) VALUES (:n)", [(n,) for n in items])
        for n in items:
            world.meet("write", n)

    def chunks(name: str, first: int = 0) -> ChunkStep[Any, Any]:
        return ChunkStep(name, Reader(world, size, first), process, write, **policy.options())

    match place:
        case "alone":
            return Job("job", [chunks("load")])
        case "split":
            flows = [Flow(f"flow {name}", [chunks(name, n)]) for n, name in ((0, "a"), (100, "b"))]
            return Job("job", [Split("both", flows)])
        case _:
            step = PartitionedStep(
                "parts",
                [0, 100],
                chunks("load"),
                executor=place,  # type: ignore[arg-type]
            )
            return Job("job", [step])


def items_of(place: str, size: int) -> list[int]:
    shares = (0,) if place == "alone" else (0, 100)
    return [first + n for first in shares for n in range(1, size + 1)]


FAULTS = st.dictionaries(
    st.tuples(
        st.sampled_from(["read", "process", "write"]),
        st.one_of(st.integers(1, SIZE_MAX), st.integers(101, 100 + SIZE_MAX)),
    ),
    st.sampled_from([1, 2, FOR_EVER]),
    max_size=7,
)
POLICIES = st.builds(
    Policy,
    chunk_size=st.integers(1, 7),
    write_skip=st.sampled_from(["item", "chunk"]),
    skip_limit=st.one_of(st.none(), st.integers(0, 6)),
    retry_limit=st.integers(0, 4),
    in_place=st.booleans(),
)
ARGUMENTS: dict[str, Any] = {
    "faults": FAULTS,
    "policy": POLICIES,
    "size": st.integers(0, SIZE_MAX),
    "filters": st.booleans(),
    "odd": st.booleans(),
}
HYPOTHESIS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


class Databases:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0
        with Node.open(f"sqlite:///{folder}/0.db") as node, node.database.write() as transaction:
            transaction.connection.execute("CREATE TABLE out (n INTEGER PRIMARY KEY)")

    def open(self) -> Node:
        self.made += 1
        shutil.copy(self.folder / "0.db", self.folder / f"{self.made}.db")
        return Node.open(f"sqlite:///{self.folder}/{self.made}.db")


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    return Databases(tmp_path_factory.mktemp("algebra"))


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=20, **HYPOTHESIS)
@given(**ARGUMENTS)
def test_each_item_is_accounted_for_once(place: str, databases: Databases, **drawn: Any) -> None:
    check(place, databases, **drawn)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=500, **HYPOTHESIS)
@given(**ARGUMENTS)
def test_each_of_many_is_accounted_for_once(place: str, databases: Databases, **drawn: Any) -> None:
    check(place, databases, **drawn)


def check(
    place: str,
    databases: Databases,
    *,
    faults: dict[tuple[str, int], int],
    policy: Policy,
    size: int,
    filters: bool,
    odd: bool,
) -> None:
    """Run it with faults, restart it, at last without any; then count."""
    world = World(faults, odd)
    job = make_job(place, world, size, policy, filters)
    with databases.open() as node:
        for attempt in range(FAULTY_ATTEMPTS + 1):
            world.works = attempt == FAULTY_ATTEMPTS
            execution = node.operator.run(job)
            if execution.batch_status is BatchStatus.COMPLETED:
                break
        steps = [
            step
            for execution_id in range(1, execution.execution_id + 1)
            for step in node.operator.get_step_executions(execution_id)
        ]
        out = [n for (n,) in rows(node, "SELECT n FROM out ORDER BY n")]
        skips = rows(node, "SELECT phase, item FROM batch_skip")
        found = findings(node)

    items = items_of(place, size)
    lost_in_writes = [n for phase, item in skips if phase == "write" for n in listed(item)]
    lost_in_process = [int(item) for phase, item in skips if phase == "process"]
    filtered = [n for n in items if filters and n % 3 == 0 and n not in lost_in_process]
    unread = Counter(phase for phase, _ in skips)["read"]
    known = sorted([*out, *filtered, *lost_in_writes, *lost_in_process])

    assert BatchStatus.COMPLETED is execution.batch_status
    assert [] == found
    assert len(known) == len(set(known))
    # What could not be read has no name; it is one of those that are nowhere else.
    assert unread >= len(set(items) - set(known))
    assert {
        "read": len(out) + total(steps, "filter") + len(lost_in_process) + len(lost_in_writes),
        "write": len(out),
        "all": len(items),
        "read_skip": unread,
        "process_skip": len(lost_in_process),
        "write_skip": Counter(phase for phase, _ in skips)["write"],
    } == {
        "read": total(steps, "read"),
        "write": total(steps, "write"),
        "all": total(steps, "read") + unread,
        **{name: total(steps, name) for name in ("read_skip", "process_skip", "write_skip")},
    }


def listed(item: str) -> list[int]:
    """The items of a skipped list; of one that failed alone it is the item itself."""
    value = json.loads(item)
    return value if isinstance(value, list) else [value]


def total(steps: list[StepExecution], name: str) -> int:
    return sum(getattr(step.metrics, f"{name}_count") for step in steps)
