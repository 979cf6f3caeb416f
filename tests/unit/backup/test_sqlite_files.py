"""What lies beside a SQLite database or a copy: logs, strays, damaged files, full disks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.backup.copy import create_backup
from stepwell.backup.folder import BackupFolder
from stepwell.backup.restore import Restored, restore_backup, verify_backup
from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.database.copies import copies_of
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.migrations import migrate
from stepwell.doctor.examine import examine_copy
from stepwell.errors import (
    BackupDamaged,
    BackupError,
    BackupExists,
    BackupUnproven,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseInUse,
    NoSuchBackup,
    SchemaTooNew,
)
from tests.support.filesystem import small_filesystem
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import line_of, program

__all__ = ["small_filesystem"]

OPTIONS = DatabaseOptions(gate_timeout_s=0.5)

HOLD_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2]).fetchall()
print("open", flush=True)
for line in sys.stdin:
    print(connection.execute(line).fetchall(), flush=True)
"""


class Place:
    """A folder with a database and its backups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "night.db"
        self.folder = BackupFolder(path / "backups", may_be_made=True)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def open(self) -> Database:
        return open_database(self.url, options=OPTIONS)

    def create(self, name: str) -> Any:
        copies = copies_of(self.url, options=OPTIONS)
        return create_backup(self.folder, copies, name, clock=Clock(), examine=examine_copy)

    def verify(self, name: str, **options: Any) -> Any:
        copies = copies_of(self.url, options=OPTIONS)
        return verify_backup(self.folder, copies, name, examine=examine_copy, **options)

    def restore(self, name: str, **options: Any) -> Restored:
        copies = copies_of(self.url, options=OPTIONS)
        return restore_backup(
            self.folder, copies, name, clock=Clock(), examine=examine_copy, **options
        )

    def add(self, *numbers: int, name: str = "x") -> None:
        with self.open() as database, database.write() as transaction:
            transaction.connection.executemany(
                "INSERT INTO item (id, name) VALUES (:id, :name)", [(n, name) for n in numbers]
            )

    def items(self) -> list[int]:
        with self.open() as database, database.read() as reader:
            found = reader.connection.execute("SELECT id FROM item ORDER BY id").fetchall()
        return [row[0] for row in found]

    def others(self) -> list[str]:
        """What stands beside the database, but for what belongs there."""
        usual = {"night.db", "night.db-gate", "night.db-owners", "backups", "night.db-wal"}
        return sorted({p.name for p in self.path.iterdir()} - usual - {"night.db-shm"})


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A database with item 1, a backup of it, and item 2."""
    place = Place(tmp_path)
    with place.open() as database:
        migrate(database)
        make_item_table(database)
    place.add(1)
    place.create("one")
    place.add(2)
    return place


# --- what a restore finds where the database should be


def test_connections_that_are_open_see_the_restored_state(place: Place) -> None:
    """Goal: no file is exchanged beneath a connection, be it of another program."""
    with (
        place.open() as mine,
        program(HOLD_OPEN, str(place.file), "SELECT COUNT(*) FROM item") as other,
    ):
        assert "open" == line_of(other)
        place.restore("one")
        place.add(7)
        assert other.stdin is not None
        other.stdin.write("SELECT id FROM item ORDER BY id\n")
        other.stdin.flush()
        seen = line_of(other)
        with mine.read() as reader:
            mine_sees = reader.connection.execute("SELECT id FROM item ORDER BY id").fetchall()

    assert "[(1,), (7,)]" == seen
    assert [(1,), (7,)] == [tuple(row) for row in mine_sees]
    assert [] == place.others()


def test_the_state_from_before_can_be_restored_in_turn(place: Place) -> None:
    first = place.restore("one")
    second = place.restore(first.kept)

    assert [1, 2] == place.items()
    assert (1, 2) == (first.epoch, second.epoch)


def test_a_log_without_its_database_is_moved_aside(place: Place) -> None:
    """Goal: SQLite would apply it to the file that takes the place."""
    with place.open() as database:
        with database.write() as transaction:
            transaction.connection.execute("INSERT INTO item (id, name) VALUES (3, 'x')")
        log = Path(f"{place.file}-wal").read_bytes()
    place.file.unlink()
    Path(f"{place.file}-wal").write_bytes(log)
    Path(f"{place.file}-shm").touch()
    restored = place.restore("one")

    assert [1] == place.items()
    assert log == (Path(restored.kept) / "night.db-wal").read_bytes()
    assert [Path(restored.kept).name] == place.others()


def test_a_damaged_database_is_moved_aside_with_its_log(place: Place) -> None:
    place.file.write_bytes(b"a letter to the bank" * 500)
    Path(f"{place.file}-wal").write_bytes(b"its log")
    place.file.chmod(0o640)
    restored = place.restore("one")

    kept = Path(restored.kept)
    assert [1] == place.items()
    assert place.file.stat().st_mode & 0o777 == 0o640
    assert b"its log" == (kept / "night.db-wal").read_bytes()
    assert (kept / "night.db").read_bytes().startswith(b"a letter")


