"""What child processes do in the soak: workers that are killed, and a terminal that never rests.

The items leave evidence that knows nothing of Stepwell: locks of the operating system, which go
with a killed process, for each file and each place of a pool, and a row in a table for being done.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from stepwell import Job, Node, Parameters, StepContext, TaskletStep
from stepwell.looks.reading import Watch
from stepwell.settings import Settings

FILES = tuple(f"file-{n}" for n in range(12))
POOLS = {"writer": 3, "reviewer": 2, "publisher": 1}
WAITING_MAX = 60  # The terminal registers no more than the workers can do in some seconds.
DEATHS_MAX = 1_000  # How often an item dies is chance here, and nobody's decision.
KILLED = ("dead_owner ", "owner_not_ended ")  # What a doctor at work truly says of the killed.
CREATE = "CREATE TABLE evidence (number INTEGER, execution_id INTEGER)"


class Item(Parameters):
    number: int
    files: list[str]
    agent: str


def item(number: int) -> dict[str, Any]:
    """The item of this number: one or two files, an agent."""
    files = sorted({FILES[number % 12], FILES[number * 7 % 12]})
    return {"number": number, "files": files, "agent": list(POOLS)[number * number % 3]}


def soak_job(folder: Path) -> Job:
    """Alone in its files and in a place of its pool, or it says that it is not."""

    def work(step: StepContext) -> None:
        wanted = step.parameters
        with ExitStack() as stack:
            for file in wanted.files:
                if not stack.enter_context(_alone(folder / file)):
                    _complain(folder, f"item {wanted.number} is not alone in {file}")
            places = (folder / f"{wanted.agent}-{n}" for n in range(POOLS[wanted.agent]))
            if not any(stack.enter_context(_alone(place)) for place in places):
                _complain(folder, f"item {wanted.number} is too much for the {wanted.agent}")
            step._running.clock.sleep(0.01 * (wanted.number % 8))  # Time in which to be killed.
            if "recorded" not in step.context:
                with step.transaction() as connection:
                    row = {"number": wanted.number, "id": step.execution_id}
                    connection.execute("INSERT INTO evidence VALUES (:number, :id)", row)
                    step.context["recorded"] = True

    return Job(
        "item",
        [TaskletStep("work", work)],
        parameters=Item,
        resources=lambda item: [str(folder / file) for file in item.files],
        pool=lambda item: item.agent,
    )


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether nobody else is inside, in this process or another one."""
    with path.open("a") as file:
        yield _locked(file)


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _complain(folder: Path, text: str) -> None:
    with (folder / "broken").open("a", encoding="utf-8") as broken:
        broken.write(f"{text}\n")


class _Complaints(logging.Handler):
    """Whatever a worker has to say about a database that would not let it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.WARNING)
        self._folder = folder

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if text.startswith(KILLED):
            return
        if "database" in text or "tried again" in text or record.levelno >= logging.ERROR:
            _complain(self._folder, text)


def _node(url: str, folder: str, purpose: str) -> Node:
    node = Node.open(Settings(database=url, max_recoveries=DEATHS_MAX), purpose=purpose)
    node.registry.add(soak_job(Path(folder)), origin="the test")
    return node


def work(url: str, folder: str, parallel: int = 2) -> int:
    """A worker until the test has had enough; how much it has run."""
    logger = logging.getLogger("stepwell")
    logger.setLevel(logging.WARNING)
    logger.addHandler(_Complaints(Path(folder)))
    ran = [0]

    def tell(what: str, _execution: Any) -> None:
        ran[0] += what == "ended"

    def look(worker: Any) -> None:
        if (Path(folder) / "enough").exists():
            worker.request_stop("the test")

    with _node(url, folder, "work") as node:
        node.worker(parallel=parallel, tell=tell).run(each_round=look)
    return ran[0]


def register_and_look(url: str, folder: str) -> dict[str, Any]:
    """``register`` and ``status`` in a tight loop; how long each took, in seconds."""
    took: dict[str, list[float]] = {"register": [], "status": []}
    with _node(url, folder, "register") as node:
        eyes = Watch(node.database, node.clock)

        def register() -> None:
            number = len(took["register"]) + 1
            took["register"].append(_timed(lambda: node.operator.register("item", item(number))))

        for _ in range(WAITING_MAX // 2):  # So that the workers find some.
            register()
        while True:
            began = time.perf_counter()
            waiting_count = eyes.overview().waiting_count
            took["status"].append(time.perf_counter() - began)
            for pool in node.pools.list():
                if len(pool.holders) > pool.size:
                    _complain(Path(folder), f"a look saw {pool}")
            if (Path(folder) / "no more").exists():
                break
            if waiting_count < WAITING_MAX:
                register()
    registered = len(took["register"])
    return {"registered": registered, **{name: sorted(each) for name, each in took.items()}}


def write_tightly(url: str, folder: str, number: int, pause_s: float = 0.0) -> list[float]:
    """Transaction behind transaction, or one a while; how long each took, in seconds."""
    with _node(url, folder, "library") as node:

        def write() -> None:
            with node.database.write() as transaction:
                row = {"number": number, "id": 0}
                transaction.connection.execute("INSERT INTO evidence VALUES (:number, :id)", row)

        return _again_and_again(node, folder, write, pause_s)


def look_tightly(url: str, folder: str) -> list[float]:
    """What ``status`` reads, again and again; how long each look took, in seconds."""
    with _node(url, folder, "library") as node:
        return _again_and_again(node, folder, Watch(node.database, node.clock).overview)


def _again_and_again(
    node: Node, folder: str, do: Callable[[], object], pause_s: float = 0.0
) -> list[float]:
    took = [_timed(do)]
    while not (Path(folder) / "no more").exists():
        node.clock.sleep(pause_s)
        took.append(_timed(do))
    return sorted(took)


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
