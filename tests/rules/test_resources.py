"""S197, rule by rule: what a job declares for itself is fixed at its birth, and excludes others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepwell import Job, Node, Parameters
from stepwell.errors import (
    JobExecutionBlocked,
    JobRestartError,
    JobStartError,
)
from stepwell.job.resource import Declared
from stepwell.repository.blockers import list_declared
from stepwell.repository.creation import NewExecution
from stepwell.repository.history import Because
from stepwell.repository.invariants import examine
from stepwell.settings import JobSettings, Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import Blocked, Toggle, counts, nothing, owned, tasklet_job
from tests.rules.walks import WITHIN_S


class Item(Parameters):
    file: str
    agent: str = "clerk"


def item_job(name: str, function: Callable[..., Any] = nothing, **options: Any) -> Job:
    options = {"resources": lambda p: [p.file], "pool": lambda p: p.agent, **options}
    return tasklet_job(name, function, parameters=Item, **options)


def declared_by(node: Node, execution_id: int) -> Declared:
    with node.database.read() as reader:
        return list_declared(reader, execution_id)


@pytest.fixture
def begun(any_node: Node) -> Iterator[tuple[Node, int]]:
    """A node at work on ``data/a``, in the only place of the pool ``clerk``; and its execution."""
    any_node.pools.set("clerk", 1)
    blocked = Blocked()
    execution_id = any_node.operator.start(item_job("holder", blocked), {"file": "data/a"})
    assert blocked.begun.wait(WITHIN_S)
    yield any_node, execution_id
    blocked.release.set()
    any_node.operator.wait(execution_id)


def test_functions_of_the_parameters_are_asked_once_and_stored(any_node: Node) -> None:
    """S197: at the insert, so that a later start of the same instance is asked afresh."""
    any_node.pools.set("clerk", 1)
    folder = any_node.settings.folder
    toggle = Toggle()
    job = item_job("item", toggle)
    failed = any_node.operator.run(job, {"file": "data/../x.csv"})
    toggle.works = True
    again = any_node.operator.run(replace(job, pool=None), {"file": "data/../x.csv"})

    path = (f"{folder.resolve()}/x.csv",)
    assert Declared(path, ("clerk",)) == declared_by(any_node, failed.execution_id)
    assert Declared(path, ()) == declared_by(any_node, again.execution_id)


def test_a_list_and_a_single_text_are_as_good_as_a_function(any_node: Node, tmp_path: Path) -> None:
    """S197; two names of a pool take a place in each."""
    any_node.pools.set("a", 1)
    any_node.pools.set("b", 1)
    job = tasklet_job("job", nothing, resources=[tmp_path / "x", "/y/*"], pool=["a", "b", "a"])
    one = tasklet_job("one", nothing, resources="/z", pool="a")

    run = any_node.operator.run(job)
    other = any_node.operator.run(one)

    assert Declared((f"{tmp_path}/x", "/y/*"), ("a", "b")) == declared_by(
        any_node, run.execution_id
    )
    assert Declared(("/z",), ("a",)) == declared_by(any_node, other.execution_id)


def test_the_settings_come_before_the_job(tmp_path: Path, clock: FrozenClock) -> None:
    """S197: the operators' side of a job, whatever file defines it."""
    settings = Settings(
        database=f"sqlite:///{tmp_path}/rules.db",
        folder=tmp_path,
        pools={"night": 1},
        job={"job": JobSettings(resources=("out",), pool="night")},
    )
    with Node.open(settings, clock=clock) as node:
        execution = node.operator.run(tasklet_job("job", nothing, resources=["/x"], pool="day"))
        stored = declared_by(node, execution.execution_id)

    assert Declared((f"{tmp_path}/out",), ("night",)) == stored


def test_a_held_resource_refuses_a_start_and_names_the_holder(begun: tuple[Node, int]) -> None:
    """S197: whoever starts a job is told; nothing is recorded. Registered work waits instead."""
    node, holder = begun
    before = counts(node)
    job = item_job("other", pool=None)

    with pytest.raises(JobExecutionBlocked) as refused:
        node.operator.run(job, {"file": "data/*"})

    path = f"{node.settings.folder.resolve()}/data/a"
    assert (
        f"cannot start job 'other': execution {holder} has {path!r}",
        f"see who has it with `stepwell status {holder}`",
        {"job": "other", "execution_id": holder, "owner_is_dead": False},
    ) == (refused.value.message, refused.value.hint, refused.value.fields)
    assert before == counts(node)
    assert "COMPLETED" == node.operator.run(job, {"file": "data/b"}).batch_status


def test_a_full_pool_refuses_a_start_until_somebody_ends(begun: tuple[Node, int]) -> None:
    """S197: the size counts as it is now, so a larger one lets the next in at once."""
    node, holder = begun
    job = item_job("other")

    with pytest.raises(JobExecutionBlocked) as refused:
        node.operator.run(job, {"file": "data/b"})
    node.pools.set("clerk", 2)

    assert f"pool 'clerk' is full, 1 of 1 (execution {holder})" in refused.value.message
    assert "COMPLETED" == node.operator.run(job, {"file": "data/b"}).batch_status


