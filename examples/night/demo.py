"""A night in a minute, from the command line: a killed worker, a backup, and what head office sees.

    python examples/night/demo.py

It calls `stepwell` as a person would. What it claims at the end it computes a second time in plain
SQL; the exit status is 1 when a claim does not hold.
"""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHOP, OFFICE = HERE / "shop-1", HERE / "head-office"
TOKEN, FIRST = SHOP / "shop-1.token", SHOP / "first.jsonl"
TABLES = ("store", "visit_daily", "budget_monthly", "day_report", "week_report")
ROW = ("sync", "row", "week_report", "store_id=1")
RUNS = (
    "batch_job_execution JOIN batch_job_instance USING (job_instance_id)"
    " WHERE job_name = 'close-week'"
)
WITHIN_S = 60
PAUSE_S = 0.3  # A partition's, while it is to be killed.


class Wrong(Exception):
    """A claim does not hold."""


def main() -> int:
    began = time.monotonic()
    try:
        begin_afresh()
        today = datetime.now(UTC).date()
        days = [(today - timedelta(days=n)).isoformat() for n in reversed(range(8))]
        tell("1. Two databases: head office and a shop.")
        two_nodes(sorted({day[:7] for day in days}))
        tell("2. By day: what is sold is registered, whatever else runs.")
        for day in days:
            stepwell("register", "trade", f"day={day}")
        tell("3. At night: a schedule, and a worker that is killed (SIGKILL) in the middle.")
        last_day = schedule()
        kill_in_the_middle()
        tell("4. The next worker finds the dead one, and goes on behind its last commit.")
        stepwell("work", "--drain")
        stepwell("history", "close-week")
        tell("5. Is all well? A copy, and off to head office.")
        stepwell("doctor")
        stepwell("backup", "create", "monday")
        push()
        tell("6. Head office: the row, and the run, step and chunk that wrote it in the shop.")
        stepwell("sync", "row", "week_report", "store_id=1", f"last_day={last_day}", at=OFFICE)
        check(last_day)
    except Wrong as wrong:
        print(f"\nthe night failed: {wrong}", file=sys.stderr)
        return 1
    tell(f"A night in {time.monotonic() - began:.0f} s.")
    return 0


def begin_afresh() -> None:
    for node in (SHOP, OFFICE):
        for old in (*node.glob("*.db*"), TOKEN, FIRST):
            old.unlink(missing_ok=True)
        for made in ("backups", "sync-transit"):
            shutil.rmtree(node / made, ignore_errors=True)


def two_nodes(months) -> None:
    for node, name, *main in ((OFFICE, "head-office", "--main"), (SHOP, "shop-1")):
        stepwell("init", at=node)
        stepwell("run", "migrate", at=node)
        stepwell("sync", "init", "--node", name, *main, at=node)
        stepwell("sync", "track", "company", "store", "--policy", "main_wins", at=node)
        stepwell("sync", "track", *TABLES[1:], at=node)
    for month in months:
        stepwell("run", "seed", f"month={month}", at=OFFICE)
    stepwell("sync", "peers", "add", "shop-1", at=OFFICE)
    stepwell("sync", "peers", "add", "head-office", "--main")
    stepwell("sync", "export", "--to", str(FIRST), "--client", "shop-1", at=OFFICE)
    stepwell("sync", "pull", "--file", FIRST.name)


def schedule():
    """A nightly time that comes at once, some seconds from now; the last day of its week."""
    for after_s in (3, 15, 60):  # A slow machine needs longer to say so.
        due = datetime.now(UTC) + timedelta(seconds=after_s)
        made = stepwell(
            *("schedule", "add", "close-week", f"{due:%-S %-M %-H} * * *"),
            *("last_day={yesterday}", "--name", "tonight", "--zone", "UTC", "--json"),
            shown=False,
        )
        first = datetime.fromisoformat(json.loads(made)["next_due_at"])
        if first < due + timedelta(hours=1):
            stepwell("schedule", "list")
            return first.date() - timedelta(days=1)
        stepwell("schedule", "remove", "tonight")
    raise Wrong("no schedule was made in time")


