"""dask_executor: a program without a client of its own has a cluster all the same."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from pathlib import Path

from stepwell.executors.dask import is_worth_telling

PROGRAM = """
import os, sys, warnings
from concurrent.futures import wait

from stepwell.executors.dask import dask_executor
from tests.unit.executors import calls

warnings.simplefilter("error")
if __name__ == "__main__":
    with dask_executor("", 1) as executor:
        same = [executor.submit(calls.who) for _ in range(4)]
        wait(same)
        assert os.getpid() not in {future.result() for future in same}
        assert executor.thread_count() == 1
        print(executor.submit(calls.double, 3, plus=1).result())
"""


def test_a_worker_tells_of_no_heartbeat_that_came_too_late() -> None:
    """Method: Dask's own words; were they others, they would be on the terminal again."""
    from distributed import worker

    def is_told(text: str) -> bool:
        return is_worth_telling(logging.makeLogRecord({"msg": text}))

    words = "Failed to communicate with scheduler during heartbeat."
    assert words in inspect.getsource(worker)
    assert (False, True) == (is_told(words), is_told("Compute Failed"))


def test_a_program_without_a_client_has_a_cluster_while_it_needs_one(tmp_path: Path) -> None:
    """Method: a program of its own, with the guard that Dask's local workers need."""
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ("7\n", 0) == (done.stdout, done.returncode), done.stderr
