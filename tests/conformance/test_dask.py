"""A Dask cluster: never the truth, never a reason to hang (S193, S194)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, PartitionedStep
from stepwell.database.place import place_of, refuse_another_place
from stepwell.errors import CannotOpenDatabase, ClusterUnreachable
from stepwell.executors.dask import DaskExecutor
from stepwell.repository.invariants import examine
from stepwell.repository.partitions import list_partition_executions
from stepwell.settings import Settings
from tests.conformance import dask_jobs as jobs
from tests.conformance.dask_jobs import WITHIN_S
from tests.conformance.executor_jobs import CREATE


@pytest.fixture
def node(cluster: Any, tmp_path: Path) -> Iterator[Node]:
    with new_node(cluster, tmp_path) as node:
        yield node


@contextmanager
def new_node(cluster: Any, folder: Path) -> Iterator[Node]:
    """The settings name the scheduler; the program's own client is not asked."""
    settings = Settings(
        database=f"sqlite:///{folder}/dask.db", dask_scheduler=cluster.scheduler_address
    )
    with Node.open(settings) as node:
        with node.database.write() as transaction:
            transaction.connection.execute(CREATE)
        yield node


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Node]:
    """A scheduler without workers."""
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
        Node.open(
            Settings(
                database=f"sqlite:///{tmp_path}/lonely.db",
                dask_scheduler=cluster.scheduler_address,
            )
        ) as node,
    ):
        node.cluster = cluster  # type: ignore[attr-defined]
        yield node


def on_dask(inputs: Any, work: Any, **options: Any) -> Job:
    return Job("job", steps=[PartitionedStep("parts", inputs, work, executor="dask", **options)])


def attempts(node: Node, execution_id: int) -> list[Any]:
    (step,) = node.operator.get_step_executions(execution_id)
    with node.database.read() as reader:
        assert [] == examine(reader)
        return list_partition_executions(reader, step.step_execution_id)


def written(node: Node) -> list[int]:
    with node.database.read() as reader:
        return [n for (n,) in reader.connection.execute("SELECT n FROM out ORDER BY n")]


def until(holds: Callable[[], Any]) -> None:
    event, tries = threading.Event(), 0
    while not holds():
        event.wait(0.02)
        tries += 1
        assert tries < WITHIN_S / 0.02


def test_a_function_needs_no_database_where_it_runs(node: Node) -> None:
    """Method: a worker that has none open says so; context and result are recorded all the same."""
    first = node.operator.run(on_dask(range(3), jobs.alone), {"url": node.database.url})
    with node.database.read() as reader:
        contexts = reader.connection.execute(
            "SELECT context FROM batch_partition_execution ORDER BY partition_number"
        ).fetchall()

    assert BatchStatus.COMPLETED is first.batch_status
    assert [{"open": 0}] * 3 == [a.counts for a in attempts(node, first.execution_id)]
    assert [('{"n":0}',), ('{"n":1}',), ('{"n":2}',)] == contexts


def test_a_worker_outlives_a_database_that_is_made_anew(cluster: Any, tmp_path: Path) -> None:
    """Ids and fences begin again at 1: it neither runs the old work nor writes the old file."""
    for numbers, function in (([1, 2], jobs.opens), ([3], jobs.opens_with_words)):
        with new_node(cluster, tmp_path) as node:
            execution = node.operator.run(on_dask(numbers, function))
            assert BatchStatus.COMPLETED is execution.batch_status
            assert 1 == execution.execution_id
            assert numbers == written(node)
            said = {attempt.exit_status for attempt in attempts(node, 1)}
        for file in tmp_path.glob("dask.db*"):
            file.unlink()

    assert {"with words"} == said