def kill_in_the_middle() -> None:
    """Begin to work, and end it without warning when two days of seven are done."""
    worker = subprocess.Popen(
        command("work"), cwd=SHOP, env={**environment(), "NIGHT_PAUSE_S": str(PAUSE_S)}
    )
    try:
        wait_until(lambda: done_days() >= 2, "two days recalculated")
        if worker.poll() is not None:
            raise Wrong(f"the worker ended by itself, with {worker.returncode}")
    finally:
        worker.kill()
        worker.wait()
    print(f"\nkilled, with {done_days()} of 7 days recalculated", flush=True)


def done_days() -> int:
    return ask(SHOP, "SELECT count(*) FROM day_report")[0][0]


def push() -> None:
    """Over HTTP, to a head office that serves, with a token of the shop's own."""
    port = free_port()
    made = stepwell(
        *("token", "create", "shop-1", "--role", "sync", "--node", "shop-1", "--json"),
        at=OFFICE,
        quiet=True,
    )
    TOKEN.write_text(json.loads(made)["secret"], encoding="utf-8")
    with served(port) as url:
        stepwell("sync", "push", "--url", url, "--token-file", TOKEN.name)
        stepwell("sync", "push", "--url", url, "--token-file", TOKEN.name)  # Twice is once.


@contextmanager
def served(port):
    words = ["serve", "--port", str(port), "--workers", "0"]
    server = subprocess.Popen(command(*words), cwd=OFFICE, env=environment())
    try:
        wait_until(lambda: answers(port), "head office serves")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(WITHIN_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def check(last_day) -> None:
    tell("Is it true? Computed again, in plain SQL:")
    last, first = last_day.isoformat(), (last_day - timedelta(days=6)).isoformat()
    [[visitors, sales]] = ask(
        SHOP,
        "SELECT sum(visitors), sum(sales) FROM visit_daily WHERE day BETWEEN ? AND ?",
        first,
        last,
    )
    told = ask(OFFICE, "SELECT visitors, sales FROM week_report WHERE last_day = ?", last)
    expect([(visitors, sales)] == told, f"the week in head office is {told}")
    print(f"  the week: {visitors} visitors, {sales:.2f} of sales")
    for table in TABLES:
        here, there = (sorted(ask(node, f"SELECT * FROM {table}")) for node in (SHOP, OFFICE))
        expect(here == there, f"table {table} differs")
    print("  both databases hold the same rows")
    runs = ask(
        SHOP,
        f"SELECT status, failure_type FROM {RUNS} ORDER BY job_execution_id",
    )
    expect(runs == [("FAILED", "OwnerDied"), ("COMPLETED", None)], f"the runs are {runs}")
    print("  one night, two runs: the first was killed, the second went on")
    seen = json.loads(stepwell(*ROW, f"last_day={last}", "--json", at=OFFICE, quiet=True))
    [[run]] = ask(SHOP, f"SELECT max(job_execution_id) FROM {RUNS}")
    lineage = seen["lineage"]
    written = (seen["origin"], lineage["job_name"], lineage["execution_id"], lineage["step_name"])
    expect(("shop-1", "close-week", run, "report") == written, f"the row was written by {written}")
    expect(lineage["chunk"] == "1", f"the row was written by chunk {lineage['chunk']}")
    print(f"  head office knows: execution {run} of close-week in shop-1, step report, chunk 1")


def expect(holds, otherwise) -> None:
    if not holds:
        raise Wrong(otherwise)


def ask(node, query, *values):
    """Read a database as another program would."""
    file = node / "stepwell.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(query, values).fetchall()


def wait_until(holds, what) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        expect(time.monotonic() < deadline, f"never came: {what}")
        time.sleep(0.02)


def stepwell(*words, at=SHOP, quiet=False, shown=True) -> str:
    if not quiet:
        print(f"{at.name}$ stepwell", *words, flush=True)
    done = subprocess.run(
        command(*words),
        cwd=at,
        env=environment(),
        check=False,
        text=True,
        stdout=subprocess.PIPE if quiet or not shown else None,
    )
    expect(done.returncode == 0, f"`stepwell {' '.join(words)}` ended with {done.returncode}")
    return done.stdout or ""


def command(*words) -> list[str]:
    return [sys.executable, "-m", "stepwell", *words]


def environment():
    """Without the settings of whoever calls: those of this folder decide."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}


def tell(text) -> None:
    print(f"\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
