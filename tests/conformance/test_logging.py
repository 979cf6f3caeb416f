"""What is logged: each recorded fact before and after, and the run in every line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from stepwell import ChunkStep, Flow, Job, Node, PartitionedStep, Split, StepContext, TaskletStep
from stepwell.database import facts
from stepwell.errors import OptimisticLockingFailure
from stepwell.execution.current import CURRENT
from stepwell.logs import JsonFormatter, LineFormatter, RunFilter
from stepwell.repository.executions import update_context
from stepwell.repository.zero_rows import ZeroRowUpdates
from tests.conformance.stories import execute, nothing, tasklet_job


class Lines(logging.Handler):
    """Keeps records, each as the filter has left it."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RunFilter())
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def run_of(self, message: str) -> tuple[Any, ...]:
        """Job, execution, step and partition of the line with this message."""
        [found] = [r for r in self.records if r.getMessage() == message]
        return found.job, found.execution_id, found.step, found.partition

    def facts(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.name == "stepwell.facts"]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Everything that is logged, at DEBUG."""
    root, lines = logging.getLogger(), Lines()
    level = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(lines)
    root.setLevel(level)


def test_each_recorded_fact_is_told_before_and_after(node: Node, lines: Lines) -> None:
    node.operator.run(tasklet_job("billing", nothing))
    told = lines.facts()

    begin = told.index("before INSERT batch_job_instance")
    assert [
        "before INSERT batch_job_instance",
        "after INSERT batch_job_instance id=1: 1 row",
        "before INSERT batch_job_execution id=1 status=STARTING",
        "after INSERT batch_job_execution id=1 status=STARTING: 1 row",
        "before INSERT batch_job_execution_context id=1",
        "after INSERT batch_job_execution_context id=1: 1 row",
        "before INSERT batch_status_history id=1 status=STARTING",
        "after INSERT batch_status_history id=1 status=STARTING: 1 row",
        "committed",
        "before UPDATE batch_job_execution id=1 version=0 fence=1 status=STARTED",
        "after UPDATE batch_job_execution id=1 version=1 fence=1 status=STARTED: 1 row",
    ] == told[begin : begin + 11]
    assert (
        "before UPDATE batch_job_execution id=1 version=1 fence=1 status=STARTED stage=only" in told
    )
    assert "after INSERT batch_step_execution id=1 status=STARTED stage=only: 1 row" in told
    pairs = [line.split(" ", 1)[1].split(" ")[:2] for line in told if line.startswith("before")]
    assert pairs == [
        line.split(" ", 1)[1].partition(":")[0].split(" ")[:2]
        for line in told
        if line.startswith("after")
    ]


def test_what_is_rolled_back_is_told_too(node: Node, lines: Lines) -> None:
    with pytest.raises(ZeroDivisionError), node.database.write():
        raise ZeroDivisionError

    assert "rolled back" == lines.facts()[-1]


def test_a_fact_has_its_values_for_programs(node: Node, lines: Lines) -> None:
    node.operator.run(tasklet_job("billing", nothing))
    [ended] = [
        r
        for r in lines.records
        if r.name == "stepwell.facts"
        and r.getMessage().startswith("after UPDATE batch_step_execution")
    ]

    assert ("batch_step_execution", 1, 1, "COMPLETED", 1) == (
        ended.table,
        ended.id,
        ended.version,
        ended.status,
        ended.row_count,
    )
    assert ("billing", 1, "only", None) == (
        ended.job,
        ended.execution_id,
        ended.step,
        ended.partition,
    )


def test_without_debug_nothing_of_it_is_made(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: the hot path pays one question a statement. Method: the rest would raise."""

    def broken(*_: Any, **__: Any) -> None:
        raise AssertionError("it was made")

    monkeypatch.setattr(facts, "before", broken)
    monkeypatch.setattr(facts, "after", broken)
    monkeypatch.setattr(facts.logger, "debug", broken)
    caplog.set_level(logging.INFO)
    node.operator.run(Job("billing", [ChunkStep("load", range(5), None, lambda items: None, 2)]))
    node.operator.run(Job("shares", [PartitionedStep("p", range(3), lambda n: None, workers=2)]))


# --- the run in every line ------------------------------------------------------------------------

theirs = logging.getLogger("somebody.else")