def test_keys_name_execution_step_range_and_attempt(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are never those of another database, whose executions count from 1 as well."""
    keys: list[str] = []
    send = DaskExecutor.send
    monkeypatch.setattr(
        DaskExecutor,
        "send",
        lambda self, key, *rest: (keys.append(key), send(self, key, *rest))[1],
    )
    node.operator.run(on_dask([7], jobs.alone))
    node.operator.run(on_dask([7], jobs.alone), {"n": "2"})

    (one, other) = (key.split(":") for key in keys)
    assert (["1", "parts", "0-0", "1"], ["2", "parts", "0-0", "1"]) == (one[1:], other[1:])
    assert one[0].startswith("stepwell-")
    assert one[0] != other[0]


def test_a_worker_that_is_killed_costs_nothing_that_was_committed(node: Node) -> None:
    """Dask runs its task again elsewhere; what was committed is not done twice."""
    execution = node.operator.run(on_dask(range(8), jobs.dies_once))
    rows = written(node)
    ended = attempts(node, execution.execution_id)

    assert BatchStatus.COMPLETED is execution.batch_status
    assert list(range(8)) == rows
    assert "again" == ended[3].exit_status


def test_a_stop_reaches_functions_without_a_database(node: Node, tmp_path: Path) -> None:
    """S146, S194: the cluster brings it; what no worker has stays unstarted."""
    places = [str(tmp_path / str(n)) for n in range(5)]
    execution_id = node.operator.start(on_dask(places, jobs.waits_for_stop))
    until(lambda: sum(Path(place).exists() for place in places) == 2)
    node.operator.stop(execution_id)
    ended = node.operator.wait(execution_id, WITHIN_S)

    assert ended is not None
    assert BatchStatus.STOPPED is ended.batch_status
    told = attempts(node, execution_id)
    assert [("STOPPED", None)] * 5 == [(str(a.batch_status), a.outcome) for a in told]
    assert 2 == sum(a.exit_status == "HALF WAY" for a in told)


def test_a_cluster_without_workers_is_waited_for_and_a_stop_ends_it(
    lonely: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning, ``why``, and no hang; the restart runs when a worker has come."""
    job = on_dask([1, 2], jobs.alone)
    execution_id = lonely.operator.start(job)
    until(lambda: "has none" in lonely.operator.why(execution_id).reasons[0].fact)
    (reason,) = lonely.operator.why(execution_id).reasons
    lonely.operator.stop(execution_id)
    ended = lonely.operator.wait(execution_id, WITHIN_S)
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    lonely.cluster.scale(1)  # type: ignore[attr-defined]
    again = lonely.operator.wait(lonely.operator.start(job), WITHIN_S)

    assert "running" == reason.code
    assert "in step 'parts', which waits for workers: the Dask cluster at tcp://" in reason.fact
    assert any("step 'parts' of execution 1 waits for workers" in line for line in warned)
    assert ended is not None
    assert BatchStatus.STOPPED is ended.batch_status
    assert again is not None
    assert BatchStatus.COMPLETED is again.batch_status


@pytest.mark.slow
def test_a_scheduler_that_dies_fails_the_step_and_a_restart_finishes_it(
    tmp_path: Path, cluster: Any
) -> None:
    """Method: a scheduler of its own that is closed; the restart is on the shared cluster."""
    from distributed import LocalCluster

    dying = LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0")
    url = f"sqlite:///{tmp_path}/lost.db"
    job = on_dask([1, 2], jobs.alone)
    with Node.open(Settings(database=url, dask_scheduler=dying.scheduler_address)) as node:
        execution_id = node.operator.start(job)
        until(lambda: "has none" in node.operator.why(execution_id).reasons[0].fact)
        dying.close()
        ended = node.operator.wait(execution_id, WITHIN_S)
        told = attempts(node, execution_id)
    with Node.open(Settings(database=url, dask_scheduler=cluster.scheduler_address)) as node:
        again = node.operator.run(job)

    assert ended is not None
    assert (BatchStatus.FAILED, "stepwell.executors.dask.ClusterLost") == (
        ended.batch_status,
        ended.failure and ended.failure.type,
    )
    assert [None, None] == [a.outcome for a in told]
    assert BatchStatus.COMPLETED is again.batch_status


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Nothing was handed out."""
    import dask.config

    settings = Settings(database=f"sqlite:///{tmp_path}/x.db", dask_scheduler="tcp://127.0.0.1:9")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        Node.open(settings) as node,
    ):
        ended = node.operator.run(on_dask([1], jobs.alone))
        told = attempts(node, ended.execution_id)

    assert isinstance(ended.exception, ClusterUnreachable)
    assert "cannot reach the Dask scheduler 'tcp://127.0.0.1:9': " in ended.exception.message
    assert "correct `dask_scheduler`, or start it with `dask scheduler`" == ended.exception.hint
    assert [None] == [a.outcome for a in told]


def test_a_sqlite_file_of_another_machine_is_refused(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the owner says of its file that it is elsewhere; the step fails, not partitions."""
    monkeypatch.setattr("stepwell.runner.task.place_of", lambda url: "elsewhere:1:2")
    ended = node.operator.run(jobs.CHUNKS)
    told = attempts(node, ended.execution_id)
    function = node.operator.run(on_dask([1], jobs.opens))
    free = node.operator.run(on_dask([1], jobs.alone), {"n": "2"})

    assert isinstance(ended.exception, CannotOpenDatabase)
    assert "it is a SQLite file of another machine" in ended.exception.message
    assert "run the workers on the machine of the file, or use a PostgreSQL database" == (
        ended.exception.hint
    )
    assert [None] == [a.outcome for a in told]
    (failed,) = attempts(node, function.execution_id)
    assert "CannotOpenDatabase" in (failed.message or "")
    assert BatchStatus.COMPLETED is free.batch_status


def test_where_a_database_is(tmp_path: Path) -> None:
    """A server is the same for everybody, a file is its own machine's."""
    file = tmp_path / "a.db"
    url = f"sqlite:///{file}"
    nowhere = place_of(url)
    file.touch()
    here = place_of(url)
    file.rename(tmp_path / "b.db")
    file.touch()

    assert None is place_of("postgresql://host/name")
    assert nowhere != here
    refuse_another_place(url, place_of(url))
    with pytest.raises(CannotOpenDatabase, match="another machine"):
        refuse_another_place(url, here)
