"""The tables of the first release; this file does not follow ``tables.py``."""

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in STATEMENTS[op.get_context().dialect.name]:
        op.execute(text(statement.replace(":", r"\:")))


SQLITE = (
    """CREATE TABLE batch_owner (
  owner_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  purpose TEXT NOT NULL,
  process_started_at TEXT,
  started_at TEXT NOT NULL,
  ended_at TEXT,
  lease_until TEXT,
  epoch INTEGER DEFAULT 0 NOT NULL,
  stop_requested_at TEXT,
  stop_reason TEXT
)""",
    """CREATE INDEX batch_owner_not_ended ON batch_owner (owner_id) WHERE ended_at IS NULL""",
    """CREATE TABLE batch_job_instance (
  job_instance_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  version INTEGER DEFAULT 0 NOT NULL,
  job_name TEXT NOT NULL,
  job_key TEXT NOT NULL,
  create_time TEXT NOT NULL,
  CONSTRAINT batch_job_instance_key UNIQUE (job_name, job_key)
)""",
    """CREATE TABLE batch_token (
  token_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  node TEXT,
  hash TEXT NOT NULL,
  created_at TEXT NOT NULL,
  expires_at TEXT,
  revoked_at TEXT,
  UNIQUE (name),
  UNIQUE (hash)
)""",
    """CREATE TABLE batch_pool (
  pool_name TEXT NOT NULL,
  size INTEGER NOT NULL,
  configured_size INTEGER,
  PRIMARY KEY (pool_name)
)""",
    """CREATE TABLE batch_schedule (
  schedule_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  schedule_name TEXT NOT NULL,
  version INTEGER NOT NULL,
  job_name TEXT NOT NULL,
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  parameters TEXT NOT NULL,
  catch_up TEXT NOT NULL,
  defined_by TEXT NOT NULL,
  last_due_at TEXT,
  skipped_due_at TEXT,
  next_due_at TEXT,
  paused_at TEXT,
  UNIQUE (schedule_name)
)""",
    """CREATE TABLE batch_notification (
  notification_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  event TEXT NOT NULL,
  job_name TEXT NOT NULL,
  history_id INTEGER,
  job_execution_id INTEGER,
  schedule_name TEXT,
  due_at TEXT,
  happened_at TEXT NOT NULL,
  attempts INTEGER DEFAULT 0 NOT NULL,
  next_attempt_at TEXT,
  delivered_at TEXT,
  last_error TEXT,
  CONSTRAINT batch_notification_of_history UNIQUE (channel, history_id),
  CONSTRAINT batch_notification_of_schedule UNIQUE (channel, event, schedule_name, due_at)
)""",
    """CREATE INDEX batch_notification_waiting ON batch_notification (next_attempt_at) WHERE
    next_attempt_at IS NOT NULL""",
    """CREATE TABLE batch_notification_channel (
  channel TEXT NOT NULL,
  history_id INTEGER NOT NULL,
  PRIMARY KEY (channel)
)""",
    """CREATE TABLE batch_repair (
  repair_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  code TEXT NOT NULL,
  place TEXT NOT NULL,
  job_execution_id INTEGER,
  found TEXT NOT NULL,
  done TEXT NOT NULL,
  rows_changed BIGINT NOT NULL,
  actor TEXT NOT NULL,
  copy TEXT,
  repaired_at TEXT NOT NULL
)""",
    """CREATE TABLE batch_purge (
  job_execution_id INTEGER NOT NULL,
  PRIMARY KEY (job_execution_id)
)""",
    """CREATE TABLE batch_job_execution (
  job_execution_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  version INTEGER NOT NULL,
  job_instance_id INTEGER NOT NULL,
  create_time TEXT NOT NULL,
  start_time TEXT,
  end_time TEXT,
  status TEXT NOT NULL,
  exit_code TEXT,
  failure_type TEXT,
  exit_message TEXT,
  failure_trace TEXT,
  last_updated TEXT NOT NULL,
  owner_id INTEGER,
  fence INTEGER NOT NULL,
  result TEXT,
  current_step TEXT,
  last_step TEXT,
  restart_position TEXT,
  trigger_source TEXT NOT NULL,
  triggered_by TEXT,
  priority INTEGER DEFAULT 0 NOT NULL,
  run_after TEXT,
  run_lock_key TEXT,
  idempotency_key TEXT,
  trial INTEGER,
  recoveries INTEGER DEFAULT 0 NOT NULL,
  max_recoveries INTEGER,
  after_id INTEGER,
  CONSTRAINT batch_job_execution_end CHECK ((end_time IS NULL) = (status IN ('STARTING',
    'STARTED', 'STOPPING', 'UNKNOWN'))),
  FOREIGN KEY(job_instance_id) REFERENCES batch_job_instance (job_instance_id),
  FOREIGN KEY(owner_id) REFERENCES batch_owner (owner_id)
)""",
    """CREATE INDEX batch_job_execution_instance ON batch_job_execution (job_instance_id,
    job_execution_id)""",
    """CREATE INDEX batch_job_execution_not_ended ON batch_job_execution (status, priority,
    job_execution_id) WHERE end_time IS NULL""",
    """CREATE INDEX batch_job_execution_owned ON batch_job_execution (owner_id) WHERE status IN
    ('STARTING', 'STARTED', 'STOPPING') AND owner_id IS NOT NULL""",
    """CREATE INDEX batch_job_execution_waiting ON batch_job_execution (priority DESC,
    job_execution_id) WHERE status = 'STARTING' AND owner_id IS NULL""",
    """CREATE UNIQUE INDEX batch_job_execution_idempotency ON batch_job_execution
    (idempotency_key) WHERE idempotency_key IS NOT NULL""",
    """CREATE UNIQUE INDEX batch_job_execution_one_running ON batch_job_execution
    (job_instance_id) WHERE status IN ('STARTING', 'STARTED', 'STOPPING')""",
    """CREATE UNIQUE INDEX batch_job_execution_run_lock ON batch_job_execution (run_lock_key)
    WHERE status IN ('STARTING', 'STARTED', 'STOPPING') AND owner_id IS NOT NULL""",
    """CREATE TABLE batch_lock (
  lock_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  lock_name TEXT NOT NULL,
  mode TEXT NOT NULL,
  owner_id INTEGER NOT NULL,
  job_execution_id INTEGER,
  priority INTEGER NOT NULL,
  requested_at TEXT NOT NULL,
  acquired_at TEXT,
  ttl_s INTEGER,
  renewed_at TEXT,
  ended_at TEXT,
  ended_reason TEXT,
  FOREIGN KEY(owner_id) REFERENCES batch_owner (owner_id)
)""",
    """CREATE INDEX batch_lock_name ON batch_lock (lock_name) WHERE ended_at IS NULL""",
    """CREATE TABLE batch_job_execution_params (
  job_execution_id INTEGER NOT NULL,
  parameter_name TEXT NOT NULL,
  parameter_type TEXT NOT NULL,
  parameter_value TEXT,
  identifying BOOLEAN NOT NULL,
  PRIMARY KEY (job_execution_id, parameter_name),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)
 WITHOUT ROWID""",
    """CREATE TABLE batch_job_execution_context (
  job_execution_id INTEGER NOT NULL,
  serialized_context TEXT NOT NULL,
  PRIMARY KEY (job_execution_id),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE TABLE batch_step_execution (
  step_execution_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  version INTEGER NOT NULL,
  step_name TEXT NOT NULL,
  job_execution_id INTEGER NOT NULL,
  create_time TEXT NOT NULL,
  start_time TEXT,
  end_time TEXT,
  status TEXT NOT NULL,
  read_count BIGINT DEFAULT 0 NOT NULL,
  write_count BIGINT DEFAULT 0 NOT NULL,
  filter_count BIGINT DEFAULT 0 NOT NULL,
  commit_count BIGINT DEFAULT 0 NOT NULL,
  rollback_count BIGINT DEFAULT 0 NOT NULL,
  read_skip_count BIGINT DEFAULT 0 NOT NULL,
  process_skip_count BIGINT DEFAULT 0 NOT NULL,
  write_skip_count BIGINT DEFAULT 0 NOT NULL,
  exit_code TEXT,
  failure_type TEXT,
  exit_message TEXT,
  failure_trace TEXT,
  last_updated TEXT NOT NULL,
  fence INTEGER NOT NULL,
  result TEXT,
  chunk_number BIGINT DEFAULT 0 NOT NULL,
  reader_checkpoint TEXT,
  writer_checkpoint TEXT,
  plan_id INTEGER,
  partition_total INTEGER,
  partition_completed INTEGER,
  partition_failed INTEGER,
  partition_partial INTEGER,
  progress_label TEXT,
  progress_done BIGINT,
  progress_total BIGINT,
  CONSTRAINT batch_step_execution_end CHECK ((end_time IS NULL) = (status IN ('STARTED',
    'STOPPING'))),
  CONSTRAINT batch_step_execution_progress CHECK (partition_completed <= partition_total),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_step_execution_job ON batch_step_execution (job_execution_id,
    step_execution_id)""",
    """CREATE TABLE batch_status_history (
  history_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_execution_id INTEGER NOT NULL,
  step_execution_id INTEGER,
  from_status TEXT,
  to_status TEXT NOT NULL,
  changed_at TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT,
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_status_history_execution ON batch_status_history (job_execution_id,
    history_id)""",
    """CREATE TABLE batch_request (
  request_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  job_execution_id INTEGER NOT NULL,
  kind TEXT NOT NULL,
  value BIGINT,
  actor TEXT NOT NULL,
  reason TEXT,
  requested_at TEXT NOT NULL,
  taken_at TEXT,
  late BOOLEAN DEFAULT false NOT NULL,
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_request_execution ON batch_request (job_execution_id, kind)""",
    """CREATE INDEX batch_request_open ON batch_request (job_execution_id, request_id) WHERE
    taken_at IS NULL""",
    """CREATE TABLE batch_resource (
  job_execution_id INTEGER NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (job_execution_id, kind, value),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)
 WITHOUT ROWID""",
    """CREATE TABLE batch_step_execution_context (
  step_execution_id INTEGER NOT NULL,
  serialized_context TEXT NOT NULL,
  PRIMARY KEY (step_execution_id),
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE TABLE batch_partition (
  plan_id INTEGER NOT NULL,
  partition_number INTEGER NOT NULL,
  partition_name TEXT NOT NULL,
  partition_input TEXT NOT NULL,
  PRIMARY KEY (plan_id, partition_number),
  FOREIGN KEY(plan_id) REFERENCES batch_step_execution (step_execution_id)
)
 WITHOUT ROWID""",
    """CREATE TABLE batch_skip (
  skip_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  step_execution_id INTEGER NOT NULL,
  partition_number INTEGER,
  phase TEXT NOT NULL,
  position BIGINT NOT NULL,
  item TEXT,
  error_type TEXT NOT NULL,
  error_message TEXT NOT NULL,
  skipped_at TEXT NOT NULL,
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE INDEX batch_skip_step ON batch_skip (step_execution_id, skip_id)""",
    """CREATE TABLE batch_partition_execution (
  step_execution_id INTEGER NOT NULL,
  partition_number INTEGER NOT NULL,
  plan_id INTEGER NOT NULL,
  status TEXT NOT NULL,
  fence INTEGER NOT NULL,
  start_time TEXT,
  end_time TEXT,
  result TEXT,
  exit_code TEXT,
  message TEXT,
  counts TEXT,
  errors TEXT,
  read_count BIGINT DEFAULT 0 NOT NULL,
  write_count BIGINT DEFAULT 0 NOT NULL,
  filter_count BIGINT DEFAULT 0 NOT NULL,
  commit_count BIGINT DEFAULT 0 NOT NULL,
  rollback_count BIGINT DEFAULT 0 NOT NULL,
  read_skip_count BIGINT DEFAULT 0 NOT NULL,
  process_skip_count BIGINT DEFAULT 0 NOT NULL,
  write_skip_count BIGINT DEFAULT 0 NOT NULL,
  chunk_number BIGINT DEFAULT 0 NOT NULL,
  reader_checkpoint TEXT,
  writer_checkpoint TEXT,
  context TEXT,
  PRIMARY KEY (step_execution_id, partition_number),
  CONSTRAINT batch_partition_execution_plan FOREIGN KEY(plan_id, partition_number)
    REFERENCES batch_partition (plan_id, partition_number),
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)
 WITHOUT ROWID""",
    """CREATE INDEX batch_partition_execution_plan_number ON batch_partition_execution (plan_id,
    partition_number, step_execution_id)""",
    """CREATE TRIGGER batch_status_history_no_update BEFORE UPDATE ON batch_status_history
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
    """CREATE TRIGGER batch_status_history_no_delete BEFORE DELETE ON batch_status_history
WHEN NOT EXISTS (SELECT 1 FROM batch_purge WHERE job_execution_id = OLD.job_execution_id)
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
    """CREATE TRIGGER batch_status_history_no_replace BEFORE INSERT ON batch_status_history
WHEN EXISTS (SELECT 1 FROM batch_status_history WHERE history_id = NEW.history_id)
BEGIN SELECT RAISE(ABORT, 'batch_status_history is append-only'); END""",
    """CREATE VIEW batch_job_execution_tracking AS
SELECT execution_id, job_name, status, result, completed_subtasks, total_subtasks,
  CASE WHEN total_subtasks = 0 THEN 100
       ELSE 100 * completed_subtasks / total_subtasks END AS progress_percent,
  start_time, end_time,
  COALESCE(exit_message,
    CASE WHEN failed > 0 OR partial > 0
         THEN 'partitions: ' || failed || ' failed, ' || partial || ' partial' END) AS
    details
FROM (
  SELECT e.job_execution_id AS execution_id, i.job_name AS job_name, e.status AS status,
    e.result AS result, e.start_time AS start_time, e.end_time AS end_time,
    e.exit_message AS exit_message,
    (SELECT CASE WHEN SUM(s.partition_total) IS NOT NULL THEN SUM(s.partition_completed)
                 WHEN e.end_time IS NOT NULL
                 THEN COALESCE(SUM(CASE WHEN s.status = 'COMPLETED' THEN 1 ELSE 0 END), 0)
    END
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
) t""",
)

