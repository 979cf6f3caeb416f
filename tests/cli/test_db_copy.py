"""``db copy`` from the command line: from one file to another, and everything that is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.program import Folder

COPY = ("db", "copy", "sqlite:///stepwell.db", "sqlite:///new.db")


@pytest.fixture
def moved(past: Folder, tmp_path: Path) -> Folder:
    """A folder of its own, with what has happened in the other one."""
    for file in past.path.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path / file.name)
    return Folder(tmp_path)


def test_a_copy_goes_on_with_the_history_and_the_source_is_closed(moved: Folder) -> None:
    plan = moved.json(*COPY, "--plan")
    made = (moved.path / "new.db").exists()
    told = moved.done(*COPY).out
    again = moved.json(*COPY)
    info = moved.json("db", "info")["copy"]
    moved.call("run", "sevens", "--again").refused(
        4, "the database is closed", "`stepwell db info`"
    )
    there = {"STEPWELL_DATABASE": "sqlite:///new.db"}
    history = Folder(moved.path, **there).json("history", "load")["executions"]
    restarted = moved.call("run", "sevens", "--again", **there)

    assert ("new", False) == (plan["state"], made)
    assert sum(table["rows"] for table in plan["tables"]) > 20
    assert "compared with the source" in told
    assert 'hint: copy your own tables, then `database = "sqlite:///new.db"`' in told
    assert (True, 0, []) == (again["was_complete"], again["rows"], again["tables"])
    assert ("source", str(moved.path / "new.db")) == (info["side"], info["other"])
    assert info["completed_at"] is not None
    assert [1] == [execution["execution_id"] for execution in history]
    assert 0 == restarted.code
    moved.call(*COPY[:3], "--abandon").refused(4, "goes on in its place since", "add `--force`")
    assert str(moved.path / "new.db") in moved.done(*COPY[:3], "--abandon", "--force").out
    assert 0 == moved.call("run", "sevens", "--again").code


def test_what_cannot_be_copied_is_refused_with_the_next_step(moved: Folder) -> None:
    moved.call(*COPY[:3]).refused(4, "it is not said where to", "`stepwell db copy SOURCE TARGET`")
    moved.call(*COPY[:3], COPY[2]).refused(4, "it is the same one")
    moved.call("db", "copy", "sqlite:///none.db", COPY[3]).refused(2, "there is no such file")
    moved.call(*COPY[:3], "mysql://x/y").refused(2, "neither sqlite:///PATH nor postgresql://")
    moved.call(*COPY[:3], "postgresql://127.0.0.1:1/x").refused(2, "is the server running")
    moved.call(*COPY[:3], "--abandon").refused(4, "no copy of it was begun")

    assert not (moved.path / "new.db").exists()
    assert moved.json("db", "info")["copy"] is None
