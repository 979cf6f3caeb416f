"""T19 for files: what is written comes back, with every bit, in its groups; parts are one file."""

from __future__ import annotations

import gzip
import io
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import (
    BundleDamaged,
    BundleExists,
    BundleTooLarge,
    BundleTorn,
    CompressionMissing,
)
from stepwell.sync import bundle_files, bundle_writer
from stepwell.sync.bundle import decode_line, encode_line, part_path
from stepwell.sync.bundle_reader import Checked, open_bundle
from stepwell.sync.bundle_writer import write_bundle, write_bundle_files
from stepwell.sync.change import NULL, Change, Lineage, decode_values, encode_values, key_text
from tests.docs.pages import ROOT
from tests.unit.sync.bundles import change, grouped, meta, read, text_of
from tests.unit.sync.test_change import VALUES, bits

IMAGES = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
KEYS = st.dictionaries(
    st.text(min_size=1, max_size=5), VALUES.filter(lambda v: v is not None), min_size=1, max_size=2
)
UNKNOWN = st.dictionaries(
    st.text("abc_", min_size=4, max_size=8),
    st.sampled_from([b"1", b"null", b'{"a":[1]}', b'"x"']).map(msgspec.Raw),
    min_size=1,
    max_size=2,
)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    changes: list[Change] = []
    for seq in range(1, draw(st.integers(0, 4)) + 1):
        for _ in range(draw(st.integers(1, 3))):
            op = draw(st.sampled_from("IUD"))
            before = draw(IMAGES) if op != "I" else None
            changes.append(
                change(
                    (changes[-1].lsn if changes else 0) + draw(st.integers(1, 3)),
                    seq,
                    table_name=draw(st.text(min_size=1, max_size=5)),
                    pk_json=msgspec.Raw(key_text(draw(KEYS)).encode()),
                    op=op,
                    payload=msgspec.Raw(encode_values(draw(IMAGES))),
                    before=NULL if before is None else msgspec.Raw(encode_values(before)),
                    base=draw(st.none() | st.just("main.1.7")),
                    hlc=draw(st.integers(0, 2**63 - 1)),
                    resolves=draw(st.just(()) | st.just(("a.1.1", "b.1.2"))),
                    lineage=draw(st.none() | st.just(Lineage(job_name="visits", chunk="7"))),
                    extra=draw(st.none() | UNKNOWN),
                )
            )
    return changes


@settings(max_examples=40, deadline=None)  # Each one writes through to the disk.
@given(histories(), st.sampled_from(["", ".gz"]), st.sampled_from([None, 300, 1000]))
def test_every_change_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    changes: list[Change],
    ending: str,
    part_bytes_max: int | None,
) -> None:
    """T19, and the same lines in parts, at whatever place they are cut."""
    path = tmp_path_factory.mktemp("bundle") / f"week.jsonl{ending}"
    last = changes[-1].lsn + 1 if changes else 0
    written = write_bundle_files(path, meta(last), changes, part_bytes_max=part_bytes_max)
    bundle = open_bundle(path)

    assert changes == [line.change for line in bundle.lines()]
    assert bundle.check() == Checked(
        written.rows, written.groups, last, written.sha256, len(written.paths)
    )
    assert (len(changes), len({c.seq for c in changes})) == (written.rows, written.groups)
    assert [p.name for p in written.paths] == sorted(
        (p.name for p in path.parent.iterdir()), key=lambda name: (len(name), name)
    )


@given(IMAGES)
def test_every_value_comes_back_with_its_type_and_bits(values: dict[str, Any]) -> None:
    line = encode_line(change(1, 1, payload=msgspec.Raw(encode_values(values))))
    back = decode_line(line).new_values()

    assert b"\n" not in line
    assert [(n, bits(v)) for n, v in values.items()] == [(n, bits(v)) for n, v in back.items()]


