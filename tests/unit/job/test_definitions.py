"""Jobs, parameters and policies: refused before anything is recorded, every fault named."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from stepwell import ChunkStep, Job, Node, NonIdentifying, Parameters, PartitionedStep, Retry, Skip
from stepwell import TaskletStep as Tasklet
from stepwell.errors import InvalidSetting, JobStartError, NoSuchJob
from stepwell.job.check import check_job
from stepwell.job.function import input_annotation, positional_count
from stepwell.job.parameters import resolve_parameters, restore_parameters
from stepwell.job.registry import JobRegistry


class Range(Parameters):
    start_date: date
    shops: list[int] = Field(default_factory=list)
    requested_by: NonIdentifying[str] = "nobody"


def test_every_fault_of_a_definition_is_named_at_once() -> None:
    """S183."""
    bad: Any = Job(
        "no/slash",
        steps=[
            Tasklet("a", lambda x, y: None),
            Tasklet("a", 3),  # type: ignore[arg-type]
            ChunkStep("c", 5, None, 7, chunk_size=0, skip=Skip(ValueError, limit=-1)),  # type: ignore[arg-type]
            PartitionedStep("p", [], lambda: None, executor="gpu", tolerated_failures=1.5),
        ],
        identity="never",  # type: ignore[arg-type]
    )

    with pytest.raises(JobStartError) as raised:
        check_job(bad)

    faults = raised.value.fields["faults"]
    assert isinstance(faults, list)
    assert 13 == len(faults), faults


def test_nothing_is_recorded_of_a_refused_start(tmp_path: Path) -> None:
    """S8."""
    with Node.open(f"sqlite:///{tmp_path}/refused.db") as node:
        job = Job("job", steps=[Tasklet("a", lambda: None)], parameters=Range)
        for given in ({}, {"start_date": "soon"}, {"start_date": "2026-01-01", "stat": 1}):
            with pytest.raises(JobStartError):
                node.operator.run(job, given)
        with node.database.read() as reader:
            count = reader.connection.execute("SELECT COUNT(*) FROM batch_job_instance").fetchone()

    assert (0,) == count


def test_parameters_are_typed_and_taken_in_either_spelling() -> None:
    snake = resolve_parameters("j", Range, {"start_date": "2026-01-31", "shops": "[1, 2]"})
    camel = resolve_parameters("j", Range, {"startDate": date(2026, 1, 31), "shops": [1, 2]})

    assert snake == camel
    assert Range(start_date=date(2026, 1, 31), shops=[1, 2]) == snake.value
    assert [("start_date", True), ("shops", True), ("requested_by", False)] == [
        (p.name, p.identifying) for p in snake.recorded
    ]
    assert snake == restore_parameters("j", Range, snake.recorded)


def test_every_faulty_parameter_is_named_with_the_nearest_name() -> None:
    with pytest.raises(JobStartError) as raised:
        resolve_parameters("j", Range, {"start_dat": "x", "shops": "many"})

    faults: Any = raised.value.fields["parameters"]
    assert {"start_date", "start_dat", "shops"} == set(faults)
    assert "did you mean 'start_date'?" in raised.value.message


def test_without_a_model_every_parameter_is_its_canonical_text() -> None:
    """S8."""
    resolved = resolve_parameters("j", None, {"a": True, "b": date(2026, 1, 1), "c": 0.1})

    assert {"a": "true", "b": "2026-01-01", "c": "0.1"} == resolved.value


def test_the_nearest_class_in_the_mro_decides_and_exclusion_wins() -> None:
    """S110, S113."""
    skip = Skip(LookupError, exclude=(KeyError,))

    assert [True, False, False] == [
        skip.matches(IndexError()),
        skip.matches(KeyError()),
        skip.matches(ValueError()),
    ]
    assert not Skip(limit=3).matches(ValueError())
    assert not Skip(ValueError, exclude=(ValueError,)).matches(ValueError())
    assert [0.5, 4.0] == [
        Retry(ValueError, backoff=0.5).backoff_s(1),
        Retry(ValueError, backoff=lambda n: 2.0**n).backoff_s(2),
    ]


def test_a_function_gets_the_arguments_that_it_wants() -> None:
    def work(day: date, retries: int = 3, step: Any = None) -> None: ...

    assert [0, 1, 1, 2, 99] == [
        positional_count(lambda: None),
        positional_count(work),
        positional_count([].append),
        positional_count(lambda day, step=None: None),
        positional_count(lambda *arguments: None),
    ]
    assert date is input_annotation(work)


def test_two_jobs_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    (tmp_path / "first_jobs_module.py").write_text(
        "from stepwell import Job, TaskletStep\n"
        "job = Job('same', steps=[TaskletStep('a', print)])\n"
    )
    (tmp_path / "second_jobs_module.py").write_text(
        "from stepwell import Job, TaskletStep\nfrom first_jobs_module import job as imported\n"
        "job = Job('same', steps=[TaskletStep('b', print)])\n"
    )
    registry = JobRegistry()
    registry.load_modules(["first_jobs_module"], tmp_path)

    with pytest.raises(
        InvalidSetting, match=r"first_jobs_module.py:2\) and in .*second_jobs_module.py:3"
    ):
        registry.load_modules(["second_jobs_module"], tmp_path)
    with pytest.raises(NoSuchJob) as raised:
        registry.get("sam")
    assert "did you mean 'same'?" in raised.value.hint
    with pytest.raises(InvalidSetting, match="got 'no_such_module': ModuleNotFoundError"):
        registry.load_modules(["no_such_module"], tmp_path)


def test_a_chain_of_thousands_of_steps_is_no_cycle_and_no_recursion() -> None:
    """S47."""
    steps = [Tasklet(f"step {number}", print) for number in range(2_000)]
    check_job(Job("long", steps=steps))

    last = Tasklet("step 1999", print, next="step 1998")
    with pytest.raises(JobStartError, match="step 1998 → step 1999 → step 1998"):
        check_job(Job("around", steps=[*steps[:-1], last]))