def test_a_page_in_the_middle_may_be_damaged(place: Place) -> None:
    """Method: the file opens, and only its copy fails."""
    place.add(*range(10, 3000))
    content = bytearray(place.file.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    place.file.write_bytes(content)
    restored = place.restore("one")

    assert [1] == place.items()
    assert bytes(content) == (Path(restored.kept) / "night.db").read_bytes()


def test_a_damaged_database_that_somebody_has_open_stays(place: Place) -> None:
    with program(HOLD_OPEN, str(place.file), "SELECT COUNT(*) FROM item") as other:
        assert "open" == line_of(other)
        content = b"a letter to the bank" * 500
        with place.file.open("r+b") as file:
            file.write(content)
        with pytest.raises(DatabaseInUse, match=f"pid {other.pid} has the file open"):
            place.restore("one")

        assert place.file.read_bytes().startswith(content)
        assert [] == place.others()


def test_a_database_of_another_page_size_takes_the_copy(place: Place) -> None:
    place.file.unlink()
    raw = sqlite3.connect(place.file)
    raw.execute("PRAGMA page_size = 8192")
    raw.execute("CREATE TABLE theirs (id INTEGER)")
    raw.close()
    restored = place.restore("one")

    assert [1] == place.items()
    assert ["one", restored.kept] == [backup.name for backup in place.folder.backups()]


@pytest.mark.parametrize("make", [Path.touch, lambda path: sqlite3.connect(path).close()])
def test_an_empty_file_takes_the_copy_and_nothing_is_kept(
    place: Place, make: Callable[[Path], None]
) -> None:
    place.file.unlink()
    make(place.file)
    restored = place.restore("one")

    assert ([1], "") == (place.items(), restored.kept)


def test_a_program_that_writes_without_the_gate_holds_a_restore_off(place: Place) -> None:
    with program(HOLD_OPEN, str(place.file), "BEGIN IMMEDIATE") as other:
        assert "open" == line_of(other)
        with pytest.raises(DatabaseBusy, match="a program other than Stepwell has held"):
            place.restore("one")

    assert [1, 2] == place.items()


# --- where a copy comes from


@pytest.fixture
def stopped(place: Place, tmp_path: Path) -> Path:
    """The files of a node that was killed: item 5 is in the log alone."""
    folder = tmp_path / "stopped"
    folder.mkdir()
    with place.open() as database:
        with database.write() as transaction:
            transaction.connection.execute("INSERT INTO item (id, name) VALUES (5, 'x')")
        # A copy for the test: nobody writes meanwhile, and this process holds no lock.
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{place.file}{suffix}", folder / f"old.db{suffix}")
    return folder / "old.db"


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_the_files_of_a_stopped_node_are_taken_with_their_log(
    place: Place, stopped: Path, suffix: str
) -> None:
    proof = place.verify(f"{stopped}{suffix}")
    place.restore(f"{stopped}{suffix}")

    assert (None, f"{stopped}-wal") == (proof.source.manifest, str(proof.source.files.log))
    assert [1, 2, 5] == place.items()
    assert ["old.db", "old.db-shm", "old.db-wal"] == sorted(
        path.name for path in stopped.parent.iterdir()
    )


def test_a_database_file_without_its_log_is_refused_unless_asked_for(
    place: Place, stopped: Path
) -> None:
    """Goal: a plain copy of the .db is recognised: what was committed last is not in it."""
    Path(f"{stopped}-wal").unlink()
    carried = shutil.copy(stopped, place.folder.copy_path("by-hand"))
    for name in (str(stopped), "by-hand", str(carried)):
        with pytest.raises(
            BackupUnproven, match=r"it is a database file alone, without a manifest"
        ):
            place.verify(name)
        with pytest.raises(BackupUnproven):
            place.restore(name)
    place.restore(str(stopped), unverified=True)

    assert 5 not in place.items()


def test_a_file_that_somebody_has_open_is_refused(place: Place, stopped: Path) -> None:
    with program(HOLD_OPEN, str(stopped), "SELECT COUNT(*) FROM item") as other:
        assert "open" == line_of(other)
        with pytest.raises(DatabaseInUse, match=f"pid {other.pid} has it open"):
            place.verify(str(stopped))


def test_a_copy_of_ones_own_is_complete_in_itself(place: Place, tmp_path: Path) -> None:
    raw = sqlite3.connect(place.file)
    raw.execute("VACUUM INTO ?", (str(tmp_path / "own.db"),))
    raw.close()
    place.restore(str(tmp_path / "own.db"))

    assert [1, 2] == place.items()


def test_a_file_that_contradicts_itself_is_refused_without_a_manifest(
    place: Place, tmp_path: Path
) -> None:
    own = tmp_path / "own.db"
    raw = sqlite3.connect(place.file)
    raw.execute("VACUUM INTO ?", (str(own),))
    raw.close()
    raw = sqlite3.connect(own)
    raw.execute(
        "INSERT INTO batch_job_instance (job_name, job_key, create_time)"
        " VALUES ('x', 'y', '2026-11-20T00:00:00.000000')"
    )
    raw.execute(
        "INSERT INTO batch_job_execution (version, job_instance_id, create_time, end_time, status,"
        " last_updated, fence, trigger_source) VALUES (0, 1, '2026-11-20T00:00:00.000000',"
        " '2026-11-20T00:00:00.000000', 'COMPLETED', '2026-11-20T00:00:00.000000', 1, 'user')"
    )
    raw.commit()
    raw.close()
    with pytest.raises(BackupDamaged, match=r"it has no manifest, and the doctor finds \d+ contra"):
        place.verify(str(own))


def test_what_is_no_copy_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "letter.backup").write_text("dear bank")
    refusals = {
        "nowhere": (NoSuchBackup, "cannot find backup 'nowhere'"),
        str(tmp_path / "nowhere.backup"): (NoSuchBackup, "cannot find backup"),
        str(tmp_path): (BackupError, "it is a folder"),
        str(place.file): (BackupError, "it is the database itself"),
        f"{place.file}-gate": (BackupError, "it is no copy of a sqlite database"),
        str(tmp_path / "letter.backup"): (BackupError, "it is no copy of a sqlite database"),
    }
    for name, (kind, fact) in refusals.items():
        with pytest.raises(kind) as caught:
            place.restore(name)
        assert fact in str(caught.value)

    assert [1, 2] == place.items()


