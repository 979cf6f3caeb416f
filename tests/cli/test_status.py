"""``status`` and ``history``: what they show of the past and of what runs at this moment."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

from tests.cli.program import Folder, until


def test_the_overview_shows_what_failed_and_what_was_completed(past: Folder) -> None:
    out = past.done("status").out

    failed, completed = out.split("Completed last\n")
    assert "RuntimeError: the till is locked" in failed
    assert "hint: `stepwell restart ID`" in failed
    assert ["4", "2", "1"] == re.findall(r"^(\d+) ", completed, re.MULTILINE)
    assert "COMPLETED (PARTIAL)" in completed


def test_times_are_local_with_their_zone_and_utc_in_json(past: Folder) -> None:
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d JST", past.done("status").out)
    ended_at = past.json("status", "1")["ended_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", ended_at)


def test_json_of_the_overview(past: Folder) -> None:
    overview = past.json("status")

    assert {
        "database",
        "running",
        "waiting",
        "waiting_count",
        "failed",
        "completed",
    } == set(overview)
    assert [3] == [e["execution_id"] for e in overview["failed"]]
    assert [4, 2, 1] == [e["execution_id"] for e in overview["completed"]]


def test_one_execution_in_full(past: Folder) -> None:
    out = past.done("status", "1").out

    assert "execution 1 of job 'load' is COMPLETED after" in out
    assert "day='2026-11-20', shop=7 (note='by hand')" in out
    assert re.search(r"^owner +owner 1 \(pid \d+ on .+\)$", out, re.MULTILINE)
    assert re.search(r"^items +COMPLETED +[\d.]+ s +500 read · 500 written$", out, re.MULTILINE)
    assert re.search(r"step items +STARTED +COMPLETED +runner", out)


def test_a_failure_is_shown_once_with_its_trace(past: Folder) -> None:
    out = past.done("status", "3").out

    assert 1 == out.count("Traceback (most recent call last)")
    assert "RuntimeError: the till is locked" in out
    assert "`stepwell restart 3` goes on where it stopped" in out


def test_skipped_items_are_listed_up_to_a_number(past: Folder) -> None:
    details = past.json("status", "2")

    assert (8, 8) == (details["skip_count"], len(details["skips"]))
    assert {
        "step": "pick",
        "phase": "process",
        "error_type": "ValueError",
        "error_message": "7 is a seven",
    }.items() <= details["skips"][0].items()
    assert "7 is a seven" in past.done("status", "2").out


def test_failed_and_partial_partitions_are_listed_and_all_when_asked(past: Folder) -> None:
    out = past.done("status", "4").out
    some = past.json("status", "4")["partitions"]
    every = past.json("status", "4", "--partitions")["partitions"]

    assert "Failed and partial partitions of step shares" in out
    assert "half of it" in out
    assert "LookupError: no such shop" in out
    assert [(3, "PARTIAL"), (4, "FAILURE")] == [(p["number"], p["outcome"]) for p in some]
    assert list(range(10)) == [p["number"] for p in every]
    assert {"rows": 10} == every[0]["counts"]


def test_the_times_of_partitions_are_told_in_four_numbers(past: Folder) -> None:
    """Those of an execution without partitions are none."""
    out = past.done("status", "4").out
    (times,) = past.json("status", "4")["partition_times"]

    assert re.search(r"^Times of partitions$", out, re.MULTILINE)
    assert re.search(r"^shares +10( +[\d.]+ m?s){4}$", out, re.MULTILINE)
    assert ("shares", 10) == (times["step"], times["measured"])
    assert 0 <= times["min_s"] <= times["p50_s"] <= times["p95_s"] <= times["max_s"] < 60
    assert [] == past.json("status", "1")["partition_times"]
    assert "Times of partitions" not in past.done("status", "1").out


def test_an_unknown_execution_is_refused(past: Folder) -> None:
    past.call("status", "99").refused(2, "cannot find execution 99", "hint: ")
    past.call("status", "99", "--watch").refused(2, "cannot find execution 99")
    past.call("status", "first").refused(2, "invalid value for 'ID'")


def test_status_imports_no_job_module(past: Folder, folder: Folder) -> None:
    (folder.path / "jobs.py").write_text("raise SystemExit('the jobs were imported')\n")
    database = f"sqlite:///{past.path}/stepwell.db"

    assert 0 == folder.call("status", "--database", database).code


def test_json_and_text_of_a_history(past: Folder) -> None:
    history = past.json("history", "broken")

    assert ("broken", [3]) == (history["job"], [e["execution_id"] for e in history["executions"]])
    assert "RuntimeError: the till is locked" in past.done("history", "broken").out
    assert "has not run yet" in past.done("history", "deaf").out
    assert [] == past.json("history", "broken", "--before", "3")["executions"]
    past.call("history", "brken").refused(2, "did you mean 'broken'?")


def test_history_pages(folder: Folder) -> None:
    for _ in range(2):
        folder.done("run", "talks", "--again")

    newest = folder.done("history", "talks", "--limit", "1").out
    assert ["2"] == re.findall(r"^ *(\d+) ", newest, re.MULTILINE)
    assert "`--before 2` shows older ones" in newest
    older = folder.done("history", "talks", "--limit", "2", "--before", "2").out
    assert ["1"] == re.findall(r"^ *(\d+) ", older, re.MULTILINE)


class Shops:
    """The job ``shops``: as many of its 40 partitions run as are allowed."""

    def __init__(self, folder: Folder) -> None:
        self._allowed = folder.path / "allowed"
        self.allow(0)
        self._running = folder.start("run", "shops", ALLOWED=str(self._allowed))
        self._running.until("step 'each' started")
        self.pid = self._running.pid

    def allow(self, number: int) -> None:
        self._allowed.write_text(str(number))

    def end(self) -> None:
        self.allow(40)
        assert 3 == self._running.end().code


def test_a_second_terminal_sees_the_progress_move(folder: Folder) -> None:
    shops = Shops(folder)
    watch = folder.start("status", "1", "--watch")
    watch.until("step 'each' started")
    for number in (10, 20, 30):
        shops.allow(number)
        watch.until(f"{number} of 40 partitions")
    shops.end()
    watched = watch.end()

    assert 0 == watched.code
    seen = [int(n) for n in re.findall(r"(\d+) of 40 partitions", watched.out)]
    assert sorted(seen) == seen
    assert {10, 20, 30, 40} <= set(seen)
    assert re.search(r"step 'each': 50 %, 20 of 40 partitions.*, [\d.]+/\w+, .* left", watched.out)
    assert "execution 1 of job 'shops' is COMPLETED (PARTIAL)" in watched.out


def test_a_watch_without_id_tells_begin_progress_and_end(folder: Folder) -> None:
    folder.done("run", "talks")
    watch = folder.start("status", "--watch")
    watch.until("Completed last")
    shops = Shops(folder)
    watch.until("execution 2 step 'each' started")
    shops.allow(10)
    watch.until("execution 2 step 'each': 25 %, 10 of 40 partitions")
    shops.end()
    watch.until("execution 2 of job 'shops' is COMPLETED (PARTIAL)")
    watch.send(signal.SIGINT)

    assert 0 == watch.end().code


def test_a_watch_ends_when_nobody_reads_it_any_more(folder: Folder) -> None:
    folder.done("run", "talks")
    watch = folder.start("status", "--watch")
    watch.until("Completed last")
    watch.close_stdout()
    folder.done("run", "talks", "--again")

    assert 0 == watch.end().code


def test_a_watch_in_json_prints_a_document_a_line(folder: Folder) -> None:
    shops = Shops(folder)
    watch = folder.start("status", "1", "--watch", "--json")
    shops.allow(10)
    watch.until('"done": 10,')
    shops.end()
    watched = watch.end()

    documents: list[Any] = [json.loads(line) for line in watched.out.splitlines()]
    done = [document["steps"][0]["progress"]["done"] for document in documents]
    assert (0, "COMPLETED") == (watched.code, documents[-1]["status"])
    assert sorted(done) == done
    assert {10, 40} <= set(done)


def test_what_runs_is_shown_with_owner_rate_and_remaining_time(folder: Folder) -> None:
    shops = Shops(folder)
    shops.allow(10)

    def ten() -> Any:
        [look] = folder.json("status")["running"]
        progress = look["steps"][0]["progress"]
        return look if progress["done"] == 10 and progress["eta_s"] else None

    look = until(ten, what="ten partitions")
    out = folder.done("status").out
    shops.end()

    assert "Running" in out
    assert re.search(r"25 % .* 10 of 40 partitions", out)
    assert (shops.pid, False) == (look["owner"]["pid"], look["owner"]["is_dead"])
    [step] = look["steps"]
    assert step["progress"]["rate_per_s"] > 0
    assert {"total": 40, "completed": 10, "failed": 1, "partial": 1} == step["partitions"]


def test_an_empty_database_says_what_to_do(folder: Folder) -> None:
    folder.done("init")

    out = folder.done("status").out
    assert "nothing runs, and nothing has run lately" in out
    assert "`stepwell run JOB` runs one" in out
