"""What Stepwell gives to the tests of its users keeps its own promises."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import ChunkStep, Job, Node, Parameters, TaskletStep
from stepwell.testing import (
    FrozenClock,
    assert_restart_equivalent,
    kill_at,
    run_job,
    run_step,
    temporary_node,
)


def create(step: Any) -> None:
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER PRIMARY KEY)")


def keep(items: list[int], step: Any) -> None:
    step.connection.executemany("INSERT INTO kept VALUES (:n)", [(n,) for n in items])


def keep_twice(step: Any) -> None:
    """Not restartable as it should be: it does not remember what it has done."""
    for n in (1, 2):
        with step.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER)")
            connection.execute("INSERT INTO kept VALUES (:n)", {"n": n})


RIGHT = Job(
    "right", steps=[TaskletStep("create", create), ChunkStep("keep", range(5), None, keep, 2)]
)
WRONG = Job("wrong", steps=[TaskletStep("keep", keep_twice)])


class Day(Parameters):
    day: int


def test_a_job_runs_on_a_temporary_database_and_its_steps_can_be_looked_at() -> None:
    run = run_job(RIGHT)

    assert ("COMPLETED", 5, 3) == (
        run.status,
        run.steps["keep"].metrics.write_count,
        run.steps["keep"].metrics.commit_count,
    )


def test_a_step_runs_alone_with_typed_parameters() -> None:
    step = TaskletStep("tell", lambda step: f"DAY {step.parameters.day + 1}")

    assert "DAY 8" == run_step(step, {"day": "7"}, model=Day).exit_status


def test_a_frozen_clock_gives_the_times_that_are_recorded(frozen_clock: FrozenClock) -> None:
    """The fixture is the plugin's."""

    def sleep(step: Any) -> None:
        frozen_clock.advance(90)

    with temporary_node(clock=frozen_clock) as node:
        run = run_job(Job("sleep", steps=[TaskletStep("sleep", sleep)]), node=node)

    assert run.execution.start_time is not None
    assert run.execution.end_time is not None
    assert 90 == (run.execution.end_time - run.execution.start_time).total_seconds()


def test_the_plugin_gives_a_node(stepwell_node: Node) -> None:
    assert [] == stepwell_node.operator.get_job_names()


def test_a_restartable_job_is_found_equivalent_around_its_commits() -> None:
    points = [kill_at("commit", n=n, when=when) for n in (4, 6, 7) for when in ("before", "after")]

    assert 6 == assert_restart_equivalent(f"{__name__}:RIGHT", points=points)


def test_a_job_that_does_its_work_twice_is_found_with_the_point_and_the_rows() -> None:
    with pytest.raises(AssertionError, match=r"1 of 1 restarts left other tables") as raised:
        assert_restart_equivalent(
            f"{__name__}:WRONG", points=[kill_at("insert into kept", n=2)], tables=["kept"]
        )

    assert "expected [[1], [2]], got [[1], [1], [2]]" in str(raised.value)


def test_a_point_that_the_run_does_not_come_to_is_no_proof() -> None:
    with pytest.raises(AssertionError, match=r"before it came to KillPoint\(number=99"):
        assert_restart_equivalent(f"{__name__}:RIGHT", points=[kill_at("commit", n=99)])


def test_no_points_are_none() -> None:
    assert 0 == assert_restart_equivalent(f"{__name__}:RIGHT", points=[])


def test_a_restart_may_be_killed_too() -> None:
    points = [[kill_at("commit", n=6), kill_at("commit", n=4, when="after")]]

    assert 1 == assert_restart_equivalent(f"{__name__}:RIGHT", points=points)


def test_a_job_that_only_its_second_restart_breaks_is_found() -> None:
    """The first does not come so far."""
    once, twice = kill_at("insert into kept", n=1), kill_at("insert into kept", n=2)
    with pytest.raises(AssertionError, match="1 of 2 restarts left other tables"):
        assert_restart_equivalent(
            f"{__name__}:WRONG", points=[[once], [once, twice]], tables=["kept"]
        )