def test_every_line_of_a_run_says_which_run_it_is(node: Node, lines: Lines) -> None:
    """Goal: the engine's, the step's own logger's and any other library's, on every thread."""

    def say(step: StepContext) -> None:
        step.logger.info("of the step")
        theirs.info("of a library in a tasklet")

    def share(number: int, step: StepContext) -> None:
        theirs.info("of partition %d", number)

    def item(number: int) -> int:
        theirs.info("of an item")
        return number

    class Listener:
        def after_job(self) -> None:
            theirs.info("of a job listener")

    steps = [
        TaskletStep("say", say),
        ChunkStep("load", [1], item, lambda items: None),
        PartitionedStep("shares", [0, 1, 2], share, workers=2),
        Split(
            "both",
            [
                Flow("left", [TaskletStep("on the left", lambda: theirs.info("left"))]),
                Flow("right", [TaskletStep("on the right", lambda: theirs.info("right"))]),
            ],
        ),
    ]
    node.operator.run(Job("billing", steps=steps, listeners=[Listener()]))
    theirs.info("afterwards")

    assert ("billing", 1, "say", None) == lines.run_of("of the step")
    assert ("billing", 1, "say", None) == lines.run_of("of a library in a tasklet")
    assert ("billing", 1, "load", None) == lines.run_of("of an item")
    for number in range(3):
        assert ("billing", 1, "shares", number) == lines.run_of(f"of partition {number}")
    assert ("billing", 1, "on the left", None) == lines.run_of("left")
    assert ("billing", 1, "on the right", None) == lines.run_of("right")
    assert ("billing", 1, None, None) == lines.run_of("of a job listener")
    assert ("billing", 1, None, None) == lines.run_of("execution 1 of job 'billing' started")
    assert ("billing", 1, None, None) == lines.run_of("execution 1 of job 'billing' is COMPLETED")
    assert (None, None, None, None) == lines.run_of("afterwards")


def formatted(formatter: logging.Formatter, **attributes: Any) -> str:
    record = logging.makeLogRecord(
        {"name": "stepwell.runner", "levelname": "WARNING", "msg": "hello", "created": 0.25}
        | attributes
    )
    RunFilter().filter(record)
    return formatter.format(record)


def test_a_line_for_programs_is_one_json_object() -> None:
    told = formatted(
        JsonFormatter(),
        msg="%s\n\x1b[31m%d",
        args=("a", 1),
        job="billing",
        execution_id=41,
        odd={1},
    )

    assert "\n" not in told
    assert {
        "at": "1970-01-01T00:00:00.250000Z",
        "level": "WARNING",
        "logger": "stepwell.runner",
        "message": "a\n\x1b[31m1",
        "job": "billing",
        "execution_id": 41,
        "step": None,
        "partition": None,
        "odd": [1],
    } == json.loads(told)


def test_a_line_for_people_is_one_line_and_harmless() -> None:
    plain = formatted(LineFormatter())
    told = formatted(
        LineFormatter(),
        msg="a\nb\x1b[31m",
        job="bil\nling",
        execution_id=41,
        step="load",
        partition=3,
    )

    assert plain.endswith(" WARNING stepwell.runner: hello")
    assert told.endswith(" WARNING stepwell.runner [bil ling 41 load 3]: a b�[31m")


def test_a_trace_is_in_the_object(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)

    assert "ValueError: no" in json.loads(formatted(JsonFormatter(), exc_info=info))["trace"]
    assert "ValueError: no" in formatted(LineFormatter(), exc_info=info)
    assert "\n" not in formatted(LineFormatter(traces=False), exc_info=info)


def test_what_cannot_be_written_as_json_is_written_as_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    assert "odd" == json.loads(formatted(JsonFormatter(), thing=Odd()))["thing"]


def test_a_context_that_is_no_context_is_no_fault() -> None:
    token = CURRENT.set(object())
    try:
        assert formatted(LineFormatter()).endswith("stepwell.runner: hello")
    finally:
        CURRENT.reset(token)


# --- zero rows -----------------------------------------------------------------------------------


def test_a_context_that_is_gone_is_an_error_a_warning_and_a_count(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: law 2. What a restart needs is never lost in silence."""
    count = ZeroRowUpdates.count

    def tasklet(step: StepContext) -> None:
        execute_elsewhere("DELETE FROM batch_step_execution_context")
        step.context["done"] = 1

    def execute_elsewhere(sql: str) -> None:
        execute(node, sql)

    with pytest.raises(OptimisticLockingFailure) as raised:
        node.operator.run(tasklet_job("billing", tasklet))

    assert "cannot update the context of step execution 1: no such row exists" == (
        raised.value.message
    )
    assert count + caplog.text.count("affected 0 rows") == ZeroRowUpdates.count
    assert (
        "affected 0 rows - the job may not exist or was deleted: job 'billing',"
        " the context of step execution 1, status None, stage only" in caplog.text
    )


def test_the_context_of_a_job_that_is_gone_is_an_error(node: Node) -> None:
    with pytest.raises(OptimisticLockingFailure) as raised, node.database.write() as transaction:
        update_context(transaction, 4711, "{}")

    assert "cannot update the context of job execution 4711: no such row exists" == (
        raised.value.message
    )
