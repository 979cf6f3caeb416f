"""T9 for executors: the same records wherever partitions run (S193, S194, S160)."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, ChunkStep, Job, Node, Parameters, PartitionedStep
from stepwell.errors import JobStartError, LostOwnership
from stepwell.repository.invariants import examine
from stepwell.repository.partitions import list_partition_executions
from tests.conformance import executor_jobs as jobs
from tests.conformance.executor_jobs import EXECUTORS, WITHIN_S

ROOT = Path(__file__).resolve().parents[2]


# A server only makes a difference to partitions that run in another process.
REMOTE = (("postgresql", "processes"), ("postgresql", "dask"))
EACH = [*(("sqlite3", executor) for executor in EXECUTORS), *REMOTE]
on_each = pytest.mark.parametrize(("database_url", "executor"), EACH, indirect=True)


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> str:
    if request.param == "dask":
        request.getfixturevalue("cluster")
    return str(request.param)


@pytest.fixture
def node(database_url: str) -> Iterator[Node]:
    with new_node(database_url) as node:
        yield node


@pytest.fixture
def lite(tmp_path: Path) -> Iterator[Node]:
    with new_node(f"sqlite:///{tmp_path}/lite.db") as node:
        yield node


def new_node(url: str) -> Node:
    node = Node.open(url)
    with node.database.write() as transaction:
        transaction.connection.execute(jobs.CREATE)
    return node


def run(node: Node, job: Job, parameters: Any = None) -> dict[str, Any]:
    """Everything that a run records of a job of one partitioned step, but for times and traces."""
    execution = node.operator.run(job, parameters)
    return recorded(node, execution.execution_id)


def recorded(node: Node, execution_id: int) -> dict[str, Any]:
    execution = node.operator.get_job_execution(execution_id)
    (step,) = node.operator.get_step_executions(execution_id)
    with node.database.read() as reader:
        attempts = list_partition_executions(reader, step.step_execution_id, count=10_000)
        contexts = reader.connection.execute(
            "SELECT partition_number, context FROM batch_partition_execution"
            " WHERE step_execution_id = :id ORDER BY partition_number",
            {"id": step.step_execution_id},
        ).fetchall()
        assert [] == examine(reader)
    for attempt in attempts:
        assert attempt.end_time is not None
        assert attempt.start_time is None or attempt.start_time <= attempt.end_time
    return {
        "job": (execution.batch_status, execution.exit_status, execution.result),
        "step": (step.batch_status, step.exit_status, step.result, step.metrics),
        "counters": (
            step.partition_total,
            step.partition_completed,
            step.partition_failed,
            step.partition_partial,
        ),
        "attempts": [
            replace(
                attempt,
                step_execution_id=0,
                start_time=None,
                end_time=None,
                errors=tuple(
                    replace(error, failure=replace(error.failure, trace=None))
                    for error in attempt.errors
                ),
            )
            for attempt in attempts
        ],
        "contexts": contexts,
    }


def out(node: Node) -> list[tuple[int, int]]:
    with node.database.read() as reader:
        return [tuple(row) for row in reader.connection.execute("SELECT * FROM out ORDER BY n")]


def until(holds: Callable[[], Any]) -> None:
    event, tries = threading.Event(), 0
    while not holds():
        event.wait(0.01)
        tries += 1
        assert tries < WITHIN_S / 0.01


def one_step(executor: Any, inputs: Any, work: Any, **options: Any) -> Job:
    return Job(
        "job",
        steps=[PartitionedStep("parts", inputs, work, workers=2, executor=executor, **options)],
    )


# --- the same on each ---------------------------------------------------------------------------


@on_each
def test_whatever_a_partition_returns_is_recorded_alike(
    node: Node, lite: Node, executor: str
) -> None:
    """S160, S145, S28: outcomes, messages, counts, errors, contexts, counters."""
    inputs = range(12)
    inline = run(lite, one_step("inline", inputs, jobs.outcomes, tolerated_failures=1.0))
    elsewhere = run(node, one_step(executor, inputs, jobs.outcomes, tolerated_failures=1.0))

    assert inline == elsewhere
    assert (12, 12, 6, 2) == elsewhere["counters"]


def test_a_failures_trace_names_the_line(lite: Node, executor: str) -> None:
    """S160, S171: it was taken where it happened."""
    execution = lite.operator.run(one_step(executor, [5], jobs.outcomes))
    (step,) = lite.operator.get_step_executions(execution.execution_id)
    with lite.database.read() as reader:
        (attempt,) = list_partition_executions(reader, step.step_execution_id)

    assert 'raise Refused(n, "no")' in (attempt.errors[0].failure.trace or "")


@on_each
def test_types_and_contexts_arrive_as_they_are_on_the_owners_thread(
    node: Node, executor: str
) -> None:
    """S75, S195, S80: parameters, properties, typed inputs, coroutine functions."""
    job = Job(
        "typed",
        parameters=jobs.Period,
        properties={"region": "north"},
        steps=[
            PartitionedStep(
                "days",
                ["2026-02-27", "2026-03-01"],
                jobs.days,
                executor=executor,  # type: ignore[arg-type]
                properties={"unit": "days"},
            )
        ],
    )
    told = run(node, job, {"first": "2026-02-28"})

    assert [("typed days 0 True", {"behind": -1}), ("typed days 1 True", {"behind": 1})] == [
        (attempt.message, attempt.counts) for attempt in told["attempts"]
    ]


@on_each
def test_rows_and_position_commit_together_and_a_restart_goes_on(node: Node, executor: str) -> None:
    """S194, S185, S156."""
    job = one_step(executor, [0, 1, 2, 3], jobs.in_pieces)
    broken = run(node, job)
    rows = out(node)
    execution = node.operator.run(job)

    assert (4, 4, 2, 0) == broken["counters"]
    assert 10 == len(rows)
    assert BatchStatus.COMPLETED is execution.batch_status
    assert [(10 * n + piece, n) for n in range(4) for piece in range(3)] == out(node)


@on_each
def test_chunk_partitions_go_on_at_their_checkpoints(
    node: Node, executor: str, tmp_path: Path
) -> None:
    """S145, S156, S134, S150, S77: own artifacts, own checkpoint, skips, metrics, payloads."""
    mended = tmp_path / "mended"
    jobs.HEARD.told.clear()
    job = jobs.CHUNK_JOBS[executor]
    broken = run(node, job, {"mended": str(mended)})
    heard = list(jobs.HEARD.told)
    jobs.HEARD.told.clear()
    mended.touch()
    again = run(node, job, {"mended": str(mended)})

    assert ["SUCCESS", "FAILURE", "SUCCESS"] == [a.outcome for a in broken["attempts"]]
    assert "ValueError: item 5" == broken["attempts"][1].message
    assert [(7, 7, 3), (3, 2, 1), (7, 7, 3)] == [
        (a.metrics.read_count, a.metrics.write_count, a.metrics.commit_count)
        for a in broken["attempts"]
    ]
    assert (17, 16, 7, 1) == (
        broken["step"][3].read_count,
        broken["step"][3].write_count,
        broken["step"][3].commit_count,
        broken["step"][3].rollback_count,
    )
    for number, calls in ((0, 4), (1, 1), (2, 4)):
        assert calls == len([p for p in heard if isinstance(p, list) and p[0] == number])
    assert sorted([("COMPLETED", "COMPLETED")] * 2 + [("FAILED", "FAILED")]) == sorted(
        p for p in heard if isinstance(p, tuple)
    )
    assert [(1, "SUCCESS")] == [(a.number, a.outcome) for a in again["attempts"]]
    assert [[1, 1, 3], [1, 2, 4], [1, 3, 4], ("COMPLETED", "COMPLETED")] == jobs.HEARD.told
    assert (["load/1/1", "load/1/2", "load/1/3"]) == json.loads(again["contexts"][0][1])["keys"]
    assert [(100 * n + i, n) for n in (0, 1, 2) for i in range(1, 8) if (n, i) != (1, 2)] == out(
        node
    )


def test_a_polling_partition_sees_the_stop(lite: Node, executor: str, tmp_path: Path) -> None:
    """S194, S146: off the owner's process it is read from the database."""
    places = [str(tmp_path / "a"), str(tmp_path / "b")]
    execution_id = lite.operator.start(one_step(executor, places, jobs.until_stopped))
    first = places[:1] if executor == "inline" else places
    until(lambda: all(Path(place).exists() for place in first))
    lite.operator.stop(execution_id)
    assert lite.operator.wait(execution_id, WITHIN_S) is not None

    told = recorded(lite, execution_id)
    assert (BatchStatus.STOPPED, (2, 0, 0, 0)) == (told["step"][0], told["counters"])
    assert [(None, "HALF WAY")] * len(first) == [
        (a.outcome, a.exit_status) for a in told["attempts"][: len(first)]
    ]


