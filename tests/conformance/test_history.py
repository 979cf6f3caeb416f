"""The history is append-only, whoever writes; only a purge that names what it deletes may (S27)."""

from __future__ import annotations

import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import DatabaseError
from tests.conformance.stories import ended, execute, findings, nothing, rows, tasklet_job

ALL = "SELECT * FROM batch_status_history ORDER BY history_id"


def attempts(node: Node) -> dict[str, str]:
    columns = "job_execution_id, from_status, to_status, changed_at, actor"
    replaced = (
        f"INTO batch_status_history (history_id, {columns})"
        f" SELECT history_id, job_execution_id, from_status, 'FAILED', changed_at, actor"
        " FROM batch_status_history WHERE history_id = 2"
    )
    found = {
        "update": "UPDATE batch_status_history SET reason = 'nothing to see here'",
        "update of no value": "UPDATE batch_status_history SET actor = actor",
        "delete": "DELETE FROM batch_status_history WHERE history_id = 1",
        "insert of an id that exists": f"INSERT {replaced}",
    }
    if node.database.path is not None:
        found["replace"] = f"REPLACE {replaced}"
        found["insert or replace"] = f"INSERT OR REPLACE {replaced}"
        found["update or replace"] = "UPDATE OR REPLACE batch_status_history SET history_id = 1"
        found["upsert"] = (
            f"INSERT {replaced} ON CONFLICT (history_id) DO UPDATE SET to_status = 'FAILED'"
        )
    else:
        found["truncate"] = "TRUNCATE batch_status_history"
        found["upsert"] = (
            f"INSERT {replaced} ON CONFLICT (history_id) DO UPDATE SET to_status = 'FAILED'"
        )
    return found


def test_the_history_cannot_be_changed_or_taken_back(node: Node) -> None:
    node.operator.run(tasklet_job("billing", nothing))
    before = rows(node, ALL)

    accepted = []
    for name, sql in attempts(node).items():
        try:
            execute(node, sql)
        except DatabaseError:
            continue
        accepted.append(name)

    assert [] == accepted
    assert before == rows(node, ALL)
    assert [] == findings(node)


def test_the_refusal_says_why(node: Node) -> None:
    node.operator.run(tasklet_job("billing", nothing))

    with pytest.raises(DatabaseError) as refused:
        execute(node, "DELETE FROM batch_status_history")

    assert "batch_status_history is append-only" in str(refused.value)


def test_a_purge_deletes_the_history_of_what_it_names_alone(node: Node) -> None:
    first = ended(node, "billing", BatchStatus.FAILED)
    second = ended(node, "billing", BatchStatus.COMPLETED)

    with node.database.write() as transaction:
        connection = transaction.connection
        connection.execute(
            "INSERT INTO batch_purge (job_execution_id) VALUES (:id)", {"id": first.execution_id}
        )
        connection.execute(
            "DELETE FROM batch_status_history WHERE job_execution_id = :id",
            {"id": first.execution_id},
        )
        connection.execute("DELETE FROM batch_purge")
    with pytest.raises(DatabaseError):
        execute(node, "DELETE FROM batch_status_history")

    assert [(second.execution_id, 3)] == rows(
        node,
        "SELECT job_execution_id, COUNT(*) FROM batch_status_history GROUP BY job_execution_id",
    )


def test_ids_are_never_used_twice(node: Node) -> None:
    """Goal: S3. Method: the newest rows are deleted by somebody's SQL, and a job runs again."""
    node.operator.run(tasklet_job("billing", nothing), {"day": "1"})
    highest = rows(
        node,
        "SELECT MAX(job_instance_id), MAX(job_execution_id), (SELECT MAX(history_id)"
        " FROM batch_status_history) FROM batch_job_execution",
    )[0]
    execute(node, "INSERT INTO batch_purge (job_execution_id) VALUES (1)")
    for table in (
        "batch_status_history",
        "batch_step_execution_context",
        "batch_step_execution",
        "batch_job_execution_context",
        "batch_job_execution_params",
        "batch_job_execution",
        "batch_job_instance",
        "batch_purge",
    ):
        execute(node, f"DELETE FROM {table}")
    execution = node.operator.run(tasklet_job("billing", nothing), {"day": "1"})

    assert [(highest[0] + 1, highest[1] + 1)] == [(execution.instance_id, execution.execution_id)]
    assert [(highest[2] + 1,)] == rows(node, "SELECT MIN(history_id) FROM batch_status_history")
