"""What child processes run: items that want a file and a pool, and leave evidence of each other."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from stepwell import Job, Node, Parameters, StepContext, TaskletStep
from stepwell.errors import JobExecutionBlocked

FILES, POOLS = ("a", "b", "all/c", "all"), {"writer": 2, "editor": 1}


class Item(Parameters):
    number: int
    file: str
    agent: str


def work(step: StepContext) -> None:
    """Be inside the file, look whether anybody else is, and leave again."""
    item, database = step.parameters, step._running.repository.database
    folder = Path(step.job.properties["folder"])
    inside = folder / f"inside-{item.file.replace('/', '-')}"
    rivals = [inside] if not item.file.startswith("all") else list(folder.glob("inside-all*"))
    for rival in rivals:
        # Whoever was killed inside has left its mark: the number of its owner.
        found = rival.read_text("utf-8") if rival.exists() else ""
        if found and not database.liveness.is_dead(int(found)):
            with (folder / "broken").open("a", encoding="utf-8") as broken:
                broken.write(f"item {item.number} met owner {found} at {rival.name}\n")
    inside.write_text(str(step._running.job.owner_id), encoding="utf-8")
    step._running.clock.sleep(random.uniform(0.001, 0.02))
    inside.unlink()


def item_job(folder: str) -> Job:
    return Job(
        "item",
        [TaskletStep("work", work)],
        parameters=Item,
        properties={"folder": folder},
        resources=lambda item: [f"{folder}/{item.file}"],
        pool=lambda item: item.agent,
    )


def run_items(url: str, folder: str, seed: int) -> dict[str, Any]:
    """Start items until the test has had enough; what is blocked is left to others."""
    chance, ran, blocked = random.Random(seed), 0, 0
    job = item_job(folder)
    with Node.open(url) as node:
        while not (Path(folder) / "enough").exists():
            item = {
                "number": chance.randrange(10**9),
                "file": chance.choice(FILES),
                "agent": chance.choice(list(POOLS)),
            }
            try:
                node.operator.run(job, item)
                ran += 1
            except JobExecutionBlocked as error:
                blocked += 1
                if error.fields["owner_is_dead"]:
                    node.operator.recover_dead()
                node.clock.sleep(0.002)
        return {"ran": ran, "blocked": blocked}
