"""``db copy``: a database goes on in another one, with everything that is recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell.moving.rows as rows_module
from stepwell import BatchStatus, Node
from stepwell.database.connect import Database, open_database
from stepwell.errors import (
    CannotOpenDatabase,
    CopyDiffers,
    CopyRefused,
    DatabaseInUse,
    DatabaseMoved,
    StepwellError,
)
from stepwell.moving.copying import COMPARED, COPIED, Step, give_up_copy
from stepwell.moving.look import look_at
from stepwell.repository.invariants import examine
from tests.support.moving import (
    BROKEN_AT,
    CHUNK_SIZE,
    ITEMS,
    READ,
    TABLES,
    all_rows,
    copied,
    load_job,
    past,
)

__all__ = ["past"]

# What the first transaction on the other side changes: the fences of what has not ended, and where
# the node lies.
CHANGED = {"batch_owner", "batch_job_execution", "sync_node"}


# One kind of target decides; `make test-all` has both.
SLOW = pytest.mark.slow
ON_SERVER = pytest.mark.parametrize(
    "target_url", ["postgresql", pytest.param("sqlite3", marks=SLOW)], indirect=True
)
ON_FILE = pytest.mark.parametrize(
    "target_url", ["sqlite3", pytest.param("postgresql", marks=SLOW)], indirect=True
)


class Interrupted(Exception):
    """Somebody pulls the plug."""


@pytest.fixture
def source_url(past: Path, tmp_path: Path) -> str:
    shutil.copy(past, tmp_path / "source.db")
    return f"sqlite:///{tmp_path}/source.db"


@pytest.fixture
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql_database_url"))
    return f"sqlite:///{tmp_path}/target.db"


@pytest.fixture
def source(source_url: str) -> Iterator[Database]:
    with open_database(source_url) as database:
        yield database


@pytest.fixture
def target(target_url: str) -> Iterator[Database]:
    with open_database(target_url) as database:
        yield database


def stop_at(doing: str, table: str) -> Callable[[Step], None]:
    def tell(step: Step) -> None:
        if (step.doing, step.table) == (doing, table):
            raise Interrupted

    return tell


def refusal(call: Callable[[], object]) -> tuple[type[StepwellError], str]:
    with pytest.raises(StepwellError) as caught:
        call()
    return type(caught.value), caught.value.message


def execute(database: Database, *statements: str) -> None:
    with database.write() as transaction:
        for statement in statements:
            transaction.connection.execute(statement)


def test_there_and_back_every_row_is_the_same(
    source_url: str, postgresql_database_url: str, tmp_path: Path
) -> None:
    """Goal: T19 for our own tables. Method: SQLite, PostgreSQL, SQLite; then all rows."""
    back_url = f"sqlite:///{tmp_path}/back.db"
    before = all_rows(source_url)
    with (
        open_database(source_url) as first,
        open_database(postgresql_database_url) as second,
        open_database(back_url) as third,
    ):
        there = copied(first, second)
        back = copied(second, third)
    after = all_rows(back_url)

    differing = {name for name in before if before[name] != after[name]}
    assert CHANGED >= differing
    assert {name for name in before if len(before[name]) != len(after[name])} == {"batch_owner"}
    assert (1, 2) == (there.epoch, back.epoch)
    assert min(len(after[name]) for name in ("batch_skip", "batch_token", "change_log")) > 0
    same = {t.name for t in there.tables if t in back.tables}
    assert {t.name for t in there.tables} - CHANGED == same


@ON_SERVER
def test_a_failed_job_goes_on_at_its_chunk_on_the_other_side(
    source: Database, target: Database, target_url: str
) -> None:
    """Goal: 2 (S26). Method: the application's table is copied by hand, as a user would."""
    with source.read() as reader:
        rows = reader.connection.execute("SELECT id, read_by FROM loaded").fetchall()
    copied(source, target)
    with target.write() as transaction:
        transaction.connection.execute(TABLES)
        transaction.connection.executemany(
            "INSERT INTO loaded (id, read_by) VALUES (:id, :by)", rows
        )
    READ.clear()
    with Node.open(target_url) as node:
        execution = node.operator.run(load_job())
        with node.database.read() as reader:
            loaded = reader.connection.execute(
                "SELECT id, read_by FROM loaded ORDER BY id"
            ).fetchall()

    done = BROKEN_AT // CHUNK_SIZE * CHUNK_SIZE
    assert BatchStatus.COMPLETED is execution.batch_status
    assert list(range(done + 1, ITEMS.stop)) == READ
    assert [*rows, *((n, execution.execution_id) for n in ITEMS if n > done)] == loaded


