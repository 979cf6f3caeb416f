"""What is checked of copies and epochs at any time; the promises behind it stand in DESIGN.md.

- **B1** Every copy has a manifest that can be read.
- **B2** Every copy is as long as its manifest says; its hash is the business of ``verify``.
- **B3** Nothing is left over from a process that was killed, unless somebody is at work.
- **B4** The epoch of the owners never falls with their ids.

Nothing here writes.
"""

from __future__ import annotations

from sqlalchemy import text

from stepwell.backup.folder import BackupFolder
from stepwell.database.lockfile import LockFile
from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Severity

FALLING_EPOCHS = Prepared(
    text("""
    SELECT owner_id, epoch, before FROM (
      SELECT owner_id, epoch, LAG(epoch) OVER (ORDER BY owner_id) AS before FROM batch_owner) owners
    WHERE epoch < before ORDER BY owner_id
    """)
)


def examine(reader: Reader) -> list[Finding]:
    """Every broken invariant of a database."""
    return [
        Finding(
            code="epoch_falls",
            severity=Severity.ERROR,
            where=f"owner {owner_id}",
            what=f"it is of epoch {epoch}, the owner before it of epoch {before}",
            hint="an owner was written by hand, or files were exchanged beneath a process",
            rule="B4",
        )
        for owner_id, epoch, before in reader.fetch_all(FALLING_EPOCHS)
    ]


def examine_folder(folder: BackupFolder) -> list[Finding]:
    """Every broken invariant of a folder of backups; none for one that is not there."""
    found = []
    for backup in folder.backups():
        if backup.manifest is None:
            found.append(
                _finding("backup_without_manifest", backup.path.name, backup.problem, "B1")
            )
        elif backup.problem:
            found.append(_finding("backup_torn", backup.path.name, backup.problem, "B2"))
    if not LockFile(folder.lock_path).is_held():
        found += [
            _finding("backup_leftover", path.name, "a process was killed while it made it", "B3")
            for path in folder.leftovers()
        ]
    return found


_HINTS = {
    "backup_without_manifest": "`stepwell backup verify` proves what can be proven without one",
    "backup_torn": "do not rely on it: `stepwell backup list` shows the others",
    "backup_leftover": "the next `stepwell backup create` deletes it",
}


def _finding(code: str, file: str, what: str, rule: str) -> Finding:
    return Finding(
        code=code,
        severity=Severity.WARNING,
        where=f"backup file {file}",
        what=what,
        hint=_HINTS[code],
        rule=rule,
    )