def test_null_is_not_absent() -> None:
    payload = decode_line(encode_line(change(1, 1, payload=msgspec.Raw(b'{"a":null}')))).payload

    assert {"a": None} == decode_values(payload)


def test_fields_of_a_newer_release_are_passed_on_where_they_stood() -> None:
    line = encode_line(change(1, 1))[:-1] + b',"later":{"x":[1,2]},"extra":{"y":1}}'
    once = decode_line(line)

    assert {"later": b'{"x":[1,2]}', "extra": b'{"y":1}'} == {
        name: bytes(value) for name, value in (once.extra or {}).items()
    }
    assert line == encode_line(once)


def test_a_key_written_in_another_way_is_the_same_key() -> None:
    line = encode_line(change(1, 1, pk_json=msgspec.Raw(b'{ "store": 7, "day": "\\u0041" }')))

    assert '{"day":"A","store":7}' == decode_line(line).key.pk_json


def test_groups_are_read_one_by_one_and_may_be_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "week.jsonl"
    path.write_bytes(text_of([change(1, 1), change(2, 1), change(4, 3), change(5, 4)]))
    bundle = open_bundle(path)

    assert [1, 3, 4] == [group.seq for group in bundle.groups()]
    assert [(1, [1, 2]), (3, [4]), (4, [5])] == grouped(path)
    assert [(2, 1), (3, 2), (4, 4), (5, 5)] == [(x.line, x.change.lsn) for x in bundle.lines()]


def test_an_empty_file_says_how_far_the_log_has_come(tmp_path: Path) -> None:
    path = tmp_path / "week.jsonl"
    write_bundle_files(path, meta(9, from_lsn=5), [])

    checked = open_bundle(path).check()
    assert (0, 0, 9) == (checked.rows, checked.groups, checked.to_lsn)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    text = text_of([change(1, 1), change(2, 2)])
    plain, other = tmp_path / "plain.jsonl", tmp_path / "other.jsonl"
    plain.write_bytes(text)
    other.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n")

    assert read(plain) == read(other)
    assert open_bundle(plain).check() == open_bundle(other).check()


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / "week.jsonl"
    path.write_bytes(text_of([change(1, 1)]).removesuffix(b"\n"))

    assert 1 == open_bundle(path).check().rows


def test_compression_is_known_by_the_header_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "week.jsonl"
    path.write_bytes(gzip.compress(text_of([change(1, 1)])))

    assert [change(1, 1)] == read(path)


def test_the_same_changes_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_bundle_files(tmp_path / name / "week.jsonl.gz", meta(1), [change(1, 1)])

    contents = [(tmp_path / name / "week.jsonl.gz").read_bytes() for name in ("a", "b")]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("module", ["backports.zstd", "zstandard"])
def test_zstd_comes_back(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module)
    monkeypatch.setattr(bundle_files, "_ZSTD_MODULES", (module,))
    path = tmp_path / "week.jsonl.zst"
    changes = [change(n, n) for n in range(1, 500)]
    write_bundle_files(path, meta(499), changes)

    assert path.read_bytes().startswith(bundle_files.ZSTD_HEADER)
    assert changes == read(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleTorn):
        open_bundle(path).check()
    path.write_bytes(whole[:200] + b"?????" + whole[205:])
    with pytest.raises(BundleDamaged):
        open_bundle(path).check()


def test_without_a_module_zstd_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_files, "_ZSTD_MODULES", ("no_such_module",))
    with pytest.raises(CompressionMissing) as writing:
        write_bundle_files(tmp_path / "week.jsonl.zst", meta(1), [change(1, 1)])
    assert [] == list(tmp_path.iterdir())

    path = tmp_path / "other.jsonl"
    path.write_bytes(bundle_files.ZSTD_HEADER + b"rest")
    with pytest.raises(CompressionMissing) as reading:
        open_bundle(path)

    for raised, verb in ((writing, "export to"), (reading, "import")):
        assert raised.value.message.startswith(f"cannot {verb} '{tmp_path}")
        assert raised.value.message.endswith("': it is zstd, and no module for that is installed")
        assert "`pip install zstandard`, or use a file that ends in .gz" == raised.value.hint


