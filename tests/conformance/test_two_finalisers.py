"""T3: whoever ends an execution, and whoever tries at the same time: one end, one history row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import permutations, product
from threading import Thread
from typing import Any

import psycopg
import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import (
    ConnectionLost,
    IllegalTransition,
    JobExecutionIsRunning,
    JobExecutionNotRunning,
    LostOwnership,
    StepwellError,
)
from stepwell.repository.zero_rows import ZeroRowUpdates
from stepwell.runner.running import RunningExecution
from tests.conformance.stories import (
    Blocked,
    ending,
    findings,
    owned,
    statuses,
    tasklet_job,
    until,
)

REFUSALS = (LostOwnership, JobExecutionNotRunning, JobExecutionIsRunning)
ENDS = ("COMPLETED", "FAILED", "STOPPED")


def ends_in(history: list[tuple[Any, ...]]) -> list[str]:
    """The terminal statuses that the job's own history has, in order."""
    return [str(to) for step, _, to, _, _ in history if step is None and to in ENDS]


@pytest.mark.parametrize(
    "order", list(permutations(["complete", "recover", "stop", "abandon"])), ids="-".join
)
def test_in_every_order_there_is_one_end(order: tuple[str, ...], node: Node, other: Node) -> None:
    """Method: a real job is blocked in its tasklet; "complete" lets it go to its own end."""
    blocked = Blocked()
    execution_id = node.operator.start(tasklet_job("billing", blocked))
    until(blocked.begun.is_set)

    def complete() -> None:
        blocked.release.set()
        node.operator.wait(execution_id)

    verbs: dict[str, Callable[[], Any]] = {
        "complete": complete,
        "recover": lambda: other.operator.recover(execution_id, force=True, reason="test"),
        "stop": lambda: other.operator.stop(execution_id),
        "abandon": lambda: other.operator.abandon(execution_id),
    }
    for verb in order:
        try:
            verbs[verb]()
        except REFUSALS:
            continue

    first = min(order.index("complete"), order.index("recover"))
    by_itself = order[first] == "complete"
    abandoned = order.index("abandon") > first
    (end,) = ends_in(statuses(node, execution_id))
    assert end in (("COMPLETED", "STOPPED") if by_itself else ("FAILED",))
    assert ("ABANDONED" if abandoned else end) == (
        node.operator.get_job_execution(execution_id).batch_status
    )
    assert [] == findings(node)


# --- at the same time --------------------------------------------------------------------------

VERBS = ("complete", "fail", "recover", "stop", "abandon")
PAIRS = [pair for pair in product(VERBS, VERBS) if not {"complete", "fail"} >= set(pair)]

# What the second of two sees of the first; the rest is not refused.
REFUSED: dict[tuple[str, str], type[StepwellError]] = {
    ("recover", "complete"): LostOwnership,
    ("recover", "fail"): LostOwnership,
    ("complete", "stop"): JobExecutionNotRunning,
    ("fail", "stop"): JobExecutionNotRunning,
    ("recover", "stop"): JobExecutionNotRunning,
}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_the_loser_of_two_at_once_is_told_and_changes_nothing(
    pair: tuple[str, str], node: Node, other: Node
) -> None:
    """Method: somebody holds the rows; both wait, the second behind the first; then it lets go."""
    running = RunningExecution(node.repository, owned(node, "billing", BatchStatus.STARTED))
    execution_id = running.execution_id
    zero_row_updates = ZeroRowUpdates.count
    outcomes: list[tuple[str, type[BaseException] | None]] = []

    def verb(name: str) -> None:
        operator = other.operator
        try:
            match name:
                case "complete":
                    running.end(**ending(BatchStatus.COMPLETED))
                case "fail":
                    running.end(**ending(BatchStatus.FAILED))
                case "recover":
                    operator.recover(execution_id, force=True, reason="test")
                case "stop":
                    operator.stop(execution_id)
                case "abandon":
                    operator.abandon(execution_id)
        except StepwellError as error:
            outcomes.append((name, type(error)))
        else:
            outcomes.append((name, None))

    threads = [Thread(target=verb, args=(name,)) for name in pair]
    with rows_held(node, execution_id) as waiting_count:
        for number, thread in enumerate(threads, 1):
            thread.start()
            until(lambda number=number: waiting_count() + len(outcomes) >= number)
    for thread in threads:
        thread.join()

    ends = ends_in(statuses(node, execution_id))
    runs_on = not {"complete", "fail", "recover"} & set(pair)
    first, second = (dict_of(outcomes, name) for name in pair)
    assert (0 if runs_on else 1) == len(ends)
    assert [] == findings(node)
    if first is ConnectionLost:
        # Recovery by force ends the sessions of the owner, also those that wait for the row (S34).
        assert ("recover", "FAILED", None) == (pair[1], ends[0], second)
        return
    assert [] == [error for _, error in outcomes if error and error not in REFUSALS]
    if pair[0] != pair[1]:
        assert (JobExecutionIsRunning if pair[0] == "abandon" else None) is first
        expected = REFUSED.get(pair)
        if pair[1] == "abandon" and runs_on:
            expected = JobExecutionIsRunning
        assert expected is second
    lost = [error for _, error in outcomes if error is LostOwnership]
    assert zero_row_updates + len(lost) == ZeroRowUpdates.count


def dict_of(outcomes: list[tuple[str, Any]], name: str) -> Any:
    return next(error for verb, error in outcomes if verb == name)


@contextmanager
def rows_held(node: Node, execution_id: int) -> Iterator[Callable[[], int]]:
    """Hold the execution's row; what is yielded tells how many wait for it.

    On SQLite the writers queue at the gate, on PostgreSQL at the row.
    """
    if node.database.path is not None:
        with node.database.write():
            yield lambda: len(node.database.dialect._gate._turn._waiting)  # type: ignore[attr-defined]
        return
    with psycopg.connect(node.database.url) as session:
        session.execute(
            "SELECT 1 FROM batch_job_execution WHERE job_execution_id = %s FOR UPDATE",
            (execution_id,),
        )
        sql = "SELECT COUNT(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        yield lambda: session.execute(sql).fetchall()[0][0]


def test_an_illegal_end_is_refused_before_anything_is_written(node: Node) -> None:
    """A job in STOPPING never ends COMPLETED (S12)."""
    running = RunningExecution(node.repository, owned(node, "billing", BatchStatus.STOPPING))
    before = statuses(node, running.execution_id)

    with pytest.raises(IllegalTransition):
        running.end(**ending(BatchStatus.COMPLETED))

    assert before == statuses(node, running.execution_id)
    assert BatchStatus.STOPPING == node.operator.get_job_execution(1).batch_status
