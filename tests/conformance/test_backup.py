"""Copies on every database: made while it is used, proven, put back as a new epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, StepContext, TaskletStep
from stepwell.backup.copy import create_backup, name_for
from stepwell.backup.folder import BackupFolder
from stepwell.backup.manifest import FORMAT, Manifest
from stepwell.backup.restore import Restored, restore_backup, verify_backup
from stepwell.database.copies import Copies, copies_of
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.epoch import FENCES_AN_EPOCH, current_epoch
from stepwell.doctor.examine import examine_copy
from stepwell.errors import BackupDamaged, BackupExists, DatabaseInUse
from stepwell.settings import Settings
from stepwell.testing import FrozenClock


def insert(step: StepContext) -> None:
    with step.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY)")
        rows = connection.execute("SELECT COUNT(*) FROM item").fetchall()
        connection.execute("INSERT INTO item (id) VALUES (:id)", {"id": rows[0][0] + 1})


JOB = Job("count", steps=[TaskletStep("insert", insert)])


class Copier:
    """The backups of one database, as the command line has them."""

    def __init__(self, settings: Settings, folder: Path, clock: FrozenClock) -> None:
        self.clock = clock
        self.folder = BackupFolder(folder, may_be_made=True)
        self.copies = self.copies_at(settings.database)
        self._driver = settings.sqlite_driver

    def copies_at(self, url: str) -> Copies:
        return copies_of(url, clock=self.clock, options=DatabaseOptions(gate_timeout_s=5))

    def create(self, name: str) -> Manifest:
        return create_backup(self.folder, self.copies, name, clock=self.clock, examine=examine_copy)

    def verify(self, name: str) -> Any:
        return verify_backup(self.folder, self.copies, name, examine=examine_copy)

    def restore(self, name: str, **options: Any) -> Restored:
        return restore_backup(
            self.folder, self.copies, name, clock=self.clock, examine=examine_copy, **options
        )


@pytest.fixture
def copier(settings: Settings, tmp_path: Path, clock: FrozenClock) -> Copier:
    copier = Copier(settings, tmp_path / "backups", clock)
    copier.copies = copies_of(
        settings.database,
        clock=clock,
        options=DatabaseOptions(sqlite_driver=settings.sqlite_driver, gate_timeout_s=5),
    )
    return copier


def items(node: Node) -> int:
    with node.database.read() as reader:
        return int(reader.connection.execute("SELECT COUNT(*) FROM item").fetchall()[0][0])


def test_a_copy_holds_what_was_committed_and_its_manifest_says_so(
    node: Node, copier: Copier, clock: FrozenClock
) -> None:
    node.operator.run(JOB)
    manifest = copier.create("night")
    listed = copier.folder.backups()
    proof = copier.verify("night")

    tables = {name.rpartition(".")[2]: rows for name, rows in manifest.tables.items()}
    assert (FORMAT, "night", clock.now(), copier.copies.location) == (
        manifest.format,
        manifest.name,
        manifest.created_at,
        manifest.database,
    )
    assert (1, 1, 1) == (tables["item"], tables["batch_job_execution"], tables["batch_owner"])
    assert ([], 0, None) == (manifest.findings, manifest.epoch, manifest.lsn)
    assert [("night", manifest, "")] == [(b.name, b.manifest, b.problem) for b in listed]
    assert (manifest.contents, [], []) == (proof.contents, proof.migrations, proof.findings)
    assert sorted(path.name for path in copier.folder.path.iterdir()) == [
        "night.backup",
        "night.manifest.json",
    ]
    assert manifest.copy_bytes == copier.folder.copy_path("night").stat().st_size


def test_the_manifest_says_where_the_change_log_ends(node: Node, copier: Copier) -> None:
    with node.database.write() as transaction:
        transaction.connection.execute("CREATE TABLE store (id INTEGER NOT NULL PRIMARY KEY)")
    node.sync.init("shop-1")
    empty = copier.create("empty")
    node.sync.track("store")
    with node.database.write() as transaction:
        transaction.connection.execute("INSERT INTO store (id) VALUES (1), (2)")
    last = node.sync.status().node.last_lsn
    full = copier.create("full")

    assert (0, last) == (empty.lsn, full.lsn)
    assert last >= 2
    assert ([], []) == (full.findings, copier.verify("full").findings)


def test_a_restore_brings_back_the_state_of_the_copy_and_keeps_the_other(
    settings: Settings, copier: Copier, clock: FrozenClock
) -> None:
    with Node.open(settings, clock=clock) as node:
        node.operator.run(JOB)
        copier.create("night")
        node.operator.run(JOB, again=True)
        assert 2 == items(node)
    restored = copier.restore("night", reason="a wrong price list")

    with Node.open(settings, clock=clock) as node:
        assert (1, 1) == (items(node), restored.epoch)
        assert [] == list(findings(node))
        with node.database.read() as reader:
            assert 1 == current_epoch(reader)
        third = node.operator.run(JOB, again=True)
        owners = rows(node, "SELECT purpose, epoch FROM batch_owner ORDER BY owner_id")
    assert 3 == third.execution_id  # The number 2 was given out before (S3).
    assert [("library", 0), ("restore of night: a wrong price list", 1), ("library", 1)] == owners
    assert restored.kept


def findings(node: Node) -> Iterator[str]:
    with node.database.read() as reader:
        yield from (finding.code for finding in examine_copy(reader))


def rows(node: Node, query: str) -> list[tuple[Any, ...]]:
    with node.database.read() as reader:
        return [tuple(row) for row in reader.connection.execute(query).fetchall()]


def test_a_restore_is_refused_while_an_owner_lives_and_changes_nothing(
    node: Node, other: Node, copier: Copier
) -> None:
    node.operator.run(JOB)
    copier.create("night")
    other.operator.run(JOB, again=True)

    with pytest.raises(DatabaseInUse, match=r"cannot restore database .*: owner 1.* is alive"):
        copier.restore("night")
    assert 2 == items(node)
    assert ["night"] == [backup.name for backup in copier.folder.backups()]


def test_what_ran_in_the_copy_belongs_to_dead_owners_and_higher_fences(
    settings: Settings, copier: Copier, clock: FrozenClock
) -> None:
    """Goal: whoever holds a fence from before finds it moved; recovery finds what it left."""

    def copy_now(step: StepContext) -> None:
        copier.create("while-running")

    with Node.open(settings, clock=clock) as node:
        node.operator.run(Job("slow", steps=[TaskletStep("copy", copy_now)]))
    copier.restore("while-running")

    with Node.open(settings, clock=clock) as node:
        before = node.operator.get_job_execution(1)
        steps = node.operator.get_step_executions(1)
        found = list(findings(node))
        recovered = node.operator.recover_dead()
        assert (BatchStatus.STARTED, 1 + FENCES_AN_EPOCH) == (before.batch_status, before.fence)
        assert [1 + FENCES_AN_EPOCH] == [step.fence for step in steps]
        assert [] == found
        assert [(1, BatchStatus.FAILED)] == [(e.execution_id, e.batch_status) for e in recovered]
        assert [] == list(findings(node))


def test_an_altered_a_torn_and_an_exchanged_copy_are_recognised(node: Node, copier: Copier) -> None:
    node.operator.run(JOB)
    manifest = copier.create("sound")
    copier.clock.advance(60)
    copier.create("other")
    sound = copier.folder.copy_path("sound").read_bytes()

    def refusal(name: str, content: bytes) -> str:
        copier.folder.copy_path(name).write_bytes(content)
        with pytest.raises(BackupDamaged) as caught:
            copier.verify(name)
        with pytest.raises(BackupDamaged):
            copier.restore(name)
        return str(caught.value)

    half = len(sound) // 2
    torn = refusal("other", sound[:half])
    altered = refusal("sound", sound[:half] + bytes([sound[half] ^ 1]) + sound[half + 1 :])

    assert torn.startswith(f"cannot verify 'other': it is torn, it has {half} of ")
    assert altered == "cannot verify 'sound': its hash is not the one of its manifest"
    assert 1 == items(node)
    assert manifest.copy_bytes == len(sound)


def test_a_copy_without_its_manifest_is_proven_by_itself_alone(node: Node, copier: Copier) -> None:
    node.operator.run(JOB)
    copier.create("lonely")
    copier.folder.manifest_path("lonely").unlink()
    proof = copier.verify("lonely")
    content = copier.folder.copy_path("lonely").read_bytes()
    copier.folder.copy_path("lonely").write_bytes(content[: len(content) // 2])
    with pytest.raises(BackupDamaged):
        copier.verify("lonely")

    assert proof.source.manifest is None
    assert "it has no manifest" == copier.folder.get("lonely").problem


def test_a_name_is_never_overwritten(node: Node, copier: Copier) -> None:
    copier.create("night")
    with pytest.raises(BackupExists, match="there is one of this name"):
        copier.create("night")


def test_a_backup_without_a_name_is_called_after_its_database(clock: FrozenClock) -> None:
    at = clock.now().replace(year=2026, month=11, day=20, hour=20, minute=4, second=5)

    assert "night-20261120T200405Z" == name_for("/var/lib/night.db", at)
    assert "shop-20261120T200405Z" == name_for("postgresql://me@host/shop?sslmode=require", at)
    assert "database-20261120T200405Z" == name_for("/var/lib/夜.db", at)


def test_a_copy_goes_to_a_new_place_too(
    settings: Settings,
    copier: Copier,
    clock: FrozenClock,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    with Node.open(settings, clock=clock) as node:
        node.operator.run(JOB)
    copier.create("night")
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    if settings.database.startswith("postgresql"):
        url = settings.database.replace("/test_", "/elsewhere_test_", 1)
    copier.copies = copies_of(
        url, clock=clock, options=DatabaseOptions(sqlite_driver=settings.sqlite_driver)
    )
    restored = copier.restore("night")

    with Node.open(replace(settings, database=url), clock=clock) as node:
        assert (1, "", 1) == (items(node), restored.kept, restored.epoch)
        assert 2 == node.operator.run(JOB, again=True).execution_id
