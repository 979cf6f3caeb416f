"""Folders for the tests of the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.program import Folder

JOBS = Path(__file__).with_name("jobs_of_tests.py")


def _folder(path: Path) -> Folder:
    (path / "stepwell.toml").write_text('jobs = ["jobs"]\n', encoding="utf-8")
    shutil.copy(JOBS, path / "jobs.py")
    return Folder(path)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Settings and jobs, and no database yet."""
    return _folder(tmp_path)


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder where jobs have run, for tests that only look.

    Executions: 1 load COMPLETED, 2 sevens COMPLETED with skips, 3 broken FAILED, 4 partly PARTIAL.
    """
    past = _folder(tmp_path_factory.mktemp("past"))
    codes = [
        past.call("run", "load", "day=2026-11-20", "note=by hand").code,
        past.call("run", "sevens").code,
        past.call("run", "broken").code,
        past.call("run", "partly").code,
    ]
    assert [0, 0, 1, 3] == codes
    return past
