"""ProcessExecutor: worker processes of this machine, each replaced when it dies.

Guarantees: a worker that dies takes only the task with it that it had begun; whatever waited behind
runs in its successor. Workers end with the process that made them, however that ends.

It is made of the standard library's pools, one of a single process for each worker, because a pool
of several is broken as a whole when one of its processes dies: innocent tasks would be lost, and
nobody could say which one it was.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Lock, Thread
from types import ModuleType
from typing import Any

from stepwell.executors.worker import Marks, WorkerDied, run_numbered, share_marks

WORKERS_MAX = 61  # What Windows can wait for.
SENT_MAX = 2  # A worker that is done finds its next task waiting.
FAILED_STARTS_MAX = 3  # In a row; then it is not the task's fault.


def processes_of_this_machine() -> int:
    """How many workers there are when nobody says how many."""
    return min(os.cpu_count() or 1, WORKERS_MAX)


class ProcessExecutor(Executor):
    """Runs tasks in ``workers`` processes that are started when they are needed.

    Workers are spawned, not forked: a forked child would share this process's locks and database
    connections. They do not import the program that was started, so it needs no guard.
    """

    def __init__(self, workers: int) -> None:
        # A place each for a worker; who stands there is replaced when it dies.
        self._workers: list[_Worker | None] = [None] * max(1, min(workers, WORKERS_MAX))
        self._waiting: deque[_Task] = deque()
        self._unanswered: set[Future[Any]] = set()
        self._lock = Lock()
        self._failed_starts = 0
        self._broken: BrokenExecutor | None = None
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` in a worker. It is found there by its import path.

        Raises:
            BrokenExecutor: no worker can be started.
            RuntimeError: the executor was shut down.
        """
        task = _Task(fn, args, kwargs)
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new tasks: the executor was shut down")
            if self._broken is not None:
                raise self._broken
            self._waiting.append(task)
            self._unanswered.add(task.future)
        task.future.add_done_callback(self._unanswered.discard)
        self._send()
        return task.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as Executor has it
        """End the workers when they have answered; ``cancel_futures``: what waits is dropped."""
        with self._lock:
            self._closed = True
            left = list(self._waiting) if cancel_futures else []
            unanswered = list(self._unanswered)
        for task in left:
            task.future.cancel()
        if wait:
            wait_for(unanswered)
        for worker in self._workers:
            if worker is not None:
                worker.pool.shutdown(wait=wait)

    # --- tasks out -----------------------------------------------------------------------------

    def _send(self) -> None:
        """Give waiting tasks to the workers that have the least to do."""
        while self._broken is None:
            with self._lock:
                place = min(range(len(self._workers)), key=self._load)
                if not self._waiting or self._load(place) >= SENT_MAX:
                    return
                task = self._waiting.popleft()
                if not task.begins():
                    continue
                worker, started, answer = self._send_to(place, task)
            # Outside of the lock: what has ended already is called back at once.
            if started is not None:
                started.add_done_callback(partial(self._has_started, worker))
            if answer is not None:
                answer.add_done_callback(partial(self._has_answered, worker, task))
        with self._lock:
            lost = list(self._waiting)
            self._waiting.clear()
        for task in lost:
            task.fail(self._broken)

    def _load(self, place: int) -> int:
        worker = self._workers[place]
        return 0 if worker is None else len(worker.sent)

    def _send_to(
        self, place: int, task: _Task
    ) -> tuple[_Worker, Future[None] | None, Future[Any] | None]:
        """Send a task to the worker at a place, or to a new one when none works there."""
        worker = self._workers[place]
        if worker is not None:
            try:
                answer = task.send(worker.pool)
            except BrokenProcessPool:
                pass  # It has died; the tasks that it has are told of it.
            else:
                worker.sent.append(task)
                return worker, None, answer
        worker = self._workers[place] = _Worker()
        started = worker.start()
        try:
            answer = task.send(worker.pool)
        except BrokenProcessPool:
            self._waiting.appendleft(task)  # It did not even start, which ``started`` says.
            return worker, started, None
        worker.sent.append(task)
        return worker, started, answer

    # --- answers in ----------------------------------------------------------------------------

    def _has_started(self, worker: _Worker, started: Future[None]) -> None:
        error = started.exception()
        if error is None:
            self._failed_starts = 0
            return
        with self._lock:
            self._failed_starts += 1
            self._take_back(worker)
            if self._failed_starts >= FAILED_STARTS_MAX:
                self._broken = BrokenExecutor(
                    f"no worker process can be started, {self._failed_starts} have failed;"
                    " what they said stands in the error output"
                )
        self._send()

    def _has_answered(self, worker: _Worker, task: _Task, answer: Future[Any]) -> None:
        error = answer.exception()
        if isinstance(error, BrokenProcessPool):
            self._has_died(worker)
            return
        with self._lock:
            worker.sent.remove(task)
        if error is None:
            task.future.set_result(answer.result())
        else:
            task.future.set_exception(error)
        self._send()

    def _has_died(self, worker: _Worker) -> None:
        """The first task without an answer is the one that it had begun; the others go elsewhere.

        One that did not even start had begun none; ``_has_started`` takes its tasks back.
        """
        with self._lock:
            lost = [task for task in worker.sent if not task.was_answered()]
            if not lost or worker.failed_to_start():
                return  # It is known: each of its tasks is told of it.
            begun = lost[0]
            worker.sent.remove(begun)
            self._take_back(worker)
        why = "its worker process ended without an answer, as if it was killed"
        begun.fail(WorkerDied(why, begun=worker.parts_begun(begun)))
        self._send()

    def _take_back(self, worker: _Worker) -> None:
        """A worker is gone: what it had not begun is the next to be sent."""
        self._workers = [None if one is worker else one for one in self._workers]
        lost = [task for task in worker.sent if not task.was_answered()]
        self._waiting.extendleft(reversed(lost))
        for task in lost:
            worker.sent.remove(task)


