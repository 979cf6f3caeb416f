"""T14 for D1 to D11: the file, its indexes, its tables, the machine around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from stepwell import Node
from stepwell.backup.folder import BackupFolder
from stepwell.database.migrations import HEAD
from stepwell.database.postgresql_findings import clock_skew
from stepwell.database.sqlite_findings import FREE_BYTES_MIN, disk_space, wal_size
from stepwell.database.wal import TRUNCATE_BYTES
from stepwell.doctor.doctor import Doctor
from stepwell.errors import DatabaseBusy
from stepwell.settings import Settings
from stepwell.testing import FrozenClock
from tests.conformance.stories import execute
from tests.conformance.test_invariants import tell_a_story
from tests.doctor.patients import codes, doctor_of, execute_unchecked, found_by, without_machine

MIB = 1024 * 1024

# What is missing, by the statement that takes it away on either database.
DRIFT: dict[str, tuple[str, str]] = {
    "an index": ("DROP INDEX batch_step_execution_job", "missing_index"),
    "a unique index": ("DROP INDEX batch_job_execution_one_running", "missing_index"),
    "the view": ("DROP VIEW batch_job_execution_tracking", "missing_view"),
    "a table": ("DROP TABLE batch_pool", "schema_drift"),
    "the record of repairs": ("DROP TABLE batch_repair", "schema_drift"),
    "a column": ("ALTER TABLE batch_lock DROP COLUMN ended_reason", "schema_drift"),
    "a column with a default": ("ALTER TABLE batch_request DROP COLUMN late", "schema_drift"),
}


@pytest.mark.parametrize("name", DRIFT)
def test_what_is_missing_from_the_tables_is_found_and_made(name: str, node: Node) -> None:
    sql, code = DRIFT[name]
    doctor = doctor_of(node)
    assert [] == found_by(doctor)
    execute(node, sql)

    found = found_by(doctor)
    assert [code] == codes(found)
    assert all(finding.explanation and finding.hint for finding in found)
    outcome = doctor.repair()
    assert [] == outcome.not_repaired
    assert [] == without_machine(outcome.after)
    assert [] == found_by(doctor)


def test_an_index_of_other_columns_is_made_again(node: Node) -> None:
    execute(node, "DROP INDEX batch_skip_step")
    execute(node, "CREATE INDEX batch_skip_step ON batch_skip (skip_id)")
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("index batch_skip_step", "an index of this name differs") == (found.where, found.what)
    assert [] == without_machine(doctor.repair().after)


def test_a_missing_trigger_is_found_and_the_history_is_kept_again(node: Node) -> None:
    is_sqlite = node.database.path is not None
    trigger = "batch_status_history_no_update" if is_sqlite else "batch_status_history_no_change"
    execute(node, f"DROP TRIGGER {trigger}{'' if is_sqlite else ' ON batch_status_history'}")
    doctor = doctor_of(node)

    [found] = found_by(doctor)
    assert ("missing_trigger", f"trigger {trigger}") == (found.code, found.where)
    assert [] == without_machine(doctor.repair().after)
    node.repository.register_owner("test")
    with pytest.raises(Exception, match="append-only"):
        execute_unchecked_history(node)


def execute_unchecked_history(node: Node) -> None:
    execute(
        node,
        "INSERT INTO batch_job_instance (job_name, job_key, create_time)"
        " SELECT 'x', 'y', started_at FROM batch_owner",
    )
    execute(
        node,
        "INSERT INTO batch_job_execution (version, job_instance_id, create_time, status,"
        " last_updated, fence, trigger_source) SELECT 0, job_instance_id, create_time,"
        " 'STARTING', create_time, 0, 'user' FROM batch_job_instance",
    )
    execute(
        node,
        "INSERT INTO batch_status_history (job_execution_id, to_status, changed_at,"
        " actor) SELECT job_execution_id, 'STARTING', create_time, 'x' FROM batch_job_execution",
    )
    execute(node, "UPDATE batch_status_history SET actor = 'nobody'")


def test_a_missing_check_is_added_behind_the_repair_of_what_it_forbids(
    postgresql_database_url: str, clock: FrozenClock
) -> None:
    with Node.open(postgresql_database_url, clock=clock) as node:
        tell_a_story(node, clock)
        execute(node, "ALTER TABLE batch_step_execution DROP CONSTRAINT batch_step_execution_end")
        execute(node, "UPDATE batch_step_execution SET end_time = NULL WHERE job_execution_id = 1")
        doctor = doctor_of(node)

        assert {"missing_constraint", "end_time_disagrees"} == set(codes(found_by(doctor)))
        outcome = doctor.repair()
        assert ([], []) == (outcome.not_repaired, without_machine(outcome.after))


def test_a_type_that_was_changed_is_told_and_left_to_a_person(
    postgresql_database_url: str,
) -> None:
    with Node.open(postgresql_database_url) as node:
        execute(node, "ALTER TABLE batch_pool ALTER COLUMN size TYPE BIGINT")

        [found] = found_by(doctor_of(node))
        assert ("column batch_pool.size", "it is BIGINT NOT NULL, not INTEGER NOT NULL") == (
            found.where,
            found.what,
        )
        assert None is found.repair
        execute(node, "ALTER TABLE batch_pool ALTER COLUMN size TYPE INTEGER")
        assert [] == found_by(doctor_of(node))


UNREADABLE = {
    "a time": "UPDATE batch_step_execution SET start_time = 'yesterday'",
    "a day that is none": (
        "UPDATE batch_step_execution SET start_time = '2026-02-30T00:00:00.000000Z'"
    ),
    "a number": "UPDATE batch_job_execution SET priority = 'high'",
    "a counter": "UPDATE batch_step_execution SET read_count = x'00ff'",
    "JSON": "UPDATE batch_job_execution_context SET serialized_context = '{'",
    "bytes": "UPDATE batch_job_execution SET exit_code = x'c328'",
    "a mark": "UPDATE batch_job_execution_params SET identifying = 'maybe'",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_value_that_cannot_be_read_is_replaced(
    name: str, sqlite_settings: Settings, clock: FrozenClock
) -> None:
    with Node.open(sqlite_settings, clock=clock) as node:
        tell_a_story(node, clock)
        execute(node, "INSERT INTO batch_job_execution_params VALUES (1, 'n', 'str', 'v', 1)")
        execute_unchecked(node, UNREADABLE[name])
        doctor = doctor_of(node)

        found = found_by(doctor)
        assert "unreadable_value" in codes(found)
        outcome = doctor.repair()
        # What else a running execution says is left to its owner.
        assert [] == [f for f in without_machine(outcome.after) if f.execution_id != 4]
        assert "unreadable_value" not in codes(found_by(doctor))


def test_an_index_that_disagrees_with_its_table_is_built_anew(
    sqlite_settings: Settings, clock: FrozenClock
) -> None:
    """Method: while the schema says that the index is of few rows, one is left out of it."""
    change = "UPDATE sqlite_master SET sql = {} WHERE name = 'batch_skip_step'"
    columns = "step_execution_id, phase, position, item, error_type, error_message, skipped_at"
    with Node.open(sqlite_settings, clock=clock) as node:
        tell_a_story(node, clock)
        for statement in (
            change.format("sql || ' WHERE skip_id < 0'"),
            f"INSERT INTO batch_skip ({columns}) SELECT {columns} FROM batch_skip",
            "DELETE FROM batch_skip WHERE skip_id = 1",
            change.format("replace(sql, ' WHERE skip_id < 0', '')"),
        ):
            execute_unchecked(node, "PRAGMA writable_schema = ON", statement)
    with Node.open(sqlite_settings, clock=clock) as node:
        doctor = doctor_of(node)

        assert "index_damaged" in codes(found_by(doctor))
        doctor.repair(only=["index_damaged"])
        assert "index_damaged" not in codes(found_by(doctor))


def test_a_row_that_breaks_a_constraint_is_told_and_copied_all_the_same(
    sqlite_settings: Settings, clock: FrozenClock
) -> None:
    """Goal: what is wrong with a row keeps nobody from a copy, nor from the repair of others.

    Method: while the schema says that a pool may have no size, one loses its own.
    """
    change = "UPDATE sqlite_master SET sql = replace(sql, '{}', '{}') WHERE name = 'batch_pool'"
    strict, loose = " size INTEGER NOT NULL", " size INTEGER"
    with Node.open(sqlite_settings, clock=clock) as node:
        tell_a_story(node, clock)
        node.pools.set("gpu", 1)
        end = "UPDATE batch_step_execution SET end_time = NULL WHERE job_execution_id = 1"
        for statement in (
            change.format(strict, loose),
            "UPDATE batch_pool SET size = NULL",
            change.format(loose, strict),
            end,
        ):
            execute_unchecked(node, "PRAGMA writable_schema = ON", statement)
    with Node.open(sqlite_settings, clock=clock) as node:
        doctor = Doctor(node.database, node.registry)

        assert {"constraint_broken", "end_time_disagrees"} <= set(codes(found_by(doctor)))
        outcome = doctor.repair()
        assert outcome.copy is not None
        assert "end_time_disagrees" not in codes(outcome.after)
        [left] = [f for f in outcome.after if f.code == "constraint_broken"]
        assert ("NULL value in batch_pool.size", None) == (left.what, left.repair)
        execute(node, "UPDATE batch_pool SET size = 1")
        assert "constraint_broken" not in codes(found_by(doctor))


def test_a_filesystem_that_damages_databases_is_told(
    sqlite_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Node.open(sqlite_settings) as node:
        monkeypatch.setattr("stepwell.database.sqlite_findings.filesystem_of", lambda path: "nfs4")

        [found] = found_by(doctor_of(node))
        assert ("unsafe_filesystem", None) == (found.code, found.repair)
        assert "it lies on filesystem 'nfs4', which is shared over a network" in found.what


def test_rows_of_the_projects_own_tables_are_told(sqlite_settings: Settings) -> None:
    with Node.open(sqlite_settings) as node:
        execute(node, "CREATE TABLE shop (id INTEGER PRIMARY KEY)")
        execute(node, "CREATE TABLE visit (shop INTEGER REFERENCES shop (id))")
        execute_unchecked(node, "INSERT INTO visit VALUES (7)")

        [found] = found_by(doctor_of(node))
        assert ("foreign_key", "table visit") == (found.code, found.where)
        execute(node, "INSERT INTO shop VALUES (7)")
        assert [] == found_by(doctor_of(node))


def test_an_older_format_is_brought_up_to_date(node: Node) -> None:
    """Method: the version says that nothing was made yet, and so do the tables."""
    is_sqlite = node.database.path is not None
    execute(node, "UPDATE batch_schema_version SET version_num = '0000'")
    doctor = doctor_of(node)

    assert ["schema_old"] == codes(found_by(doctor))
    execute(node, "DROP VIEW batch_job_execution_tracking")
    with node.database.read() as reader:
        tables = reader.connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'batch_*'"
            if is_sqlite
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    drops = [f"DROP TABLE {name}{'' if is_sqlite else ' CASCADE'}" for (name,) in tables]
    execute_unchecked(node, *drops)
    assert ["no_tables"] == codes(found_by(doctor))
    assert [] == without_machine(doctor.repair().after)
    assert HEAD == node.database.schema_version()


def test_a_newer_format_is_told_and_nothing_else_is_looked_at(node: Node) -> None:
    execute(node, "UPDATE batch_schema_version SET version_num = '0099'")
    execute(node, "DROP INDEX batch_skip_step")

    [found] = found_by(doctor_of(node))
    assert ("schema_too_new", f"its format is 99, this release reads up to {HEAD.lstrip('0')}") == (
        found.code,
        found.what,
    )
    assert [] == doctor_of(node).repair().repaired


def test_a_log_that_has_grown_is_told_with_its_reader_and_cut(sqlite_settings: Settings) -> None:
    """Goal: D5. Method: a reader in another process holds back what a large table has written."""
    with Node.open(sqlite_settings) as node:
        path = str(node.database.path)
        execute(node, "CREATE TABLE big (x BLOB)")
        wal = Path(path + "-wal")
        with open_reader(path) as reader:
            execute(node, f"INSERT INTO big VALUES (zeroblob({TRUNCATE_BYTES + MIB}))")
            doctor = doctor_of(node)
            [found] = found_by(doctor)
            assert "wal_large" == found.code
            assert f"pid {reader.pid} reads it" in found.what
            outcome = doctor.repair()
            assert ["wal_large"] == [each.finding.code for each in outcome.not_repaired]
            with pytest.raises(DatabaseBusy) as busy:
                node.database.checkpoint()
            assert "a reader holds its log back" in busy.value.message
        assert [] == without_machine(doctor.repair().after)
        assert wal.stat().st_size < MIB


def test_what_wal_and_disk_need_is_told_by_size() -> None:
    assert [] == list(wal_size("/x/a.db", TRUNCATE_BYTES))
    assert [] == list(disk_space("/x/a.db", FREE_BYTES_MIN, MIB))
    [error] = disk_space("/x/a.db", FREE_BYTES_MIN - 1, MIB)
    [warning] = disk_space("/x/a.db", 100 * MIB, 200 * MIB)

    assert ("disk_space", "error") == (error.code, error.severity)
    assert ("warning", "100 MiB are free; the log may need 64 MiB, a copy 200 MiB") == (
        warning.severity,
        warning.what,
    )


def test_an_old_transaction_and_a_clock_that_differs_are_told(
    postgresql_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        psycopg.connect(postgresql_database_url) as other,
        Node.open(postgresql_database_url) as node,
    ):
        other.execute("SELECT 1")
        monkeypatch.setattr("stepwell.database.postgresql_findings.OLD_TRANSACTION_S", 0)
        found = [f for f in doctor_of(node).examine() if f.code == "old_transaction"]
        assert f"backend {other.info.backend_pid}" in {f.where for f in found}
        other.rollback()
        found = [f for f in doctor_of(node).examine() if f.code == "old_transaction"]
        assert f"backend {other.info.backend_pid}" not in {f.where for f in found}

    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert [] == list(clock_skew(now + timedelta(seconds=60), now))
    [ahead] = clock_skew(now + timedelta(seconds=61), now)
    [behind] = clock_skew(now - timedelta(days=1), now)
    assert ("clock_skew", "clock_skew") == (ahead.code, behind.code)
    assert ("the server's is 61 s ahead", "the server's is 86,400 s behind") == (
        ahead.what,
        behind.what,
    )


def test_what_is_missing_is_copied_before_it_is_mended(node: Node, tmp_path: Path) -> None:
    """Goal: the copy before a repair is made of a database as it is, without its owners even."""
    tell_a_story(node, node.clock)
    execute_unchecked(
        node,
        *("DROP TABLE batch_owner CASCADE",)
        if node.database.path is None
        else ("PRAGMA foreign_keys = OFF", "DROP TABLE batch_owner"),
    )
    folder = BackupFolder(tmp_path / "copies", may_be_made=True)
    doctor = Doctor(node.database, folder=folder)

    outcome = doctor.repair()
    [copy] = folder.backups()
    assert outcome.copy == str(copy.path)
    assert copy.manifest is not None
    assert {"schema_drift"} == {f.code for f in copy.manifest.findings} & {
        "schema_drift",
        "check_failed",
    }
    assert "schema_drift" not in codes(outcome.after)


def test_a_sqlite_with_the_reset_bug_is_told(tmp_path: Path) -> None:
    """Method: Python's own, which is older than the fix on the machines known here."""
    import sqlite3

    from stepwell.database.sqlite_driver import wal_reset_fixed

    settings = Settings(database=f"sqlite:///{tmp_path}/a.db", sqlite_driver="sqlite3")
    with Node.open(settings) as node:
        found = codes(Doctor(node.database).examine())

    assert ("wal_reset_bug" in found) != wal_reset_fixed(sqlite3.sqlite_version_info)
    assert "two_sqlite_copies" in found


class open_reader:  # noqa: N801 - reads like a function
    """Another process with a read transaction open."""

    def __init__(self, path: str) -> None:
        import subprocess
        import sys

        code = (
            "import sqlite3, sys\n"
            f"c = sqlite3.connect('file:{path}?mode=ro', uri=True, isolation_level=None)\n"
            "c.execute('BEGIN'); c.execute('SELECT COUNT(*) FROM sqlite_master').fetchall()\n"
            "print('reads', flush=True); sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        assert "reads\n" == self._process.stdout.readline()
        self.pid = self._process.pid

    def __enter__(self) -> open_reader:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