# --- parts ------------------------------------------------------------------------------------


def in_parts(path: Path) -> list[Change]:
    """Groups of 1, 30 and 2 changes, in parts of some three changes each."""
    changes = [change(n, 1 if n == 1 else 2 if n < 32 else 3) for n in range(1, 34)]
    written = write_bundle_files(path, meta(33), changes, part_bytes_max=1000)
    assert len(written.paths) > 5
    return changes


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_group_that_spans_parts_is_one(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"week.jsonl{ending}"
    changes = in_parts(path)

    assert changes == read(path)
    assert [(1, [1]), (2, list(range(2, 32))), (3, [32, 33])] == grouped(path)


@pytest.mark.parametrize(
    ("name", "part2"),
    [
        ("week.jsonl", "week.part2.jsonl"),
        ("week.jsonl.GZ", "week.part2.jsonl.GZ"),
        ("a.b.jsonl.zst", "a.b.part2.jsonl.zst"),
        ("week", "week.part2"),
        ("week.gz", "week.part2.gz"),
        (".week", ".week.part2"),
    ],
)
def test_parts_are_named_after_the_first(name: str, part2: str) -> None:
    assert (name, part2) == (part_path(Path(name), 1).name, part_path(Path(name), 2).name)


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "week.jsonl"
    in_parts(path)
    (tmp_path / "week.part3.jsonl").unlink()

    with pytest.raises(BundleTorn, match=r"it goes on in part 3, and there is no '.*part3.jsonl'"):
        open_bundle(path).check()


def test_a_later_part_leads_to_the_first(tmp_path: Path) -> None:
    in_parts(tmp_path / "week.jsonl")

    with pytest.raises(BundleTorn, match="it is part 2 of several") as raised:
        open_bundle(tmp_path / "week.part2.jsonl")
    assert "import the first part, the one without `.part` in its name" == raised.value.hint


def test_parts_of_two_exports_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    in_parts(tmp_path / "week.jsonl")
    changes = [change(n, n) for n in range(1, 34)]
    write_bundle_files(
        tmp_path / "a" / "week.jsonl", meta(33, tx_id="b-2"), changes, part_bytes_max=1000
    )
    (tmp_path / "a" / "week.part2.jsonl").replace(tmp_path / "week.part2.jsonl")

    with pytest.raises(BundleTorn, match="it is part 2 of export 'b-2', part 2 of 'b-1' must"):
        open_bundle(tmp_path / "week.jsonl").check()


def test_a_part_of_the_same_export_with_another_content_is_refused(tmp_path: Path) -> None:
    in_parts(tmp_path / "week.jsonl")
    changes = [change(n, n) for n in range(1, 34)]
    (tmp_path / "a").mkdir()
    write_bundle_files(tmp_path / "a" / "week.jsonl", meta(33), changes, part_bytes_max=1000)
    (tmp_path / "a" / "week.part2.jsonl").replace(tmp_path / "week.part2.jsonl")

    with pytest.raises(BundleDamaged, match="it does not follow the part before"):
        open_bundle(tmp_path / "week.jsonl").check()


# --- writing ----------------------------------------------------------------------------------


class _Stop(Exception):
    pass


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def changes() -> Any:
        yield from (change(n, n) for n in range(1, 30))
        assert all(path.name.endswith(".tmp") for path in tmp_path.iterdir())
        assert list(tmp_path.iterdir())
        raise _Stop

    for name in ("week.jsonl", "week.jsonl.gz"):
        with pytest.raises(_Stop):
            write_bundle_files(tmp_path / name, meta(50), changes(), part_bytes_max=1000)

        assert [] == list(tmp_path.iterdir())


def test_a_file_of_that_name_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    path.write_bytes(b"precious")

    with pytest.raises(BundleExists) as raised:
        write_bundle_files(path, meta(1), [change(1, 1)])
    assert f"cannot export to {str(path)!r}: there is a file of that name" == raised.value.message
    assert b"precious" == path.read_bytes()

    with pytest.raises(BundleExists, match="it is a folder"):
        write_bundle_files(tmp_path, meta(1), [change(1, 1)], replace=True)
    write_bundle_files(path, meta(1), [change(1, 1)], replace=True)
    assert [change(1, 1)] == read(path)


def test_a_part_of_another_export_is_kept(tmp_path: Path) -> None:
    (tmp_path / "week.part2.jsonl").write_bytes(b"precious")

    with pytest.raises(BundleExists, match="part2"):
        in_parts(tmp_path / "week.jsonl")
    assert ["week.part2.jsonl"] == [path.name for path in tmp_path.iterdir()]


KILLED = """
import os, signal, sys
from pathlib import Path
from stepwell.sync.bundle_writer import write_bundle_files
from tests.unit.sync.bundles import change, meta

def changes():
    yield from (change(n, n) for n in range(1, 2_000))
    os.kill(os.getpid(), signal.SIGKILL)

write_bundle_files(Path(sys.argv[1]), meta(2_000), changes(), part_bytes_max=100_000)
"""


@pytest.mark.parametrize("name", ["week.jsonl", "week.jsonl.gz"])
def test_an_export_that_is_killed_leaves_no_file_of_its_name(name: str, tmp_path: Path) -> None:
    """And the next one under the same id leaves none of the killed one's."""
    path = tmp_path / name
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    left = list(tmp_path.iterdir())

    assert -signal.SIGKILL == killed.returncode
    assert len(left) > 3
    assert all(p.name.startswith(".") and p.name.endswith(".tmp") for p in left)

    changes = [change(n, n) for n in range(1, 2_001)]
    written = write_bundle_files(path, meta(2_000), changes, part_bytes_max=100_000)

    assert sorted(written.paths) == sorted(tmp_path.iterdir())
    assert changes == read(path)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ([change(1, 1), change(1, 1)], "change 1 stands there twice"),
        ([change(2, 1), change(1, 1)], "change 1 stands behind change 2"),
        ([change(1, 1), change(2, 2), change(3, 1)], "shop-1.1.1 stands behind a later one"),
        ([change(1, 1), change(2, 1, tx_id="x")], "has transaction 'x', and 'shop-1.1.1' before"),
        ([change(10, 1)], "change 10 lies outside of 1 to 9"),
    ],
)
def test_an_order_that_no_reader_takes_is_not_written(changes: list[Change], fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        write_bundle(io.BytesIO(), meta(9), changes)


def test_a_row_that_no_reader_takes_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_writer, "LINE_BYTES_MAX", 1000)
    long = change(7, 1, payload=msgspec.Raw(encode_values({"photo": b"x" * 1000})))

    with pytest.raises(BundleTooLarge) as raised:
        write_bundle_files(tmp_path / "week.jsonl", meta(7), [long])
    assert (
        "cannot export change 7 of table 'visit': its line has 1,575 bytes, at most 1,000 are"
        " allowed"
    ) == raised.value.message
    assert [] == list(tmp_path.iterdir())


def test_memory_grows_neither_with_the_file_nor_with_a_group(tmp_path: Path) -> None:
    """Goal: flat memory. Method: 40 MB in one group, in less than 4 MB, written and read."""
    path = tmp_path / "week.jsonl"
    image = msgspec.Raw(encode_values({"note": "x" * 10_000}))
    tracemalloc.start()
    try:
        changes = (change(n, 1, payload=image) for n in range(1, 4_001))
        write_bundle_files(path, meta(4_000), changes)
        [rows] = [sum(1 for _ in group.changes()) for group in open_bundle(path).groups()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (4_000, True) == (rows, path.stat().st_size > 40_000_000)
    assert peak < 4_000_000