def test_stop_is_called_on_an_object_wherever_it_runs(
    lite: Node, executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S146."""
    monkeypatch.setenv("STEPWELL_TEST_FOLDER", str(tmp_path))
    execution_id = lite.operator.start(Job("job", steps=[jobs.STOPPABLE[executor]]))
    until((tmp_path / "began 0").exists)
    lite.operator.stop(execution_id)
    ended = lite.operator.wait(execution_id, WITHIN_S)

    assert ended is not None
    assert BatchStatus.STOPPED is ended.batch_status


@on_each
def test_an_owner_that_was_recovered_records_nothing(node: Node, executor: str) -> None:
    """S194, S35: partition 1 loses its execution; its row rolls back, the owner raises."""
    job = one_step(executor, [0, 1], jobs.recovered_meanwhile)
    with pytest.raises(LostOwnership):
        node.operator.run(
            replace(job, steps=[replace(job.steps[0], workers=1)]), {"url": node.database.url}
        )

    (step,) = node.operator.get_step_executions(1)
    assert BatchStatus.FAILED is step.batch_status
    assert [(0, 0)] == out(node)


POLL = """
import json, sqlite3, sys, threading

import psycopg

url = sys.argv[1]
if url.startswith("sqlite"):
    connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
else:
    connection = psycopg.connect(url, autocommit=True)
print("ready", flush=True)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
looks, seen, last, ended = 0, [], None, False
while not ended:
    ended = over.wait(0.001)
    looks += 1
    row = connection.execute(
        "SELECT completed_subtasks, total_subtasks, progress_percent"
        " FROM batch_job_execution_tracking"
    ).fetchone()
    if row != last:
        seen.append(row)
        last = row
print(json.dumps([looks, seen]))
"""


@pytest.mark.parametrize(
    ("database_url", "executor"),
    [("sqlite3", "threads"), ("sqlite3", "processes"), ("postgresql", "processes")],
    indirect=True,
)
def test_progress_is_exact_whenever_another_process_looks(
    node: Node, executor: str, database_url: str
) -> None:
    """Law 3, S161. Method: another process polls the view each millisecond; 1,000 partitions."""
    watcher = subprocess.Popen(
        [sys.executable, "-c", POLL, database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    assert "ready\n" == watcher.stdout.readline()
    told = run(node, one_step(executor, range(1_000), jobs.takes_a_moment))
    answer, _ = watcher.communicate("", timeout=WITHIN_S)

    looks, rows = json.loads(answer)
    seen = [row for row in rows if row is not None and row[1] is not None]
    assert all(0 <= done <= total == 1_000 for done, total, _ in seen)
    assert all(percent == 100 * done // total for done, total, percent in seen)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert ([1_000, 1_000, 100], (1_000, 1_000, 0, 0)) == (seen[-1], told["counters"])
    assert looks > 100
    assert len(seen) > 20


# --- what can be found again ----------------------------------------------------------------------


def _closure() -> Callable[[int], None]:
    kept: list[int] = []
    return lambda n: kept.append(n)  # noqa: PLW0108 - a closure is what is wanted


def _nested() -> Callable[[int], None]:
    def inner(n: int) -> None: ...

    return inner


class _Bound:
    def method(self, n: int) -> None: ...


def _of_the_program() -> Callable[[int], None]:
    def work(n: int) -> None: ...

    work.__module__, work.__qualname__ = "__main__", "work"
    return work


def _replaced() -> Callable[[int], None]:
    def work(n: int) -> None: ...

    work.__module__, work.__qualname__ = jobs.__name__, "nothing"
    return work


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (lambda n: None, "is a lambda"),
        (_closure(), "is a lambda"),
        (_nested(), "is defined inside a function"),
        (_of_the_program(), "is defined in the program itself"),
        (_replaced(), "is something else than this function"),
        (_Bound().method, "no module that can be imported holds job 'job' in a variable"),
        (ChunkStep("c", [1], None, jobs.write), "no module that can be imported holds job 'job'"),
        (jobs.StoppedFactory(), "no module that can be imported holds job 'job'"),
    ],
)
@pytest.mark.parametrize("off_thread", ["processes", "pool"])
def test_what_cannot_be_found_again_is_refused_at_start(
    lite: Node, work: Any, why: str, off_thread: str
) -> None:
    """S193, S183: with the reason and the way out; nothing is recorded."""
    pool: Any = ProcessPoolExecutor(1) if off_thread == "pool" else off_thread
    with pytest.raises(JobStartError) as error:
        lite.operator.run(one_step(pool, [1], work))

    assert why in error.value.message
    assert "put it at the top of a module that can be imported, or use executor='threads'" in (
        error.value.message
    )
    assert [] == lite.operator.get_job_names()


def test_a_model_that_cannot_be_found_again_is_refused(lite: Node) -> None:
    """S193, S183."""

    class Local(Parameters):
        n: int = 1

    job = replace(one_step("processes", [1], jobs.nothing), parameters=Local)
    with pytest.raises(JobStartError, match="the parameters' model must be found"):
        lite.operator.run(job)


@pytest.mark.parametrize("executor", ["inline", "threads", ThreadPoolExecutor(2)])
def test_on_threads_anything_may_run(lite: Node, executor: Any) -> None:
    """S193: lambdas and closures too, on threads of the user's as well."""
    ran: list[int] = []
    run(lite, one_step(executor, [1, 2], ran.append))

    assert [1, 2] == sorted(ran)


def test_a_collector_is_found_through_the_definition(lite: Node) -> None:
    """S193, S150, S151: its payloads come as JSON, before their partition's status."""
    jobs.HEARD.told.clear()
    told = run(lite, Job("job", steps=[jobs.COLLECTED]))

    payloads = [heard for heard in jobs.HEARD.told if isinstance(heard, dict)]
    assert [{"of": n, "failed": n in (5, 6, 7, 9, 10, 11)} for n in range(12)] == sorted(
        payloads, key=lambda payload: payload["of"]
    )
    assert 12 == len([heard for heard in jobs.HEARD.told if isinstance(heard, tuple)])
    assert (12, 12, 6, 2) == told["counters"]


def test_a_payload_that_is_no_json_fails_the_step(lite: Node) -> None:
    """S28, S140."""
    execution = lite.operator.run(Job("job", steps=[jobs.ODDLY_COLLECTED]))

    assert execution.failure is not None
    assert "ValueNotJson" == execution.failure.type


def test_partitions_whose_function_cannot_be_imported_there_fail(
    lite: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S160: with the error of the import."""
    monkeypatch.setenv("STEPWELL_TEST_NO_IMPORT", "1")
    told = run(lite, one_step("processes", [1, 2], jobs.only_in_the_owner))

    assert ["ImportError: not in a worker"] * 2 == [a.message for a in told["attempts"]]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_any_executor_of_the_standard_library_will_do(lite: Node, method: str) -> None:
    """S193: a pool of the user's own, which stays open."""
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        told = run(lite, one_step(pool, range(6), jobs.where))
        assert "1" == pool.submit(str, 1).result(WITHIN_S)

    pids = {attempt.exit_status for attempt in told["attempts"]}
    assert str(os.getpid()) not in pids
    assert (6, 6, 0, 0) == told["counters"]


def test_a_long_chunk_partition_ends_at_a_stop(lite: Node, executor: str, tmp_path: Path) -> None:
    """S194, S146, S104: after its item; what it has read is committed, the rest comes later."""
    began = tmp_path / "began"
    job = jobs.LONG_JOBS[executor]
    execution_id = lite.operator.start(job, {"began": str(began)})
    until(began.exists)
    lite.operator.stop(execution_id)
    assert lite.operator.wait(execution_id, WITHIN_S) is not None
    told = recorded(lite, execution_id)
    before = len(out(lite))
    began.with_suffix(".fast").touch()
    again = run(lite, job, {"began": str(began)})

    assert (BatchStatus.STOPPED, None) == (told["step"][0], told["attempts"][0].outcome)
    assert told["step"][3].write_count == told["attempts"][0].metrics.write_count == before
    assert 0 < before < jobs.LONG
    assert (BatchStatus.COMPLETED, jobs.LONG) == (again["step"][0], len(out(lite)))


# --- workers that die -----------------------------------------------------------------------------


def test_a_worker_that_is_killed_fails_only_what_it_had_begun(node: Node) -> None:
    """S160: FAILURE, its rows and position stay, the rest runs in a new worker; then a restart."""
    told = run(node, one_step("processes", range(12), jobs.dies))
    rows = out(node)
    again = run(node, one_step("processes", range(12), jobs.dies))

    assert [(2, "FAILURE")] == [
        (a.number, a.outcome) for a in told["attempts"] if a.outcome != "SUCCESS"
    ]
    assert "WorkerDied" in (told["attempts"][2].message or "")
    assert ((12, 12, 1, 0), '{"done":true}') == (told["counters"], told["contexts"][2][1])
    assert [(n, n) for n in range(12)] == rows == out(node)
    assert [(2, "went on")] == [(a.number, a.exit_status) for a in again["attempts"]]


def test_what_had_not_begun_in_a_range_runs_in_another_worker(lite: Node, tmp_path: Path) -> None:
    """S160. Method: small partitions travel together; the one that kills says in a file who ran."""
    killed = tmp_path / "killed"
    inputs = [[n, str(killed)] for n in range(400)]
    told = run(lite, one_step("processes", inputs, jobs.dies_in_a_range))
    (_, number), first = map(int, killed.read_text().split()), told["attempts"]
    failed = [a.number for a in first if a.outcome != "SUCCESS"]
    again = run(lite, one_step("processes", inputs, jobs.dies_in_a_range))

    assert failed
    assert (failed[-1], True) == (number, failed == list(range(failed[0], number + 1)))
    assert (400, 400, len(failed), 0) == told["counters"]
    assert failed == [a.number for a in again["attempts"]]


def test_a_signal_for_the_terminal_is_the_owners(lite: Node) -> None:
    """S38: workers take neither Ctrl-C nor SIGTERM; their owner asks for a stop."""
    told = run(lite, one_step("processes", range(3), jobs.interrupted))

    assert ["alive"] * 3 == [attempt.exit_status for attempt in told["attempts"]]


def test_workers_that_cannot_start_fail_the_step_and_not_the_partitions(lite: Node) -> None:
    """S160: nothing was begun, so everything is left for the restart."""
    executable = spawn.get_executable()
    spawn.set_executable("/bin/false")
    try:
        execution = lite.operator.run(one_step("processes", range(5), jobs.nothing))
    finally:
        spawn.set_executable(executable)
    broken = recorded(lite, execution.execution_id)
    again = run(lite, one_step("processes", range(5), jobs.nothing))

    assert execution.failure is not None
    assert "no worker process can be started" in execution.failure.message
    assert [(None, "STOPPED")] * 5 == [(a.outcome, a.batch_status) for a in broken["attempts"]]
    assert (5, 5, 0, 0) == again["counters"]


PROGRAM = """
import sys
from stepwell import Job, Node, PartitionedStep
from tests.conformance import executor_jobs as jobs

print("the program runs", flush=True)
step = PartitionedStep("parts", sys.argv[2:], getattr(jobs, sys.argv[1]), executor="processes")
with Node.open("sqlite:///program.db") as node:
    print(node.operator.run(Job("job", steps=[step])).batch_status)
"""


def program(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A program without a guard, as people write them."""
    (folder / "program.py").write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, "program.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_program_needs_no_guard(tmp_path: Path) -> None:
    """S193: workers do not import it, so it does not run again in each of them."""
    answer, _ = program(tmp_path, "where", "1", "2", "3").communicate(timeout=WITHIN_S)

    assert "the program runs\nCOMPLETED\n" == answer


def test_workers_end_with_their_owner_however_that_ends(tmp_path: Path) -> None:
    """S35: whoever recovers the execution must not meet them."""
    place = tmp_path / "pid"
    running = program(tmp_path, "sleeps", str(place))
    until(lambda: place.exists() and place.read_text())
    worker = int(place.read_text())
    running.kill()
    running.wait()
    assert running.stdout is not None
    running.stdout.close()

    until(lambda: not _is_running(worker))


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_nobody_is_left_when_a_step_has_ended(lite: Node) -> None:
    """The workers of a step end with it."""
    told = run(lite, one_step("processes", range(4), jobs.where))

    pids = {int(attempt.exit_status or 0) for attempt in told["attempts"]}
    until(lambda: not any(_is_running(pid) for pid in pids))