class _Worker:
    """One process, and the tasks that it was sent and has not answered, in order."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._marks: Marks = context.RawArray("q", 2)
        self.pool = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(self._marks,))
        self.started: Future[None] | None = None
        self.sent: deque[_Task] = deque()

    def start(self) -> Future[None]:
        """Start the process; the answer says whether it could."""
        with _without_the_program():
            self.started = self.pool.submit(_ready)
        return self.started

    def parts_begun(self, task: _Task) -> int:
        """How many parts of a task that it has not answered had begun."""
        return self._marks[1] if self._marks[0] == task.number else 0

    def failed_to_start(self) -> bool:
        """Whether it is known that it never came to work."""
        started = self.started
        return started is not None and started.done() and started.exception() is not None


class _Task:
    """A task and the future that its submitter holds."""

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.future: Future[Any] = Future()
        self.number = next(_NUMBERS)
        self._call = (function, arguments, options)
        self._has_begun = False
        self._answer: Future[Any] | None = None

    def begins(self) -> bool:
        """Whether it is to run; False when it was cancelled meanwhile."""
        self._has_begun = self._has_begun or self.future.set_running_or_notify_cancel()
        return self._has_begun

    def send(self, pool: ProcessPoolExecutor) -> Future[Any]:
        """Have it run there."""
        function, arguments, options = self._call
        self._answer = pool.submit(run_numbered, self.number, function, arguments, options)
        return self._answer

    def was_answered(self) -> bool:
        """Whether its worker has lived to answer it."""
        answer = self._answer
        if answer is None or not answer.done():
            return False
        return not isinstance(answer.exception(), BrokenProcessPool)

    def fail(self, error: BaseException) -> None:
        """It will have no answer."""
        if self.begins():
            self.future.set_exception(error)


_NUMBERS = count(1)
_HIDING = Lock()


@contextmanager
def _without_the_program() -> Iterator[None]:
    """Spawning has the child import the program that was started, up to where it starts jobs.

    Nothing of it is needed there, so for a moment it is hidden.
    """
    with _HIDING:
        program = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = program


# --- in the worker ------------------------------------------------------------------------------


def _begin(marks: Marks) -> None:
    """A stop is for the parent, which asks for it in its own way; without the parent, end."""
    share_marks(marks)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(target=_end_with_parent, name="stepwell-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # Nobody waits for an answer, and whoever recovers the work must not meet this.


def _ready() -> None:
    """The first task of every worker: it can work."""
