"""A book made by three agents: 200 items, each with the files it touches and the agent it needs.

Two items that touch one file never run together, and no agent has more than it can take, however
many processes work. Each item leaves evidence of itself, which checks.py compares: a line in each
of its files, and a row in the table ``done``.
"""

import os
import time
from pathlib import Path
from typing import Literal

from stepwell import Job, Parameters, TaskletStep

BOOK = Path(__file__).resolve().parent / "book"
PAUSE_S = float(os.environ.get("WORKFLOW_PAUSE_S", "0.05"))

# The reviewer sends these back once; this edition can never be printed.
SENT_BACK = {f"review-{chapter}-7" for chapter in range(1, 11)}
IMPOSSIBLE = "publish-10-4"

CREATE = """CREATE TABLE IF NOT EXISTS done
(item TEXT PRIMARY KEY, agent TEXT NOT NULL, began REAL NOT NULL, ended REAL NOT NULL)"""
INSERT = "INSERT INTO done (item, agent, began, ended) VALUES (:item, :agent, :began, :ended)"


class Item(Parameters):
    id: str
    agent: Literal["writer", "reviewer", "publisher"]
    files: list[str]


def work(step):
    """Do the item, and record it together with the context: a repetition knows that it is done."""
    item = step.parameters
    began = time.time()
    tries = step.context.get("tries", 0)
    step.context["tries"] = tries + 1
    if item.id == IMPOSSIBLE:
        raise ValueError("the printer has no paper of this size")
    for file in item.files:
        for path in pages_of(file):
            sign(path, item.id)
    if item.id in SENT_BACK and tries == 0:
        raise ValueError("the reviewer asks for changes")
    if "recorded" not in step.context:
        with step.transaction() as connection:
            connection.execute(CREATE)
            row = {"item": item.id, "agent": item.agent, "began": began, "ended": time.time()}
            connection.execute(INSERT, row)
            step.context["recorded"] = True


def pages_of(file):
    """The path of a file, or those that a pattern finds."""
    if "*" in file:
        return sorted(BOOK.glob(file))
    return [BOOK / file]


def sign(path, name):
    """Read the file, take some time, write it: whoever came in between would be lost."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    time.sleep(PAUSE_S)
    if name not in lines:
        draft = path.with_name(f".{path.name}.draft")
        draft.write_text("\n".join([*lines, name, ""]), encoding="utf-8")
        draft.replace(path)  # A kill leaves the old file or the new one.


item = Job(
    "item",
    parameters=Item,
    steps=[TaskletStep("work", work)],
    resources=lambda item: [BOOK / file for file in item.files],
    pool=lambda item: item.agent,
    attempts=2,
    description="one piece of work on the book",
)
