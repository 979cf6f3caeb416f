"""Every ``batch_*`` table, index, trigger and view: the one definition for both databases.

Names and columns follow Spring Batch's published metadata schema wherever the concept exists
(https://docs.spring.io/spring-batch/reference/schema-appendix.html); what Stepwell adds has columns
and tables of its own. Values are JSON text, never pickle (S28); times are UTC (S13).

Guarantees that the schema itself keeps, whoever writes:

- at most one execution of an instance is in STARTING, STARTED or STOPPING (S7);
- at most one owned execution that has not ended holds a run lock (S184);
- ``batch_status_history`` is append-only, but for a purge that names what it deletes (S27);
- ids are never used twice, not even after a purge (S3).
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)

from stepwell.database.types import UtcTimestamp

metadata = MetaData()

RUNNING = "status IN ('STARTING', 'STARTED', 'STOPPING')"
RUNNING_AND_OWNED = f"{RUNNING} AND owner_id IS NOT NULL"
WAITING = "status = 'STARTING' AND owner_id IS NULL"
NOT_TAKEN = "taken_at IS NULL"
NOT_ENDED = "ended_at IS NULL"

# A 64-bit identity on PostgreSQL; on SQLite only INTEGER names the rowid.
IDENTITY = BigInteger().with_variant(Integer(), "sqlite")


def _identity(name: str) -> Column[int]:
    return Column(name, IDENTITY, primary_key=True, autoincrement=True)


def _reference(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, IDENTITY, ForeignKey(target), nullable=nullable)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _time(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, UtcTimestamp(), nullable=nullable)


def _text(name: str, *, nullable: bool = True) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _metrics() -> list[Column[int]]:
    """The eight metrics of S132, in the order in which every record and statement has them."""
    return [
        _count("read_count"),
        _count("write_count"),
        _count("filter_count"),
        _count("commit_count"),
        _count("rollback_count"),
        _count("read_skip_count"),
        _count("process_skip_count"),
        _count("write_skip_count"),
    ]


def _failure() -> list[Column[str]]:
    """Type, message and traceback of the exception that counts (S171)."""
    return [_text("failure_type"), _text("exit_message"), _text("failure_trace")]


batch_owner = Table(
    "batch_owner",
    metadata,
    _identity("owner_id"),
    _text("host", nullable=False),
    Column("pid", Integer, nullable=False),
    _text("purpose", nullable=False),
    _time("process_started_at"),
    _time("started_at", nullable=False),
    _time("ended_at"),
    _time("lease_until"),
    Column("epoch", Integer, nullable=False, server_default=text("0")),
    # Somebody has asked the process to end, and why.
    _time("stop_requested_at"),
    _text("stop_reason"),
    sqlite_autoincrement=True,
)
Index(
    "batch_owner_not_ended",
    batch_owner.c.owner_id,
    sqlite_where=text("ended_at IS NULL"),
    postgresql_where=text("ended_at IS NULL"),
)

batch_job_instance = Table(
    "batch_job_instance",
    metadata,
    _identity("job_instance_id"),
    Column("version", Integer, nullable=False, server_default=text("0")),
    _text("job_name", nullable=False),
    _text("job_key", nullable=False),
    _time("create_time", nullable=False),
    UniqueConstraint("job_name", "job_key", name="batch_job_instance_key"),
    sqlite_autoincrement=True,
)

batch_job_execution = Table(
    "batch_job_execution",
    metadata,
    _identity("job_execution_id"),
    Column("version", Integer, nullable=False),
    _reference("job_instance_id", "batch_job_instance.job_instance_id"),
    _time("create_time", nullable=False),
    _time("start_time"),
    _time("end_time"),
    _text("status", nullable=False),
    _text("exit_code"),
    *_failure(),
    _time("last_updated", nullable=False),
    _reference("owner_id", "batch_owner.owner_id", nullable=True),
    Column("fence", Integer, nullable=False),
    _text("result"),
    _text("current_step"),
    _text("last_step"),
    _text("restart_position"),
    _text("trigger_source", nullable=False),
    _text("triggered_by"),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    _time("run_after"),
    _text("run_lock_key"),
    _text("idempotency_key"),
    Column("trial", Integer),
    Column("recoveries", Integer, nullable=False, server_default=text("0")),
    # How many deaths of its owners the instance survives by itself (S191); NULL: nobody but its
    # caller restarts it.
    Column("max_recoveries", Integer),
    # The execution whose instance must be COMPLETED first. No foreign key: purge may delete it.
    Column("after_id", IDENTITY),
    CheckConstraint(
        "(end_time IS NULL) = (status IN ('STARTING', 'STARTED', 'STOPPING', 'UNKNOWN'))",
        name="batch_job_execution_end",
    ),
    sqlite_autoincrement=True,
)
Index(
    "batch_job_execution_instance",
    batch_job_execution.c.job_instance_id,
    batch_job_execution.c.job_execution_id,
)
Index(
    "batch_job_execution_one_running",
    batch_job_execution.c.job_instance_id,
    unique=True,
    sqlite_where=text(RUNNING),
    postgresql_where=text(RUNNING),
)
Index(
    "batch_job_execution_run_lock",
    batch_job_execution.c.run_lock_key,
    unique=True,
    sqlite_where=text(RUNNING_AND_OWNED),
    postgresql_where=text(RUNNING_AND_OWNED),
)
# The very few rows that are at work, however many wait: who holds which resources and pools.
Index(
    "batch_job_execution_owned",
    batch_job_execution.c.owner_id,
    sqlite_where=text(RUNNING_AND_OWNED),
    postgresql_where=text(RUNNING_AND_OWNED),
)
Index(
    "batch_job_execution_idempotency",
    batch_job_execution.c.idempotency_key,
    unique=True,
    sqlite_where=text("idempotency_key IS NOT NULL"),
    postgresql_where=text("idempotency_key IS NOT NULL"),
)
# The few rows that have not ended: what `status` shows first, what recovery and workers look at.
Index(
    "batch_job_execution_not_ended",
    batch_job_execution.c.status,
    batch_job_execution.c.priority,
    batch_job_execution.c.job_execution_id,
    sqlite_where=text("end_time IS NULL"),
    postgresql_where=text("end_time IS NULL"),
)
# What a worker claims, in the order in which it looks.
Index(
    "batch_job_execution_waiting",
    batch_job_execution.c.priority.desc(),
    batch_job_execution.c.job_execution_id,
    sqlite_where=text(WAITING),
    postgresql_where=text(WAITING),
)

batch_job_execution_params = Table(
    "batch_job_execution_params",
    metadata,
    Column(
        "job_execution_id",
        IDENTITY,
        ForeignKey("batch_job_execution.job_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("parameter_name", Text, primary_key=True),
    _text("parameter_type", nullable=False),
    _text("parameter_value"),
    Column("identifying", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

batch_job_execution_context = Table(
    "batch_job_execution_context",
    metadata,
    Column(
        "job_execution_id",
        IDENTITY,
        ForeignKey("batch_job_execution.job_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("serialized_context", nullable=False),
)

batch_step_execution = Table(
    "batch_step_execution",
    metadata,
    _identity("step_execution_id"),
    Column("version", Integer, nullable=False),
    _text("step_name", nullable=False),
    _reference("job_execution_id", "batch_job_execution.job_execution_id"),
    _time("create_time", nullable=False),
    _time("start_time"),
    _time("end_time"),
    _text("status", nullable=False),
    *_metrics(),
    _text("exit_code"),
    *_failure(),
    _time("last_updated", nullable=False),
    Column("fence", Integer, nullable=False),
    _text("result"),
    _count("chunk_number"),
    _text("reader_checkpoint"),
    _text("writer_checkpoint"),
    # The plan that this attempt uses: the id of the step execution that froze it (S155).
    Column("plan_id", IDENTITY),
    Column("partition_total", Integer),
    Column("partition_completed", Integer),
    Column("partition_failed", Integer),
    Column("partition_partial", Integer),
    _text("progress_label"),
    Column("progress_done", BigInteger),
    Column("progress_total", BigInteger),
    CheckConstraint(
        "(end_time IS NULL) = (status IN ('STARTED', 'STOPPING'))", name="batch_step_execution_end"
    ),
    CheckConstraint("partition_completed <= partition_total", name="batch_step_execution_progress"),
    sqlite_autoincrement=True,
)
Index(
    "batch_step_execution_job",
    batch_step_execution.c.job_execution_id,
    batch_step_execution.c.step_execution_id,
)

batch_step_execution_context = Table(
    "batch_step_execution_context",
    metadata,
    Column(
        "step_execution_id",
        IDENTITY,
        ForeignKey("batch_step_execution.step_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    _text("serialized_context", nullable=False),
)

batch_partition = Table(
    "batch_partition",
    metadata,
    Column(
        "plan_id",
        IDENTITY,
        ForeignKey("batch_step_execution.step_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("partition_number", Integer, primary_key=True, autoincrement=False),
    _text("partition_name", nullable=False),
    _text("partition_input", nullable=False),
    sqlite_with_rowid=False,
)

batch_partition_execution = Table(
    "batch_partition_execution",
    metadata,
    Column(
        "step_execution_id",
        IDENTITY,
        ForeignKey("batch_step_execution.step_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("partition_number", Integer, primary_key=True, autoincrement=False),
    Column("plan_id", IDENTITY, nullable=False),
    _text("status", nullable=False),
    Column("fence", Integer, nullable=False),
    _time("start_time"),
    _time("end_time"),
    _text("result"),
    _text("exit_code"),
    _text("message"),
    _text("counts"),
    _text("errors"),
    *_metrics(),
    _count("chunk_number"),
    _text("reader_checkpoint"),
    _text("writer_checkpoint"),
    _text("context"),
    ForeignKeyConstraint(
        ["plan_id", "partition_number"],
        ["batch_partition.plan_id", "batch_partition.partition_number"],
        name="batch_partition_execution_plan",
    ),
    sqlite_with_rowid=False,
)
Index(
    "batch_partition_execution_plan_number",
    batch_partition_execution.c.plan_id,
    batch_partition_execution.c.partition_number,
    batch_partition_execution.c.step_execution_id,
)

batch_skip = Table(
    "batch_skip",
    metadata,
    _identity("skip_id"),
    _reference("step_execution_id", "batch_step_execution.step_execution_id"),
    Column("partition_number", Integer),
    _text("phase", nullable=False),
    Column("position", BigInteger, nullable=False),
    _text("item"),
    _text("error_type", nullable=False),
    _text("error_message", nullable=False),
    _time("skipped_at", nullable=False),
    sqlite_autoincrement=True,
)
Index("batch_skip_step", batch_skip.c.step_execution_id, batch_skip.c.skip_id)

batch_status_history = Table(
    "batch_status_history",
    metadata,
    _identity("history_id"),
    _reference("job_execution_id", "batch_job_execution.job_execution_id"),
    # NULL: the change is the job execution's own. No foreign key: each step that a purge deletes
    # would have all changes read, or each change would pay for an index.
    Column("step_execution_id", IDENTITY),
    _text("from_status"),
    _text("to_status", nullable=False),
    _time("changed_at", nullable=False),
    _text("actor", nullable=False),
    _text("reason"),
    sqlite_autoincrement=True,
)
Index(
    "batch_status_history_execution",
    batch_status_history.c.job_execution_id,
    batch_status_history.c.history_id,
)

batch_request = Table(
    "batch_request",
    metadata,
    _identity("request_id"),
    _reference("job_execution_id", "batch_job_execution.job_execution_id"),
    _text("kind", nullable=False),
    Column("value", BigInteger),
    _text("actor", nullable=False),
    _text("reason"),
    _time("requested_at", nullable=False),
    _time("taken_at"),
    # True: nobody had read it when the execution ended (S12).
    Column("late", Boolean, nullable=False, server_default=text("false")),
    sqlite_autoincrement=True,
)
Index("batch_request_execution", batch_request.c.job_execution_id, batch_request.c.kind)
Index(
    "batch_request_open",
    batch_request.c.job_execution_id,
    batch_request.c.request_id,
    sqlite_where=text(NOT_TAKEN),
    postgresql_where=text(NOT_TAKEN),
)

batch_lock = Table(
    "batch_lock",
    metadata,
    # Also the fence: ids are never used twice, so each holder of a name has a higher one.
    _identity("lock_id"),
    _text("lock_name", nullable=False),
    _text("mode", nullable=False),
    _reference("owner_id", "batch_owner.owner_id"),
    # Of whose step it is; NULL: a program's own. No foreign key: purge may delete the execution.
    Column("job_execution_id", IDENTITY),
    Column("priority", Integer, nullable=False),
    _time("requested_at", nullable=False),
    # NULL: it waits.
    _time("acquired_at"),
    Column("ttl_s", Integer),
    _time("renewed_at"),
    # Only of a lock that was taken from its owner; a released one is deleted.
    _time("ended_at"),
    _text("ended_reason"),
    sqlite_autoincrement=True,
)
Index(
    "batch_lock_name",
    batch_lock.c.lock_name,
    sqlite_where=text(NOT_ENDED),
    postgresql_where=text(NOT_ENDED),
)

batch_resource = Table(
    "batch_resource",
    metadata,
    Column(
        "job_execution_id",
        IDENTITY,
        ForeignKey("batch_job_execution.job_execution_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    sqlite_with_rowid=False,
)

batch_token = Table(
    "batch_token",
    metadata,
    _identity("token_id"),
    Column("name", Text, nullable=False, unique=True),
    _text("role", nullable=False),
    _text("node"),
    Column("hash", Text, nullable=False, unique=True),
    _time("created_at", nullable=False),
    _time("expires_at"),
    _time("revoked_at"),
    sqlite_autoincrement=True,
)

batch_pool = Table(
    "batch_pool",
    metadata,
    Column("pool_name", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    # What the settings said when they were last heard: a change of them is a change of the size.
    Column("configured_size", Integer),
)

batch_schedule = Table(
    "batch_schedule",
    metadata,
    _identity("schedule_id"),
    Column("schedule_name", Text, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    _text("job_name", nullable=False),
    _text("cron", nullable=False),
    _text("time_zone", nullable=False),
    _text("parameters", nullable=False),
    _text("catch_up", nullable=False),
    # Who wrote it last: `settings`, which may take it away again, or `operator`.
    _text("defined_by", nullable=False),
    # The last due time whose execution was registered; the last one that was let go since.
    _time("last_due_at"),
    _time("skipped_due_at"),
    _time("next_due_at"),
    _time("paused_at"),
    sqlite_autoincrement=True,
)

# What somebody is told of, found in the history or among the schedules. No reference: the row may
# outlive the execution, and a run that did not happen has none.
batch_notification = Table(
    "batch_notification",
    metadata,
    _identity("notification_id"),
    _text("channel", nullable=False),
    _text("event", nullable=False),
    _text("job_name", nullable=False),
    Column("history_id", IDENTITY),
    Column("job_execution_id", IDENTITY),
    _text("schedule_name"),
    _time("due_at"),
    _time("happened_at", nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # NULL: it was delivered, or given up.
    _time("next_attempt_at"),
    _time("delivered_at"),
    _text("last_error"),
    UniqueConstraint("channel", "history_id", name="batch_notification_of_history"),
    UniqueConstraint(
        "channel", "event", "schedule_name", "due_at", name="batch_notification_of_schedule"
    ),
    sqlite_autoincrement=True,
)
NOT_DELIVERED = "next_attempt_at IS NOT NULL"
Index(
    "batch_notification_waiting",
    batch_notification.c.next_attempt_at,
    sqlite_where=text(NOT_DELIVERED),
    postgresql_where=text(NOT_DELIVERED),
)

# Since when somebody is told: what stands in the history up to this row was before.
batch_notification_channel = Table(
    "batch_notification_channel",
    metadata,
    Column("channel", Text, primary_key=True),
    Column("history_id", IDENTITY, nullable=False),
)
# What the doctor has mended: findings about executions have their row in the history too. No
# reference: the row outlives the execution, and many findings belong to none.
batch_repair = Table(
    "batch_repair",
    metadata,
    _identity("repair_id"),
    _text("code", nullable=False),
    _text("place", nullable=False),
    Column("job_execution_id", IDENTITY),
    _text("found", nullable=False),
    _text("done", nullable=False),
    Column("rows_changed", BigInteger, nullable=False),
    _text("actor", nullable=False),
    # The copy that was made before, or why there is none.
    _text("copy"),
    _time("repaired_at", nullable=False),
    sqlite_autoincrement=True,
)

# A row stands here only inside a purge's own transaction; the history trigger looks for it (S27).
batch_purge = Table(
    "batch_purge",
    metadata,
    Column("job_execution_id", IDENTITY, primary_key=True, autoincrement=False),
)


# --- what SQLAlchemy has no words for: triggers and the view -----------------------------------

HISTORY_TRIGGERS_SQLITE = (
    """CREATE TRIGGER batch_status_history_no_update BEFORE UPDATE ON batch_status_history
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
    """CREATE TRIGGER batch_status_history_no_delete BEFORE DELETE ON batch_status_history
WHEN NOT EXISTS (SELECT 1 FROM batch_purge WHERE job_execution_id = OLD.job_execution_id)
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
    # INSERT OR REPLACE deletes without firing the DELETE trigger.
    """CREATE TRIGGER batch_status_history_no_replace BEFORE INSERT ON batch_status_history
