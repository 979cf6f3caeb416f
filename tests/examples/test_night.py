"""Scenario G: one night on two nodes, from the command line; what it claims is computed again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.runs import copy_of
from tests.support.warm import ENVIRONMENT

DEMO_TIMEOUT_S = 280


@pytest.mark.timeout(300)
def test_a_night_is_killed_recovered_copied_and_read_at_head_office(tmp_path: Path) -> None:
    """Goal: scenario G. Method: the demo, whose checks read the databases without Stepwell."""
    copy_of("shops", tmp_path)
    folder = copy_of("night", tmp_path)
    done = subprocess.run(
        [sys.executable, "demo.py"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEMO_TIMEOUT_S,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    for claim in (
        "of 7 days recalculated",
        "recovered execution 11 of job 'close-week': OwnerDied",
        "nothing is wrong",
        "backup monday is made and checked",
        "pushed 0 changes in 0 groups to head-office",
        "both databases hold the same rows",
        "head office knows: execution 12 of close-week in shop-1, step report, chunk 1",
    ):
        assert claim in done.stdout
