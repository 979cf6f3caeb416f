"""The worker: what it runs, what comes after, and what it leaves (S186, S188, S191)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, Parameters, StepContext, TaskletStep, on
from stepwell.database.postgresql_listening import AGAIN_S
from stepwell.errors import JobStartError, LockHeld, NoSuchOwner, OwnerHasEnded
from stepwell.execution.records import JobExecution
from stepwell.execution.result import Failure
from stepwell.repository.at_work import list_at_work
from stepwell.repository.owners import end_owner
from stepwell.runner.stop import POLL_S
from stepwell.settings import JobSettings, Settings
from stepwell.testing import FrozenClock
from stepwell.worker import LOOK_S, RECOVER_S, Duty, Loop, Worker
from tests.conformance.stories import (
    Blocked,
    Toggle,
    findings,
    nothing,
    owned,
    rows,
    statuses,
    tasklet_job,
    until,
)

COMPLETED, FAILED = BatchStatus.COMPLETED, BatchStatus.FAILED
STOPPED, STARTING = BatchStatus.STOPPED, BatchStatus.STARTING


def know(node: Node, *jobs: Job) -> None:
    for job in jobs:
        node.registry.add(job, origin="the test")


def drained(node: Node, **options: Any) -> list[tuple[str, int]]:
    """Run a worker until nothing is left; what it told."""
    told: list[tuple[str, int]] = []
    node.worker(
        drain=True, tell=lambda what, e: told.append((what, e.execution_id)), **options
    ).run()
    return told


def story(node: Node) -> list[tuple[str, str, str | None]]:
    """Job, status and who triggered it, of every execution in order."""
    return rows(
        node,
        "SELECT job_name, status, triggered_by FROM batch_job_execution"
        " JOIN batch_job_instance USING (job_instance_id) ORDER BY job_execution_id",
    )


def begun(node: Node, worker: Worker, blocked: Blocked) -> None:
    worker.run_once()
    until(blocked.begun.is_set)


def over(worker: Worker) -> None:
    """Until it is done; its rounds are those of the test."""

    def is_done() -> bool:
        worker.run_once()
        return worker.is_done

    until(is_done)


# --- running ----------------------------------------------------------------------------------


def test_a_worker_runs_what_is_registered_with_its_parameters(node: Node) -> None:
    class Day(Parameters):
        day: int

    seen: list[int] = []
    know(node, tasklet_job("billing", lambda s: seen.append(s.parameters.day), parameters=Day))
    for day in (3, 4):
        node.operator.register("billing", {"day": day})

    told = drained(node)

    assert [3, 4] == seen
    assert [("started", 1), ("ended", 1), ("started", 2), ("ended", 2)] == told
    assert [COMPLETED, COMPLETED] == [status for _, status, _ in story(node)]
    assert [] == findings(node)


def test_it_runs_as_many_at_a_time_as_it_was_told(node: Node) -> None:
    first, second = Blocked(), Blocked()
    know(node, tasklet_job("a", first), tasklet_job("b", second), tasklet_job("c", nothing))
    for name in "abc":
        node.operator.register(name)
    worker = node.worker(parallel=2, drain=True)
    begun(node, worker, first)
    begun(node, worker, second)
    worker.run_once()
    waiting = node.operator.get_job_execution(3)
    first.release.set()
    second.release.set()
    over(worker)

    assert (2, STARTING) == (worker_max(node), waiting.batch_status)
    assert [COMPLETED] * 3 == [status for _, status, _ in story(node)]


def worker_max(node: Node) -> int:
    """The most executions that ran at one moment, by their own times."""
    times = rows(node, "SELECT start_time, end_time FROM batch_job_execution")
    return sum(1 for start, _ in times if start is not None) - 1


def test_only_the_named_jobs(node: Node) -> None:
    know(node, tasklet_job("a", nothing), tasklet_job("b", nothing))
    node.operator.register("a")
    node.operator.register("b")

    assert [("started", 2), ("ended", 2)] == drained(node, jobs=["b"])
    assert STARTING == node.operator.get_job_execution(1).batch_status


def test_a_definition_that_does_not_load_any_more_fails_the_execution(node: Node) -> None:
    """STARTED to FAILED, with the reason; the worker goes on."""

    class Before(Parameters):
        day: int

    class After(Parameters):
        month: str

    know(node, tasklet_job("report", nothing))
    node.operator.register(tasklet_job("billing", nothing, parameters=Before), {"day": 3})
    node.operator.register("report")
    know(node, tasklet_job("billing", nothing, parameters=After))

    drained(node)
    failed = node.operator.get_job_execution(1)

    assert (FAILED, "JobRestartError") == (
        failed.batch_status,
        failed.failure and failed.failure.type,
    )
    assert "parameter 'month'" in (failed.failure.message if failed.failure else "")
    assert COMPLETED == node.operator.get_job_execution(2).batch_status
    assert [] == findings(node)


def test_draining_waits_for_what_runs_and_leaves_what_cannot_run(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    blocked = Blocked()
    know(node, tasklet_job("a", nothing), tasklet_job("b", nothing), tasklet_job("c", nothing))
    running = other.operator.start(tasklet_job("outside", blocked))
    until(blocked.begun.is_set)
    node.operator.register("a", after=running)
    node.operator.register("b", run_after=clock.now() + timedelta(hours=1))
    node.operator.register("c", after=3)
    worker = node.worker(drain=True)
    worker.run_once()
    waited = not worker.is_done
    blocked.release.set()
    other.operator.wait(running)
    over(worker)

    assert waited
    assert [COMPLETED, COMPLETED, STARTING, STARTING] == [status for _, status, _ in story(node)]


# --- what comes after (S186) --------------------------------------------------------------------


def test_a_failed_job_is_tried_again_after_its_backoff_and_goes_on(
    node: Node, clock: FrozenClock
) -> None:
    """S186. Method: the second step fails twice; the first one runs once."""
    runs: list[str] = []
    toggle = Toggle()
    know(
        node,
        Job(
            "billing",
            [TaskletStep("load", lambda: runs.append("load")), TaskletStep("pay", toggle)],
            attempts=3,
            backoff=lambda failures: 60.0 * failures,
        ),
    )
    node.operator.register("billing", priority=7)
    due: list[Any] = []
    for _ in range(2):
        drained(node)
        last = node.operator.get_job_execution(len(story(node)))
        assert last.run_after is not None
        due.append((last.run_after - clock.now()).total_seconds())
        toggle.works = len(due) == 2
        clock.advance(due[-1])
    drained(node)

    assert [60.0, 120.0] == due
    assert (["load"], 3) == (runs, toggle.calls)
    assert [
        ("billing", FAILED, None),
        ("billing", FAILED, "execution 1"),
        ("billing", COMPLETED, "execution 2"),
    ] == story(node)
    assert [7, 7, 7] == [node.operator.get_job_execution(i).priority for i in (1, 2, 3)]
    assert (None, None, STARTING, "runner", "goes on from execution 2: attempt 3 of 3") == (
        statuses(node, 3)[0]
    )
    assert [] == findings(node)


def test_attempts_end(node: Node) -> None:
    """S186: counted an instance; registered again by a person, it has one more and no other."""
    know(node, tasklet_job("billing", Toggle(), attempts=2))
    node.operator.register("billing")
    drained(node)
    after_two = len(story(node))
    node.operator.register("billing")
    drained(node)

    assert (2, 3) == (after_two, len(story(node)))


def test_a_foreground_run_is_not_tried_again(node: Node) -> None:
    execution = node.operator.run(tasklet_job("billing", Toggle(), attempts=3))

    assert FAILED == execution.batch_status
    assert 1 == len(story(node))


def test_settings_of_the_operators_replace_the_jobs_own(
    settings: Settings, clock: FrozenClock
) -> None:
    section = JobSettings(attempts=2, priority=5, max_recoveries=0)
    with Node.open(
        Settings(
            database=settings.database,
            sqlite_driver=settings.sqlite_driver,
            job={"billing": section},
        ),
        clock=clock,
    ) as node:
        know(node, tasklet_job("billing", Toggle()))
        node.operator.register("billing")
        drained(node)
        record = node.operator.get_job_execution(2)

        assert [FAILED, FAILED] == [status for _, status, _ in story(node)]
        assert (5, 0) == (record.priority, record.max_recoveries)


def test_on_completion_registers_what_follows_with_the_parameters_it_takes(node: Node) -> None:
    class Day(Parameters):
        day: int
        shop: int = 1

    class OnlyDay(Parameters):
        day: int

    know(
        node,
        tasklet_job("load", nothing, parameters=Day, on_completion=["report", "mail"]),
        tasklet_job("report", nothing, parameters=OnlyDay),
        tasklet_job("mail", nothing),
    )
    node.operator.run("load", {"day": 3, "shop": 9})
    registered = [node.operator.get_job_execution(i) for i in (2, 3)]
    drained(node)

    assert [("report", {"day": "3"}), ("mail", {"day": "3", "shop": "9"})] == [
        (record.job_name, {p.name: p.value for p in record.parameters}) for record in registered
    ]
    assert [
        ("load", COMPLETED, None),
        ("report", COMPLETED, "execution 1"),
        ("mail", COMPLETED, "execution 1"),
    ] == story(node)
    assert [] == findings(node)


def test_what_follows_twice_follows_once(node: Node) -> None:
    """Law 5. Method: the follower has run with these parameters already."""
    know(node, tasklet_job("report", nothing))
    node.operator.run("report", {"day": 3})
    execution = node.operator.run(
        tasklet_job("load", nothing, on_completion=["report"], attempts=2), {"day": 3}
    )

    assert COMPLETED == execution.batch_status
    assert ["report", "load"] == [name for name, *_ in story(node)]


@pytest.mark.parametrize("start", ["run", "start", "register"])
def test_what_could_not_follow_is_refused_at_the_start(start: str, node: Node) -> None:
    class Day(Parameters):
        day: int

    know(node, tasklet_job("report", nothing, parameters=Day))
    for follower, fact in (("raport", "cannot find job"), ("report", "parameter 'day'")):
        with pytest.raises(JobStartError) as refused:
            getattr(node.operator, start)(tasklet_job("load", nothing, on_completion=[follower]))
        assert f"{follower!r} of its on_completion" in refused.value.message
        assert fact in refused.value.message

    assert [] == story(node)


def test_a_failed_execution_has_no_follower(node: Node) -> None:
    know(node, tasklet_job("report", nothing))
    node.operator.run(tasklet_job("load", Toggle(), on_completion=["report"]))

    assert ["load"] == [name for name, *_ in story(node)]


def test_a_timeout_stops_what_takes_too_long(node: Node, clock: FrozenClock) -> None:
    """S186: with the reason; it was not the end of the process, so nothing goes on by itself."""
    waits = tasklet_job("waits", lambda step: until(lambda: step.stop_requested), timeout_s=30)
    know(node, waits)
    node.operator.register("waits")
    worker = node.worker(drain=True)
    worker.run_once()
    clock.advance(31)
    node.operator._runner.wake()
    over(worker)

    assert [("waits", STOPPED, None)] == story(node)
    assert ("runner", "timeout_s = 30 s ran out") in [
        (actor, reason) for _, _, to, actor, reason in statuses(node, 1) if to == "STOPPING"
    ]
    assert [] == findings(node)


def test_a_step_that_takes_too_long_stops_its_execution_and_no_other_step_does(
    node: Node, clock: FrozenClock
) -> None:
    """S186. Method: the first step takes less than its time, the second more, the third none."""
    gone = 29.0

    def waits(step: StepContext) -> None:
        clock.advance(gone)
        node.operator._runner.wake()
        until(lambda: step.stop_requested or gone < 30)

    def too_long(step: StepContext) -> None:
        nonlocal gone
        gone = 31.0
        waits(step)

    steps = [
        TaskletStep("short", waits, timeout_s=30),
        TaskletStep("long", too_long, timeout_s=30),
        TaskletStep("none", nothing),
    ]
    execution = node.operator.run(Job("billing", steps))

    assert (STOPPED, "long") == (
        execution.batch_status,
        node.operator.get_step_executions(1)[-1].step_name,
    )
    assert [("runner", "timeout_s = 30 s of step 'long' ran out")] == [
        (actor, reason)
        for step, _, to, actor, reason in statuses(node, 1)
        if to == "STOPPING" and step is None
    ]
    assert [] == findings(node)


# --- a place in the queue (S32) -----------------------------------------------------------------


@pytest.mark.parametrize("end", ["death", "failure", "shutdown"])
def test_what_goes_on_has_the_place_that_was_asked_for_last(
    end: str, node: Node, other: Node
) -> None:
    """S32, S30: asked for while it runs, it cannot move it any more, but what comes after it."""
    blocked = Blocked()

    def work(step: StepContext) -> None:
        blocked(step)
        if end == "failure":
            raise ValueError("not today")

    know(node, tasklet_job("billing", work, attempts=2))
    node.operator.register("billing", priority=3)
    worker = node.worker()
    begun(node, worker, blocked)
    for priority in (9, 5):
        asked = other.operator.set_priority(1, priority)
    if end == "death":
        other.operator.recover(1, force=True, reason="hangs")
    elif end == "shutdown":
        worker.request_stop("SIGTERM")
        until(node.operator._runner._running[1].stop_flag.is_set)
    blocked.release.set()
    until(lambda: node.operator.get_job_execution(1).end_time)

    assert (3, 3, 5) == (
        asked.priority,
        *(node.operator.get_job_execution(i).priority for i in (1, 2)),
    )
    assert [(9, False, True), (5, False, True)] == [
        (value, bool(late), taken_at is not None)
        for value, late, taken_at in rows(
            node,
            "SELECT value, late, taken_at FROM batch_request WHERE kind = 'priority'"
            " ORDER BY request_id",
        )
    ]
    assert [] == findings(node)


def test_a_place_that_nothing_comes_to_is_late(node: Node, other: Node) -> None:
    """S12: it ended COMPLETED before anybody could apply the request."""
    blocked = Blocked()
    know(node, tasklet_job("billing", blocked))
    node.operator.register("billing")
    begun(node, node.worker(), blocked)
    other.operator.set_priority(1, 5)
    blocked.release.set()
    until(lambda: node.operator.get_job_execution(1).end_time)

    assert [("billing", COMPLETED, None)] == story(node)
    assert [(True,)] == [(bool(late),) for (late,) in rows(node, "SELECT late FROM batch_request")]


# --- shutdown (S191) ----------------------------------------------------------------------------


def test_a_shutdown_leaves_successors_that_the_next_worker_continues(
    node: Node, other: Node
) -> None:
    """S191. Method: stopped after the first of two steps; the second worker runs the other one."""
    runs: list[str] = []
    blocked = Blocked()
    job = Job(
        "billing",
        [TaskletStep("load", blocked), TaskletStep("pay", lambda: runs.append("pay"))],
    )
    know(node, job)
    know(other, job)
    node.operator.register("billing", {"day": 1}, priority=4)
    worker = node.worker()
    begun(node, worker, blocked)
    worker.request_stop("SIGTERM")
    worker.request_stop("SIGTERM")
    until(node.operator._runner._running[1].stop_flag.is_set)
    blocked.release.set()
    over(worker)
    left = node.operator.get_job_execution(2)
    drained(other)

    assert (STARTING, None, 4, 0) == (
        left.batch_status,
        left.owner_id,
        left.priority,
        left.recoveries,
    )
    assert [("billing", STOPPED, None), ("billing", COMPLETED, "execution 1")] == story(node)
    assert ["pay"] == runs
    assert "goes on from execution 1: its process was shut down" == statuses(node, 2)[0][-1]
    assert [] == findings(node)


@pytest.mark.parametrize("first", ["operator", "shutdown"])
def test_what_a_person_has_stopped_does_not_go_on_by_itself(first: str, node: Node) -> None:
    """S191, whichever of the two came first."""
    blocked = Blocked()
    know(node, tasklet_job("billing", blocked))
    node.operator.register("billing")
    worker = node.worker()
    begun(node, worker, blocked)
    asks: list[Callable[[], Any]] = [
        lambda: node.operator.stop(1),
        lambda: worker.request_stop("SIGTERM"),
    ]
    for ask in asks if first == "operator" else reversed(asks):
        ask()
        until(node.operator._runner._running[1].stop_flag.is_set)
    until(lambda: rows(node, "SELECT COUNT(*) FROM batch_request") == [(2,)])
    blocked.release.set()
    over(worker)

    assert [("billing", STOPPED, None)] == story(node)


def test_what_may_not_be_restarted_has_no_successor(node: Node) -> None:
    blocked = Blocked()
    know(node, tasklet_job("billing", blocked, restartable=False))
    node.operator.register("billing")
    worker = node.worker()
    begun(node, worker, blocked)
    worker.request_stop("SIGTERM")
    until(node.operator._runner._running[1].stop_flag.is_set)
    blocked.release.set()
    over(worker)

    assert [("billing", STOPPED, None)] == story(node)


def test_a_stop_element_is_no_shutdown(node: Node) -> None:
    """The job says STOPPED by itself: it waits for a person."""
    step = TaskletStep("only", lambda: "WAIT", transitions=[on("WAIT").stop(restart="only")])
    know(node, Job("billing", [step]))
    node.operator.register("billing")
    drained(node)

    assert [("billing", STOPPED, None)] == story(node)


# --- recovery (S188, S191) ----------------------------------------------------------------------


def take(node: Node) -> None:
    """Claim what waits; nobody runs it."""
    owner_id = node.operator.owner_id
    assert list(node.repository.claim_executions(owner_id, node.operator.wanted(["billing"]), 1))


def die(node: Node) -> None:
    """As if the process had ended: its proof of life is gone, its threads are zombies."""
    owner_id = node.operator.owner_id
    node.database.liveness.release(owner_id)
    node.operator._runner._owner_id = None


def test_what_a_dead_worker_ran_goes_on_in_another_one_up_to_the_cap(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    """S191: three recoveries by default, then a person decides."""
    know(node, tasklet_job("billing", nothing))
    node.operator.register("billing", {"day": 1}, priority=3)
    recovered: list[int] = []

    def tell(what: str, execution: JobExecution) -> None:
        if what == "recovered":
            recovered.append(execution.execution_id)

    for _ in range(4):
        take(node)
        die(node)
        worker = other.worker(tell=tell)
        clock.advance(RECOVER_S)
        worker.run_once()

    assert [1, 2, 3, 4] == recovered
    assert [FAILED] * 4 == [status for _, status, _ in story(node)]
    assert [1, 2, 3, 4] == [r for (r,) in rows(node, "SELECT recoveries FROM batch_job_execution")]
    assert "goes on from execution 3: recovery 3 of 3" == statuses(node, 4)[0][-1]
    assert [] == findings(node)


def test_recovery_by_force_leaves_a_successor_too(node: Node) -> None:
    know(node, tasklet_job("billing", nothing))
    node.operator.register("billing")
    take(node)
    node.operator.recover(1, force=True, reason="hangs")

    assert [("billing", FAILED, None), ("billing", STARTING, "execution 1")] == story(node)


def test_a_death_does_not_use_up_an_attempt(node: Node, other: Node) -> None:
    """S186, S191: the two are counted apart."""
    know(node, tasklet_job("billing", Toggle(), attempts=2))
    node.operator.register("billing")
    take(node)
    die(node)
    other.operator.recover_dead()
    drained(node)

    assert [
        (FAILED, "OwnerDied"),
        (FAILED, "ValueError"),
        (FAILED, "ValueError"),
    ] == rows(
        node, "SELECT status, failure_type FROM batch_job_execution ORDER BY 1, job_execution_id"
    )


def test_a_dead_foreground_run_is_recovered_and_nothing_more(node: Node, other: Node) -> None:
    record = owned(node, "billing", BatchStatus.STARTED)
    node.database.liveness.release(record.owner_id or 0)
    other.operator.recover_dead()

    assert [("billing", FAILED, None)] == story(node)


def test_the_end_of_a_dead_owner_is_recorded_although_it_had_nothing(
    node: Node, other: Node
) -> None:
    dead, alive = node.operator.owner_id, other.operator.owner_id
    die(node)
    other.operator.recover_dead()

    assert [(dead, False), (alive, True)] == rows(
        node, "SELECT owner_id, ended_at IS NULL FROM batch_owner ORDER BY owner_id"
    )


def test_an_owner_that_has_left_something_ends_behind_its_recovery(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    """Method: it claims after somebody has looked for executions of the dead, and dies then."""
    know(node, tasklet_job("billing", nothing))
    node.operator.register("billing")
    take(node)
    owner_id = node.operator.owner_id
    die(node)
    other.database.run(lambda t: end_owner(t, owner_id, at=clock.now()))
    before = findings(other)
    other.operator.recover_dead()

    assert [] == [finding.code for finding in before if finding.code == "runs_without_owner"]
    assert [("billing", FAILED, None), ("billing", STARTING, "execution 1")] == story(node)
    assert [(False,)] == rows(
        node, f"SELECT ended_at IS NULL FROM batch_owner WHERE owner_id = {owner_id}"
    )


def test_what_belongs_to_another_owner_by_now_is_no_stray(node: Node, other: Node) -> None:
    """S190. Method: the claim's answer was lost, and somebody else has claimed it meanwhile."""
    know(node, tasklet_job("billing", nothing))
    know(other, tasklet_job("billing", nothing))
    node.operator.register("billing")
    take(other)
    failure = Failure("ConnectionLost", "the answer was lost")
    settled = node.repository.settle_stray(1, failure, node.operator.owner_id)

    assert (BatchStatus.STARTED, other.operator.owner_id) == (
        settled.batch_status,
        settled.owner_id,
    )


