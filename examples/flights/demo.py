"""`make demo`: load a year of flights, kill it in the middle, run it again, check every row.

    .venv/bin/python examples/flights/demo.py [--kill load|recalculate]

It calls the command line as a person would; what it claims at the end it computes a second time
without Stepwell (checks.py). The exit status is 1 when a claim does not hold.
"""

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import checks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent.parent / ".demo"
DATABASE = FOLDER / "flights.db"
FILE = FOLDER / "flights.csv"

KILL_AFTER_ROWS = 120_000
KILL_AFTER_DAYS = 120
POLL_S = 0.005

PROGRESS = {
    "load": ("SELECT max(write_count) FROM batch_step_execution", KILL_AFTER_ROWS, "rows"),
    "recalculate": (
        "SELECT max(partition_completed) FROM batch_step_execution",
        KILL_AFTER_DAYS,
        "days",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kill", choices=PROGRESS, default="load", help="the step to kill it in")
    step = parser.parse_args().kill
    began = time.monotonic()
    try:
        begin_afresh()
        tell(f"1. Run the job, and kill it (SIGKILL) in the middle of step `{step}`.")
        kill_in(step)
        tell("2. Run it again: it finds the dead owner, records why, and goes on from there.")
        stepwell("run", "flights")
        tell("3. What was recorded.")
        stepwell("history", "flights")
        print()
        stepwell("status", "1")
        tell("4. Is it true? Computed again from the file, with Python's csv and plain SQL:")
        check()
    except checks.Wrong as wrong:
        print(f"\nthe demo failed: {wrong}", file=sys.stderr)
        return 1
    tell(f"Done in {time.monotonic() - began:.0f} s. {NEXT}")
    return 0


def tell(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def begin_afresh() -> None:
    """Remove the last demo's database, unless somebody is working with it."""
    FOLDER.mkdir(exist_ok=True)
    if someone_works():
        raise checks.Wrong(f"a process is still working with {DATABASE}: end it, then try again")
    for old in FOLDER.glob("flights.db*"):
        old.unlink()


def someone_works() -> bool:
    """Every process that runs jobs holds a lock on a byte of the owners file until it ends."""
    owners = DATABASE.with_name(DATABASE.name + "-owners")
    if fcntl is None or not owners.exists():
        return False
    with owners.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def command(*arguments: str) -> list[str]:
    print("$ stepwell", *arguments, flush=True)
    return [sys.executable, "-m", "stepwell", *arguments]


def environment() -> dict[str, str]:
    """Without the settings of whoever calls: the demo's own `stepwell.toml` decides."""
    return {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}


def stepwell(*arguments: str) -> None:
    done = subprocess.run(command(*arguments), cwd=HERE, env=environment(), check=False)
    if done.returncode != 0:
        raise checks.Wrong(f"`stepwell {' '.join(arguments)}` ended with {done.returncode}, not 0")


def kill_in(step: str) -> None:
    query, enough, noun = PROGRESS[step]
    process = subprocess.Popen(command("run", "flights"), cwd=HERE, env=environment())
    try:
        while ask(query) < enough:
            if process.poll() is not None:
                raise checks.Wrong(f"the job ended with {process.returncode} before it was killed")
            time.sleep(POLL_S)
    finally:
        process.kill()
        process.wait()
    if sys.stdout.isatty():
        print("\033[?25h", end="")  # A killed progress bar leaves the cursor hidden.
    if process.returncode != -signal.SIGKILL:
        raise checks.Wrong("the job was over before the kill reached it")
    rows, recorded = ask("SELECT count(*) FROM flight"), ask(PROGRESS["load"][0])
    print(f"\nKilled. Recorded: {ask(query):,} {noun}.", flush=True)
    print(f"Rows in the table: {rows:,}; rows that the record tells of: {recorded:,}.", flush=True)
    if rows != recorded:
        raise checks.Wrong(f"{rows:,} rows are in the table, but {recorded:,} are recorded")


def ask(query: str) -> int:
    """One number from the database, 0 as long as there is none; readers disturb nobody."""
    try:
        connection = checks.connect(DATABASE)
        try:
            return connection.execute(query).fetchone()[0] or 0
        finally:
            connection.close()
    except sqlite3.OperationalError:  # No file or no table yet.
        return 0


def check() -> None:
    print("  ", checks.check_executions(DATABASE))
    print("  ", checks.check_rows(DATABASE, FILE))
    print("  ", checks.check_written_once(DATABASE))
    print("  ", checks.check_days(DATABASE))
    rows = ask("SELECT count(*) FROM flight")
    if rows != 336_776:
        raise checks.Wrong(f"there should be 336,776 rows, there are {rows:,}")


NEXT = """To go on:

  cd examples/flights
  ../../.venv/bin/stepwell run flights         it is complete: refused, exit status 4
  ../../.venv/bin/stepwell run flights start_date=2013-07-01 end_date=2013-07-07
  ../../.venv/bin/stepwell status --watch      in a second terminal, while something runs
  ../../.venv/bin/python demo.py --kill recalculate

Read on in docs/guides/flights.md."""


if __name__ == "__main__":
    sys.exit(main())
