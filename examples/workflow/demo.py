"""Import the old state, work in several processes, register meanwhile, kill them, check it all.

    python examples/workflow/demo.py [--kills N]

It calls the command line as two people at two terminals would. The exit status is 1 when a claim
does not hold.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import checks

HERE = Path(__file__).resolve().parent
DATABASE = HERE / "workflow.db"
BOOK = HERE / "book"
STATE = HERE / "state.json"
MORE = [{"id": f"index-{n}", "agent": "writer", "files": ["site/index.html"]} for n in range(1, 6)]
IMPOSSIBLE = "publish-10-4"
WITHIN_S = 240


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=3, help="how often a worker is killed")
    kills = parser.parse_args().kills
    began = time.monotonic()
    try:
        begin_afresh()
        tell("1. The old state becomes registered work; a second time nothing happens.")
        stepwell("import-state", STATE.name, "--job", "item")
        stepwell("import-state", STATE.name, status=4)
        tell(f"2. Two workers; {kills} times one of them is killed (SIGKILL) and started again.")
        terminal = work_and_kill(kills)
        tell("3. One more worker finishes what is left, and ends.")
        stepwell("work", "--parallel", "3", "--drain", status=None, quiet=True)
        stepwell("status")
        stepwell("pool", "list")
        tell("4. Is it true? The evidence that the items have left, read without Stepwell:")
        check(terminal)
    except checks.Wrong as wrong:
        print(f"\nthe demo failed: {wrong}", file=sys.stderr)
        return 1
    tell(
        f"Done in {time.monotonic() - began:.0f} s. `stepwell status` in this folder shows it all."
    )
    return 0


def begin_afresh():
    for old in HERE.glob("workflow.db*"):
        old.unlink()
    shutil.rmtree(BOOK, ignore_errors=True)


def work_and_kill(kills):
    """Terminal 1: two workers, one of which is killed again and again. Terminal 2 looks on."""
    chance, terminal = random.Random(kills), Terminal()
    workers = [start_worker() for _ in range(2)]
    terminal.start()
    try:
        for number in range(1, kills + 1):
            wait_until(lambda wanted=number * 120 // kills: progress() >= wanted)
            victim = workers.pop(chance.randrange(len(workers)))
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            print(f"killed worker {victim.pid} at {progress()} items", flush=True)
            workers.append(start_worker())
        wait_until(lambda: not terminal.more)
    finally:
        terminal.enough.set()
        terminal.join()
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait(60)
    if terminal.error:
        raise terminal.error
    return terminal


class Terminal(threading.Thread):
    """The second terminal: it registers more work and looks, and must never fail or wait long."""

    def __init__(self):
        super().__init__(name="terminal 2")
        self.more, self.looks, self.slowest_s = list(MORE), 0, 0.0
        self.enough, self.error = threading.Event(), None

    def run(self):
        try:
            while not self.enough.is_set():
                if self.more:
                    self.timed("register", "item", *words(self.more[-1]))
                    self.more.pop()
                self.timed("status")
                for pool in self.timed("pool", "list")["pools"]:
                    if len(pool["execution_ids"]) > pool["size"]:
                        raise checks.Wrong(f"a pool is above its size: {pool}")
        except checks.Wrong as wrong:
            self.error = wrong

    def timed(self, *arguments):
        began = time.monotonic()
        answered = answer(*arguments)
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.looks += 1
        return answered


def wait_until(holds):
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise checks.Wrong(f"the workers got no further than {progress()} items")
        time.sleep(0.02)


def start_worker():
    return subprocess.Popen(
        [sys.executable, "-m", "stepwell", "work", "--parallel", "3"],
        cwd=HERE,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def progress():
    try:
        [[done]] = checks.ask(DATABASE, "SELECT COUNT(*) FROM done")
    except checks.sqlite3.OperationalError:
        return 0  # The first item makes the table.
    return done


def check(terminal):
    state = json.loads(STATE.read_text("utf-8"))["items"]
    files_of = {item["id"]: item["files"] for item in [*state, *MORE]}
    wanted = [i["id"] for i in state if i["status"] in ("running", "pending")]
    wanted = [name for name in wanted if name != IMPOSSIBLE] + [item["id"] for item in MORE]
    checks.check_done_once(DATABASE, wanted)
    print(f"  {len(wanted)} items, each done once")
    compared = checks.check_apart(DATABASE, files_of)
    print(f"  no two of {compared} on one file at the same time")
    print(f"  at a time at most: {checks.check_limits(DATABASE)}")
    checks.check_files(BOOK, files_of, wanted)
    print("  no signature lost, none doubled")
    print(
        f"  {terminal.looks} commands at terminal 2 meanwhile, at most {terminal.slowest_s:.1f} s"
    )


def words(item):
    return [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in item.items()]


def answer(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "stepwell", *arguments, "--json"],
        cwd=HERE,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise checks.Wrong(f"stepwell {' '.join(arguments)} ended with {done.returncode}: {done}")
    return json.loads(done.stdout)


def stepwell(*arguments, status=0, quiet=False):
    if not quiet:
        print(f"$ stepwell {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "stepwell", *arguments],
        cwd=HERE,
        env=environment(),
        capture_output=quiet,
        text=True,
        check=False,
    )
    if status is not None and done.returncode != status:
        raise checks.Wrong(f"stepwell {' '.join(arguments)} ended with {done.returncode}: {done}")


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("STEPWELL_")}


def tell(text):
    print(f"\n{text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