@pytest.mark.parametrize("apart_s", [-120, 120])
def test_no_clock_can_kill_an_owner(
    apart_s: int, settings: Settings, node: Node, clock: FrozenClock
) -> None:
    """T11, S13, S33: hosts two minutes apart, then a step back; death is proven without clocks."""
    record = owned(node, "billing", BatchStatus.STARTED)
    with Node.open(settings, clock=FrozenClock(clock.now() + timedelta(seconds=apart_s))) as far:
        asked = [far.operator.recover_dead()]
        clock.set_back(3600)
        asked.append(far.operator.recover_dead())
        clock.advance(7200)
        asked.append(far.operator.recover_dead())
        with node.locks.acquire("report", ttl_s=1), pytest.raises(LockHeld):
            far.locks.acquire("report", wait_s=0)
        node.database.liveness.release(record.owner_id or 0)
        (recovered,) = far.operator.recover_dead()

    assert [[], [], []] == asked
    assert (FAILED, record.execution_id) == (recovered.batch_status, recovered.execution_id)
    assert recovered.end_time is not None
    assert recovered.start_time is not None
    assert recovered.create_time <= recovered.start_time <= recovered.end_time
    assert [] == findings(node)


# --- duties ---------------------------------------------------------------------------------------


def test_a_duty_is_done_when_it_is_due_and_one_that_fails_keeps_no_other(
    clock: FrozenClock,
) -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("failing")
        raise ValueError("not today")

    loop = Loop(clock, [Duty("failing", 5, fail), Duty("often", 1, lambda: done.append("often"))])
    for _ in range(6):
        loop.run_once()
        loop.run_once()
        clock.advance(1)

    assert ["failing", *["often"] * 5, "failing", "often"] == done


