"""Artifacts that write down every call, in the letters of section 16, and what reads them back.

``[`` before_chunk, ``]`` after_chunk, ``r`` read, ``r0`` returned None, ``p`` process, ``B`` a
transaction begins, ``w5`` five items are written, ``C`` it commits, ``U`` it is undone, ``!`` it
raises. Everything else stands under its own name, what it was called with behind a colon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from stepwell import ChunkStep, Job, Node
from stepwell.database.transaction import Transaction
from stepwell.execution.records import JobExecution, PartitionExecution, SkippedItem, StepExecution
from stepwell.job.listener import STEP_CALLBACKS
from stepwell.repository.partitions import list_partition_executions
from stepwell.repository.steps import list_skips

WITHIN_S = 30.0
TABLE = "CREATE TABLE out (n INTEGER)"


class Wrong(Exception):
    """What the items of these tests raise."""


class Events(list[str]):
    """What happened, in order."""

    def add(self, name: str, *subjects: object) -> None:
        """One event; spaces are left out, so that expectations can be split at them."""
        shown = (repr(str(s)) if isinstance(s, Exception) else str(s) for s in subjects)
        self.append(":".join([name, *shown]).replace(" ", ""))

    def take(self) -> list[str]:
        """All events so far, which are forgotten."""
        taken = list(self)
        self.clear()
        return taken


def expected(text: str) -> list[str]:
    """The events that stand in a text."""
    return text.split()


class Source:
    """Reads 1 to n; its checkpoint is the last number it has left behind."""

    def __init__(self, events: Events, n: int, *, faulty: Iterable[int] = ()) -> None:
        self.events = events
        self.n = n
        self.faulty = set(faulty)
        self.at = 0

    def open(self, checkpoint: int | None) -> None:
        self.events.add("open_reader", checkpoint)
        self.at = checkpoint or 0

    def read(self) -> int | None:
        if self.at == self.n:
            self.events.add("r0")
            return None
        self.at += 1
        if self.at in self.faulty:
            self.events.add("r!")
            raise Wrong(self.at)
        self.events.add("r")
        return self.at

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        self.events.add("close_reader")


class Through:
    """A processor; ``change`` may raise."""

    def __init__(self, events: Events, change: Callable[[int], Any] = lambda n: n) -> None:
        self.events = events
        self.change = change

    def process(self, item: int) -> Any:
        try:
            result = self.change(item)
        except Exception:
            self.events.add("p!")
            raise
        self.events.add("p")
        return result


class Sink:
    """A writer into table ``out``; ``check`` may raise behind the INSERT."""

    def __init__(
        self, events: Events, check: Callable[[list[int]], Any] = lambda items: None
    ) -> None:
        self.events = events
        self.check = check
        self.written = 0

    def open(self, checkpoint: int | None) -> None:
        self.events.add("open_writer", checkpoint)
        self.written = checkpoint or 0

    def write(self, items: list[int], step: Any) -> Any:
        insert(items, step)
        try:
            report = self.check(items)
        except Exception:
            self.events.add(f"w{len(items)}!")
            raise
        self.events.add(f"w{len(items)}")
        self.written += len(items)
        return report

    def checkpoint(self) -> int:
        return self.written

    def close(self) -> None:
        self.events.add("close_writer")


class Ear:
    """A listener of every callback of a step; only the named ones are written down."""

    def __init__(self, events: Events, *names: str) -> None:
        unknown = set(names) - set(STEP_CALLBACKS)
        assert not unknown, unknown
        for name in names or STEP_CALLBACKS:
            setattr(self, name, _writes_down(events, name))


_LETTERS = {"before_chunk": "[", "after_chunk": "]"}


def _writes_down(events: Events, name: str) -> Callable[..., None]:
    shown = _LETTERS.get(name, name)
    if name.endswith("_step"):
        return lambda: events.add(shown)
    return lambda *subjects: events.add(shown, *subjects)


CHUNK = ("before_chunk", "after_chunk", "on_error")
SKIP = ("on_skip_read_item", "on_skip_process_item", "on_skip_write_item")
RETRY = ("on_retry_read_exception", "on_retry_process_exception", "on_retry_write_exception")
ERRORS = ("on_read_error", "on_process_error", "on_write_error")


class Raising:
    """A listener whose ``name`` raises."""

    def __init__(self, name: str, error: BaseException | None = None) -> None:
        def callback(*subjects: object) -> None:
            raise error or RuntimeError(name)

        setattr(self, name, callback)


@contextmanager
def transactions(events: Events) -> Iterator[None]:
    """Write down B, C and U of every write transaction while a step's events are written."""
    enter, leave = Transaction.__enter__, Transaction.__exit__

    def begin(self: Transaction) -> Transaction:
        entered = enter(self)
        events.add("B")
        return entered

    def end(self: Transaction, kind: Any, error: Any, trace: Any) -> None:
        try:
            leave(self, kind, error, trace)
        except BaseException:
            events.add("U")
            raise
        events.add("C" if kind is None else "U")

    with patch.object(Transaction, "__enter__", begin), patch.object(Transaction, "__exit__", end):
        yield


def work(events: list[str]) -> list[str]:
    """The events between a step's listeners: the engine's own records stand outside of them."""
    return events[events.index("before_step") + 1 : events.index("after_step")]


# --- running -------------------------------------------------------------------------------------


def run(node: Node, step: Any, **job: Any) -> tuple[JobExecution, StepExecution]:
    """Run a job of this one step; the execution and the step as they are recorded."""
    execution = node.operator.run(Job(job.pop("name", "job"), steps=[step], **job))
    return execution, node.operator.get_step_executions(execution.execution_id)[0]


def stop_now(node: Node, execution_id: int) -> None:
    """Ask for a stop and wait until its flag is up; call it where no transaction is open."""
    node.operator.stop(execution_id, reason="the test")
    assert node.operator._runner._running[execution_id].stop_flag.wait(WITHIN_S)


# --- reading back --------------------------------------------------------------------------------


def insert(items: Iterable[int], step: Any) -> None:
    step.connection.executemany("INSERT INTO out (n) VALUES (:n)", [(n,) for n in items])


def out(node: Node) -> list[int]:
    """The rows that were written and committed."""
    with node.database.read() as reader:
        return [int(n) for (n,) in reader.connection.execute("SELECT n FROM out ORDER BY n")]


def counts(step: StepExecution | PartitionExecution) -> dict[str, int]:
    """The metrics that are not 0, by their short names."""
    return {
        name.removesuffix("_count"): value for name, value in vars(step.metrics).items() if value
    }


def skips(node: Node, execution: JobExecution) -> list[SkippedItem]:
    with node.database.read() as reader:
        return list_skips(reader, execution.execution_id, count=1_000)


def attempts(node: Node, step: StepExecution) -> list[PartitionExecution]:
    with node.database.read() as reader:
        return list_partition_executions(reader, step.step_execution_id, count=100_000)


def failure(record: JobExecution | StepExecution) -> str:
    """``Type: message`` of what failed; the type without its module."""
    assert record.failure is not None
    return f"{record.failure.type.rpartition('.')[2]}: {record.failure.message}"


def chunks(events: Events, n: int, **options: Any) -> ChunkStep[Any, Any]:
    """A chunk step from a Source of ``n`` into a Sink, which may be given instead."""
    options.setdefault("listeners", [Ear(events, "before_step", "after_step", *CHUNK)])
    return ChunkStep(
        "load",
        options.pop("reader", Source(events, n)),
        options.pop("processor", Through(events)),
        options.pop("writer", Sink(events)),
        **options,
    )
