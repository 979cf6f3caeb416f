"""``python -m benchmarks.larger``: what a PostgreSQL server has to do for many hosts.

It measures, on a real server on this machine, what one worker that has nothing to do costs, one
execution, and one partition; and multiplies: HOSTS hosts, PARTITIONS partitions a day.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from stepwell import Job, Node, PartitionedStep, TaskletStep
from stepwell.repository.owners import register_owner
from stepwell.testing.statements import each_statement
from tests.postgresql import SERVER, url_of

HOSTS = 1_000
PARTITIONS = 10_000_000
DAY_S = 86_400
IDLE_S = 10.0
EXECUTIONS = 50
MEASURED_PARTITIONS = 5_000
LOOKS_S = 3.0
BATCHES = (100, 1_000)  # Partitions an execution.


@contextmanager
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    answer, _, directory = process.stdout.readline().strip().partition(" ")
    assert answer == "ready", answer
    with psycopg.connect(url_of("postgres", directory), autocommit=True) as connection:
        connection.execute("CREATE DATABASE larger")
    try:
        yield url_of("larger", directory)
    finally:
        process.stdin.close()
        process.wait()


class Meter:
    """Statements and commits of this process; rows, bytes and log of the server."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self.counts: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hook(self, when: str, sql: str, _connection: Any) -> None:
        if when == "before":
            with self._lock:
                self.counts["statements"] += 1
                self.texts[" ".join(sql.split()[:6])[:90]] += 1
                self.counts["commits"] += sql.upper().startswith("COMMIT")
                self.counts["begins"] += sql.upper().startswith("BEGIN")

    def ask(self, sql: str) -> Any:
        return self._connection.execute(sql).fetchall()[0][0]

    def state(self) -> dict[str, float]:
        with self._lock:
            mine = dict(self.counts)
        return {
            **mine,
            "bytes": int(
                self.ask(
                    "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c"
                    " WHERE relkind = 'r' AND relname LIKE 'batch%'"
                )
            ),
            "wal": int(self.ask("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")),
            "rows": int(
                self.ask(
                    "SELECT sum(n_tup_ins) FROM (SELECT pg_stat_clear_snapshot())"
                    " c, pg_stat_user_tables"
                )
            ),
            "at": time.perf_counter(),
        }

    def over(self, act: Any) -> dict[str, float]:
        self.ask("SELECT pg_stat_clear_snapshot()::text")
        before = self.state()
        act()
        time.sleep(1.5)  # The server's statistics are as late as that.
        after = self.state()
        return {name: after[name] - before.get(name, 0) for name in after}


def idle(url: str, meter: Meter) -> dict[str, float]:
    """A worker that finds nothing: statements a second, and its sessions."""
    with each_statement(meter.hook), Node.open(url, purpose="work") as node:
        worker = node.worker()
        thread = threading.Thread(target=worker.run)
        thread.start()
        time.sleep(3.0)
        sessions = meter.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'stepwell%'"
        )
        meter.texts.clear()
        before, began = dict(meter.counts), time.perf_counter()
        time.sleep(IDLE_S)
        took = time.perf_counter() - began
        found = {n: (meter.counts[n] - before.get(n, 0)) / took for n in ("statements", "begins")}
        worker.request_stop("done")
        thread.join()
    for text, count in meter.texts.most_common(12):
        print(f"{count / took:6.1f}/s  {text}", file=sys.stderr)
    return {**found, "sessions": sessions}


def execution(url: str, meter: Meter) -> dict[str, float]:
    job = Job("one", [TaskletStep("only", lambda: None)], identity="each-start")
    with each_statement(meter.hook), Node.open(url) as node:
        node.operator.run(job)
        found = meter.over(lambda: [node.operator.run(job) for _ in range(EXECUTIONS)])
    return {name: value / EXECUTIONS for name, value in found.items()}


