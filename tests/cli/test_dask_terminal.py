"""Ctrl-C on the terminal of a run that has a Dask cluster of this machine: its workers hear it too.

The terminal sends the signal to every process of the group, so to the workers as well.
"""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped] # Dask brings it.
import pytest

from tests.cli.program import Folder, until
from tests.cli.test_terminal import CTRL_C, Terminal

JOBS = """
import threading
from pathlib import Path
from stepwell import Job, PartitionedStep

def wait(n, step):
    Path(f"began-{n}").touch()
    event = threading.Event()
    while not (step.parameters["polite"] == "true" and step.stop_requested):
        event.wait(0.02)
    return "HALF WAY"

shares = Job("shares", steps=[
    PartitionedStep("p", list(range(6)), wait, executor="dask", workers=2),
])
"""

pytestmark = pytest.mark.slow  # A cluster takes seconds to start.


def workers(terminal: Terminal) -> list[psutil.Process]:
    """The worker processes of the run, those that are no helpers."""
    run = psutil.Process(terminal.pid)
    return [
        child for child in run.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())
    ]


@pytest.fixture
def dask_folder(tmp_path: Path) -> Folder:
    (tmp_path / "stepwell.toml").write_text('jobs = ["jobs"]\n')
    (tmp_path / "jobs.py").write_text(JOBS)
    return Folder(tmp_path)


def at_work(folder: Folder) -> bool:
    return len(list(folder.path.glob("began-*"))) == 2


def test_ctrl_c_while_partitions_run_stops_them(dask_folder: Folder) -> None:
    terminal = Terminal(dask_folder, "run", "shares", "polite=true")
    until(lambda: at_work(dask_folder), what="two partitions")
    running = workers(terminal)
    terminal.press(CTRL_C)

    assert_stopped(terminal, running)
    assert at_work(dask_folder)


def test_ctrl_c_while_the_cluster_starts_stops_the_run(dask_folder: Folder) -> None:
    """Goal: STOPPED, not FAILED because a worker was killed before it could ignore the signal."""
    terminal = Terminal(dask_folder, "run", "shares", "polite=true")
    running = until(lambda: workers(terminal), what="the first worker process")
    terminal.press(CTRL_C)

    assert_stopped(terminal, running)
    assert [] == list(dask_folder.path.glob("began-*"))


def assert_stopped(terminal: Terminal, running: list[psutil.Process]) -> None:
    assert 3 == terminal.end()
    assert "\x1b[33mSTOPPED\x1b[0m" in terminal.seen
    assert_quiet(terminal, running)


def assert_quiet(terminal: Terminal, running: list[psutil.Process]) -> None:
    """Nothing of Dask's own on the screen, and no worker outlives the run."""
    assert "Traceback" not in terminal.seen
    assert "distributed" not in terminal.seen
    assert running
    assert [] == psutil.wait_procs(running, timeout=30)[1]


def test_ctrl_c_twice_leaves_no_worker(dask_folder: Folder) -> None:
    """Method: partitions that do not listen; the workers end because their parent has."""
    terminal = Terminal(dask_folder, "run", "shares", "polite=false")
    until(lambda: at_work(dask_folder), what="two partitions")
    running = workers(terminal)
    terminal.press(CTRL_C)
    terminal.until("stopping after the current chunk…")
    terminal.press(CTRL_C)

    assert 130 == terminal.end()
    assert "the next `stepwell run` recovers execution 1" in terminal.seen
    assert_quiet(terminal, running)
