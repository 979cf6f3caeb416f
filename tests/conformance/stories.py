"""How tests bring executions into each state, and read back everything about them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from stepwell import BatchStatus, Job, Node, StepContext, TaskletStep
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from stepwell.execution.status import Result
from stepwell.repository.creation import NewExecution
from stepwell.repository.history import Because, list_changes
from stepwell.repository.invariants import examine
from stepwell.runner.running import RunningExecution

WITHIN_S = 20.0


class Toggle:
    """A tasklet that raises until it is told to work."""

    def __init__(self) -> None:
        self.works = False
        self.calls = 0

    def __call__(self, step: StepContext) -> None:
        self.calls += 1
        if not self.works:
            raise ValueError("not today")


class Blocked:
    """A tasklet that waits for the test, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = Event()
        self.release = Event()

    def __call__(self, step: StepContext) -> str:
        self.begun.set()
        assert self.release.wait(WITHIN_S)
        return "DONE"


def tasklet_job(name: str, function: Callable[..., Any], **options: Any) -> Job:
    return Job(name, steps=[TaskletStep("only", function)], **options)


def nothing(step: StepContext) -> None:
    """A tasklet that does nothing."""


def owned(node: Node, job_name: str, status: BatchStatus = BatchStatus.STARTING) -> JobExecution:
    """A running execution that ``node`` owns, without anybody who runs it."""
    owner_id = node.repository.register_owner("test")
    created = node.repository.create_execution(NewExecution(job_name, (), owner_id))
    running = RunningExecution(node.repository, created.execution)
    if status is not BatchStatus.STARTING:
        assert running.begin()
    if status is BatchStatus.STOPPING:
        node.repository.request_stop(running.execution_id, Because("operator", "the test"))
        running.read_requests()
    return running.job


def waiting(node: Node, job_name: str) -> JobExecution:
    """A registered execution that waits for a worker."""
    return node.repository.create_execution(NewExecution(job_name, (), None)).execution


def ended(node: Node, job_name: str, status: BatchStatus) -> JobExecution:
    """An execution that has ended in ``status``."""
    running = RunningExecution(node.repository, owned(node, job_name, BatchStatus.STARTED))
    return running.end(**ending(status))


def ending(status: BatchStatus) -> dict[str, Any]:
    """What the owner records with a terminal status."""
    failed = status is BatchStatus.FAILED
    return {
        "batch_status": status,
        "result": None if status is BatchStatus.STOPPED else Result(status),
        "exit_status": str(status),
        "failure": Failure("ValueError", "not today") if failed else None,
    }


def rows(node: Node, sql: str) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        return [tuple(row) for row in reader.connection.execute(sql)]


def execute(node: Node, sql: str) -> None:
    """Somebody's SQL, committed."""
    with node.database.write() as transaction:
        transaction.connection.execute(sql)


def statuses(node: Node, execution_id: int) -> list[tuple[Any, ...]]:
    """The history of an execution: step, from, to, actor, reason."""
    with node.database.read() as reader:
        return [
            (c.step_name, c.from_status, c.to_status, c.actor, c.reason)
            for c in list_changes(reader, execution_id)
        ]


def findings(node: Node) -> list[Any]:
    with node.database.read() as reader:
        return examine(reader)


def counts(node: Node) -> dict[str, int]:
    """How many rows there are of what a start records."""
    tables = ("instance", "execution", "execution_params", "execution_context")
    return {
        table: rows(node, f"SELECT COUNT(*) FROM batch_job_{table}")[0][0] for table in tables
    } | {"history": rows(node, "SELECT COUNT(*) FROM batch_status_history")[0][0]}


def until(holds: Callable[[], Any]) -> None:
    """A bounded wait for something that another thread or process does."""
    event, tries = Event(), 0
    while not holds():
        event.wait(0.002)
        tries += 1
        assert tries < WITHIN_S / 0.002
