"""The manifest: what a copy is a copy of, and what it must hold; its format stands in DESIGN.md.

It is written once, before the copy has its name, and never changed. A file whose format is newer is
refused, one that cannot be read whole is no manifest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from stepwell.database.copies import Contents
from stepwell.errors import BackupDamaged, ManifestTooNew
from stepwell.finding import Finding, Severity

FORMAT = 1

FINDINGS_MAX = 100  # Enough to tell what is wrong; the doctor tells the rest.


@dataclass(frozen=True)
class Found:
    """What the doctor found in a copy, as a manifest keeps it: the fact, not what would mend it."""

    code: str
    severity: Severity
    where: str
    what: str

    @classmethod
    def of(cls, finding: Finding) -> Found:
        """A finding's fact."""
        return cls(finding.code, finding.severity, finding.where, finding.what)


@dataclass(frozen=True)
class Manifest:
    """What is written beside a copy; see DESIGN.md for each field.

    Attributes:
        copy_bytes: The size of the copy.
        findings: What the doctor found in the copy, at most ``FINDINGS_MAX``.
        findings_count: How many it found in all.
        lsn: The last change of the change log that the copy holds; None without one.
    """

    format: int
    name: str
    created_at: datetime
    stepwell: str
    database: str
    kind: str
    engine: str
    copy_bytes: int
    copy_sha256: str
    schema_version: str | None
    schema_sha256: str
    epoch: int
    tables: dict[str, int]
    findings: list[Found]
    findings_count: int
    lsn: int | None = None

    @property
    def contents(self) -> Contents:
        """What the copy holds, to be compared with what was unfolded."""
        return Contents(self.schema_version, self.schema_sha256, self.tables)

    @property
    def rows(self) -> int:
        """How many rows the copy holds in all."""
        return sum(self.tables.values())

    @property
    def has_errors(self) -> bool:
        """Whether the doctor found more than warnings."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)


class _Format(msgspec.Struct):
    format: int


def to_text(manifest: Manifest) -> str:
    """The text of the file: JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file.

    Raises:
        ManifestTooNew: a newer release wrote it.
        BackupDamaged: the file is torn, or is something else.
    """
    try:
        text = path.read_bytes()
        found = msgspec.json.decode(text, type=_Format).format
        if found > FORMAT:
            raise ManifestTooNew(
                f"cannot read manifest {str(path)!r}: its format is {found},"
                f" this release reads up to {FORMAT}",
                hint="upgrade Stepwell",
                fields={"path": str(path), "format": found, "format_max": FORMAT},
            )
        return msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, OSError) as error:
        raise BackupDamaged(
            f"cannot read manifest {str(path)!r}: {_fact(error)}",
            hint="the copy may be sound: `stepwell backup verify` of a copy of it under another"
            " name goes without the manifest",
            fields={"path": str(path)},
        ) from error


def sha256_of(path: Path) -> str:
    """The hash of a finished copy; never of a database that is in use."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fact(error: Exception) -> str:
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    said = str(error)
    return f"it is no whole manifest, {said[:1].lower()}{said[1:]}"
