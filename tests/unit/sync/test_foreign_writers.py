"""No program that writes a tracked table escapes: replayed, the log is the table."""

from __future__ import annotations

import math
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell.database.application import InvalidText
from stepwell.database.connect import open_database
from stepwell.database.script import split_statements
from stepwell.sync.session import Sync
from stepwell.testing import FrozenClock
from tests.support.change_log import Rows, execute, log_of, replay, rows_of
from tests.support.foreign_writers import SCHEMAS, Choose, ForeignWriter, keys_of

STATEMENTS_MAX = 25


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One database a schema, tracked and empty; each history works on a copy of one."""
    folder = tmp_path_factory.mktemp("templates")
    made = {}
    for number, (schema, script) in enumerate(SCHEMAS.items()):
        path = folder / f"{number}.db"
        with open_database(f"sqlite:///{path}", clock=FrozenClock()) as database:
            sync = Sync(database, FrozenClock())
            sync.init("shop-1")
            execute(database, *split_statements(script))
            for table in keys_of(schema):
                sync.track(table)
        made[schema] = path
    return made


def one_history(template: Path, folder: Path, schema: str, choose: Choose) -> tuple[Rows, Rows]:
    """What the log says and what the tables hold, after a history on a copy of ``template``."""
    path = folder / "history.db"
    for old in folder.glob("history.db*"):
        old.unlink()
    shutil.copyfile(template, path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute(f"PRAGMA recursive_triggers = {choose(('ON', 'OFF'))}")
    connection.execute(f"PRAGMA foreign_keys = {choose(('ON', 'OFF'))}")
    writer = ForeignWriter(connection, schema, choose)
    with open_database(f"sqlite:///{path}", clock=FrozenClock()) as database:
        for _ in range(choose(range(1, STATEMENTS_MAX))):
            writer.begin_or_end()
            writer.do_something()
        if connection.in_transaction:
            connection.execute(choose(("COMMIT", "ROLLBACK")))
        connection.close()
        # A row may lose its parent in the middle of its own update, which knows nothing of that.
        logged = replay(log_of(database), exact_images=not schema.startswith("rows that"))
        tables = {table: rows_of(database, table, *key) for table, key in keys_of(schema).items()}
    return {table: logged.get(table, {}) for table in tables}, tables


@pytest.mark.parametrize("schema", SCHEMAS)
@settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_the_log_replays_to_the_table(
    schema: str, templates: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    def choose(choices: Any) -> Any:
        return data.draw(st.sampled_from(choices))

    logged, tables = one_history(templates[schema], tmp_path, schema, choose)

    assert tables == logged


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_ten_thousand_histories_replay_to_the_table(
    schema: str, templates: dict[str, Path], tmp_path: Path
) -> None:
    for seed in range(10_000 // len(SCHEMAS) + 1):
        choose = random.Random(seed).choice
        logged, tables = one_history(templates[schema], tmp_path, schema, choose)

        assert tables == logged, f"seed {seed}"


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_shell_of_sqlite_is_captured(templates: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    shutil.copyfile(templates["rowid"], path)
    script = """
        INSERT INTO t VALUES (1, 1, 1, 'a'), (2, 2, 2, x'00ff'), (3, NULL, 3, 1e308 * 10);
        BEGIN; UPDATE t SET id = 9 WHERE id = 1; DELETE FROM t WHERE id = 3; ROLLBACK;
        INSERT OR REPLACE INTO t VALUES (2, 1, 7, NULL);
        UPDATE t SET v = CAST(x'ff41' AS TEXT) WHERE id = 2;
    """
    subprocess.run(["sqlite3", path], input=script, text=True, check=True)
    with open_database(f"sqlite:///{path}") as database:
        changes = log_of(database)
        rows = replay(changes)["t"]

    assert ["I", "I", "I", "D", "U", "U"] == [change.op for change in changes]
    assert [{"id": 2, "u": 1, "w": 7, "v": InvalidText(b"\xffA")}, math.inf] == [
        rows['{"id":2}'],
        rows['{"id":3}']["v"],
    ]
    assert b"\x00\xff" == changes[1].new_values()["v"]


def test_another_copy_of_sqlite_in_another_process_is_captured(
    templates: dict[str, Path], tmp_path: Path
) -> None:
    """Goal: triggers are the file's, so it does not matter which library writes."""
    path = tmp_path / "shop.db"
    shutil.copyfile(templates["triggers that stamp"], path)
    program = (
        "import sys, pysqlite3; c = pysqlite3.connect(sys.argv[1]);"
        " c.executemany('INSERT INTO t (id, u) VALUES (?, ?)', [(1, 1), (2, 2)]);"
        " c.execute('INSERT INTO t (id, u) VALUES (3, 1) ON CONFLICT (u) DO UPDATE SET id = 4');"
        " c.commit(); c.execute('DELETE FROM t'); c.rollback(); c.close()"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    with open_database(f"sqlite:///{path}") as database:
        logged = replay(log_of(database))

        assert rows_of(database, "t", "id") == logged["t"]
    assert ['{"id":2}', '{"id":4}'] == sorted(logged["t"])
