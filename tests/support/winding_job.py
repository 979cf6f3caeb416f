"""A job with a bend in every step: flows, a decision, a split, a skip, a retry with its rewind,
partitions of chunks, a stop that a second run goes on from.

It is run until it is COMPLETED, which takes two executions. Each row is inserted once and never
upserted, so a piece of work that is done twice breaks a key.
"""

from __future__ import annotations

from typing import Any

from stepwell import (
    BatchStatus,
    ChunkStep,
    Decision,
    Flow,
    Job,
    Node,
    PartitionedStep,
    Retry,
    Skip,
    Split,
    StepContext,
    TaskletStep,
    on,
)
from stepwell.errors import JobInstanceAlreadyComplete
from tests.support.processes import findings, recover_when_proven, stories

RUNS_MAX = 4
SHARES = [20, 30]


class Refused(Exception):
    """An item that is left out."""


class Flaky(Exception):
    """What does not happen a second time in one attempt."""


def create(step: StepContext) -> None:
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS done (id INTEGER PRIMARY KEY, note TEXT)")


def insert(ids: list[int], step: StepContext) -> None:
    rows = [{"id": n, "note": step.step_name} for n in ids]
    step.connection.executemany("INSERT INTO done (id, note) VALUES (:id, :note)", rows)


def pick(n: int) -> int:
    if n == 3:
        raise Refused(n)
    return n


def keep(ids: list[int], step: StepContext) -> None:
    """4, 5, 6 are written one by one, because 5 fails in their midst; 6 then fails alone.

    So it does behind a crash, where it may be read together with 7.
    """
    if 5 in ids and step.transient is None:
        step.transient = "it has failed"
        raise Flaky
    if 6 in ids:
        raise Refused(6)
    insert(ids, step)
    step.context["written"] = step.context.get("written", 0) + len(ids)


def decide(steps: Any) -> str:
    """By what the step has kept over all its attempts (S59)."""
    return f"WROTE {steps[0].context['written']}"


def by_hand(step: StepContext) -> None:
    for n in range(step.context.get("done", 10) + 1, 13):
        with step.transaction():
            insert([n], step)
            step.context["done"] = n


class Share:
    """Reads the three numbers behind a partition's input."""

    def open(self, checkpoint: int | None, step: StepContext) -> None:
        self.first, self.at = step.input, checkpoint or 0

    def read(self) -> int | None:
        if self.at == 3:
            return None
        self.at += 1
        return int(self.first + self.at)

    def checkpoint(self) -> int:
        return self.at

    def close(self) -> None:
        """Nothing to give back."""


def last(step: StepContext) -> None:
    """Its row and that it is there commit together, long before the step's end does."""
    if not step.context.get("done"):
        with step.transaction():
            insert([99], step)
            step.context["done"] = True


JOB = Job(
    "winding",
    steps=[
        TaskletStep("create", create),
        Flow(
            "first",
            [
                ChunkStep(
                    "pick",
                    range(1, 8),
                    pick,
                    keep,
                    chunk_size=3,
                    skip=Skip(Refused, limit=2),
                    retry=Retry(Flaky, limit=1),
                )
            ],
        ),
        Decision("enough", decide, transitions=[on("WROTE 5").to("both"), on("*").fail("LOST")]),
        Split(
            "both",
            [
                Flow("left", [TaskletStep("hand", by_hand)]),
                Flow("right", [ChunkStep("lists", range(15, 19), None, insert, chunk_size=2)]),
            ],
        ),
        PartitionedStep(
            "shares",
            SHARES,
            ChunkStep("share", Share(), None, insert, chunk_size=2),
            executor="inline",
        ),
        TaskletStep(
            "report", lambda: "WAIT", transitions=[on("WAIT").stop("WAITING", restart="last")]
        ),
        TaskletStep("last", last),
    ],
)

ROWS = [
    *([n, "pick"] for n in (1, 2, 4, 5, 7)),
    *([n, "hand"] for n in (11, 12)),
    *([n, "lists"] for n in (15, 16, 17, 18)),
    *([first + n, "shares"] for first in SHARES for n in (1, 2, 3)),
    [99, "last"],
]
SKIPS = [["pick", "process", "3"], ["pick", "write", "6"]]


def run_to_its_end(url: str) -> dict[str, Any]:
    """Recover what is dead, then run it until it is COMPLETED; everything recorded then."""
    with Node.open(url) as node:
        recovered = recover_when_proven(node)
        for _ in range(RUNS_MAX):
            try:
                if node.operator.run(JOB).batch_status is BatchStatus.COMPLETED:
                    break
            except JobInstanceAlreadyComplete:
                break
        return {
            "recovered": recovered,
            "executions": stories(node),
            "findings": findings(node),
            "rows": _rows(node, "SELECT id, note FROM done ORDER BY id"),
            "skips": _rows(
                node,
                "SELECT s.step_name, k.phase, k.item FROM batch_skip k"
                " JOIN batch_step_execution s ON s.step_execution_id = k.step_execution_id"
                " ORDER BY k.skip_id",
            ),
        }


def _rows(node: Node, sql: str) -> list[list[Any]]:
    with node.database.read() as reader:
        return [list(row) for row in reader.connection.execute(sql)]


def what_is_wrong(recorded: dict[str, Any], *, kills_max: int) -> list[str]:
    """Every way in which the story of a job that was killed and run again is not the right one."""
    executions = recorded["executions"]
    statuses = [execution["status"] for execution in executions]
    by_step: dict[str, list[dict[str, Any]]] = {}
    for execution in executions:
        for step in execution["steps"]:
            by_step.setdefault(step["name"], []).append(step)
    ends = sorted(
        [number, outcome]
        for step in by_step.get("shares", [])
        for number, outcome in step["partitions"]
        if outcome is not None
    )
    expected = {
        "the application's rows": (ROWS, recorded["rows"]),
        "the skips": (SKIPS, sorted(recorded["skips"])),
        "broken invariants": ([], recorded["findings"]),
        "the end": (["COMPLETED", "COMPLETED", "last"], _end(executions[-1])),
        "what came before": (True, set(statuses[:-1]) <= {"FAILED", "STOPPED"}),
        "killed at most": (True, statuses.count("FAILED") <= kills_max),
        # Each killed one may have been sent to its position, and was sent there again (S64).
        "stops at the report": (True, statuses.count("STOPPED") <= kills_max + 1),
        "results of partitions": ([[n, "SUCCESS"] for n in range(len(SHARES))], ends),
        "each step but once complete": (
            dict.fromkeys(by_step, 1),
            {name: _completed(steps) for name, steps in by_step.items()},
        ),
        "items": (
            {"pick": [7, 5], "lists": [4, 4], "shares": [6, 6]},
            {
                name: [
                    sum(s["read"] for s in by_step.get(name, [])),
                    sum(s["written"] for s in by_step.get(name, [])),
                ]
                for name in ("pick", "lists", "shares")
            },
        ),
    }
    return [
        f"{what}: expected {right}, got {found}"
        for what, (right, found) in expected.items()
        if right != found
    ]


def _end(execution: dict[str, Any]) -> list[Any]:
    return [execution["status"], execution["result"], execution["last_step"]]


def _completed(steps: list[dict[str, Any]]) -> int:
    return sum(step["status"] == "COMPLETED" for step in steps)
