"""DaskExecutor: the workers of a Dask cluster, behind the interface of ``concurrent.futures``.

Dask is never the source of truth. It may run a task twice, lose it, or answer late; what is sent
must bear that. Here every task ends: with its answer, with WorkerDied when the cluster has given it
up, with ClusterLost when the scheduler is gone, or cancelled.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from itertools import count
from multiprocessing import resource_tracker
from threading import Lock, Thread
from typing import Any

from stepwell.errors import ClusterUnreachable
from stepwell.executors.worker import WorkerDied

ANSWER_WITHIN_S = 10.0  # A scheduler at work answers a question in milliseconds.
CLOSE_WITHIN_S = 5.0
END_WITHIN_S = 20.0  # Worker processes that have been asked to end.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GOODBYE = "Failed to communicate with scheduler during heartbeat"  # With a traceback.
WAITING = ("released", "waiting", "no-worker", "queued")  # States in which no worker has a task.

logger = logging.getLogger("stepwell.runner")


class ClusterLost(BrokenExecutor):
    """The connection to the scheduler is gone, and with it whatever it was sent."""


class DaskExecutor(Executor):
    """Runs tasks on the workers of a client's cluster.

    Attributes:
        address: Of its scheduler.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        # Not pure: two tasks of one input are two pieces of work. A task that raises is answered.
        self._executor = client.get_executor(pure=False, retries=0)
        self._lock = Lock()
        self._out: dict[str, Future[Any]] = {}
        self._given_up: set[str] = set()
        self._numbers = count(1)
        self.address: str = client.scheduler.address
        self._killed: type[Exception] = import_module("distributed").KilledWorker

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` on a worker, which finds it by its import path.

        Raises:
            ClusterLost: the scheduler is gone.
        """
        return self.send(f"{self._client.id}-{next(self._numbers)}", fn, *args, **kwargs)

    def send(self, key: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """The same under a name for the cluster, where two tasks of one key would be one."""
        answer: Future[Any] = Future()
        answer.set_running_or_notify_cancel()
        try:
            sent = self._executor.submit(fn, *args, key=key, **kwargs)
        except Exception as error:
            raise self._lost() from error
        with self._lock:
            self._out[key] = sent
        sent.add_done_callback(partial(self._answered, key, answer))
        return answer

    def thread_count(self) -> int:
        """How many tasks the workers that there are now can run at a time.

        Raises:
            Exception: the scheduler does not answer.
        """
        return sum(self._ask("ncores", workers=None).values())

    def give_up_waiting(self) -> None:
        """Cancel what no worker has been given.

        Raises:
            Exception: the scheduler does not answer.
        """
        with self._lock:
            out = list(self._out)
        states = self._ask("get_task_status", keys=out)
        # A task that has ended is at no worker either, but its answer is on its way.
        self._give_up([key for key, state in states.items() if state in WAITING])

    def tell_workers(self, function: Callable[..., Any], *args: Any) -> None:
        """Call ``function`` on each worker, beside what it runs; nobody waits for the answers."""

        def tell() -> None:
            with suppress(Exception):  # Whoever is not there any more need not know.
                self._client.run(function, *args, on_error="ignore")

        Thread(target=tell, name="stepwell-tell", daemon=True).start()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as Executor has it
        """Give up what is not answered. The client is closed by whoever has opened it."""
        with self._lock:
            left = list(self._out)
        self._give_up(left)

    def _ask(self, what: str, **about: Any) -> dict[str, Any]:
        """What the client's own questions ask, but not for ever."""
        client = self._client
        question = getattr(client.scheduler, what)
        answer: dict[str, Any] = client.sync(question, **about, callback_timeout=ANSWER_WITHIN_S)
        return answer

    def _give_up(self, keys: list[str]) -> None:
        with self._lock:
            sent = [self._out[key] for key in keys if key in self._out]
            self._given_up.update(keys)
        for one in sent:
            one.cancel()

    def _answered(self, key: str, answer: Future[Any], sent: Future[Any]) -> None:
        """On the client's own thread, or on that of who cancels."""
        with self._lock:
            self._out.pop(key, None)
            is_given_up = key in self._given_up
            self._given_up.discard(key)
        try:
            answer.set_result(sent.result())
        except CancelledError:
            answer.set_exception(CancelledError() if is_given_up else self._lost())
        except self._killed as error:
            answer.set_exception(WorkerDied(str(error), begun=None))
        except BaseException as error:  # noqa: BLE001 - whatever the task has raised
            answer.set_exception(error)

    def _lost(self) -> ClusterLost:
        return ClusterLost(f"the scheduler at {self.address} is gone, and what it was sent with it")


@contextmanager
def dask_executor(address: str, workers: int) -> Iterator[DaskExecutor]:
    """The cluster whose scheduler is at ``address``, or with an empty one another that is there.

    That is the one of the program's own client, or the one that Dask's configuration names; when
    there is none, a cluster of this machine of ``workers`` processes, for as long as this is open.

    Raises:
        ClusterUnreachable: no scheduler answers there.
    """
    distributed: Any = import_module("distributed")  # It has no types.
    _log_less()
    if not address:
        with suppress(ValueError):
            yield DaskExecutor(distributed.default_client())
            return
        address = import_module("dask.config").get("scheduler-address", None) or ""
    if not address:
        with _CLUSTER.shared(workers) as local, _connected(distributed, local) as executor:
            yield executor
        return
    with _connected(distributed, address) as executor:
        yield executor


@contextmanager
def _connected(distributed: Any, where: Any) -> Iterator[DaskExecutor]:
    try:
        client = distributed.Client(where, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterUnreachable(
            f"cannot reach the Dask scheduler {where!r}: {error}",
            hint="correct `dask_scheduler`, or start it with `dask scheduler`",
            fields={"address": str(where)},
        ) from error
    try:
        yield DaskExecutor(client)
    finally:
        with _quiet():
            client.close(timeout=CLOSE_WITHIN_S)


def _log_less() -> None:
    """Dask logs all that it does, unless somebody has told it otherwise, or wants to see it."""
    log = logging.getLogger("distributed")
    if log.level == logging.INFO:
        log.setLevel(max(logging.WARNING, logging.getLogger("stepwell").getEffectiveLevel()))


@contextmanager
def _quiet() -> Iterator[None]:
    """A client whose scheduler is gone complains of each step of its own end."""
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


class _LocalCluster:
    """Worker processes of this machine, shared by the steps of this process that run now."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cluster: Any = None
        self._size = 0
        self._users = 0

    @contextmanager
    def shared(self, workers: int) -> Iterator[Any]:
        """The cluster; it is started for the first who needs it and ended with the last."""
        with self._lock:
            if self._cluster is None:
                self._cluster, self._size = _start(workers), workers
            elif workers > self._size:
                self._cluster.scale(workers)
                self._size = workers
            self._users += 1
        try:
            yield self._cluster
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    cluster, self._cluster = self._cluster, None
                    cluster.close(timeout=END_WITHIN_S)


_CLUSTER = _LocalCluster()


def _start(workers: int) -> Any:
    distributed: Any = import_module("distributed")
    with _born_deaf():
        cluster = distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # Nobody asked for a page: it takes any port.
            preload=[__name__],
        )
    logger.info("started a Dask cluster of %d worker processes", workers)
    return cluster


@contextmanager
def _born_deaf() -> Iterator[None]:
    """A Ctrl-C on the terminal kills no worker process that has not come to ``dask_setup`` yet.

    A process inherits the signals that are blocked; a thread too, and Dask starts the workers on
    threads of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where other rules hold.
        yield
        return
    resource_tracker.ensure_running()  # Started later it would unblock them on its thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether a worker of our own cluster should log it: its scheduler goes when the run does."""
    return not str(record.msg).startswith(_GOODBYE)


def dask_setup(worker: object) -> None:  # noqa: ARG001 - as Dask calls it
    """In a worker of our own cluster: a stop is for the parent, which asks for it in its way."""
    _log_less()
    logging.getLogger("distributed.worker").addFilter(is_worth_telling)
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