WHEN EXISTS (SELECT 1 FROM batch_status_history WHERE history_id = NEW.history_id)
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
)

HISTORY_TRIGGERS_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION batch_status_history_append_only() RETURNS trigger AS $$
BEGIN
  IF TG_OP = 'DELETE' AND EXISTS (
      SELECT 1 FROM batch_purge WHERE job_execution_id = OLD.job_execution_id) THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION 'batch_status_history is append-only';
END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER batch_status_history_no_change
BEFORE UPDATE OR DELETE ON batch_status_history
FOR EACH ROW EXECUTE FUNCTION batch_status_history_append_only()""",
    """CREATE TRIGGER batch_status_history_no_truncate
BEFORE TRUNCATE ON batch_status_history
FOR EACH STATEMENT EXECUTE FUNCTION batch_status_history_append_only()""",
)

# Subtasks are the partitions, known once their plan is frozen; a job that never partitions counts
# its step executions, at its end. One statement reads one snapshot, so completed <= total. The
# sums are correlated, so that asking for one execution never reads the others' steps.
TRACKING_VIEW = """CREATE VIEW batch_job_execution_tracking AS
SELECT execution_id, job_name, status, result, completed_subtasks, total_subtasks,
  CASE WHEN total_subtasks = 0 THEN 100
       ELSE 100 * completed_subtasks / total_subtasks END AS progress_percent,
  start_time, end_time,
  COALESCE(exit_message,
    CASE WHEN failed > 0 OR partial > 0
         THEN 'partitions: ' || failed || ' failed, ' || partial || ' partial' END) AS details
