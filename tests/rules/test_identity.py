"""Section 2, rule by rule: what a job instance is, and what its parameters are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Barrier, Thread
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, NonIdentifying, Parameters, StepContext
from stepwell.errors import (
    BatchError,
    JobExecutionAlreadyRunning,
    JobInstanceAlreadyComplete,
    JobRestartError,
    JobStartError,
    NoSuchJob,
)
from stepwell.execution.parameters import JobParameter
from tests.conformance.stories import Blocked, counts, ended, nothing, owned, tasklet_job, waiting
from tests.rules.walks import WITHIN_S, Definition, Walk, define, job_of, restart, run_job, steps

FAILED, COMPLETED = BatchStatus.FAILED, BatchStatus.COMPLETED


class Billing(Parameters):
    day: date
    shop: int = 1
    user: NonIdentifying[str] = "nobody"


class Range(Parameters):
    start_date: date


# --- S1 to S3: names and ids --------------------------------------------------------------------


def test_the_jobs_own_name_counts_and_not_that_of_its_document(node: Node) -> None:
    """S1: instances, executions, contexts and queries."""
    seen: list[str] = []
    document = Definition(job_of(Walk().step("only", lambda s: seen.append(s.job_name))))
    document.name = "night-3.xml"
    node.registry.add(document, origin="the test")

    execution = node.operator.run("night-3.xml")

    assert ("billing", ["billing"]) == (execution.job_name, seen)
    assert ["billing"] == [i.job_name for i in node.operator.get_job_instances("billing", 0, 9)]
    with pytest.raises(JobInstanceAlreadyComplete):
        node.operator.run(job_of(Walk().step("only")))


def test_a_step_that_did_not_really_start_has_no_execution(node: Node) -> None:
    """S2: one is skipped on restart, the other refused by its start limit."""
    walk = Walk()
    job = job_of(walk.step("a"), walk.step("b", ValueError(), start_limit=1))
    first = run_job(node, job)
    second = restart(node, first)

    assert [("a", COMPLETED, "COMPLETED"), ("b", FAILED, "FAILED")] == steps(node, first)
    assert [] == steps(node, second)
    assert ["a", "b"] == walk


def test_ids_are_unique_in_the_whole_repository(any_node: Node) -> None:
    """S3: across jobs, instances and restarts."""
    walk = Walk()
    executions = [
        run_job(any_node, job_of(walk.step("a"), walk.step("b", ValueError()), name=name))
        for name in ("billing", "report", "billing", "report")
    ]
    instances = [any_node.operator.get_job_instance(e.execution_id) for e in executions]
    step_ids = [
        step.step_execution_id
        for e in executions
        for step in any_node.operator.get_step_executions(e.execution_id)
    ]

    assert 4 == len({e.execution_id for e in executions})
    assert {("billing", executions[0].instance_id), ("report", executions[1].instance_id)} == {
        (i.job_name, i.instance_id) for i in instances
    }
    assert (6, 2) == (len(set(step_ids)), len({i.instance_id for i in instances}))


# --- S4, S5: identity ---------------------------------------------------------------------------


def test_the_job_key_is_the_hash_of_the_identifying_parameters_by_name(any_node: Node) -> None:
    """S4: sorted by name, each as name, type, value; the user is not identifying."""
    job = tasklet_job("billing", nothing, parameters=Billing)
    any_node.operator.run(job, {"shop": 7, "user": "anna", "day": "2026-11-20"})
    canonical = json.dumps(
        [["day", "date", "2026-11-20"], ["shop", "int", "7"]], separators=(",", ":")
    )

    instance = any_node.operator.get_job_instances("billing", 0, 1)[0]

    assert hashlib.sha256(canonical.encode()).hexdigest() == instance.job_key


def test_equal_identifying_parameters_are_the_same_instance(any_node: Node) -> None:
    """S4: whatever their order, whatever the others are; another type is another value."""
    job = tasklet_job("billing", nothing, parameters=Billing)
    any_node.operator.run(job, {"day": "2026-11-20", "user": "anna"})
    with pytest.raises(JobInstanceAlreadyComplete):
        any_node.operator.run(job, {"user": "bert", "shop": 1, "day": date(2026, 11, 20)})
    any_node.operator.run(job, {"day": "2026-11-20", "shop": 2})

    class Other(Parameters):
        day: date
        shop: str = "1"

    changed = tasklet_job("billing", nothing, parameters=Other)
    any_node.operator.run(changed, {"day": "2026-11-20"})

    assert 3 == any_node.operator.get_job_instance_count("billing")


def test_a_job_without_identifying_parameters_has_one_instance(node: Node) -> None:
    """S4."""

    class Unimportant(Parameters):
        user: NonIdentifying[str]

    job = tasklet_job("billing", nothing, parameters=Unimportant)
    node.operator.run(job, {"user": "anna"})

    with pytest.raises(JobInstanceAlreadyComplete) as refused:
        node.operator.run(job, {"user": "bert"})
    assert "cannot start job 'billing': it is already COMPLETED (execution 1)" == (
        refused.value.message
    )


def test_with_identity_each_start_equal_parameters_are_a_new_instance(any_node: Node) -> None:
    """S5: the job key is a fresh UUID."""
    job = tasklet_job("billing", nothing, identity="each-start")
    for _ in range(3):
        any_node.operator.run(job, {"day": "1"})
    keys = [i.job_key for i in any_node.operator.get_job_instances("billing", 0, 9)]

    assert (3, {32}) == (len(set(keys)), {len(key) for key in keys})


def test_a_failed_instance_of_each_start_is_restarted_and_never_started(node: Node) -> None:
    """S5."""
    walk = Walk()
    job = job_of(walk.step("a", ValueError()), identity="each-start")
    first = run_job(node, job)
    second = run_job(node, job)
    third = restart(node, second)

    assert [1, 2, 2] == [e.instance_id for e in (first, second, third)]


# --- S184: run locks, and again -----------------------------------------------------------------


def test_a_run_lock_names_the_winner_and_ends_with_it(any_node: Node, any_other: Node) -> None:
    """S184: refused at the insert, nothing recorded; the key is free once the winner has ended."""
    blocked = Blocked()
    options: dict[str, Any] = {"identity": "each-start", "run_lock": "job"}
    winner = any_node.operator.start(tasklet_job("billing", blocked, **options), {"day": "1"})
    assert blocked.begun.wait(WITHIN_S)
    before = counts(any_node)
    job = tasklet_job("billing", nothing, **options)

    with pytest.raises(JobExecutionAlreadyRunning) as refused:
        any_other.operator.run(job, {"day": "2"})
    recorded = counts(any_node)
    blocked.release.set()
    any_node.operator.wait(winner)

    assert winner == refused.value.fields["execution_id"]
    assert before == recorded
    assert COMPLETED is any_other.operator.run(job, {"day": "2"}).batch_status


def test_again_makes_a_new_instance_of_a_completed_one(any_node: Node) -> None:
    """S184: a run number joins the key; a failed one is restarted as ever."""
    walk = Walk()
    good, bad = job_of(walk.step("a")), job_of(walk.step("a", ValueError()))
    first = any_node.operator.run(good)
    second = any_node.operator.run(bad, again=True)
    third = any_node.operator.run(good, again=True)
    with pytest.raises(JobInstanceAlreadyComplete):
        any_node.operator.run(good)

    assert [1, 2, 2] == [e.instance_id for e in (first, second, third)]


# --- S6, S7: the last execution decides ---------------------------------------------------------


def recovered(node: Node) -> None:
    node.operator.recover(owned(node, "billing").execution_id, force=True, reason="the test")


def dead(node: Node) -> None:
    node.database.liveness.release(owned(node, "billing").owner_id or 0)


LAST: list[tuple[str, Callable[[Node], Any], type[BatchError] | None, str]] = [
    ("FAILED", lambda n: ended(n, "billing", FAILED), None, ""),
    ("STOPPED", lambda n: ended(n, "billing", BatchStatus.STOPPED), None, ""),
    ("recovered", recovered, None, ""),
    (
        "COMPLETED",
        lambda n: ended(n, "billing", COMPLETED),
        JobInstanceAlreadyComplete,
        "it is already COMPLETED (execution 1)",
    ),
    *(
        (
            status,
            lambda n, s=status: owned(n, "billing", BatchStatus(s)),
            JobExecutionAlreadyRunning,
            "execution 1 is running",
        )
        for status in ("STARTING", "STARTED", "STOPPING")
    ),
    ("dead", dead, JobExecutionAlreadyRunning, "execution 1 is running, its owner is dead"),
    (
        "waiting",
        lambda n: waiting(n, "billing"),
        JobExecutionAlreadyRunning,
        "execution 1 waits for a worker",
    ),
    (
        "ABANDONED",
        lambda n: n.operator.abandon(ended(n, "billing", FAILED).execution_id),
        JobRestartError,
        "its execution 1 is ABANDONED, which closes the instance",
    ),
]


@pytest.mark.parametrize(
    ("make", "error_class", "fact"), [case[1:] for case in LAST], ids=[case[0] for case in LAST]
)
def test_the_last_execution_decides_what_start_does(
    make: Callable[[Node], Any], error_class: type[BatchError] | None, fact: str, any_node: Node
) -> None:
    """S6, all of its table."""
    make(any_node)
    before = counts(any_node)
    job = tasklet_job("billing", nothing)

    if error_class is None:
        started = any_node.operator.wait(any_node.operator.start(job))
        assert started is not None
        assert (2, 1, COMPLETED) == (
            started.execution_id,
            started.instance_id,
            started.batch_status,
        )
        return
    with pytest.raises(error_class) as refused:
        any_node.operator.start(job)
    assert f"cannot start job 'billing': {fact}" == refused.value.message
    assert before == counts(any_node)


def test_a_start_that_restarts_uses_the_parameters_of_this_call(node: Node) -> None:
    """S6: those that are not identifying may be others."""
    seen: list[str] = []

    def work(step: StepContext) -> None:
        seen.append(step.parameters.user)
        if len(seen) == 1:
            raise ValueError

    job = tasklet_job("billing", work, parameters=Billing)
    node.operator.run(job, {"day": "2026-11-20", "user": "anna"})
    second = node.operator.run(job, {"day": "2026-11-20"})

    assert (["anna", "nobody"], 1) == (seen, second.instance_id)


def test_a_start_that_restarts_heeds_restartable(node: Node) -> None:
    """S6, S62: condition 5 of section 7 applies to it too."""
    job = tasklet_job("billing", nothing, restartable=False)
    ended(node, "billing", FAILED)

    with pytest.raises(JobRestartError) as refused:
        node.operator.start(job)
    assert "says restartable=False" in refused.value.message


def test_of_two_concurrent_starts_one_runs(any_node: Node, any_other: Node) -> None:
    """S7. Method: a barrier before each start, ten instances, two owners."""
    outcomes: dict[int, list[str]] = {}
    barrier = Barrier(2)

    def start(mine: Node) -> None:
        for day in range(10):
            barrier.wait()
            try:
                execution = mine.operator.run(tasklet_job("billing", nothing), {"day": day})
                outcomes.setdefault(day, []).append(str(execution.batch_status))
            except (JobExecutionAlreadyRunning, JobInstanceAlreadyComplete):
                outcomes.setdefault(day, []).append("refused")

    threads = [Thread(target=start, args=(mine,)) for mine in (any_node, any_other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 10 * [["COMPLETED", "refused"]] == [sorted(outcomes[day]) for day in range(10)]


# --- S8, S9: typed parameters -------------------------------------------------------------------


class Everything(Parameters):
    name: str
    count: int
    ratio: float
    sure: bool
    price: Decimal
    day: date
    at: datetime
    days: list[int]


def test_parameters_have_the_types_of_the_model_and_are_stored_as_canonical_text(
    any_node: Node,
) -> None:
    """S8, S9: from text, as from a command line."""
    seen: list[Everything] = []
    job = tasklet_job("billing", lambda s: seen.append(s.parameters), parameters=Everything)
    given = {
        "name": "x",
        "count": "7",
        "ratio": "0.1",
        "sure": "true",
        "price": "1.50",
        "day": "2026-11-20",
        "at": "2026-11-20T01:02:03Z",
        "days": "[1,2]",
    }

    execution = any_node.operator.run(job, given)

    assert [
        Everything(
            name="x",
            count=7,
            ratio=0.1,
            sure=True,
            price=Decimal("1.5"),
            day=date(2026, 11, 20),
            at=datetime(2026, 11, 20, 1, 2, 3, tzinfo=UTC),
            days=[1, 2],
        )
    ] == seen
    assert (
        JobParameter("at", "datetime", "2026-11-20T01:02:03+00:00"),
        JobParameter("count", "int", "7"),
        JobParameter("day", "date", "2026-11-20"),
        JobParameter("days", "json", "[1,2]"),
        JobParameter("name", "str", "x"),
        JobParameter("price", "decimal", "1.5"),
        JobParameter("ratio", "float", "0.1"),
        JobParameter("sure", "bool", "true"),
    ) == any_node.operator.get_parameters(execution.execution_id)


def test_every_faulty_parameter_is_named_and_no_row_exists(node: Node) -> None:
    """S8: a missing one, a wrong one, an unknown one."""
    before = counts(node)

    with pytest.raises(JobStartError) as refused:
        node.operator.run(
            tasklet_job("billing", nothing, parameters=Billing), {"shop": "x", "usr": "anna"}
        )

    with pytest.raises(JobStartError) as twice:
        node.operator.run(
            tasklet_job("billing", nothing, parameters=Range),
            {"startDate": "2026-11-20", "start_date": "2026-11-20"},
        )
    assert "parameter 'start_date': it is given twice" in twice.value.message
    assert {"day", "shop", "usr"} == set(refused.value.fields["parameters"])  # type: ignore[call-overload]
    assert before == counts(node)


def test_a_job_without_a_model_takes_any_name_as_text(node: Node) -> None:
    """S8: true and false, ISO 8601, the shortest decimal."""
    seen: list[dict[str, str]] = []
    job = tasklet_job("billing", lambda s: seen.append(s.parameters))
    given = {"a": True, "b": date(2026, 11, 20), "c": Decimal("1.500"), "d": 7, "e": "x", "f": 0.1}

    execution = node.operator.run(job, given)

    assert [{"a": "true", "b": "2026-11-20", "c": "1.5", "d": "7", "e": "x", "f": "0.1"}] == seen
    assert {"str"} == {p.type for p in node.operator.get_parameters(execution.execution_id)}


# --- S9, S10: the parameters of a restart -------------------------------------------------------


def failing(name: str = "billing", **options: Any) -> Job:
    return job_of(Walk().step("only", ValueError()), name=name, **options)


def test_each_execution_shows_exactly_the_parameters_that_it_ran_with(node: Node) -> None:
    """S9, S10: re-used, then replaced as a whole, the default included."""
    first = run_job(node, failing(parameters=Billing), {"day": "2026-11-20", "user": "anna"})
    second = restart(node, first)
    third = restart(node, second, parameters={"day": "2026-11-20"})
    users = [
        {p.name: p.value for p in node.operator.get_parameters(e.execution_id)}["user"]
        for e in (first, second, third)
    ]

    assert ["anna", "anna", "nobody"] == users
    assert {1} == {e.instance_id for e in (first, second, third)}


def test_given_parameters_of_a_restart_must_yield_the_same_job_key(node: Node) -> None:
    """S10."""
    first = run_job(node, failing(parameters=Billing), {"day": "2026-11-20"})

    with pytest.raises(JobRestartError) as refused:
        restart(node, first, parameters={"day": "2026-11-21"})
    assert (
        "cannot restart execution 1: it ran with day='2026-11-20', shop=1" == refused.value.message
    )


def test_re_used_parameters_are_read_by_the_model_as_it_now_is(node: Node) -> None:
    """S10, S63: it has a new identifying parameter with a default; the instance is the same."""

    class Later(Parameters):
        day: date
        shop: int = 1
        user: NonIdentifying[str] = "nobody"
        currency: str = "EUR"

    seen: list[Any] = []
    first = run_job(node, failing(parameters=Billing), {"day": "2026-11-20"})
    second = restart(
        node,
        first,
        tasklet_job("billing", lambda s: seen.append(s.parameters), parameters=Later),
    )

    assert (first.instance_id, COMPLETED) == (second.instance_id, second.batch_status)
    assert [Later(day=date(2026, 11, 20))] == seen


def test_the_definition_is_substituted_with_the_parameters_of_each_call(node: Node) -> None:
    """S10, S63: those given, or those that are used again; a Jakarta Batch job forgets them."""
    source = Definition(failing(identity="each-start"))
    node.registry.add(source, origin="night.yaml")
    first = node.operator.run("billing", {"day": 7})
    second = restart(node, first)
    third = restart(node, second, parameters={"day": "8"})
    source.reuses_parameters = False
    fourth = restart(node, third)

    assert [{"day": 7}, {"day": "7"}, {"day": "8"}, {}] == source.loaded
    assert () == node.operator.get_parameters(fourth.execution_id)


def test_with_identity_each_start_a_restart_takes_any_parameters(node: Node) -> None:
    """S10: the job key is not made of them."""
    first = run_job(node, failing(identity="each-start"), {"day": "1"})
    second = restart(node, first, parameters={"day": "2", "shop": "x"})

    assert (1, {"day": "2", "shop": "x"}) == (
        second.instance_id,
        {p.name: p.value for p in node.operator.get_parameters(second.execution_id)},
    )


def test_faulty_parameters_of_a_restart_are_a_restart_error(node: Node) -> None:
    """S8, S10: nothing is recorded."""
    first = run_job(node, failing(parameters=Billing), {"day": "2026-11-20"})
    before = counts(node)

    with pytest.raises(JobRestartError) as refused:
        restart(node, first, parameters={"day": "never"})
    assert refused.value.message.startswith("cannot restart job 'billing': parameter 'day'")
    assert before == counts(node)


def test_a_name_that_nothing_defines_starts_nothing(node: Node) -> None:
    """S8, S177."""
    define(node, job_of(Walk().step("only")))

    with pytest.raises(NoSuchJob) as refused:
        node.operator.start("biling")
    assert "did you mean 'billing'?" in refused.value.hint
