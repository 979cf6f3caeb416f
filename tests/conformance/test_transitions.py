"""The tables of section 3.1: every edge, from every status to every other (S11)."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import IllegalTransition
from stepwell.execution.status import check_transition
from stepwell.repository.versioned import change_job_execution
from tests.conformance.stories import ended, owned, rows

# Written out from the rulebook, not from the code.
JOB = {
    (None, "STARTING"),
    ("STARTING", "STARTED"),
    ("STARTING", "STOPPED"),
    ("STARTING", "FAILED"),
    ("STARTED", "STOPPING"),
    ("STARTED", "COMPLETED"),
    ("STARTED", "FAILED"),
    ("STARTED", "STOPPED"),
    ("STOPPING", "STOPPED"),
    ("STOPPING", "FAILED"),
    ("COMPLETED", "ABANDONED"),
    ("FAILED", "ABANDONED"),
    ("STOPPED", "ABANDONED"),
}
STEP = {
    (None, "STARTED"),
    ("STARTED", "STOPPING"),
    ("STARTED", "COMPLETED"),
    ("STARTED", "FAILED"),
    ("STOPPING", "STOPPED"),
    ("STOPPING", "FAILED"),
    ("STOPPING", "COMPLETED"),
}
EDGES = list(product([None, *BatchStatus], BatchStatus))


@pytest.mark.parametrize(("kind", "legal"), [("job", JOB), ("step", STEP)])
def test_exactly_the_changes_of_the_rulebook_are_legal(
    kind: str, legal: set[tuple[str, str]]
) -> None:
    allowed = set()
    for before, after in EDGES:
        try:
            check_transition(kind, 1, before, after)  # type: ignore[arg-type]
        except IllegalTransition:
            continue
        allowed.add((before, after))

    assert 72 == len(EDGES)
    assert legal == allowed


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (before, after)
        for before, after in EDGES
        if before is not None
        and before is not BatchStatus.UNKNOWN
        and before is not after
        and (before, after) not in JOB
    ],
)
def test_an_illegal_change_writes_nothing(
    before: BatchStatus, after: BatchStatus, node: Node
) -> None:
    if before.is_running:
        record = owned(node, "billing", before)
    elif before is BatchStatus.ABANDONED:
        record = node.operator.abandon(ended(node, "billing", BatchStatus.FAILED).execution_id)
    else:
        record = ended(node, "billing", before)
    history = rows(node, "SELECT COUNT(*) FROM batch_status_history")

    with pytest.raises(IllegalTransition) as refused, node.database.write() as transaction:
        change_job_execution(transaction, record, at=node.clock.now(), batch_status=after)

    assert f"{before} to {after} is no legal change" in refused.value.message
    assert replace(record, stop_requested=False) == replace(
        node.operator.get_job_execution(record.execution_id), stop_requested=False
    )
    assert history == rows(node, "SELECT COUNT(*) FROM batch_status_history")