POSTGRESQL = (
    """CREATE TABLE batch_owner (
  owner_id BIGSERIAL NOT NULL,
  host TEXT NOT NULL,
  pid INTEGER NOT NULL,
  purpose TEXT NOT NULL,
  process_started_at TIMESTAMP WITH TIME ZONE,
  started_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ended_at TIMESTAMP WITH TIME ZONE,
  lease_until TIMESTAMP WITH TIME ZONE,
  epoch INTEGER DEFAULT 0 NOT NULL,
  stop_requested_at TIMESTAMP WITH TIME ZONE,
  stop_reason TEXT,
  PRIMARY KEY (owner_id)
)""",
    """CREATE INDEX batch_owner_not_ended ON batch_owner (owner_id) WHERE ended_at IS NULL""",
    """CREATE TABLE batch_job_instance (
  job_instance_id BIGSERIAL NOT NULL,
  version INTEGER DEFAULT 0 NOT NULL,
  job_name TEXT NOT NULL,
  job_key TEXT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (job_instance_id),
  CONSTRAINT batch_job_instance_key UNIQUE (job_name, job_key)
)""",
    """CREATE TABLE batch_token (
  token_id BIGSERIAL NOT NULL,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  node TEXT,
  hash TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  revoked_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (token_id),
  UNIQUE (name),
  UNIQUE (hash)
)""",
    """CREATE TABLE batch_pool (
  pool_name TEXT NOT NULL,
  size INTEGER NOT NULL,
  configured_size INTEGER,
  PRIMARY KEY (pool_name)
)""",
    """CREATE TABLE batch_schedule (
  schedule_id BIGSERIAL NOT NULL,
  schedule_name TEXT NOT NULL,
  version INTEGER NOT NULL,
  job_name TEXT NOT NULL,
  cron TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  parameters TEXT NOT NULL,
  catch_up TEXT NOT NULL,
  defined_by TEXT NOT NULL,
  last_due_at TIMESTAMP WITH TIME ZONE,
  skipped_due_at TIMESTAMP WITH TIME ZONE,
  next_due_at TIMESTAMP WITH TIME ZONE,
  paused_at TIMESTAMP WITH TIME ZONE,
  PRIMARY KEY (schedule_id),
  UNIQUE (schedule_name)
)""",
    """CREATE TABLE batch_notification (
  notification_id BIGSERIAL NOT NULL,
  channel TEXT NOT NULL,
  event TEXT NOT NULL,
  job_name TEXT NOT NULL,
  history_id BIGINT,
  job_execution_id BIGINT,
  schedule_name TEXT,
  due_at TIMESTAMP WITH TIME ZONE,
  happened_at TIMESTAMP WITH TIME ZONE NOT NULL,
  attempts INTEGER DEFAULT 0 NOT NULL,
  next_attempt_at TIMESTAMP WITH TIME ZONE,
  delivered_at TIMESTAMP WITH TIME ZONE,
  last_error TEXT,
  PRIMARY KEY (notification_id),
  CONSTRAINT batch_notification_of_history UNIQUE (channel, history_id),
  CONSTRAINT batch_notification_of_schedule UNIQUE (channel, event, schedule_name, due_at)
)""",
    """CREATE INDEX batch_notification_waiting ON batch_notification (next_attempt_at) WHERE
    next_attempt_at IS NOT NULL""",
    """CREATE TABLE batch_notification_channel (
  channel TEXT NOT NULL,
  history_id BIGINT NOT NULL,
  PRIMARY KEY (channel)
)""",
    """CREATE TABLE batch_repair (
  repair_id BIGSERIAL NOT NULL,
  code TEXT NOT NULL,
  place TEXT NOT NULL,
  job_execution_id BIGINT,
  found TEXT NOT NULL,
  done TEXT NOT NULL,
  rows_changed BIGINT NOT NULL,
  actor TEXT NOT NULL,
  copy TEXT,
  repaired_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (repair_id)
)""",
    """CREATE TABLE batch_purge (
  job_execution_id BIGINT NOT NULL,
  PRIMARY KEY (job_execution_id)
)""",
    """CREATE TABLE batch_job_execution (
  job_execution_id BIGSERIAL NOT NULL,
  version INTEGER NOT NULL,
  job_instance_id BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE,
  end_time TIMESTAMP WITH TIME ZONE,
  status TEXT NOT NULL,
  exit_code TEXT,
  failure_type TEXT,
  exit_message TEXT,
  failure_trace TEXT,
  last_updated TIMESTAMP WITH TIME ZONE NOT NULL,
  owner_id BIGINT,
  fence INTEGER NOT NULL,
  result TEXT,
  current_step TEXT,
  last_step TEXT,
  restart_position TEXT,
  trigger_source TEXT NOT NULL,
  triggered_by TEXT,
  priority INTEGER DEFAULT 0 NOT NULL,
  run_after TIMESTAMP WITH TIME ZONE,
  run_lock_key TEXT,
  idempotency_key TEXT,
  trial INTEGER,
  recoveries INTEGER DEFAULT 0 NOT NULL,
  max_recoveries INTEGER,
  after_id BIGINT,
  PRIMARY KEY (job_execution_id),
  CONSTRAINT batch_job_execution_end CHECK ((end_time IS NULL) = (status IN ('STARTING',
    'STARTED', 'STOPPING', 'UNKNOWN'))),
  FOREIGN KEY(job_instance_id) REFERENCES batch_job_instance (job_instance_id),
  FOREIGN KEY(owner_id) REFERENCES batch_owner (owner_id)
)""",
    """CREATE INDEX batch_job_execution_instance ON batch_job_execution (job_instance_id,
    job_execution_id)""",
    """CREATE INDEX batch_job_execution_not_ended ON batch_job_execution (status, priority,
    job_execution_id) WHERE end_time IS NULL""",
    """CREATE INDEX batch_job_execution_owned ON batch_job_execution (owner_id) WHERE status IN
    ('STARTING', 'STARTED', 'STOPPING') AND owner_id IS NOT NULL""",
    """CREATE INDEX batch_job_execution_waiting ON batch_job_execution (priority DESC,
    job_execution_id) WHERE status = 'STARTING' AND owner_id IS NULL""",
    """CREATE UNIQUE INDEX batch_job_execution_idempotency ON batch_job_execution
    (idempotency_key) WHERE idempotency_key IS NOT NULL""",
    """CREATE UNIQUE INDEX batch_job_execution_one_running ON batch_job_execution
    (job_instance_id) WHERE status IN ('STARTING', 'STARTED', 'STOPPING')""",
    """CREATE UNIQUE INDEX batch_job_execution_run_lock ON batch_job_execution (run_lock_key)
    WHERE status IN ('STARTING', 'STARTED', 'STOPPING') AND owner_id IS NOT NULL""",
    """CREATE TABLE batch_lock (
  lock_id BIGSERIAL NOT NULL,
  lock_name TEXT NOT NULL,
  mode TEXT NOT NULL,
  owner_id BIGINT NOT NULL,
  job_execution_id BIGINT,
  priority INTEGER NOT NULL,
  requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
  acquired_at TIMESTAMP WITH TIME ZONE,
  ttl_s INTEGER,
  renewed_at TIMESTAMP WITH TIME ZONE,
  ended_at TIMESTAMP WITH TIME ZONE,
  ended_reason TEXT,
  PRIMARY KEY (lock_id),
  FOREIGN KEY(owner_id) REFERENCES batch_owner (owner_id)
)""",
    """CREATE INDEX batch_lock_name ON batch_lock (lock_name) WHERE ended_at IS NULL""",
    """CREATE TABLE batch_job_execution_params (
  job_execution_id BIGINT NOT NULL,
  parameter_name TEXT NOT NULL,
  parameter_type TEXT NOT NULL,
  parameter_value TEXT,
  identifying BOOLEAN NOT NULL,
  PRIMARY KEY (job_execution_id, parameter_name),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE TABLE batch_job_execution_context (
  job_execution_id BIGINT NOT NULL,
  serialized_context TEXT NOT NULL,
  PRIMARY KEY (job_execution_id),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE TABLE batch_step_execution (
  step_execution_id BIGSERIAL NOT NULL,
  version INTEGER NOT NULL,
  step_name TEXT NOT NULL,
  job_execution_id BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE,
  end_time TIMESTAMP WITH TIME ZONE,
  status TEXT NOT NULL,
  read_count BIGINT DEFAULT 0 NOT NULL,
  write_count BIGINT DEFAULT 0 NOT NULL,
  filter_count BIGINT DEFAULT 0 NOT NULL,
  commit_count BIGINT DEFAULT 0 NOT NULL,
  rollback_count BIGINT DEFAULT 0 NOT NULL,
  read_skip_count BIGINT DEFAULT 0 NOT NULL,
  process_skip_count BIGINT DEFAULT 0 NOT NULL,
  write_skip_count BIGINT DEFAULT 0 NOT NULL,
  exit_code TEXT,
  failure_type TEXT,
  exit_message TEXT,
  failure_trace TEXT,
  last_updated TIMESTAMP WITH TIME ZONE NOT NULL,
  fence INTEGER NOT NULL,
  result TEXT,
  chunk_number BIGINT DEFAULT 0 NOT NULL,
  reader_checkpoint TEXT,
  writer_checkpoint TEXT,
  plan_id BIGINT,
  partition_total INTEGER,
  partition_completed INTEGER,
  partition_failed INTEGER,
  partition_partial INTEGER,
  progress_label TEXT,
  progress_done BIGINT,
  progress_total BIGINT,
  PRIMARY KEY (step_execution_id),
  CONSTRAINT batch_step_execution_end CHECK ((end_time IS NULL) = (status IN ('STARTED',
    'STOPPING'))),
  CONSTRAINT batch_step_execution_progress CHECK (partition_completed <= partition_total),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_step_execution_job ON batch_step_execution (job_execution_id,
    step_execution_id)""",
    """CREATE TABLE batch_status_history (
  history_id BIGSERIAL NOT NULL,
  job_execution_id BIGINT NOT NULL,
  step_execution_id BIGINT,
  from_status TEXT,
  to_status TEXT NOT NULL,
  changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT,
  PRIMARY KEY (history_id),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_status_history_execution ON batch_status_history (job_execution_id,
    history_id)""",
    """CREATE TABLE batch_request (
  request_id BIGSERIAL NOT NULL,
  job_execution_id BIGINT NOT NULL,
  kind TEXT NOT NULL,
  value BIGINT,
  actor TEXT NOT NULL,
  reason TEXT,
  requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
  taken_at TIMESTAMP WITH TIME ZONE,
  late BOOLEAN DEFAULT false NOT NULL,
  PRIMARY KEY (request_id),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE INDEX batch_request_execution ON batch_request (job_execution_id, kind)""",
    """CREATE INDEX batch_request_open ON batch_request (job_execution_id, request_id) WHERE
    taken_at IS NULL""",
    """CREATE TABLE batch_resource (
  job_execution_id BIGINT NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (job_execution_id, kind, value),
  FOREIGN KEY(job_execution_id) REFERENCES batch_job_execution (job_execution_id)
)""",
    """CREATE TABLE batch_step_execution_context (
  step_execution_id BIGINT NOT NULL,
  serialized_context TEXT NOT NULL,
  PRIMARY KEY (step_execution_id),
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE TABLE batch_partition (
  plan_id BIGINT NOT NULL,
  partition_number INTEGER NOT NULL,
  partition_name TEXT NOT NULL,
  partition_input TEXT NOT NULL,
  PRIMARY KEY (plan_id, partition_number),
  FOREIGN KEY(plan_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE TABLE batch_skip (
  skip_id BIGSERIAL NOT NULL,
  step_execution_id BIGINT NOT NULL,
  partition_number INTEGER,
  phase TEXT NOT NULL,
  position BIGINT NOT NULL,
  item TEXT,
  error_type TEXT NOT NULL,
  error_message TEXT NOT NULL,
  skipped_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (skip_id),
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE INDEX batch_skip_step ON batch_skip (step_execution_id, skip_id)""",
    """CREATE TABLE batch_partition_execution (
  step_execution_id BIGINT NOT NULL,
  partition_number INTEGER NOT NULL,
  plan_id BIGINT NOT NULL,
  status TEXT NOT NULL,
  fence INTEGER NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE,
  end_time TIMESTAMP WITH TIME ZONE,
  result TEXT,
  exit_code TEXT,
  message TEXT,
  counts TEXT,
  errors TEXT,
  read_count BIGINT DEFAULT 0 NOT NULL,
  write_count BIGINT DEFAULT 0 NOT NULL,
  filter_count BIGINT DEFAULT 0 NOT NULL,
  commit_count BIGINT DEFAULT 0 NOT NULL,
  rollback_count BIGINT DEFAULT 0 NOT NULL,
  read_skip_count BIGINT DEFAULT 0 NOT NULL,
  process_skip_count BIGINT DEFAULT 0 NOT NULL,
  write_skip_count BIGINT DEFAULT 0 NOT NULL,
  chunk_number BIGINT DEFAULT 0 NOT NULL,
  reader_checkpoint TEXT,
  writer_checkpoint TEXT,
  context TEXT,
  PRIMARY KEY (step_execution_id, partition_number),
  CONSTRAINT batch_partition_execution_plan FOREIGN KEY(plan_id, partition_number)
    REFERENCES batch_partition (plan_id, partition_number),
  FOREIGN KEY(step_execution_id) REFERENCES batch_step_execution (step_execution_id)
)""",
    """CREATE INDEX batch_partition_execution_plan_number ON batch_partition_execution (plan_id,
    partition_number, step_execution_id)""",
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
    """CREATE VIEW batch_job_execution_tracking AS
SELECT execution_id, job_name, status, result, completed_subtasks, total_subtasks,
  CASE WHEN total_subtasks = 0 THEN 100
       ELSE 100 * completed_subtasks / total_subtasks END AS progress_percent,
  start_time, end_time,
  COALESCE(exit_message,
    CASE WHEN failed > 0 OR partial > 0
         THEN 'partitions: ' || failed || ' failed, ' || partial || ' partial' END) AS
    details
FROM (
  SELECT e.job_execution_id AS execution_id, i.job_name AS job_name, e.status AS status,
    e.result AS result, e.start_time AS start_time, e.end_time AS end_time,
    e.exit_message AS exit_message,
    (SELECT CASE WHEN SUM(s.partition_total) IS NOT NULL THEN SUM(s.partition_completed)
                 WHEN e.end_time IS NOT NULL
                 THEN COALESCE(SUM(CASE WHEN s.status = 'COMPLETED' THEN 1 ELSE 0 END), 0)
    END
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
) t""",
)

STATEMENTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}
