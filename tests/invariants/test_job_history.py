"""T7: random verbs of two operators on one file, against a pure model of what must come of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stepwell import (
    BatchStatus,
    ChunkStep,
    Flow,
    Job,
    Node,
    PartitionedStep,
    Split,
    StepContext,
    TaskletStep,
)
from stepwell.errors import (
    BatchError,
    JobExecutionAlreadyComplete,
    JobExecutionAlreadyRunning,
    JobExecutionIsRunning,
    JobExecutionNotMostRecent,
    JobExecutionNotRunning,
    JobInstanceAlreadyComplete,
    JobRestartError,
    LostOwnership,
    NoSuchJobExecution,
)
from tests.conformance.stories import findings, rows, statuses

STARTED, STOPPING, STOPPED = BatchStatus.STARTED, BatchStatus.STOPPING, BatchStatus.STOPPED
FAILED, COMPLETED, ABANDONED = BatchStatus.FAILED, BatchStatus.COMPLETED, BatchStatus.ABANDONED

RUNNING = (BatchStatus.STARTING, STARTED, STOPPING)

WITHIN_S = 20.0
DAYS = st.integers(1, 2)
NODES = st.integers(0, 1)
IDS = st.integers(1, 7)


# --- the model: no I/O, no engine -----------------------------------------------------------------


@dataclass(frozen=True)
class Execution:
    """What must stand in the row; ``is_at_work``: its thread has not come back yet."""

    day: int
    node: int
    status: BatchStatus = STARTED
    fence: int = 1
    is_at_work: bool = True
    owner_is_dead: bool = False

    @property
    def runs(self) -> bool:
        return self.status in (STARTED, STOPPING)


@dataclass
class Model:
    """Every execution by its id; a verb changes it or raises what the engine must raise."""

    executions: dict[int, Execution] = field(default_factory=dict)

    def get(self, execution_id: int) -> Execution:
        if execution_id not in self.executions:
            raise NoSuchJobExecution(execution_id)
        return self.executions[execution_id]

    def change(self, execution_id: int, **changes: Any) -> None:
        self.executions[execution_id] = replace(self.executions[execution_id], **changes)

    def last(self, day: int) -> int | None:
        return max((i for i, e in self.executions.items() if e.day == day), default=None)

    def start(self, day: int, node: int) -> None:
        last = self.last(day)
        if last is not None:
            match self.executions[last].status:
                case BatchStatus.COMPLETED:
                    raise JobInstanceAlreadyComplete("job", last, "")
                case BatchStatus.ABANDONED:
                    raise JobRestartError("abandoned")
                case BatchStatus.STARTED | BatchStatus.STOPPING:
                    raise JobExecutionAlreadyRunning("job", last, owner_is_dead=False)
        self.executions[len(self.executions) + 1] = Execution(day, node)

    def restart(self, execution_id: int, node: int) -> None:
        execution = self.get(execution_id)
        last = self.last(execution.day)
        if last != execution_id:
            raise JobExecutionNotMostRecent(execution_id, last or 0)
        if execution.status is COMPLETED:
            raise JobExecutionAlreadyComplete(execution_id)
        if execution.status not in (FAILED, STOPPED):
            raise JobRestartError(f"it is {execution.status}")
        self.executions[len(self.executions) + 1] = Execution(execution.day, node)

    def stop(self, execution_id: int) -> None:
        execution = self.get(execution_id)
        if not execution.runs:
            raise JobExecutionNotRunning(execution_id, execution.status)
        self.change(execution_id, status=STOPPING)

    def abandon(self, execution_id: int) -> None:
        execution = self.get(execution_id)
        if execution.runs:
            raise JobExecutionIsRunning("running")
        if execution.status is not ABANDONED:
            self.change(execution_id, status=ABANDONED, fence=execution.fence + 1)

    def recover(self, execution_id: int, *, force: bool) -> None:
        execution = self.get(execution_id)
        if not execution.runs:
            return
        if not (force or execution.owner_is_dead):
            raise JobExecutionIsRunning("alive")
        self.change(execution_id, status=FAILED, fence=execution.fence + 1)

    def finish(self, execution_id: int, *, fails: bool) -> None:
        execution = self.executions[execution_id]
        self.change(execution_id, is_at_work=False)
        if not execution.runs:
            raise LostOwnership("recovered meanwhile")
        ended = STOPPED if execution.status is STOPPING else COMPLETED
        self.change(execution_id, status=FAILED if fails else ended)


# --- the engine under the same verbs --------------------------------------------------------------


class Puppets:
    """The tasklet of every execution: it says that it has begun, and ends as it is told."""

    def __init__(self) -> None:
        self.begun: dict[int, Event] = {}
        self.commands: dict[int, SimpleQueue[bool]] = {}

    def expect(self, execution_id: int) -> None:
        self.begun[execution_id] = Event()
        self.commands[execution_id] = SimpleQueue()

    def process(self, step: StepContext) -> None:
        self.begun[step.execution_id].set()
        if self.commands[step.execution_id].get(timeout=WITHIN_S):
            raise ValueError("told to")


def alone(puppets: Puppets) -> list[Any]:
    return [TaskletStep("only", puppets.process)]


def in_a_split(puppets: Puppets) -> list[Any]:
    """With steps before, beside and behind it."""
    beside = Flow("right", [ChunkStep("beside", [1, 2], None, list, 1)])
    return [
        Flow("flow", [TaskletStep("first", lambda: None)]),
        Split("split", [Flow("left", [TaskletStep("only", puppets.process)]), beside]),
        TaskletStep("last", lambda: None),
    ]


def as_a_partition(puppets: Puppets) -> list[Any]:
    """One of three; the others are done by themselves."""

    def run(number: int, step: StepContext) -> None:
        if number == 0:
            puppets.process(step)

    return [PartitionedStep("only", [0, 1, 2], run, workers=2)]


SHAPES = [alone, in_a_split, as_a_partition]


class JobHistory(RuleBasedStateMachine):
    """Every verb is tried on the model and on the engine; both change alike or refuse alike."""

    template: Path
    shape: Callable[[Puppets], list[Any]]

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stepwell-history-"))
        file = self.folder / "history.db"
        shutil.copy(self.template, file)
        self.nodes = [Node.open(f"sqlite:///{file}") for _ in range(2)]
        self.puppets = Puppets()
        self.model = Model()
        job = Job("billing", type(self).shape(self.puppets))
        for node in self.nodes:
            node.registry.add(job, origin="the test")

    def teardown(self) -> None:
        for execution_id, execution in self.model.executions.items():
            if execution.is_at_work:
                self.puppets.commands[execution_id].put(item=False)
        for node in self.nodes:
            node.close()
        shutil.rmtree(self.folder)

    @rule(day=DAYS, node=NODES)
    def start(self, day: int, node: int) -> None:
        operator = self.nodes[node].operator
        self.begin(
            lambda: self.model.start(day, node), lambda: operator.start("billing", {"day": day})
        )

    @rule(execution_id=IDS, node=NODES)
    def restart(self, execution_id: int, node: int) -> None:
        operator = self.nodes[node].operator
        self.begin(
            lambda: self.model.restart(execution_id, node), lambda: operator.restart(execution_id)
        )

    @rule(execution_id=IDS, node=NODES)
    def stop(self, execution_id: int, node: int) -> None:
        def ask() -> None:
            self.nodes[node].operator.stop(execution_id)
            # Its owner reads the request, as the watcher would in a moment.
            owner = self.nodes[self.model.executions[execution_id].node].operator
            owner._runner._running[execution_id].read_requests()

        self.both(lambda: self.model.stop(execution_id), ask)

    @rule(execution_id=IDS, node=NODES)
    def abandon(self, execution_id: int, node: int) -> None:
        operator = self.nodes[node].operator
        self.both(lambda: self.model.abandon(execution_id), lambda: operator.abandon(execution_id))

    @rule(execution_id=IDS, node=NODES, force=st.booleans())
    def recover(self, execution_id: int, node: int, force: bool) -> None:
        operator = self.nodes[node].operator
        self.both(
            lambda: self.model.recover(execution_id, force=force),
            lambda: operator.recover(execution_id, force=force, reason="the test"),
        )

    @precondition(lambda self: any(e.is_at_work for e in self.model.executions.values()))
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        at_work = [i for i, e in self.model.executions.items() if e.is_at_work]
        execution_id = data.draw(st.sampled_from(at_work))
        operator = self.nodes[self.model.executions[execution_id].node].operator
        self.puppets.commands[execution_id].put(fails)
        self.both(
            lambda: self.model.finish(execution_id, fails=fails),
            lambda: operator.wait(execution_id, WITHIN_S),
        )

    @rule(node=NODES)
    def lose_the_proof_of_life(self, node: int) -> None:
        """As if the process had died; but its threads go on, as zombies do."""
        mine = self.nodes[node]
        if mine.operator._runner._owner_id is not None:
            mine.database.liveness.release(mine.operator._runner._owner_id)
            mine.operator._runner._owner_id = None
        for execution_id, execution in list(self.model.executions.items()):
            if execution.node == node and execution.runs:
                self.model.change(execution_id, owner_is_dead=True)

    def begin(self, expected: Any, actual: Any) -> None:
        new = len(self.model.executions) + 1
        self.puppets.expect(new)
        if self.both(expected, actual):
            assert self.puppets.begun[new].wait(WITHIN_S)

    def both(self, expected: Any, actual: Any) -> bool:
        """Whether both did it; else both refused with the same class of error."""
        refusals: list[type[BatchError] | None] = []
        for verb in (actual, expected):
            try:
                verb()
            except BatchError as refused:
                refusals.append(type(refused))
            else:
                refusals.append(None)
        assert refusals[1] == refusals[0]
        return refusals == [None, None]

    # --- what holds after each verb

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        stored = rows(
            self.nodes[0],
            "SELECT job_execution_id, status, fence FROM batch_job_execution ORDER BY 1",
        )

        assert [(i, e.status, e.fence) for i, e in sorted(self.model.executions.items())] == stored

    @invariant()
    def the_history_replays_to_the_rows(self) -> None:
        for execution_id, execution in self.model.executions.items():
            replayed: dict[str | None, BatchStatus] = {}
            for step_name, from_status, to_status, _, _ in statuses(self.nodes[1], execution_id):
                assert replayed.get(step_name) == from_status
                replayed[step_name] = to_status
            of_step = FAILED if execution.status is FAILED else replayed["only"]
            assert (execution.status, of_step) == (replayed[None], replayed["only"])
            if not execution.runs:
                assert not [name for name, status in replayed.items() if status in RUNNING]

    @invariant()
    def every_promise_holds(self) -> None:
        assert [] == findings(self.nodes[0])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "template.db"
    Node.open(f"sqlite:///{path}").close()
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_random_verbs_of_two_operators_do_what_the_model_says(template: Path, shape: Any) -> None:
    """T7: S6, S7, S11, S12, S23, S25, S30, S34, S35, S62, S178, S189."""
    check(template, shape, examples=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("shape", SHAPES)
def test_many_random_verbs_do_what_the_model_says(template: Path, shape: Any) -> None:
    """T7."""
    check(template, shape, examples=300)


def check(template: Path, shape: Any, *, examples: int) -> None:
    class Shaped(JobHistory):
        """The same for one shape of the job."""

    Shaped.template = template
    Shaped.shape = staticmethod(shape)
    run_state_machine_as_test(
        Shaped,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