def test_nothing_is_copied_or_restored_onto_itself(place: Place, tmp_path: Path) -> None:
    """Method: the database has the name that the copy would have; then the copy is the database."""
    own = Place(tmp_path / "own")
    own.path.mkdir()
    own.folder = BackupFolder(own.path)
    own.file = own.folder.copy_path("night")
    shutil.copy(place.folder.copy_path("one"), own.file)
    with pytest.raises(BackupExists, match="there is one of this name"):
        own.create("night")
    for name in ("night", str(own.file)):
        with pytest.raises(BackupError, match="it is the database itself"):
            own.restore(name)

    assert [1] == own.items()


def test_a_copy_of_a_newer_format_is_refused(place: Place) -> None:
    with place.open() as database, database.write() as transaction:
        transaction.connection.execute("UPDATE batch_schema_version SET version_num = '0099'")
    with pytest.raises(SchemaTooNew, match=r"cannot create backup 'x' of .*: its format is 99"):
        place.create("x")
    restored = place.restore("one")  # The way back from a newer release.
    with pytest.raises(SchemaTooNew, match=r"cannot verify 'before-restore-.*: its format is 99"):
        place.verify(restored.kept)

    assert [1] == place.items()


def test_a_database_of_somebody_elses_is_not_backed_up(tmp_path: Path) -> None:
    place = Place(tmp_path)
    sqlite3.connect(place.file).execute("CREATE TABLE customer (id INTEGER)")
    with pytest.raises(BackupError, match="it has no Stepwell tables"):
        place.create("theirs")

    assert [] == list(place.folder.path.iterdir())


def test_a_damaged_database_is_not_backed_up(place: Place) -> None:
    place.add(*range(10, 3000))
    content = bytearray(place.file.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    place.file.write_bytes(content)
    with pytest.raises(DatabaseDamaged):
        place.create("damaged")

    assert ["one"] == [backup.name for backup in place.folder.backups()]
    assert [] == place.folder.leftovers()


def test_force_needs_a_reason(place: Place) -> None:
    with pytest.raises(BackupError, match="cannot restore 'one' by force: a reason is required"):
        place.restore("one", force=True)


# --- a full disk


def test_a_full_disk_leaves_no_backup_and_says_so(place: Place, small_filesystem: Path) -> None:
    place.add(*range(10, 10_010), name="x" * 400)  # About four megabytes.
    place.folder = BackupFolder(small_filesystem)
    with pytest.raises(DatabaseFull, match="cannot back up database"):
        place.create("too-large")

    assert [] == list(small_filesystem.iterdir())


def test_a_full_disk_keeps_a_restore_from_beginning(place: Place, small_filesystem: Path) -> None:
    """Method: the database itself is on the small disk, with too little room for a second one."""
    place.add(*range(10, 2_510), name="x" * 400)  # About one megabyte.
    place.create("large")
    small = Place(small_filesystem)
    shutil.copy(place.file, small.file)
    small.folder = place.folder
    with small.open():
        pass
    with pytest.raises(DatabaseFull, match="cannot unfold copy"):
        small.restore("large")

    assert 2_502 == len(small.items())
    assert [] == [name for name in small.others() if not name.endswith("backups")]
