"""The backups of one database, as the command line has them; in this process and in a child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepwell import Job, Node, PartitionedStep, TaskletStep
from stepwell.backup.copy import create_backup
from stepwell.backup.folder import BackupFolder
from stepwell.backup.manifest import Manifest
from stepwell.backup.restore import Proof, Restored, restore_backup, verify_backup
from stepwell.backup.retention import Retention, prune_backups
from stepwell.clock import Clock
from stepwell.database.connect import open_database
from stepwell.database.copies import copies_of
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.epoch import current_epoch
from stepwell.doctor.examine import examine_copy
from tests.support.file_steps import FileSteps


class Copier:
    """A database, and the folder where its copies stand."""

    def __init__(
        self,
        url: str,
        folder: Path,
        clock: Clock | None = None,
        options: DatabaseOptions | None = None,
    ) -> None:
        self.url = url
        self.clock = clock or Clock()
        self.options = options or DatabaseOptions(gate_timeout_s=5)
        self.folder = BackupFolder(folder, may_be_made=True)
        self.copies = copies_of(url, clock=self.clock, options=self.options)

    def create(self, name: str) -> Manifest:
        return create_backup(self.folder, self.copies, name, clock=self.clock, examine=examine_copy)

    def verify(self, name: str, **options: Any) -> Proof:
        return verify_backup(self.folder, self.copies, name, examine=examine_copy, **options)

    def restore(self, name: str, **options: Any) -> Restored:
        return restore_backup(
            self.folder, self.copies, name, clock=self.clock, examine=examine_copy, **options
        )

    def prune(self, keep: int) -> list[str]:
        found = prune_backups(
            self.folder,
            self.copies.location,
            Retention(keep),
            now=self.clock.now(),
            delete=True,
        )
        return [backup.name for backup in found]

    @property
    def names(self) -> list[str]:
        return [backup.name for backup in self.folder.backups()]


# --- what child processes run: each counts the steps that it takes with files


def create(url: str, folder: str, name: str, kill_at_step: int | None = None) -> int:
    steps = FileSteps(str(Path(folder).parent), kill_at_step)
    Copier(url, Path(folder)).create(name)
    return steps.count


def restore(url: str, folder: str, name: str, kill_at_step: int | None = None) -> int:
    steps = FileSteps(str(Path(folder).parent), kill_at_step)
    Copier(url, Path(folder)).restore(name)
    return steps.count


def prune(url: str, folder: str, keep: int, kill_at_step: int | None = None) -> int:
    steps = FileSteps(str(Path(folder).parent), kill_at_step)
    Copier(url, Path(folder)).prune(keep)
    return steps.count


def fill(url: str, table: str, rows: int, text: str = "x") -> None:
    """A table of the application's with so many rows more."""
    with open_database(url) as database, database.write() as transaction:
        connection = transaction.connection
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER, name TEXT)")
        connection.executemany(
            f"INSERT INTO {table} (id, name) VALUES (:id, :name)",
            [(number, text) for number in range(rows)],
        )


def state(url: str, table: str) -> dict[str, Any]:
    """What is recorded: the rows of a table, the epoch, and what is wrong."""
    with open_database(url) as database, database.read() as reader:
        counted = reader.connection.execute(f"SELECT COUNT(*) FROM {table}").fetchall()
        return {
            "rows": int(counted[0][0]),
            "epoch": current_epoch(reader),
            "findings": [finding.what for finding in examine_copy(reader)],
        }


def run_some_jobs(url: str) -> None:
    """Three instances of a job with a plain step and one of two partitions."""
    steps = [TaskletStep("plain", _nothing), PartitionedStep("shares", [1, 2], _nothing)]
    with Node.open(url) as node:
        for _ in range(3):
            node.operator.run(Job("some", steps=steps), again=True)


def _nothing() -> None:
    """Work that leaves nothing but its record."""


def purge(url: str) -> int:
    """Delete all that has ended, an instance a transaction; answers how many instances."""
    from stepwell.repository import purge as purging

    purging.ROWS_A_TRANSACTION = 1
    rule, deleted, after = purging.PurgeRule(keep_newest=0), 0, 0
    with open_database(url) as database:
        while some := purging.purge_some(database, rule, now=Clock().now(), after_id=after):
            deleted += some.instance_count
            after = some.seen_id
    return deleted


ACCOUNTS, MONEY = 200, 1_000


def open_accounts(url: str) -> None:
    """Accounts whose sum never changes, and a counter that never falls."""
    with open_database(url) as database, database.write() as transaction:
        connection = transaction.connection
        connection.execute(
            "CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER, note TEXT)"
        )
        connection.execute("CREATE TABLE transfer (id INTEGER PRIMARY KEY, worker INTEGER)")
        connection.executemany(
            "INSERT INTO account (id, money, note) VALUES (:id, :money, :note)",
            [(number, MONEY, "x" * 300) for number in range(ACCOUNTS)],
        )


def transfer_until(url: str, worker: int, stop: str) -> dict[str, Any]:
    """Move money between accounts until the file ``stop`` is there; answers the longest wait."""
    clock, count, longest_s = Clock(), 0, 0.0
    with open_database(url) as database:
        while not Path(stop).exists():
            count += 1
            one, other = (count * 7 + worker) % ACCOUNTS, (count * 13 + 5 * worker) % ACCOUNTS
            began = clock.monotonic()
            with database.write() as transaction:
                connection = transaction.connection
                add = "UPDATE account SET money = money + :by WHERE id = :id"
                connection.execute(add, {"by": -1, "id": one})
                connection.execute(add, {"by": 1, "id": other})
                connection.execute(
                    "INSERT INTO transfer (id, worker) VALUES (:id, :worker)",
                    {"id": count * 10 + worker, "worker": worker},
                )
            longest_s = max(longest_s, clock.monotonic() - began)
            clock.sleep(0.001)
    return {"transfers": count, "longest_s": longest_s}
