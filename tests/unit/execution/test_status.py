"""The tables of section 3.1, and how a parent follows from its children."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import IllegalTransition
from stepwell.execution.status import (
    BatchStatus,
    Result,
    check_transition,
    derive_job_result,
    derive_partitioned_step,
    tolerated_count,
)

JOB = """
none STARTING
STARTING STARTED, STARTING STOPPED, STARTING FAILED
STARTED STOPPING, STARTED COMPLETED, STARTED FAILED, STARTED STOPPED
STOPPING STOPPED, STOPPING FAILED
COMPLETED ABANDONED, FAILED ABANDONED, STOPPED ABANDONED
"""
STEP = """
none STARTED
STARTED STOPPING, STARTED COMPLETED, STARTED FAILED
STOPPING STOPPED, STOPPING FAILED, STOPPING COMPLETED
"""


def legal(table: str) -> set[tuple[str, ...]]:
    return {tuple(pair.split()) for line in table.strip().splitlines() for pair in line.split(",")}


@pytest.mark.parametrize(("kind", "table"), [("job", JOB), ("step", STEP)])
def test_every_change_that_the_rulebook_does_not_list_is_refused(kind: Any, table: str) -> None:
    """S11. Method: all pairs of statuses against the table as the rulebook prints it."""
    for before, after in product([None, *BatchStatus], BatchStatus):
        if (str(before or "none"), str(after)) in legal(table):
            check_transition(kind, 1, before, after)
        else:
            with pytest.raises(IllegalTransition):
                check_transition(kind, 1, before, after)


@pytest.mark.parametrize(
    ("total", "completed", "failed", "partial", "tolerated", "expected"),
    [
        (3, 3, 1, 0, 0, ("FAILED", "FAILED", "FAILED")),
        (3, 2, 1, 0, 0, ("FAILED", "FAILED", "FAILED")),
        (3, 2, 1, 0, 1, ("STOPPED", None, "STOPPED")),
        (3, 2, 0, 0, 0, ("STOPPED", None, "STOPPED")),
        (3, 3, 1, 0, 1, ("COMPLETED", "PARTIAL", "PARTIAL")),
        (3, 3, 0, 1, 0, ("COMPLETED", "PARTIAL", "PARTIAL")),
        (3, 3, 0, 0, 0, ("COMPLETED", "COMPLETED", "COMPLETED")),
        (0, 0, 0, 0, 0, ("COMPLETED", "COMPLETED", "COMPLETED")),
    ],
)
def test_a_partitioned_step_ends_as_its_counters_say(
    total: int, completed: int, failed: int, partial: int, tolerated: float, expected: object
) -> None:
    """S162, in its order."""
    end = derive_partitioned_step(
        total=total,
        completed=completed,
        failed=failed,
        partial=partial,
        tolerated_failures=tolerated,
    )

    assert expected == (end.batch_status, end.result, end.exit_status)


def test_a_fraction_of_tolerated_failures_is_exact_and_rounded_down() -> None:
    """S163: 0.3 of 10 is 3, although the double 0.3 is a little less."""
    assert [3, 29, 0, 10, 2] == [
        tolerated_count(0.3, 10),
        tolerated_count(0.29, 100),
        tolerated_count(0.999, 1),
        tolerated_count(1.0, 10),
        tolerated_count(2, 10),
    ]


@given(st.lists(st.sampled_from([None, *Result])))
def test_a_job_is_partial_when_any_of_its_steps_is(results: list[Result | None]) -> None:
    """S21."""
    completed = derive_job_result(BatchStatus.COMPLETED, results)

    assert (Result.PARTIAL if Result.PARTIAL in results else Result.COMPLETED) is completed
    assert Result.FAILED is derive_job_result(BatchStatus.FAILED, results)
    assert derive_job_result(BatchStatus.STOPPED, results) is None