def test_the_duties_of_the_node_are_done_by_its_worker(node: Node) -> None:
    done: list[str] = []
    node.duties.append(Duty("counting", 1, lambda: done.append("counted")))
    node.worker().run_once()

    assert ["counted"] == done


# --- listening ----------------------------------------------------------------------------------


def test_a_worker_looks_at_once_when_work_is_registered_where_it_can_be_told(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    """Method: its clock stands still, so nothing but a notice wakes it; SQLite has none."""
    ran = Blocked()
    ran.release.set()
    rounds: list[int] = []
    know(node, tasklet_job("billing", ran), tasklet_job("report", nothing))
    worker = node.worker()
    thread = Thread(target=worker.run, args=(lambda _worker: rounds.append(1),))
    thread.start()
    until(lambda: rounds)
    is_told = node.database.path is None
    try:
        if is_told:
            node.operator.register("report")
            until(lambda: node.operator.get_job_execution(1).end_time)
        other.operator.register(tasklet_job("billing", nothing))
        if not is_told:
            clock.advance(LOOK_S)
        until(ran.begun.is_set)
    finally:
        worker.request_stop("the test")
        thread.join()

    assert [COMPLETED] == list({status for _, status, _ in story(node)})


def test_a_lost_listener_listens_again(postgresql_database_url: str, clock: FrozenClock) -> None:
    """Goal: a notice is a hint. Method: end its session; it has another one when time has come."""
    heard: list[int] = []
    with Node.open(postgresql_database_url, clock=clock) as node:
        with node.database.listening("queue", lambda: heard.append(1)):
            until(lambda: heard)  # It listens.
            with node.database.write() as transaction:
                transaction.connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
            before = len(heard)

            def listens_again() -> bool:
                clock.advance(AGAIN_S)
                return len(heard) > before

            until(listens_again)
            node.operator.register(tasklet_job("billing", nothing))
            until(lambda: len(heard) > before + 1)
        left = rows(
            node,
            "SELECT COUNT(*) FROM pg_stat_activity"
            " WHERE query LIKE 'LISTEN%' AND datname = current_database()",
        )

    assert [(0,)] == left


# --- asked to end ------------------------------------------------------------------------------


def test_a_worker_that_is_asked_to_end_ends_gracefully(node: Node, other: Node) -> None:
    """As with SIGTERM: its work goes on in the next worker (S191)."""
    blocked = Blocked()
    node.operator._runner._purpose = "work"
    know(node, tasklet_job("billing", blocked))
    node.operator.register("billing")
    worker = node.worker()
    begun(node, worker, blocked)
    at_work = list_at_work(node.database)
    other.operator.stop_owner(node.operator.owner_id, reason="the machine is needed")
    worker._look_for_end()
    until(node.operator._runner._running[1].stop_flag.is_set)
    blocked.release.set()
    over(worker)

    assert [(node.operator.owner_id, False, (1,))] == [
        (each.owner.owner_id, each.is_dead, each.execution_ids) for each in at_work
    ]
    assert [("billing", STOPPED, None), ("billing", STARTING, "execution 1")] == story(node)
    assert "the machine is needed" in [reason for *_, reason in statuses(node, 1)]


def test_any_other_process_is_asked_to_stop_what_it_runs(
    node: Node, other: Node, clock: FrozenClock
) -> None:
    blocked = Blocked()
    execution_id = node.operator.start(tasklet_job("billing", blocked))
    until(blocked.begun.is_set)
    other.operator.stop_owner(node.operator.owner_id, reason="enough")
    clock.advance(POLL_S)
    until(node.operator._runner._running[execution_id].stop_flag.is_set)
    blocked.release.set()
    ended = node.operator.wait(execution_id)

    assert ended is not None
    assert STOPPED == ended.batch_status
    assert [("billing", STOPPED, None)] == story(node)


def test_who_is_not_at_work_cannot_be_asked_to_end(node: Node, other: Node) -> None:
    dead = node.operator.owner_id
    die(node)
    with pytest.raises(OwnerHasEnded) as is_dead:
        other.operator.stop_owner(dead)
    other.operator.recover_dead()
    with pytest.raises(OwnerHasEnded) as has_ended:
        other.operator.stop_owner(dead)
    with pytest.raises(NoSuchOwner) as unknown:
        other.operator.stop_owner(77)

    assert is_dead.value.message.endswith(": it is dead")
    assert has_ended.value.message.endswith(": it has ended")
    assert "cannot find owner 77: no such owner is recorded here" == unknown.value.message
