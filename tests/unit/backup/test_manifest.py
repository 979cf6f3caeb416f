"""The manifest: read back as it was written; torn, foreign and newer ones are refused."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import pytest

import stepwell.backup
from stepwell.backup.manifest import FORMAT, Found, Manifest, read_manifest, sha256_of, to_text
from stepwell.errors import BackupDamaged, ManifestTooNew
from stepwell.finding import Severity

MANIFEST = Manifest(
    format=FORMAT,
    name="night",
    created_at=datetime(2026, 11, 20, 20, 4, 5, 123456, UTC),
    stepwell="0.1.0",
    database="/srv/night.db",
    kind="sqlite",
    engine="3.53.4",
    copy_bytes=4096,
    copy_sha256="0" * 64,
    schema_version="0001",
    schema_sha256="1" * 64,
    epoch=2,
    tables={"item": 3, "夜": 4},
    findings=[Found("orphan", Severity.WARNING, "row 7", "it names no job")],
    findings_count=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.manifest.json"


def test_a_manifest_is_read_back_as_it_was_written(path: Path) -> None:
    path.write_text(to_text(MANIFEST), encoding="utf-8")

    assert MANIFEST == read_manifest(path)
    assert "2026-11-20T20:04:05.123456Z" == json.loads(path.read_text())["created_at"]
    assert (7, False) == (MANIFEST.rows, MANIFEST.has_errors)


def test_the_design_describes_every_field_of_the_format() -> None:
    design = Path(stepwell.backup.__file__).with_name("DESIGN.md").read_text("utf-8")
    described = re.findall(r"^\| `(\w+)` \| (?:integer|text|list|object)", design, re.MULTILINE)

    assert [field.name for field in fields(Manifest)] == described


def test_a_newer_format_is_refused_with_both_numbers(path: Path) -> None:
    """Method: everything else may look as it likes."""
    path.write_text(json.dumps({"format": FORMAT + 1, "copies": []}))
    with pytest.raises(ManifestTooNew) as caught:
        read_manifest(path)

    assert str(caught.value) == (
        f"cannot read manifest {str(path)!r}: its format is {FORMAT + 1},"
        f" this release reads up to {FORMAT}"
    )
    assert "upgrade Stepwell" == caught.value.hint


def test_a_manifest_cut_anywhere_is_refused(path: Path) -> None:
    text = to_text(MANIFEST).rstrip()
    for length in range(0, len(text), 7):
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(BackupDamaged, match="it is no whole manifest"):
            read_manifest(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("tables", ["item"]), ("copy_bytes", "many"), ("created_at", "yesterday"), ("epoch", None)],
)
def test_a_field_of_the_wrong_kind_is_refused(path: Path, name: str, value: object) -> None:
    path.write_text(json.dumps({**json.loads(to_text(MANIFEST)), name: value}))
    with pytest.raises(BackupDamaged, match=name):
        read_manifest(path)


def test_a_field_that_this_release_does_not_know_is_skipped(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(to_text(MANIFEST)), "colour": "blue"}))

    assert MANIFEST == read_manifest(path)


def test_a_missing_manifest_is_told_as_such(path: Path) -> None:
    with pytest.raises(BackupDamaged, match="no such file"):
        read_manifest(path)


def test_the_hash_is_that_of_the_whole_file(path: Path) -> None:
    path.write_bytes(b"abc")

    assert "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" == sha256_of(path)
