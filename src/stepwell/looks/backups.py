"""Copies and their proofs as JSON; see ``docs/cli.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from stepwell.backup.folder import Backup
    from stepwell.backup.restore import Proof


def manifest_json(manifest: Any) -> dict[str, Any]:
    """A manifest, as its file says it."""
    built: dict[str, Any] = msgspec.to_builtins(manifest)
    return built


def backup_json(one: Backup) -> dict[str, Any]:
    """A copy in the folder."""
    return {
        "name": one.name,
        "path": str(one.path),
        "size_bytes": one.size_bytes,
        "problem": one.problem or None,
        "manifest": manifest_json(one.manifest) if one.manifest else None,
    }


def proof_json(proof: Proof) -> dict[str, Any]:
    """What the rehearsal of a restore has shown."""
    return {
        "name": proof.source.name,
        "path": str(proof.source.files.main),
        "has_manifest": proof.source.manifest is not None,
        "tables": proof.contents.tables,
        "schema_version": proof.contents.schema_version,
        "migrations": proof.migrations,
        "findings": msgspec.to_builtins(proof.findings),
    }