def partition(url: str, meter: Meter) -> dict[str, float]:
    def job(count: int) -> Job:
        step = PartitionedStep("parts", list(range(count)), lambda n: None, workers=4)
        return Job("many", [step], identity="each-start")

    with each_statement(meter.hook), Node.open(url) as node:
        node.operator.run(job(10))
        began = time.perf_counter()
        took = [0.0]

        def act() -> None:
            node.operator.run(job(MEASURED_PARTITIONS))
            took[0] = time.perf_counter() - began

        found = meter.over(act)
    found["seconds"] = took[0]
    return {name: value / MEASURED_PARTITIONS for name, value in found.items()}


def look_for_the_dead(url: str) -> float:
    """What one look of one worker takes when all the hosts are alive; in seconds."""
    with Node.open(url, purpose="work") as node:
        database = node.database
        for _ in range(HOSTS):
            database.run(lambda t: register_owner(t, database.liveness, node.clock, "work"))
        with Node.open(url, purpose="work") as looking:
            looking.operator.recover_dead()
            began = time.perf_counter()
            for _ in range(20):
                looking.operator.recover_dead()
            return (time.perf_counter() - began) / 20


def looks(url: str, processes: int) -> float:
    """How many looks at an empty queue the server answers in a second, with nothing else to do."""
    program = (
        "import sys, time\n"
        "from stepwell import Node\n"
        f"with Node.open({url!r}, purpose='work') as node:\n"
        "    worker = node.worker()\n"
        "    node.operator.owner_id\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        f"    end, count = time.monotonic() + {LOOKS_S}, 0\n"
        "    while time.monotonic() < end:\n"
        "        worker._claim(); count += 1\n"
        "    print(count, flush=True)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(processes)
    ]
    for each in running:
        each.stdout.readline()
    for each in running:
        each.stdin.write("go\n")
        each.stdin.flush()
    count = sum(int(each.stdout.readline()) for each in running)
    for each in running:
        each.stdin.close()
        each.wait()
    return count / LOOKS_S


def main() -> None:
    with server() as url:
        with Node.open(url):
            pass
        meter = Meter(url)
        at_rest = idle(url, meter)
        one = execution(url, meter)
        part = partition(url, meter)
        rounds = looks(url, 2)
        look_s = look_for_the_dead(url)
        version = meter.ask("SHOW server_version")
    print(f"PostgreSQL {version}, {Path('/proc/loadavg').read_text().split()[0]} load\n")
    print("| measured | statements | commits | rows | bytes | log bytes |")
    print("|---|---|---|---|---|---|")
    for name, each in (("an execution of one step", one), ("one partition", part)):
        print(
            f"| {name} | {each['statements']:.2f} | {each['commits']:.3f} | {each['rows']:.2f}"
            f" | {each['bytes']:,.0f} | {each['wal']:,.0f} |"
        )
    print(
        f"\nan idle worker: {at_rest['statements']:.1f} statements and {at_rest['begins']:.1f}"
        f" transactions a second, {at_rest['sessions']} sessions"
    )
    print(f"partitions by one host, 4 threads: {1 / part['seconds']:,.0f} a second")
    print(f"a look for the dead among {HOSTS:,} owners: {look_s * 1000:.1f} ms")
    print(f"looks at an empty queue by two processes: {rounds:,.0f} a second\n")
    print(
        f"| {HOSTS:,} hosts, {PARTITIONS:,} partitions a day | statements/s | commits/s"
        " | rows a day | GB a day | log GB a day |"
    )
    print("|---|---|---|---|---|---|")
    sessions, rest = HOSTS * at_rest["sessions"], HOSTS * at_rest["statements"]
    print(f"| at rest, {sessions:,} sessions | {rest:,.0f} | 0 | 0 | 0 | 0 |")
    for batch in BATCHES:
        executions = PARTITIONS / batch
        of = {
            name: PARTITIONS * part[name] + executions * one[name]
            for name in ("statements", "commits", "rows", "bytes", "wal")
        }
        print(
            f"| {batch:,} partitions an execution | {of['statements'] / DAY_S:,.0f}"
            f" | {of['commits'] / DAY_S:,.1f} | {of['rows']:,.0f} | {of['bytes'] / 1e9:,.1f}"
            f" | {of['wal'] / 1e9:,.1f} |"
        )


if __name__ == "__main__":
    main()
