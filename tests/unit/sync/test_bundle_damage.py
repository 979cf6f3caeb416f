"""T20: whatever is not as it was written is refused with its line, and nothing is written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import (
    BundleDamaged,
    BundleTooLarge,
    BundleTooNew,
    BundleTorn,
    DatabaseError,
    ForeignFile,
    Kind,
    NoSuchBundle,
    StepwellError,
    SyncError,
)
from stepwell.sync import bundle_files
from stepwell.sync.bundle_reader import open_bundle
from tests.unit.sync.bundles import change, read, sealed, text_of

AGAIN = "copy the file again; or, on shop-1, `stepwell sync export --to FILE --since 0`"


def whole() -> list[bytes]:
    """A file of five lines: two groups, three changes."""
    return text_of([change(1, 1), change(2, 1), change(3, 2)]).splitlines()


def refused(path: Path, content: bytes, **options: Any) -> StepwellError:
    """Read a file of this content to its end; answers why it is refused."""
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    with pytest.raises(StepwellError) as raised:
        open_bundle(path, **options).check()
    assert sorted(path.parent.iterdir()) == before
    assert path.read_bytes() == content
    assert raised.value.fields["file"] == str(path)
    return raised.value


def facts(error: StepwellError) -> tuple[type[StepwellError], object, str]:
    """Its class, its line, and its message behind the name of the file."""
    start = f"cannot import {error.fields['file']!r}: "
    assert error.message.startswith(start)
    assert error.hint
    return type(error), error.fields["line"], error.message.removeprefix(start)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "week.jsonl"


# --- torn -------------------------------------------------------------------------------------


def test_a_file_without_its_last_line_is_torn(path: Path) -> None:
    error = refused(path, b"\n".join(whole()[:-1]) + b"\n")

    assert (BundleTorn, 4, "it ends behind line 4, without its last line") == facts(error)
    assert (AGAIN, Kind.CORRUPT) == (error.hint, error.kind)


def test_wherever_a_file_is_cut_it_is_torn(path: Path) -> None:
    content = b"\n".join(whole())
    for size in range(len(content)):
        error = refused(path, content[:size])

        assert isinstance(error, BundleTorn) or (
            # Nothing yet tells that it is one of ours.
            isinstance(error, ForeignFile) and size < len('{"__meta__":')
        ), (size, error)


def test_a_cut_in_the_middle_of_a_line_names_it(path: Path) -> None:
    lines = whole()
    error = refused(path, b"\n".join(lines[:2]) + b"\n" + lines[2][:40])

    assert (BundleTorn, 3, "it ends in the middle of line 3") == facts(error)


def test_a_compressed_file_that_is_cut_is_torn(path: Path) -> None:
    compressed = gzip.compress(text_of([change(n, n) for n in range(1, 100)]))
    for size in (len(compressed) // 2, len(compressed) - 9, len(compressed) - 1):
        error = refused(path, compressed[:size])

        assert isinstance(error, BundleTorn)
        assert "its compressed data ends behind line" in error.message


def test_an_empty_file_is_torn(path: Path) -> None:
    assert (BundleTorn, 0, "it is empty") == facts(refused(path, b""))


# --- damaged ----------------------------------------------------------------------------------

Damage = Callable[[list[bytes]], list[bytes]]


def swapped(a: int, b: int) -> Damage:
    def swap(lines: list[bytes]) -> list[bytes]:
        lines[a], lines[b] = lines[b], lines[a]
        return lines

    return swap


def replaced(line: int, old: bytes, new: bytes) -> Damage:
    def replace(lines: list[bytes]) -> list[bytes]:
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new)
        return lines

    return replace


def inserted(line: int, text: bytes) -> Damage:
    return lambda lines: [*lines[: line - 1], text, *lines[line - 1 :]]


DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    ("damage", "line", "fact"),
    [
        (swapped(1, 2), 3, "change 1 stands behind change 2"),
        (lambda lines: [*lines[:2], *lines[1:]], 3, "change 1 stands there twice"),
        (lambda lines: [*lines[:3], *lines[1:]], 4, "change 1 stands behind change 2"),
        (replaced(4, b'"lsn":3', b'"lsn":4'), 4, "change 4 lies outside of 1 to 3, of which"),
        (replaced(3, b'"seq":1', b'"seq":0'), 3, "lsn and seq must be 1 or more, in 64 bits"),
        (replaced(4, b'"seq":2', b'"seq":1'), 4, "group shop-1.1.1 has transaction 'shop-1.1.2'"),
        (replaced(3, b'"note":"x"', b'"note":"y"'), 5, "the hash of the lines before is "),
        (lambda lines: [*lines[:2], *lines[3:]], 4, "the hash of the lines before is "),
        (replaced(3, b'"note":"x"', b'"note":"\xff"'), 3, "byte 0xff in column "),
        (replaced(3, b"{", b"["), 3, "expected `object`, got `array`"),
        (replaced(3, b"}", b"]"), 3, "JSON is malformed"),
        (inserted(3, b"hello"), 3, "JSON is malformed"),
        (inserted(3, b""), 3, "it is empty"),
        (inserted(3, DEEP), 3, "its JSON is nested too deep"),
        (replaced(3, b'"op":"I"', b'"op":"X"'), 3, "invalid enum value 'X'"),
        (replaced(3, b'"lsn":2,', b""), 3, "object missing required field `lsn`"),
        (replaced(3, b'"lsn":2,', b'"lsn":"2",'), 3, "expected `int`, got `str`"),
        (replaced(3, b'"pk_json":{"id":2}', b'"pk_json":{}'), 3, "pk_json must be an object with"),
        (replaced(3, b'"pk_json":{"id":2}', b'"pk_json":{"id":null}'), 3, "pk_json must be an"),
        (replaced(3, b'"pk_json":{"id":2}', b'"pk_json":7'), 3, "expected `object`, got `int`"),
        (
            replaced(3, b'{"id":2,"note":"x"}', b"[1]"),
            3,
            "payload and before must be an object or null",
        ),
        (replaced(3, b'{"id":2,"note":"x"}', b"null"), 3, "payload must be null for D, and an"),
        (replaced(3, b'"op":"I"', b'"op":"I","tombstone":1'), 3, "tombstone must be 1 for D"),
        (replaced(3, b'"hlc":101', b'"hlc":-1'), 3, "epoch, hlc, authority and causal_length"),
        (replaced(3, b'"origin":"shop-1"', b'"origin":"a.b"'), 3, "origin must be the id of a"),
        (replaced(3, b"2026-11-20T", b"yesterday "), 3, "invalid isoformat string"),
        (replaced(3, b"03.000000Z", b"03.000000"), 3, "created_at must be UTC and end in Z"),
        (replaced(1, b'"to_lsn":3', b'"to_lsn":4'), 5, "the hash of the lines before is "),
        (replaced(1, b'"epoch":1', b'"epoch":"1"'), 1, "expected `int`, got `str`"),
        (replaced(1, b'"epoch":1', b'"epoch":0'), 1, "tx_id, source_node and epoch must name"),
        (replaced(1, b'"to_lsn":3', b'"to_lsn":-7'), 1, "part 1 from LSN 1 to -7 is no part of a"),
        (replaced(1, b'"2.0"', b'"x"'), 1, "file_version must be a number such as 2.0, got 'x'"),
        (replaced(5, b'"rows":3', b'"rows":4'), 5, "it counts 4 changes in 2 groups, there are 3"),
        (replaced(5, b'"rows"', b'"rowz"'), 5, "object missing required field `rows`"),
        (lambda lines: [*lines, lines[1]], 6, "it stands behind the last line of the file"),
        (lambda lines: [*lines[:4], *lines], 5, "a second `__meta__`: two files have been joined"),
    ],
)
def test_a_line_that_is_not_as_it_was_written_is_named(
    path: Path, damage: Damage, line: int, fact: str
) -> None:
    error = refused(path, b"\n".join(damage(whole())) + b"\n")

    assert (BundleDamaged, line) == facts(error)[:2]
    assert facts(error)[2].startswith(f"line {line}: {fact}")
    assert error.kind is Kind.CORRUPT


@pytest.mark.parametrize(
    ("damage", "line", "fact"),
    [
        (swapped(1, 2), 3, "change 1 stands behind change 2"),
        (lambda lines: [*lines[:2], *lines[3:]], 4, "it counts 3 changes in 2 groups, there are 2"),
        (replaced(1, b'"to_lsn":3', b'"to_lsn":4'), 5, "it goes up to LSN 3, line 1 says 4"),
        (replaced(3, b'"op":"I"', b'"op":"D"'), 3, "tombstone must be 1 for D and 0 for I and U"),
    ],
)
def test_the_right_hash_does_not_make_it_right(
    path: Path, damage: Damage, line: int, fact: str
) -> None:
    error = refused(path, sealed(damage(whole())))

    assert (BundleDamaged, line) == facts(error)[:2]
    assert facts(error)[2].startswith(f"line {line}: {fact}")


def test_no_byte_can_change_unseen(path: Path) -> None:
    content = b"\n".join(whole()) + b"\n"
    for at in range(len(content)):
        other = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        path.write_bytes(other)
        with pytest.raises(SyncError):
            open_bundle(path).check()


def test_compressed_data_that_is_damaged_is_refused(path: Path) -> None:
    compressed = gzip.compress(text_of([change(n, n) for n in range(1, 100)]))
    for content in (
        compressed[:10] + b"\xff" + compressed[11:],
        compressed[:-8] + b"?" * 8,
        compressed + b"behind it",
        b"\x1f\x8bthis is no gzip",
    ):
        error = refused(path, content)

        assert isinstance(error, BundleDamaged)
        assert "its compressed data is damaged behind line" in error.message


def test_groups_before_the_damage_are_read_and_the_damage_still_raises(path: Path) -> None:
    """Whoever does not check first learns it at the line."""
    path.write_bytes(b"\n".join(replaced(4, b"{", b"[")(whole())))
    changes = (c for group in open_bundle(path).groups() for c in group.changes())

    assert [1, 2] == [next(changes).lsn, next(changes).lsn]
    with pytest.raises(BundleDamaged):
        next(changes)


def test_a_file_that_was_changed_since_it_was_opened_is_refused(path: Path) -> None:
    path.write_bytes(text_of([change(1, 1)]))
    bundle = open_bundle(path)
    path.write_bytes(text_of([change(1, 1)], tx_id="b-2"))

    with pytest.raises(BundleDamaged, match="another file has been put in its place"):
        bundle.check()


# --- something else ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"SQLite format 3\x00\x10\x00\x01",
        b"\x89PNG\r\n\x1a\n\x00",
        b"PK\x03\x04",
        b"id,name\n1,x\n",
        b'{"id":1}\n{"id":2}\n',
        b'{"__meta__":7}\n',
        b'{"__meta__":{}}\n',
        b'{"__meta__":{"title":"x"}}\n',
        b'[{"__meta__":{}}]\n',
        b"\n",
        '{"__meta__":{}}\n'.encode("utf-16"),
        b"\x00" * 100,
        DEEP,
        gzip.compress(b"hello", mtime=0),  # part of the test's name: the same in every process
    ],
)
def test_someone_elses_file_is_refused(path: Path, content: bytes) -> None:
    error = refused(path, content)

    assert (ForeignFile, Kind.USAGE) == (type(error), error.kind)
    assert "give a file that `stepwell sync export` has written" == error.hint


@pytest.mark.parametrize("version", ['"3.0"', "3", '"99999999999999999999"'])
def test_a_newer_file_is_refused(path: Path, version: str) -> None:
    lines = replaced(1, b'"2.0"', version.encode())(whole())
    error = refused(path, sealed(lines))

    shown = version.strip('"')
    assert (
        f"cannot import {str(path)!r}: its file_version is {shown}, this release reads up to 2"
        == error.message
    )
    assert (BundleTooNew, "upgrade Stepwell here") == (type(error), error.hint)


def test_a_newer_minor_version_is_read(path: Path) -> None:
    lines = replaced(1, b'"2.0"', b'"2.7","later":1')(whole())
    path.write_bytes(sealed(lines))

    assert 3 == len(read(path))


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NoSuchBundle, match="there is no such file") as raised:
        open_bundle(tmp_path / "week.jsonl")
    assert Kind.NOT_FOUND is raised.value.kind
    with pytest.raises(NoSuchBundle, match="it is a folder"):
        open_bundle(tmp_path)
    with pytest.raises(DatabaseError, match="cannot import"):
        open_bundle(tmp_path / ("x" * 300))


# --- too large --------------------------------------------------------------------------------


def test_a_line_of_a_gigabyte_is_refused_before_it_is_read(path: Path) -> None:
    """Method: a file with a hole, which takes no room on the disk."""
    lines = whole()
    with path.open("wb") as file:
        file.write(lines[0] + b"\n" + lines[1][:-1])
        file.truncate(1 << 30)

    with pytest.raises(BundleTooLarge) as raised:
        open_bundle(path).check()
    assert (2, Kind.USAGE) == (raised.value.fields["line"], raised.value.kind)
    assert (
        f"cannot import {str(path)!r}: line 2 has more than 67,108,864 bytes"
        == raised.value.message
    )


def test_the_limit_of_a_line_is_exact(path: Path) -> None:
    longest = max(map(len, whole()))
    path.write_bytes(b"\r\n".join(whole()) + b"\r\n")

    assert 3 == open_bundle(path, line_bytes_max=longest).check().rows
    error = refused(path, path.read_bytes(), line_bytes_max=longest - 1)
    assert isinstance(error, BundleTooLarge)


def test_a_compressed_bomb_of_one_line_is_refused(path: Path) -> None:
    error = refused(path, gzip.compress(whole()[0] + b"\n" + b" " * (80 << 20), 1))

    assert (BundleTooLarge, 2) == facts(error)[:2]


def test_a_compressed_bomb_of_many_lines_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: lines that are all right, and padded. Method: the free amount is made small."""
    monkeypatch.setattr(bundle_files, "EXPANDED_FREE_BYTES", 1 << 20)
    padded = [b'%s,"pad":"%s"}' % (line[:-1], b"x" * 100_000) for line in _many(100)]
    lines = [*text_of([change(100, 100)]).splitlines()[:1], *padded, whole()[-1]]
    error = refused(path, gzip.compress(b"\n".join(lines)))

    assert isinstance(error, BundleTooLarge)
    assert "bytes expand to more than" in error.message
    assert "if you trust it, decompress it by hand and import the plain file" == error.hint


def _many(count: int) -> list[bytes]:
    return text_of([change(n, n) for n in range(1, count + 1)]).splitlines()[1:-1]


def test_lines_that_are_much_alike_are_no_bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(text_of([change(n, n) for n in range(1, 3_000)])))

    assert 2_999 == open_bundle(path).check().rows
    assert path.stat().st_size * bundle_files.EXPANSION_MAX > 10 * len(
        gzip.decompress(path.read_bytes())
    )


def test_the_end_line_is_json_that_others_can_read() -> None:
    end = json.loads(whole()[-1])["__end__"]

    assert (3, 2, 3) == (end["rows"], end["groups"], end["to_lsn"])