@ON_SERVER
def test_new_ids_are_above_all_that_were_ever_given(
    source: Database, target: Database, target_url: str
) -> None:
    """Goal: S3. Method: the newest execution has been purged, only the sequence remembers it."""
    execute(source, "UPDATE sqlite_sequence SET seq = 700 WHERE name = 'batch_job_execution'")
    copied(source, target)
    with Node.open(target_url) as node:
        execution = node.operator.run(load_job())

    assert 701 == execution.execution_id


@ON_SERVER
def test_the_source_takes_no_write_any_more_and_may_be_looked_at(
    source: Database, target: Database, source_url: str
) -> None:
    copied(source, target)
    with Node.open(source_url) as node:
        found = refusal(lambda: node.operator.run(load_job()))
        token = refusal(lambda: execute(source, "UPDATE batch_token SET role = 'viewer'"))
        tracked = refusal(lambda: execute(source, "DELETE FROM shop WHERE id = 1"))
        execute(source, "DELETE FROM loaded")  # The application's own tables stay open.
        with node.database.read() as reader:
            seen = examine(reader)

    assert (DatabaseMoved, []) == (found[0], seen)
    assert found[1].endswith(f"the database is closed: {target.place!r} goes on in its place")
    assert {DatabaseMoved} == {token[0], tracked[0]}


