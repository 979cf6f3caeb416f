"""The built-in jobs in child processes: one that is killed, and one that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell import Node
from stepwell.settings import Settings
from tests.support.file_steps import FileSteps
from tests.support.processes import findings, recover_when_proven


def run(url: str, folder: str, job: str, kill_at_step: int | None = None, **given: Any) -> int:
    """Run a built-in job once; answers how many steps it has taken with files."""
    steps = FileSteps(folder, kill_at_step)
    with _node(url, folder) as node:
        node.operator.run(job, given)
    return steps.count


def go_on(url: str, folder: str, job: str) -> dict[str, Any]:
    """What a person does after a kill: recover, and restart what has failed."""
    with _node(url, folder) as node:
        recovered = recover_when_proven(node)
        for execution_id in recovered:
            node.operator.wait(node.operator.restart(execution_id))
        if not instances(node, job):
            node.operator.run(job, {"keep": 0} if job.endswith("purge") else {})
        [instance] = node.operator.get_job_instances(job, 0, 10)
        last = node.operator.get_job_executions(instance)[-1]
        left = instances(node, "some")
        return {"status": last.batch_status, "findings": findings(node), "left": left}


def instances(node: Node, job_name: str) -> int:
    """How many a job has, known or not."""
    with node.database.read() as reader:
        counted = reader.connection.execute(
            "SELECT COUNT(*) FROM batch_job_instance WHERE job_name = :name", {"name": job_name}
        )
        return int(counted.fetchall()[0][0])


def _node(url: str, folder: str) -> Node:
    node = Node.open(Settings(database=url, folder=Path(folder)))
    node.load_jobs()
    return node
