"""Scenario G: one night on two nodes, from the command line; what it claims is computed again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.examples.runs import copy_of, module_of
from tests.support.warm import warm_program

COMMAND_TIMEOUT_S = 100


def from_a_warm_interpreter(line: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of a command of Stepwell's, without the half second of its imports."""
    assert [sys.executable, "-m", "stepwell"] == line[:3]
    code, out, err = warm_program().call(tuple(line[3:]), how["cwd"], how["env"], COMMAND_TIMEOUT_S)
    if how["stdout"] is None:
        sys.stdout.write(out)
    sys.stderr.write(err)
    return subprocess.CompletedProcess(line, code, out)


@pytest.mark.timeout(300)
def test_a_night_is_killed_recovered_copied_and_read_at_head_office(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Goal: scenario G. Method: the demo, whose checks read the databases without Stepwell."""
    copy_of("shops", tmp_path)
    demo = module_of(copy_of("night", tmp_path) / "demo.py")
    monkeypatch.setattr(demo.subprocess, "run", from_a_warm_interpreter)
    code = demo.main()
    told = "".join(capfd.readouterr())

    assert 0 == code, told
    for claim in (
        "of 7 days recalculated",
        "recovered execution 11 of job 'close-week': OwnerDied",
        "nothing is wrong",
        "backup monday is made and checked",
        "pushed 0 changes in 0 groups to head-office",
        "both databases hold the same rows",
        "head office knows: execution 12 of close-week in shop-1, step report, chunk 1",
    ):
        assert claim in told
