"""What is checked of copies and epochs at any time; the promises behind it stand in DESIGN.md.

- **B1** Every copy has a manifest that can be read.
- **B2** Every copy is as long as its manifest says; its hash is the business of ``verify``.
- **B3** Nothing is left over from a process that was killed, unless somebody is at work.
- **B4** The epoch of the owners never falls with their ids.

Nothing here writes.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from stepwell.backup.folder import BackupFolder
from stepwell.database.lockfile import LockFile
from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Repair, Severity, Statement

CLEAR = "clear"  # The operation that deletes what is left over.

EXPLANATIONS = {
    "backup_without_manifest": "The manifest says what the copy must hold. Without it nobody can"
    " tell whether something is missing; it was deleted, or the copy was carried without it.",
    "backup_torn": "The copy has another size than when it was made: carried over a connection that"
    " broke, or cut by a full disk. It cannot be restored.",
    "backup_leftover": "A process was killed while it made or deleted a copy. What it has left is"
    " no copy and takes room.",
    "epoch_falls": "A restore begins an epoch, so that nobody who worked before it can write. An"
    " owner of an earlier one behind it was written by hand, or files were exchanged beneath a"
    " process; as the youngest it would let those from before the restore write again.",
}

FALLING_EPOCHS = Prepared(
    text("""
    SELECT owner_id, epoch, highest FROM (
      SELECT owner_id, epoch, MAX(epoch) OVER (
        ORDER BY owner_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS highest
      FROM batch_owner) owners
    WHERE epoch < highest ORDER BY owner_id
    """)
)


def examine(reader: Reader) -> list[Finding]:
    """Every broken invariant of a database."""
    return [
        Finding(
            "epoch_falls",
            Severity.ERROR,
            f"owner {owner_id}",
            f"it is of epoch {epoch}, and an owner before it of epoch {highest}",
            "`stepwell doctor --repair` raises it",
            "B4",
            EXPLANATIONS["epoch_falls"],
            _raise_epoch(owner_id, epoch, highest),
        )
        for owner_id, epoch, highest in reader.fetch_all(FALLING_EPOCHS)
    ]


def _raise_epoch(owner_id: int, epoch: int, highest: int) -> Repair:
    which = "FROM batch_owner WHERE owner_id = :owner_id AND epoch = :epoch"
    values = {"owner_id": owner_id, "epoch": epoch, "highest": highest}
    return Repair(
        f"make it one of epoch {highest}",
        "who wrote it, and whether somebody from before the restore has written since",
        Statement(f"SELECT 1 {which}", {"owner_id": owner_id, "epoch": epoch}),
        (
            Statement(
                "UPDATE batch_owner SET epoch = :highest"
                " WHERE owner_id = :owner_id AND epoch = :epoch",
                values,
            ),
        ),
    )


def examine_folder(folder: BackupFolder) -> list[Finding]:
    """Every broken invariant of a folder of backups; none for one that is not there.

    Raises:
        OSError: this user may not look into it.
    """
    found = []
    for backup in folder.backups():
        if backup.manifest is None:
            found.append(
                _finding("backup_without_manifest", backup.path.name, backup.problem, "B1")
            )
        elif backup.problem:
            found.append(_finding("backup_torn", backup.path.name, backup.problem, "B2"))
    return [
        *found,
        *(
            _finding(
                "backup_leftover",
                path.name,
                "a process was killed while it made it",
                "B3",
                Repair("delete it", operation=CLEAR),
            )
            for path in _leftovers(folder)
        ),
    ]


def _leftovers(folder: BackupFolder) -> list[Path]:
    """Nobody is at work before the look nor behind it, so nobody was."""
    lock = LockFile(folder.lock_path)
    found = [] if lock.is_held() else folder.leftovers()
    return found if found and not lock.is_held() else []


_HINTS = {
    "backup_without_manifest": "`stepwell backup verify` proves what can be proven without one",
    "backup_torn": "delete it, and do not rely on it: `stepwell backup list` shows the others",
    "backup_leftover": "`stepwell doctor --repair`, or the next `stepwell backup create`",
}


def _finding(code: str, file: str, what: str, rule: str, repair: Repair | None = None) -> Finding:
    return Finding(
        code,
        Severity.WARNING,
        f"backup file {file}",
        what,
        _HINTS[code],
        rule,
        EXPLANATIONS[code],
        repair,
    )