@ON_SERVER
@pytest.mark.parametrize(
    ("doing", "table"),
    [
        (COPIED, "batch_resource"),
        (COMPARED, "sync_row"),
        pytest.param(COPIED, "batch_job_execution_params", marks=SLOW),
        pytest.param(COPIED, "batch_partition_execution", marks=SLOW),
        pytest.param(COPIED, "sync_row", marks=SLOW),
        pytest.param(COPIED, "batch_job_instance", marks=SLOW),
        pytest.param(COPIED, "sync_table", marks=SLOW),
        pytest.param(COMPARED, "batch_job_instance", marks=SLOW),
    ],
)
def test_an_interrupted_copy_goes_on_and_nobody_works_meanwhile(
    doing: str,
    table: str,
    source: Database,
    target: Database,
    source_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Method: in the midst of a table, whose keys are text in part; three rows a transaction."""
    monkeypatch.setattr(rows_module, "ROWS_AT_ONCE", 3)
    monkeypatch.setattr(rows_module, "_TAKEN_AT_ONCE", 3)
    with pytest.raises(Interrupted):
        copied(source, target, stop_at(doing, table))
    with Node.open(target_url) as node:
        early = refusal(lambda: node.operator.run(load_job()))
    with Node.open(source_url) as node:
        late = refusal(lambda: node.operator.run(load_job()))
    state = look_at(source, target).state
    copied(source, target)
    again = copied(source, target)

    assert (DatabaseMoved, DatabaseMoved, "begun") == (early[0], late[0], state)
    assert early[1].endswith(f"it is becoming a copy of {source.place!r}")
    assert again.was_complete
    before, after = all_rows(source_url), all_rows(target_url)
    assert CHANGED >= {name for name in before if before[name] != after[name]}


@ON_FILE
def test_a_copy_that_is_given_up_leaves_the_source_as_it_was(
    source: Database, target: Database, source_url: str, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        copied(source, target, stop_at(COPIED, "batch_owner"))
    moved = give_up_copy(source)
    READ.clear()
    with Node.open(source_url) as node:
        execution = node.operator.run(load_job())
    found = refusal(lambda: copied(source, target))

    assert target.place == moved.other
    assert BatchStatus.COMPLETED is execution.batch_status
    assert CopyRefused is found[0]
    assert f"the target holds another copy, of {source.place!r}" in found[1]
    assert refusal(lambda: give_up_copy(source)) == (
        CopyRefused,
        f"cannot open database {source.place!r} again: no copy of it was begun",
    )


@ON_FILE
def test_a_complete_copy_is_given_up_only_by_force(
    source: Database, target: Database, source_url: str
) -> None:
    copied(source, target)
    found = refusal(lambda: give_up_copy(source))
    give_up_copy(source, force=True)
    with Node.open(source_url) as node:
        execution = node.operator.run(load_job())

    assert CopyRefused is found[0]
    assert "goes on in its place since" in found[1]
    assert "and both would be true" in found[1]
    assert BatchStatus.COMPLETED is execution.batch_status


@ON_SERVER
def test_a_row_that_is_not_the_same_is_found(source: Database, target: Database) -> None:
    """Method: the target's trigger is dropped, a counter is changed: nothing else could tell."""
    with pytest.raises(Interrupted):
        copied(source, target, stop_at(COMPARED, "batch_job_instance"))
    name = '"batch_move_closes_batch_step_execution{}"'
    is_server = target.path is None
    drop = name.format("") + " ON batch_step_execution" if is_server else name.format("_update")
    execute(
        target,
        f"DROP TRIGGER {drop}",
        "UPDATE batch_step_execution SET read_count = read_count + 1 WHERE step_execution_id = 4",
    )
    found = refusal(lambda: copied(source, target))

    assert CopyDiffers is found[0]
    assert found[1].endswith("row 4 of table 'batch_step_execution' is not the same there")
    assert "begun" == look_at(source, target).state


@ON_FILE
def test_two_who_copy_at_once_double_nothing(
    source: Database, target: Database, source_url: str, target_url: str
) -> None:
    """Method: in the midst of one copy another one goes on, to its end."""
    done: list[Any] = []

    def tell(step: Step) -> None:
        if (step.doing, step.table, done) == (COPIED, "batch_owner", []):
            done.append(None)
            with open_database(source_url) as ours, open_database(target_url) as theirs:
                done.append(copied(ours, theirs))

    found = refusal(lambda: copied(source, target, tell))
    before, after = all_rows(source_url), all_rows(target_url)

    assert CopyRefused is found[0]
    assert found[1].endswith("another process copies to the same target")
    assert CHANGED >= {name for name in before if before[name] != after[name]}


@ON_FILE
def test_what_is_refused_was_not_begun(
    source: Database, target: Database, source_url: str, tmp_path: Path
) -> None:
    with Node.open(source_url) as node:
        owner_id = node.operator.owner_id
        alive = refusal(lambda: copied(source, target))
    same = refusal(lambda: copied(source, source))
    with open_database(f"sqlite:///{tmp_path}/nothing.db") as nothing:
        empty = refusal(lambda: copied(nothing, target))
    execute(source, "UPDATE batch_schema_version SET version_num = '0000'")
    older = refusal(lambda: copied(source, target))
    execute(source, "UPDATE batch_schema_version SET version_num = '0001'")
    with Node.open(target.url) as node:
        node.operator.run(load_job())
    full = refusal(lambda: copied(source, target))
    what = f"cannot copy database {source.place!r} to {target.place!r}: "

    assert DatabaseInUse is alive[0]
    assert f"owner {owner_id} (pid " in alive[1]
    assert (CopyRefused, same[1]) == (same[0], same[1])
    assert same[1].endswith("it is the same one")
    assert CannotOpenDatabase is empty[0]
    assert empty[1].endswith("the source has no Stepwell tables")
    assert older == (
        CopyRefused,
        f"{what}the format of {source.place!r} is 0, this release copies 1",
    )
    assert CopyRefused is full[0]
    assert full[1].startswith(f"{what}the target is not empty, table 'batch_job_instance' has 1")
    assert "new" == look_at(source, open_database(f"sqlite:///{tmp_path}/other.db")).state


@ON_FILE
def test_another_target_is_refused_once_a_copy_has_begun(
    source: Database, target: Database, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        copied(source, target, stop_at(COPIED, "batch_owner"))
    with open_database(f"sqlite:///{tmp_path}/other.db") as other:
        begun = refusal(lambda: copied(source, other))
        copied(source, target)
        complete = refusal(lambda: copied(source, other))

    assert (CopyRefused, CopyRefused) == (begun[0], complete[0])
    assert begun[1].endswith(f"it is being copied to {target.place!r}")
    assert complete[1].endswith(f"it was copied to {target.place!r}")


def test_a_value_that_a_server_cannot_hold_is_named(
    source: Database, postgresql_database_url: str
) -> None:
    """Method: a NUL in a message; SQLite keeps it."""
    execute(source, "UPDATE batch_skip SET error_message = 'a' || char(0) || 'b' WHERE skip_id = 3")
    with open_database(postgresql_database_url) as target:
        found = refusal(lambda: copied(source, target))
    give_up_copy(source)

    assert CopyRefused is found[0]
    assert "the target cannot hold row 3 of table 'batch_skip': " in found[1]
    assert "NUL" in found[1]
