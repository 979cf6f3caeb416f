"""ProcessExecutor: a worker that dies takes only its own task with it, and nothing ever hangs."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, wait
from multiprocessing import spawn
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepwell.executors.processes import SENT_MAX, ProcessExecutor, WorkerDied
from tests.unit.executors import calls

WITHIN_S = 30.0


@pytest.fixture
def executor() -> Iterator[ProcessExecutor]:
    with ProcessExecutor(2) as executor:
        yield executor


def until(holds: Callable[[], Any]) -> None:
    event, tries = threading.Event(), 0
    while not holds():
        event.wait(0.005)
        tries += 1
        assert tries < WITHIN_S / 0.005


def outcome(future: Future[Any]) -> Any:
    error = future.exception(WITHIN_S)
    return future.result() if error is None else type(error)


def test_tasks_run_in_as_many_processes_as_there_are_workers(
    executor: ProcessExecutor, tmp_path: Path
) -> None:
    place = tmp_path / "go"
    futures = [executor.submit(calls.wait_for, str(place)) for _ in range(6)]
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    place.touch()

    pids = {outcome(future) for future in futures}
    assert 2 == len(pids)
    assert os.getpid() not in pids


def test_answers_and_exceptions_come_back(executor: ProcessExecutor) -> None:
    futures = [
        executor.submit(calls.double, 3, plus=1),
        executor.submit(calls.fail, "no"),
        executor.submit(calls.unpicklable),
        executor.submit(calls.double, 4),
    ]

    assert [7, ValueError, TypeError, 8] == [outcome(future) for future in futures]


def test_what_a_dead_worker_had_not_begun_runs_elsewhere(executor: ProcessExecutor) -> None:
    futures = [executor.submit(calls.die_when_odd, n) for n in range(12)]

    assert [WorkerDied if n % 2 else n for n in range(12)] == [outcome(f) for f in futures]


def test_a_worker_that_dies_while_it_waits_is_replaced(executor: ProcessExecutor) -> None:
    """Perhaps its next task is lost, when nobody has noticed yet; the one behind it is not."""
    first = outcome(executor.submit(calls.who))
    os.kill(first, signal.SIGKILL)
    answers = [outcome(executor.submit(calls.who)) for _ in range(8)]

    assert answers.count(WorkerDied) <= 1
    assert first not in answers


def test_nothing_hangs_when_workers_are_killed_at_random() -> None:
    """Goal: every future is answered. Method: a fixed seed kills workers between 300 tasks."""
    chance = random.Random(7)
    with ProcessExecutor(3) as executor:
        futures: list[Future[Any]] = []
        kills = 0
        for n in range(300):
            futures.append(executor.submit(calls.double, n))
            if chance.random() < 0.06:
                # One that has started: three that do not start would be another story.
                pid = outcome(executor.submit(calls.who))
                if pid is not WorkerDied:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        done, waiting = wait(futures, WITHIN_S)

    assert not waiting
    outcomes = [outcome(future) for future in futures]
    assert outcomes.count(WorkerDied) <= kills
    assert {True} == {answer in (2 * n, WorkerDied) for n, answer in enumerate(outcomes)}
    assert len(done) == 300


def test_a_task_that_waits_can_be_cancelled(tmp_path: Path) -> None:
    place = tmp_path / "go"
    with ProcessExecutor(1) as executor:
        futures = [executor.submit(calls.wait_for, str(place)) for _ in range(SENT_MAX + 3)]
        until(lambda: list(tmp_path.iterdir()))
        cancelled = [future.cancel() for future in futures]
        place.touch()

    assert [False] * SENT_MAX + [True] * 3 == cancelled
    assert all(future.done() for future in futures)


def test_shutdown_waits_for_what_was_submitted(tmp_path: Path) -> None:
    executor = ProcessExecutor(2)
    futures = [executor.submit(calls.double, n) for n in range(20)]
    executor.shutdown()

    assert [2 * n for n in range(20)] == [future.result(0) for future in futures]
    with pytest.raises(RuntimeError, match="was shut down"):
        executor.submit(calls.who)


def test_shutdown_may_cancel_what_has_not_begun(tmp_path: Path) -> None:
    place = tmp_path / "go"
    executor = ProcessExecutor(1)
    futures = [executor.submit(calls.wait_for, str(place)) for _ in range(SENT_MAX + 3)]
    until(lambda: list(tmp_path.iterdir()))
    ending = threading.Thread(target=lambda: executor.shutdown(cancel_futures=True))
    ending.start()
    until(futures[-1].cancelled)
    place.touch()
    ending.join(WITHIN_S)

    assert [False] * SENT_MAX + [True] * 3 == [future.cancelled() for future in futures]


def test_when_no_worker_can_be_started_everybody_is_told() -> None:
    executable = spawn.get_executable()
    spawn.set_executable("/bin/false")
    try:
        with ProcessExecutor(2) as executor:
            first = executor.submit(calls.who)
            assert BrokenExecutor is outcome(first)
            with pytest.raises(BrokenExecutor, match="no worker process can be started"):
                executor.submit(calls.who)
    finally:
        spawn.set_executable(executable)


def test_workers_do_not_import_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: a program that a worker would only have to import to leave a mark."""
    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "program.py")
    Path(program.__file__).write_text("open(__file__ + '.ran', 'w')")
    monkeypatch.setitem(sys.modules, "__main__", program)
    with ProcessExecutor(1) as executor:
        answer = outcome(executor.submit(calls.program))

    assert "None" == answer
    assert [Path(program.__file__)] == list(tmp_path.iterdir())
    assert sys.modules["__main__"] is program
