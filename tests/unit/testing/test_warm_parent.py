from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepwell.testing import KillPoint, WarmParent, each_statement, kill_points
from stepwell.testing.warm_parent import ChildFailed, ChildStillRuns

HERE = "tests.unit.testing.test_warm_parent"


@pytest.fixture(scope="module")
def parent() -> Iterator[WarmParent]:
    with WarmParent([HERE]) as parent:
        yield parent


# --- what children call ------------------------------------------------------------------------


def add(left: int, right: int) -> dict[str, Any]:
    return {"sum": left + right, "parent": os.getppid(), "threads": threading.active_count()}


def fail() -> None:
    raise ValueError("not today")


def write_three_rows(path: str) -> int:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO item VALUES (?)", [(1,), (2,), (3,)])
    connection.execute("COMMIT")
    return 3


def hang() -> None:
    time.sleep(60)


def print_something() -> str:
    sys.stdout.write("this is no answer\n")
    sys.stdout.flush()
    return "answer"


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(60,), daemon=True, name="left").start()


# --- the promises ------------------------------------------------------------------------------


def test_a_child_answers_what_its_function_returned(parent: WarmParent) -> None:
    first, second = (parent.run(f"{HERE}:add", left=1, right=number) for number in (2, 3))

    assert [3, 4] == [first.result["sum"], second.result["sum"]]
    assert first.result["parent"] == second.result["parent"]
    assert (0, 1, 0) == (first.exit_code, first.result["threads"], first.statement_count)


def test_the_output_of_a_child_is_no_answer(parent: WarmParent) -> None:
    assert "answer" == parent.run(f"{HERE}:print_something").result


def test_what_a_child_raises_is_raised_with_its_traceback(parent: WarmParent) -> None:
    with pytest.raises(ChildFailed, match="ValueError: not today"):
        parent.run(f"{HERE}:fail")

    ended = parent.start(f"{HERE}:fail").wait()
    assert (1, True) == (ended.exit_code, "in fail" in (ended.error or ""))


def test_a_child_ends_at_its_kill_point_and_nowhere_else(
    parent: WarmParent, tmp_path: Path
) -> None:
    undisturbed = parent.run(f"{HERE}:write_three_rows", path=str(tmp_path / "undisturbed.db"))
    rows = {}
    for point in kill_points(4):
        path = tmp_path / f"{point.number}-{point.when}.db"
        ended = parent.run(f"{HERE}:write_three_rows", path=str(path), kill_at=point)
        connection = sqlite3.connect(path)
        if connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            rows[point] = connection.execute("SELECT COUNT(*) FROM item").fetchone()[0]
        connection.close()
        assert ended.was_killed

    beyond = parent.run(
        f"{HERE}:write_three_rows",
        path=str(tmp_path / "beyond.db"),
        kill_at=KillPoint(5, "before"),
    )
    assert (4, 3) == (undisturbed.statement_count, undisturbed.result)
    assert {
        KillPoint(1, "after"): 0,
        KillPoint(2, "before"): 0,
        KillPoint(2, "after"): 0,
        KillPoint(3, "before"): 0,
        KillPoint(3, "after"): 0,
        KillPoint(4, "before"): 0,
        KillPoint(4, "after"): 3,
    } == rows
    assert (False, 3) == (beyond.was_killed, beyond.result)


def test_a_child_that_hangs_can_be_waited_for_and_killed(parent: WarmParent) -> None:
    child = parent.start(f"{HERE}:hang")
    with pytest.raises(ChildStillRuns):
        child.wait(timeout_s=0.01)

    assert -signal.SIGKILL == child.kill().exit_code


def test_a_warm_up_that_leaves_a_thread_is_refused() -> None:
    with (
        WarmParent([HERE]) as other,
        pytest.raises(ChildFailed, match="threads left still run"),
    ):
        other.warm_up(f"{HERE}:leave_a_thread")


def test_children_end_with_their_parent() -> None:
    with WarmParent([HERE]) as other:
        child = other.start(f"{HERE}:hang")

    assert not Path(f"/proc/{child.pid}").exists()


def test_each_statement_is_seen_before_and_after(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    with each_statement(lambda when, sql, connection: seen.append((when, sql.split()[0]))):
        write_three_rows(str(tmp_path / "a.db"))
    write_three_rows(str(tmp_path / "b.db"))

    assert [
        (when, word)
        for word in ("CREATE", "BEGIN", "INSERT", "COMMIT")
        for when in ("before", "after")
    ] == seen


def test_what_a_hook_raises_is_raised_by_the_statement(tmp_path: Path) -> None:
    def hook(when: str, sql: str, connection: Any) -> None:
        if (when, sql) == ("before", "COMMIT"):
            raise sqlite3.OperationalError("disk I/O error")

    with each_statement(hook), pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        write_three_rows(str(tmp_path / "a.db"))


def test_a_statement_that_is_refused_has_a_point_behind_it_too() -> None:
    seen: list[str] = []
    with (
        each_statement(lambda when, sql, connection: seen.append(when)),
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError),
    ):
        connection.execute("nonsense")

    assert ["before", "after"] == seen