def test_a_dead_holder_is_told_of_and_recovery_frees_what_it_had(any_node: Node) -> None:
    """S197, S188: the library never recovers by itself, the message says who should."""
    any_node.pools.set("clerk", 1)
    path = f"{any_node.settings.folder.resolve()}/data"
    record = any_node.repository.create_execution(
        NewExecution(
            "holder",
            (),
            any_node.repository.register_owner("test"),
            declared=Declared((path,), ("clerk",)),
        )
    ).execution
    any_node.database.liveness.release(record.owner_id or 0)

    with pytest.raises(JobExecutionBlocked) as refused:
        any_node.operator.run(item_job("item"), {"file": "data/b"})
    any_node.repository.recover(record.execution_id, Because("runner"))

    assert f"`stepwell recover {record.execution_id}`" in refused.value.hint
    assert refused.value.fields["owner_is_dead"]
    assert "COMPLETED" == any_node.operator.run(item_job("item"), {"file": "data/b"}).batch_status


def test_a_restart_needs_its_resources_too(any_node: Node) -> None:
    """S197: asked at the insert of the restart; refused like any other start."""
    any_node.pools.set("clerk", 1)
    toggle = Toggle()
    any_node.registry.add(item_job("item", toggle), origin="the test")
    failed = any_node.operator.run("item", {"file": "data/a"})
    holder = owned(any_node, "holder")
    any_node.pools.set("clerk", 0)

    with pytest.raises(JobExecutionBlocked, match="pool 'clerk' is paused"):
        any_node.operator.restart(failed.execution_id)
    any_node.repository.recover(holder.execution_id, Because("runner"), force=True)


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("no path", {"resources": [""]}, "resource '': it must be a path or a glob as text"),
    ("no text", {"resources": [7]}, "resource 7: it must be a path or a glob as text"),
    ("no list", {"resources": 7}, "resources must be text or a list of texts, got 7"),
    ("zero", {"resources": "a\0"}, "it must have at most 4096 characters, none zero"),
    ("up", {"resources": "a*/../b"}, "'..' behind a wildcard may be any folder"),
    ("too many", {"resources": [f"/{n}" for n in range(1_001)]}, "resources must be at most 1000"),
    ("raises", {"resources": lambda p: p["x"]}, "resources raised KeyError: 'x'"),
    ("pool", {"pool": "a b"}, "a pool's name must be 1 to 200 printable characters"),
    ("empty pool", {"pool": ""}, "a pool's name must be 1 to 200 printable characters"),
    ("unknown", {"pool": "gpu"}, "its pool 'gpu' has no size"),
]


@pytest.mark.parametrize("options", [b[1] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_declarations_are_refused_before_anything_is_recorded(
    node: Node, options: dict[str, Any]
) -> None:
    """S197, S183."""
    before = counts(node)

    with pytest.raises(JobStartError) as refused:
        node.operator.run(tasklet_job("job", nothing, **options))

    [fact] = [b[2] for b in BAD if b[1] is options]
    assert fact in refused.value.message
    assert refused.value.hint
    assert before == counts(node)


def test_a_restart_with_a_bad_declaration_says_restart(any_node: Node) -> None:
    """S197, S183: a JobRestartError in ``restart``."""
    toggle = Toggle()
    any_node.registry.add(tasklet_job("job", toggle), origin="the test")
    failed = any_node.operator.run("job")
    any_node.registry._jobs.clear()
    any_node.registry.add(tasklet_job("job", toggle, pool="gpu"), origin="the test")

    with pytest.raises(JobRestartError, match="cannot restart job 'job': its pool 'gpu' has no"):
        any_node.operator.restart(failed.execution_id)


def test_two_at_work_with_one_resource_are_found(tmp_path: Path) -> None:
    """R17, S197: by whoever examines the rows, should it ever come to that."""
    with Node.open(f"sqlite:///{tmp_path}/broken.db") as node:
        declared = Declared(("/data/a",), ())
        owner_id = node.repository.register_owner("test")
        node.repository.create_execution(NewExecution("one", (), owner_id, declared=declared))
        beside = replace(declared, paths=("/data/*.csv",))
        node.repository.create_execution(NewExecution("two", (), owner_id, declared=beside))
        with node.database.write() as transaction:
            transaction.connection.execute(
                "UPDATE batch_resource SET value = '/data/*' WHERE value = '/data/*.csv'"
            )
        with node.database.read() as reader:
            [finding] = examine(reader)

    assert ("R17", "job execution 1", "it has '/data/a' while execution 2 has '/data/*'") == (
        finding.rule,
        finding.where,
        finding.what,
    )
