"""Prove a copy, and put it back: a proof is a restore without its last step.

The copy is unfolded beside the database, checked by the database itself, compared with its
manifest, migrated and examined; only then it takes the database's place, in one step, as a new
epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stepwell.backup.copy import Examine, create_backup, examined, refuse_unreadable
from stepwell.backup.folder import BackupFolder
from stepwell.backup.manifest import Manifest, sha256_of
from stepwell.backup.source import Source, find_source
from stepwell.clock import Clock
from stepwell.database.copies import Contents, Copies, Fence, Unfolded
from stepwell.database.epoch import begin_epoch
from stepwell.database.migrations import migrate
from stepwell.errors import BackupDamaged, BackupError, DatabaseDamaged
from stepwell.finding import Finding, Severity


@dataclass(frozen=True)
class Proof:
    """What the rehearsal of a restore has shown.

    Attributes:
        source: The copy.
        contents: What it holds, before it was migrated.
        migrations: The revisions that bring it to this release's format.
        findings: What the doctor finds in it.
    """

    source: Source
    contents: Contents
    migrations: list[str]
    findings: list[Finding]


@dataclass(frozen=True)
class Restored:
    """What a restore has done.

    Attributes:
        location: The database.
        epoch: The one that it has begun.
        kept: Where the state from before is: a backup's name, a folder, a database; or empty.
    """

    proof: Proof
    location: str
    epoch: int
    kept: str


def verify_backup(
    folder: BackupFolder, copies: Copies, name: str, *, examine: Examine, unverified: bool = False
) -> Proof:
    """Rehearse the restore of a backup, or of a file; nothing is changed.

    ``copies`` are of the database that it would replace; ``unverified`` takes a database file
    without manifest and log as it is.

    Raises:
        NoSuchBackup, BackupError, BackupUnproven, DatabaseInUse: it cannot be looked at.
        BackupDamaged: it is torn or altered, or contradicts itself.
        SchemaTooNew, ManifestTooNew: a newer release wrote it.
        BackupUnderWay: somebody else restores or verifies here.
    """
    source = find_source(folder, copies, name, purpose="verify", unverified=unverified)
    with _proven(copies, source, examine, "verify") as (_, proof):
        return proof


def restore_backup(
    folder: BackupFolder,
    copies: Copies,
    name: str,
    *,
    clock: Clock,
    examine: Examine,
    unverified: bool = False,
    force: bool = False,
    reason: str = "",
) -> Restored:
    """Put a backup, or a file, in the place of the database; what was there is kept.

    At every moment the database is the old or the new one. ``force`` does without the proof that no
    owner lives; whatever lives is fenced all the same: it belongs to an earlier epoch.

    Raises:
        what :func:`verify_backup` raises, and
        DatabaseInUse: an owner lives, or a damaged file is open.
        BackupError: ``force`` without a reason.
        DatabaseFull: there is no room for what is kept, or for the copy.
    """
    if force and not reason:
        raise BackupError(
            f"cannot restore {name!r} by force: a reason is required",
            hint="add `--reason`; it stays with the epoch that begins",
        )
    source = find_source(folder, copies, name, purpose="restore", unverified=unverified)
    with _proven(copies, source, examine, "restore") as (unfolded, proof):
        epochs: list[int] = []

        def keep() -> str:
            kept = f"before-restore-{clock.now().strftime('%Y%m%dT%H%M%S.%fZ')}"
            create_backup(folder, copies, kept, clock=clock, examine=examine, of_anything=True)
            return kept

        def begin(fence: Fence) -> None:
            purpose = f"restore of {source.name}" + (f": {reason}" if reason else "")
            epoch = unfolded.database.run(
                lambda transaction: begin_epoch(
                    transaction,
                    epoch_before=fence.epoch,
                    raise_identities=lambda t: copies.raise_identities(t, fence.identities),
                    purpose=purpose,
                    at=clock.now(),
                )
            )
            epochs.append(epoch)

        kept = copies.replace(unfolded, force=force, keep=keep, begin_epoch=begin)
    return Restored(proof, copies.location, epochs[0], kept)


@contextmanager
def _proven(
    copies: Copies, source: Source, examine: Examine, verb: str
) -> Iterator[tuple[Unfolded, Proof]]:
    what = f"{verb} {source.name!r}"
    if source.manifest is not None:
        _refuse_altered(source, source.manifest, what)
    with _unfolded(copies, source, what) as unfolded:
        with unfolded.database.read() as reader:
            contents = copies.contents(reader)
        refuse_unreadable(contents, what)
        if source.manifest is not None:
            _refuse_unlike(contents, source.manifest, what)
        migrations = migrate(unfolded.database)
        with unfolded.database.read() as reader:
            findings = examined(copies, reader, examine)
        if source.manifest is None:
            _refuse_contradictions(findings, what)
        yield unfolded, Proof(source, contents, migrations, findings)


@contextmanager
def _unfolded(copies: Copies, source: Source, what: str) -> Iterator[Unfolded]:
    """The copy unfolded; what the database finds wrong with it is the copy's damage."""
    is_open = False
    try:
        with copies.unfold(source.files) as unfolded:
            is_open = True
            yield unfolded
    except DatabaseDamaged as error:
        if is_open:
            raise
        raise _damaged(what, error.message.partition(": ")[2], source) from error


def _refuse_altered(source: Source, manifest: Manifest, what: str) -> None:
    found_bytes = source.files.main.stat().st_size
    if found_bytes != manifest.copy_bytes:
        fact = f"it is torn, it has {found_bytes} of {manifest.copy_bytes} bytes"
        raise _damaged(what, fact, source)
    if sha256_of(source.files.main) != manifest.copy_sha256:
        raise _damaged(what, "its hash is not the one of its manifest", source)


def _refuse_unlike(contents: Contents, manifest: Manifest, what: str) -> None:
    """What was unfolded is what was copied: the schema, and each table's rows."""
    fact = ""
    if contents.schema_sha256 != manifest.schema_sha256:
        fact = "its tables are not those of its manifest"
    for table in sorted({*contents.tables, *manifest.tables}):
        found, wanted = contents.tables.get(table, 0), manifest.tables.get(table, 0)
        if not fact and found != wanted:
            fact = f"table {table!r} has {found} rows, its manifest says {wanted}"
    if fact:
        raise BackupDamaged(
            f"cannot {what}: {fact}",
            hint="`stepwell backup list` shows the other copies",
            fields={"backup": manifest.name},
        )


def _refuse_contradictions(findings: list[Finding], what: str) -> None:
    """Without a manifest nobody knows whether it was so when the files were copied."""
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        raise BackupDamaged(
            f"cannot {what}: it has no manifest, and the doctor finds {len(errors)} contradictions"
            f" in it, such as {first.code} in {first.where}",
            hint="copy the node's files again while it is stopped, or take a backup",
            fields={"findings": len(errors)},
        )


def _damaged(what: str, fact: str, source: Source) -> BackupDamaged:
    return BackupDamaged(
        f"cannot {what}: {fact}",
        hint="`stepwell backup list` shows the other copies",
        fields={"path": str(source.files.main)},
    )
