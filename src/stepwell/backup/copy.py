"""Make a copy: written under a temporary name, proven, and only then named.

At every moment the backup is there, whole and with its manifest, or it is not there at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version

from sqlalchemy import text

from stepwell.backup.folder import BackupFolder, check_name
from stepwell.backup.manifest import FINDINGS_MAX, FORMAT, Found, Manifest, sha256_of, to_text
from stepwell.clock import Clock
from stepwell.database.copies import Contents, Copies, CopyFiles
from stepwell.database.durable import move_into_place, write_text
from stepwell.database.epoch import current_epoch
from stepwell.database.migrations import HEAD, migrate
from stepwell.database.prepared import Prepared
from stepwell.database.transaction import Reader
from stepwell.errors import BackupError, SchemaTooNew, StatementFailed
from stepwell.finding import Finding

LAST_LSN = Prepared(text("SELECT last_lsn FROM sync_node"))

# The doctor's: every broken promise about the rows that a reader of a copy can see.
Examine = Callable[[Reader], list[Finding]]


def create_backup(
    folder: BackupFolder,
    copies: Copies,
    name: str,
    *,
    clock: Clock,
    examine: Examine,
    of_anything: bool = False,
) -> Manifest:
    """Copy the database while it is used; what ``examine`` finds in the copy goes to the manifest.

    A finding keeps no copy from being made: who mends a database wants one of it as it was.
    ``of_anything`` takes a database without Stepwell's tables, or of a newer format, as it is.

    Raises:
        BackupError, BackupExists, BackupUnderWay: nothing was made.
        DatabaseDamaged: the copy does not pass the database's own check; it is gone.
        DatabaseFull: the disk is full; what was made is gone.
    """
    what = f"create backup {name!r}"
    check_name(name)
    with folder.writing(what):
        folder.refuse_existing(name)
        copy, manifest_path = folder.copy_path(name), folder.manifest_path(name)
        partial = folder.partial_path(copy)
        with copies.write(partial) as reader:
            contents = copies.contents(reader)
            if not of_anything:
                refuse_unreadable(contents, f"{what} of {copies.location!r}")
            format_ = contents.schema_version
            lsn = _lsn(reader, contents)
            epoch = _epoch(reader) if format_ else 0
            findings = examined(copies, reader, examine) if format_ == HEAD else []
        if format_ and format_ < HEAD:
            findings = _examine_migrated(copies, CopyFiles(partial), examine)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            created_at=clock.now(),
            stepwell=version("stepwell"),
            database=copies.location,
            kind=copies.kind,
            engine=copies.engine,
            copy_bytes=partial.stat().st_size,
            copy_sha256=sha256_of(partial),
            schema_version=contents.schema_version,
            schema_sha256=contents.schema_sha256,
            epoch=epoch,
            tables=contents.tables,
            findings=[Found.of(finding) for finding in findings[:FINDINGS_MAX]],
            findings_count=len(findings),
            lsn=lsn,
        )
        # The manifest goes first: a copy that has its name is never without it.
        write_text(folder.partial_path(manifest_path), to_text(manifest))
        folder.partial_path(manifest_path).replace(manifest_path)
        move_into_place(partial, copy)
    return manifest


def name_for(location: str, at: datetime) -> str:
    """A name for a copy that nobody has named: ``night-20261120T210405Z``."""
    last = re.split(r"[/\\]", location.partition("?")[0].rstrip("/"))[-1].removesuffix(".db")
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("._-") or "database"
    return f"{stem[:60]}-{at.strftime('%Y%m%dT%H%M%SZ')}"


def refuse_unreadable(contents: Contents, what: str) -> None:
    """Refuse what this release cannot examine, so that nothing could be proven of a copy.

    Raises:
        BackupError: it has no tables of ours.
        SchemaTooNew: a newer release wrote it.
    """
    if contents.schema_version is None:
        raise BackupError(
            f"cannot {what}: it has no Stepwell tables", hint="is it the right database?"
        )
    if contents.schema_version > HEAD:
        raise SchemaTooNew(
            f"cannot {what}: its format is {contents.schema_version.lstrip('0')},"
            f" this release reads up to {HEAD.lstrip('0')}",
            hint="upgrade Stepwell",
            fields={"format": contents.schema_version, "format_max": HEAD},
        )


def _lsn(reader: Reader, contents: Contents) -> int | None:
    """Where the change log of the copy ends; None when it has none."""
    if not {"sync_node", "public.sync_node"} & contents.tables.keys():
        return None
    row = reader.fetch_one(LAST_LSN)
    return int(row[0]) if row else None


def _epoch(reader: Reader) -> int:
    try:
        return current_epoch(reader)
    except StatementFailed:
        return 0  # The table is missing: what is to be mended is copied as it is.


def examined(copies: Copies, reader: Reader, examine: Examine) -> list[Finding]:
    """Everything that is wrong with a copy of this release's format: its rows, then its tables."""
    of_rows, of_tables = examine(reader), copies.findings(reader)
    if any(finding.code == "schema_drift" for finding in of_tables):
        # What is missing is told once, not by each check that asks for it.
        of_rows = [finding for finding in of_rows if finding.code != "check_failed"]
    return [*of_rows, *of_tables]


def _examine_migrated(copies: Copies, files: CopyFiles, examine: Examine) -> list[Finding]:
    """A copy of an older format is examined as the restore will leave it."""
    with copies.unfold(files) as unfolded:
        migrate(unfolded.database)
        with unfolded.database.read() as reader:
            return examined(copies, reader, examine)
