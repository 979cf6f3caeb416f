"""What is stored as JSON: its limits, and the errors of what is no JSON (S28, S95, S112)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from stepwell import (
    BatchStatus,
    ChunkStep,
    Job,
    Node,
    Parameters,
    PartitionedStep,
    Retry,
    Skip,
    StepContext,
    TaskletStep,
)
from stepwell.execution.json import CONTEXT_BYTES_MAX, INPUT_BYTES_MAX
from stepwell.testing import FrozenClock
from tests.conformance.stories import (
    Toggle,
    ended,
    findings,
    owned,
    rows,
    tasklet_job,
)

CONTEXT = (
    "SELECT c.serialized_context FROM batch_step_execution_context c"
    " ORDER BY c.step_execution_id DESC LIMIT 1"
)

NOT_JSON: dict[str, tuple[Any, str]] = {
    "a date": ({"at": date(2026, 11, 20)}, "at ['at']: date is no JSON type"),
    "a set deep inside": ({"a": [1, {"b": {2}}]}, "at ['a'][1]['b']: set is no JSON type"),
    "a number as key": ({"a": {1: 2}}, "at ['a']: the key 1 is no string"),
    "NaN": ({"a": math.nan}, "at ['a']: nan is no JSON number"),
    "an object": ({"a": object()}, "at ['a']: object is no JSON type"),
    "a Decimal": ({"a": Decimal("1.0")}, "at ['a']: Decimal is no JSON type"),
    "bytes": ({"a": b"x"}, "at ['a']: bytes is no JSON type"),
    "too much": (
        {"a": "x" * CONTEXT_BYTES_MAX},
        f"it is {CONTEXT_BYTES_MAX + 17} bytes of JSON, the limit is {CONTEXT_BYTES_MAX}",
    ),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_a_context_that_is_no_json_fails_the_step_and_keeps_what_was_stored(
    name: str, node: Node
) -> None:
    value, fact = NOT_JSON[name]

    def work(step: StepContext) -> None:
        with step.transaction():
            step.context["good"] = 1
        step.context.update(value)

    execution = node.operator.run(tasklet_job("billing", work))

    assert execution.failure is not None
    assert BatchStatus.FAILED == execution.batch_status
    assert f"cannot store the step's context{' ' if fact[0] == 'a' else ': '}{fact}" == (
        execution.failure.message
    )
    assert [('{"good":1}',)] == rows(node, CONTEXT)
    assert [] == findings(node)


@pytest.mark.parametrize("where", ["a step", "a listener of the job"])
def test_job_data_that_is_no_json_fails_the_job_and_keeps_what_was_stored(
    where: str, node: Node
) -> None:
    good = TaskletStep("good", lambda step: step.job.context.update(good=1))
    bad = TaskletStep("bad", lambda step: step.job.context.update(bad=object()))

    class Listener:
        def after_job(self, job: Any) -> None:
            job.context["bad"] = object()

    steps = [good, bad] if where == "a step" else [good]
    listeners = [] if where == "a step" else [Listener()]
    execution = node.operator.run(Job("billing", steps=steps, listeners=listeners))

    assert execution.failure is not None
    assert BatchStatus.FAILED == execution.batch_status
    assert "cannot store the job's context at ['bad']: object is no JSON type" == (
        execution.failure.message
    )
    assert [('{"good":1}',)] == rows(
        node, "SELECT serialized_context FROM batch_job_execution_context"
    )
    assert [] == findings(node)


def test_what_was_stored_comes_back_as_it_was(node: Node) -> None:
    value = {
        "text": 'ä 😀 "\\ \u0000 \n',
        "whole": [0, -1, 2**53 + 1, 2**63 - 1],
        "numbers": [0.1, 1e300, -0.0, 5e-324],
        "nested": {"a": [True, None, {}, []]},
    }
    toggle, restored = Toggle(), []

    def work(step: StepContext) -> None:
        restored.append(dict(step.context))
        step.context.update(value)
        toggle(step)

    job = tasklet_job("billing", work)
    node.operator.run(job)
    toggle.works = True
    node.operator.run(job)

    assert [{}, value] == restored
    assert str(value) == str(restored[1])


def reader(checkpoint: Callable[[], Any]) -> Any:
    class Reader:
        def open(self, at: Any) -> None:
            self._items = [3, 2, 1]

        def read(self) -> int | None:
            return self._items.pop() if self._items else None

        def checkpoint(self) -> Any:
            return checkpoint()

        def close(self) -> None:
            """Nothing to give back."""

    return Reader()


@pytest.mark.parametrize("value", [object(), "x" * CONTEXT_BYTES_MAX], ids=["no JSON", "too much"])
def test_a_checkpoint_that_cannot_be_stored_is_neither_skipped_nor_retried(
    value: Any, node: Node
) -> None:
    """Goal: S28, S112. Method: everything may be skipped and retried."""
    execute = "CREATE TABLE made (id INTEGER PRIMARY KEY)"
    with node.database.write() as transaction:
        transaction.connection.execute(execute)
    calls: list[int] = []

    def checkpoint() -> Any:
        calls.append(1)
        return value

    def write(items: list[int], step: StepContext) -> None:
        step.connection.executemany("INSERT INTO made (id) VALUES (:id)", [(i,) for i in items])

    execution = node.operator.run(
        Job(
            "billing",
            steps=[
                ChunkStep(
                    "load",
                    reader(checkpoint),
                    None,
                    write,
                    chunk_size=2,
                    skip=Skip(Exception),
                    retry=Retry(Exception, limit=9),
                )
            ],
        )
    )

    assert execution.failure is not None
    assert "cannot store the reader's checkpoint: " in execution.failure.message
    assert [1] == calls
    assert [] == rows(node, "SELECT id FROM made")
    assert [] == findings(node)


def test_a_checkpoint_is_a_value(node: Node) -> None:
    """Goal: S95. Method: the reader returns the same list each time and fills it."""
    shared: list[int] = []

    def checkpoint() -> list[int]:
        shared.append(len(shared))
        return shared

    seen: list[Any] = []

    def write(items: list[int], step: StepContext) -> None:
        seen.extend(rows(node, "SELECT reader_checkpoint FROM batch_step_execution"))

    node.operator.run(
        Job("billing", steps=[ChunkStep("load", reader(checkpoint), None, write, chunk_size=1)])
    )

    assert [(None,), ("[0]",), ("[0,1]",)] == seen


@dataclass
class Unknown:
    """Nothing that JSON can carry."""

    value: Any


@pytest.mark.parametrize(
    ("inputs", "fact"),
    [
        ([1, Unknown(object())], "cannot store input 1 of step 'days'"),
        (["x" * INPUT_BYTES_MAX], f"it is {INPUT_BYTES_MAX + 2} bytes of JSON, the limit is"),
    ],
    ids=["no JSON", "too much"],
)
def test_an_input_that_cannot_be_stored_freezes_no_plan(
    inputs: list[Any], fact: str, node: Node
) -> None:
    calls: list[Any] = []
    step = PartitionedStep("days", lambda: inputs, calls.append, executor="inline")
    execution = node.operator.run(Job("recalc", steps=[step]))

    assert execution.failure is not None
    assert fact in execution.failure.message
    assert ([], [(0,)]) == (calls, rows(node, "SELECT COUNT(*) FROM batch_partition"))
    assert [] == findings(node)


def test_long_texts_are_cut_to_their_limits_and_say_so(node: Node) -> None:
    """Goal: a failure or an exit status of any length is stored within its limit."""

    def work(step: StepContext) -> None:
        step.exit_status = "S" * 10_000
        raise ValueError("m" * 10_000)

    execution = node.operator.run(tasklet_job("billing", work))
    ((message, trace, exit_code),) = rows(
        node,
        "SELECT LENGTH(exit_message), LENGTH(failure_trace), LENGTH(exit_code)"
        " FROM batch_step_execution",
    )

    assert execution.failure is not None
    assert "m… (8000 more characters were cut)" in execution.failure.message
    assert (2_500, True, True) == (exit_code, message < 2_100, trace < 8_100)


# --- times and parameters ----------------------------------------------------------------------


def test_a_clock_that_runs_backwards_does_not_reverse_the_times(
    node: Node, clock: FrozenClock
) -> None:
    """Goal: S13."""
    record = owned(node, "billing")
    clock.set_back(3_600)

    def work(step: StepContext) -> None:
        clock.set_back(60)
        with step.transaction():
            clock.set_back(60)

    other = node.operator.run(tasklet_job("other", work))
    recovered = node.operator.recover(record.execution_id, force=True, reason="test")

    assert recovered.end_time is not None
    assert record.create_time <= recovered.end_time
    assert BatchStatus.COMPLETED == other.batch_status
    assert [] == findings(node)


def test_times_are_utc_with_microseconds(node: Node, clock: FrozenClock) -> None:
    clock.advance(0.123456)
    execution = ended(node, "billing", BatchStatus.COMPLETED)
    expected = datetime(2026, 11, 20, 1, 0, 0, 123456, tzinfo=UTC)

    assert [expected] * 4 == [
        execution.create_time,
        execution.start_time,
        execution.end_time,
        execution.last_updated,
    ]
    assert execution == node.operator.get_job_execution(execution.execution_id)


class Everything(Parameters):
    text: str
    whole: int
    real: float
    yes: bool
    amount: Decimal
    day: date
    at: datetime
    shops: list[int]
    nobody: str | None = None


def test_typed_parameters_come_back_as_they_were_given(node: Node) -> None:
    given = Everything(
        text="ä 😀",
        whole=2**62,
        real=0.1,
        yes=True,
        amount=Decimal("10.50"),
        day=date(2026, 11, 20),
        at=datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC),
        shops=[1, 2],
    )
    toggle, seen = Toggle(), []

    def work(step: StepContext) -> None:
        seen.append(step.parameters)
        toggle(step)

    node.registry.add(tasklet_job("billing", work, parameters=Everything), origin="the test")
    failed = node.operator.run("billing", given.model_dump())
    toggle.works = True
    node.operator.wait(node.operator.restart(failed.execution_id))

    assert [given, given] == seen
    assert [
        ("amount", "decimal", "10.5"),
        ("at", "datetime", "2026-11-20T01:02:03.000004+00:00"),
        ("day", "date", "2026-11-20"),
        ("nobody", "none", None),
        ("real", "float", "0.1"),
        ("shops", "json", "[1,2]"),
        ("text", "str", "ä 😀"),
        ("whole", "int", str(2**62)),
        ("yes", "bool", "true"),
    ] == [(p.name, p.type, p.value) for p in node.operator.get_parameters(failed.execution_id)]


def test_a_job_without_a_model_takes_everything_as_text(node: Node) -> None:
    """Goal: S8."""
    seen: list[Any] = []
    job = tasklet_job("billing", lambda step: seen.append(step.parameters))
    node.operator.run(job, {"a": 1, "b": True, "c": date(2026, 11, 20), "d": 1.5, "e": None})

    assert [{"a": "1", "b": "true", "c": "2026-11-20", "d": "1.5", "e": ""}] == seen