FROM (
  SELECT e.job_execution_id AS execution_id, i.job_name AS job_name, e.status AS status,
    e.result AS result, e.start_time AS start_time, e.end_time AS end_time,
    e.exit_message AS exit_message,
    (SELECT CASE WHEN SUM(s.partition_total) IS NOT NULL THEN SUM(s.partition_completed)
                 WHEN e.end_time IS NOT NULL
                 THEN COALESCE(SUM(CASE WHEN s.status = 'COMPLETED' THEN 1 ELSE 0 END), 0) END
     FROM batch_step_execution s WHERE s.job_execution_id = e.job_execution_id)
      AS completed_subtasks,
    (SELECT CASE WHEN SUM(s.partition_total) IS NOT NULL THEN SUM(s.partition_total)
                 WHEN e.end_time IS NOT NULL THEN COUNT(*) END
     FROM batch_step_execution s WHERE s.job_execution_id = e.job_execution_id)
      AS total_subtasks,
    (SELECT SUM(s.partition_failed) FROM batch_step_execution s
     WHERE s.job_execution_id = e.job_execution_id) AS failed,
    (SELECT SUM(s.partition_partial) FROM batch_step_execution s
     WHERE s.job_execution_id = e.job_execution_id) AS partial
  FROM batch_job_execution e
  JOIN batch_job_instance i ON i.job_instance_id = e.job_instance_id
) t"""


def _after_create(statements: tuple[str, ...], dialect: str) -> None:
    for statement in statements:
        event.listen(
            metadata,
            "after_create",
            DDL(statement.replace("%", "%%")).execute_if(dialect=dialect),  # type: ignore[no-untyped-call]
        )


_after_create((*HISTORY_TRIGGERS_SQLITE, TRACKING_VIEW), "sqlite")
_after_create((*HISTORY_TRIGGERS_POSTGRESQL, TRACKING_VIEW), "postgresql")
