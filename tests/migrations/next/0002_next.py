"""A revision that no release has: what an upgrade may have to do, for the tests of upgrading.

It adds a column and a table, copies rows, and rebuilds a table as SQLite needs it.
"""

from alembic import op
from sqlalchemy import text

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE batch_pool ADD COLUMN note VARCHAR(100)",
    "CREATE TABLE batch_next (job_execution_id {id} NOT NULL PRIMARY KEY, what VARCHAR(10))",
    "INSERT INTO batch_next SELECT job_execution_id, status FROM batch_job_execution",
    (
        "CREATE TABLE batch_context_of_next (job_execution_id {id} NOT NULL PRIMARY KEY"
        " REFERENCES batch_job_execution (job_execution_id), serialized_context TEXT NOT NULL)"
    ),
    (
        "INSERT INTO batch_context_of_next SELECT job_execution_id, serialized_context"
        " FROM batch_job_execution_context"
    ),
    "DROP TABLE batch_job_execution_context",
    "ALTER TABLE batch_context_of_next RENAME TO batch_job_execution_context",
)


def upgrade() -> None:
    identity = {"sqlite": "INTEGER", "postgresql": "BIGINT"}[op.get_context().dialect.name]
    for statement in STATEMENTS:
        op.execute(text(statement.format(id=identity)))
