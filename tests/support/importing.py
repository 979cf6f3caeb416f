"""What child processes run of the import of a state."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

from stepwell import Job, Node, TaskletStep
from stepwell.errors import StateAlreadyImported
from stepwell.repository.executions import running_executions
from stepwell.repository.invariants import examine
from stepwell.state_import.run import import_state
from tests.support.processes import LOOK_AGAIN_S, PROOF_WITHIN_S


def import_items(url: str, file: str) -> dict[str, Any]:
    """Import the file, again if need be, and tell what became of its items."""
    with Node.open(url) as node:
        node.registry.add(Job("item", [TaskletStep("only", str)]), origin="the test")
        if node.operator.get_job_names():
            _recover(node)
        with suppress(StateAlreadyImported):  # The end came behind the last commit.
            import_state(node.operator, Path(file), job="item")
        with node.database.read() as reader:
            found = reader.connection.execute(
                "SELECT status, COUNT(history_id) FROM batch_job_execution"
                " JOIN batch_job_instance USING (job_instance_id)"
                " JOIN batch_status_history USING (job_execution_id)"
                " WHERE job_name = 'item' GROUP BY status, job_execution_id ORDER BY status"
            ).fetchall()
            return {
                "items": [list(row) for row in found],
                "findings": [str(f) for f in examine(reader)],
            }


def _recover(node: Node) -> None:
    """Settle a killed import; the proof of death may need a moment to reach a server."""
    deadline = node.clock.monotonic() + PROOF_WITHIN_S
    while True:
        node.operator.recover_dead()
        with node.database.read() as reader:
            owned = [e for e in running_executions(reader) if e.owner_id is not None]
        if not owned:
            return
        assert node.clock.monotonic() < deadline, f"no proof of death of {owned}"
        node.clock.wait(Event(), LOOK_AGAIN_S)
