"""``db copy`` of 100,000 executions from the command line, killed thrice; time and memory."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from stepwell import Node
from stepwell.moving.tables import tables_of
from tests.cli.program import ENVIRONMENT, SCRIPT

EXECUTIONS = 100_000
MEMORY_MB_MAX = 200
KILLED_BEHIND = ("batch_status_history", "batch_step_execution_context", "compared")
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {EXECUTIONS})"
AT = "strftime('%Y-%m-%dT%H:%M:%f', 1780000000 + i * 60, 'unixepoch') || '123Z'"
# An execution as a night leaves it: two steps, four partitions, six lines of history.
ROWS = (
    f"""{NUMBERS} INSERT INTO batch_job_instance (job_instance_id, version, job_name, job_key,
      create_time) SELECT i, 0, 'job-' || (i % 50), printf('%064x', i), {AT} FROM n""",
    f"""{NUMBERS} INSERT INTO batch_job_execution (job_execution_id, version, job_instance_id,
      create_time, start_time, end_time, status, exit_code, exit_message, last_updated, fence,
      result, last_step, trigger_source, triggered_by)
      SELECT i, 5, i, {AT}, {AT}, {AT}, iif(i % 10, 'COMPLETED', 'FAILED'), 'COMPLETED',
      iif(i % 10, NULL, 'the ''é'' of ' || i), {AT}, 1, 'SUCCESS', 'write', 'system', 'schedule'
      FROM n""",
    f"""{NUMBERS} INSERT INTO batch_job_execution_params SELECT i, p, 'str', p || i, 1 FROM n,
      (SELECT 'run_date' AS p UNION ALL SELECT 'Zone' UNION ALL SELECT 'größe')""",
    f"""{NUMBERS} INSERT INTO batch_job_execution_context SELECT i, '{{"done":' || i || '}}'
      FROM n""",
    f"""{NUMBERS} INSERT INTO batch_step_execution (step_execution_id, version, step_name,
      job_execution_id, create_time, start_time, end_time, status, read_count, write_count,
      commit_count, exit_code, last_updated, fence, chunk_number, reader_checkpoint)
      SELECT 2 * i - s, 9, 'step-' || s, i, {AT}, {AT}, {AT}, 'COMPLETED', 1000 * i,
      9007199254740993 + i, 41, 'COMPLETED', {AT}, 1, 41, '{{"line":' || i || '}}'
      FROM n, (SELECT 0 AS s UNION ALL SELECT 1)""",
    f"""{NUMBERS} INSERT INTO batch_step_execution_context SELECT 2 * i - s, '{{}}' FROM n,
      (SELECT 0 AS s UNION ALL SELECT 1)""",
    f"""{NUMBERS} INSERT INTO batch_partition SELECT 2 * i, p, 'day-' || p, '"2026-11-20"' FROM n,
      (SELECT 0 AS p UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)""",
    """INSERT INTO batch_partition_execution (step_execution_id, partition_number, plan_id, status,
      fence, start_time, end_time, result, exit_code, counts)
      SELECT plan_id, partition_number, plan_id, 'COMPLETED', 1, '2026-11-20T01:02:03.456789Z',
      '2026-11-20T01:02:04.000001Z', 'SUCCESS', 'COMPLETED', '{"rows":7}' FROM batch_partition""",
    f"""{NUMBERS} INSERT INTO batch_status_history (job_execution_id, from_status, to_status,
      changed_at, actor) SELECT i, NULL, 'STARTED', {AT}, 'owner 1' FROM n,
      (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5
       UNION ALL SELECT 6)""",
)


def make(path: Path) -> int:
    """The rows; how many in all."""
    with Node.open(f"sqlite:///{path}"):
        pass
    connection = sqlite3.connect(path)
    with connection:
        for sql in ROWS:
            connection.execute(sql)
    count = connection.total_changes
    connection.close()
    return count


def copying(source: str, target: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(SCRIPT), "db", "copy", source, target],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_executions_survive_kills_in_bounded_memory(
    postgresql_database_url: str, tmp_path: Path
) -> None:
    source = f"sqlite:///{tmp_path}/large.db"
    rows = make(tmp_path / "large.db")
    began, told = time.monotonic(), ""
    for word in KILLED_BEHIND:
        process = copying(source, postgresql_database_url)
        assert process.stdout is not None
        for line in process.stdout:
            if word in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    process = copying(source, postgresql_database_url)
    assert process.stdout is not None
    told = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    with psycopg.connect(postgresql_database_url) as connection:
        [(total,)] = connection.execute(
            "SELECT count(*) FROM batch_job_execution WHERE exit_code = 'COMPLETED'"
        ).fetchall()

    print(f"{rows:,} rows, {len(KILLED_BEHIND)} kills: {took:.0f} s; {usage.ru_maxrss >> 10} MB")
    assert 0 == process.returncode
    assert f"{rows:,} rows in {len(tables_of(has_log=False))} tables are in " in told
    assert EXECUTIONS == total
    assert usage.ru_maxrss >> 10 < MEMORY_MB_MAX
