"""Files of version 1.0: whatever they leave out, the same changes in the same groups."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import BundleDamaged, BundleTorn, ForeignFile
from stepwell.sync.bundle_reader import Checked, open_bundle
from stepwell.sync.change import NODE_ID, NULL, Change, hlc_of
from stepwell.sync.classic import node_id_of
from stepwell.testing import FrozenClock
from tests.unit.sync.bundles import classic, grouped


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "old.jsonl"


def images(change: Change) -> tuple[str, bytes, bytes]:
    return change.key.pk_json, bytes(change.payload), bytes(change.before)


def test_a_classic_line_is_a_change_of_epoch_0(path: Path) -> None:
    [(where, line, change)] = classic(path, {"lsn": 7, "tx_id": "abc"})
    bundle = open_bundle(path)

    assert (path, 2) == (where, line)
    assert ("shop-3", 0, 7) == (change.origin, change.epoch, change.seq)
    assert ("abc", 7, "I", 0, 1, None) == (
        change.tx_id,
        change.lsn,
        change.op,
        change.tombstone,
        change.causal_length,
        change.base,
    )
    assert "2024-01-02T03:04:05.000000Z" == change.created_at
    assert ('{"id":1}', b'{"id":1,"note":"x"}', b"null") == images(change)
    assert (True, "1.0", "shop-3") == (
        bundle.is_classic,
        bundle.meta.file_version,
        bundle.meta.source_node,
    )
    assert Checked(1, 1, 7, "", 1) == bundle.check()


@pytest.mark.parametrize(
    ("meta", "source", "client"),
    [
        ({"client_id": "shop-3", "source_node": "main"}, "main", "shop-3"),
        ({"source_node": "main"}, "main", ""),
        ({"client_id": "shop-3"}, "shop-3", "shop-3"),
        ({"file_version": "1.0", "source_node": "main", "note": [1]}, "main", ""),
        ({"file_version": 1.0, "source_node": "main"}, "main", ""),
        ({"file_version": 1, "source_node": "main"}, "main", ""),
    ],
)
def test_the_first_line_may_say_little(
    path: Path, meta: dict[str, Any], source: str, client: str
) -> None:
    [line] = classic(path, {"source_node": None}, **meta)
    found = open_bundle(path).meta

    assert (source, client) == (found.source_node, found.client_id)
    assert (source, source) == (line.change.source_node, line.change.origin)


def test_images_are_objects_or_strings_of_json(path: Path) -> None:
    lines = classic(
        path,
        {"pk_json": {"b": 1, "a": "x"}, "payload": {"b": 1, "a": "x", "n": None, "r": 1.5}},
        {"pk_json": '{"b": 1, "a": "x"}', "payload": '{"b": 1, "a": "x", "n": null, "r": 1.5}'},
    )

    whole = ('{"a":"x","b":1}', b'{"a":"x","b":1,"n":null,"r":1.5}', b"null")
    assert [whole, whole] == [images(line.change) for line in lines]


def test_an_update_may_tell_a_part_and_leave_out_the_key(path: Path) -> None:
    [line] = classic(path, {"op": "U", "payload": {"note": None}})

    assert ("U", {"id": 1, "note": None}) == (line.change.op, line.change.new_values())
    assert line.change.old_values() is None


def test_an_update_may_give_a_row_another_key(path: Path) -> None:
    [line] = classic(path, {"op": "U", "payload": {"id": 9}})

    assert ('{"id":1}', {"id": 9}) == (line.change.key.pk_json, line.change.new_values())


@pytest.mark.parametrize("tombstone", [0, 1, True, None])
@pytest.mark.parametrize("payload", [None, {"id": 1, "note": "x"}, "null"])
def test_a_delete_has_no_image(path: Path, tombstone: object, payload: object) -> None:
    [line] = classic(path, {"op": "D", "tombstone": tombstone, "payload": payload})

    assert (NULL, 1, 2) == (line.change.payload, line.change.tombstone, line.change.causal_length)


def test_json_inside_a_column_is_its_text(path: Path) -> None:
    [line] = classic(path, {"payload": {"id": 1, "tags": ["a", {"b": 1}], "photo": {"$b": "YQ=="}}})

    assert {"id": 1, "tags": '["a",{"b":1}]', "photo": b"a"} == line.change.new_values()


@pytest.mark.parametrize(
    ("created_at", "utc"),
    [
        ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05.000000Z"),
        ("2024-01-02 03:04:05", "2024-01-02T03:04:05.000000Z"),
        ("2024-01-02T03:04:05.123", "2024-01-02T03:04:05.123000Z"),
        ("2024-01-02T03:04:05+09:00", "2024-01-01T18:04:05.000000Z"),
        ("2024-01-02T03:04:05.123456-0100", "2024-01-02T04:04:05.123456Z"),
        ("2024-01-02", "2024-01-02T00:00:00.000000Z"),
    ],
)
def test_a_time_without_zone_is_utc(path: Path, created_at: str, utc: str) -> None:
    [line] = classic(path, {"created_at": created_at})

    assert utc == line.change.created_at


def test_groups_are_transactions_at_their_last_lsn(path: Path) -> None:
    """1 a, 2 b, 3 a, 4 c, 5 b: a ends at 3, c at 4, b at 5."""
    classic(path, *({"tx_id": tx_id} for tx_id in "abacb"))

    assert [(3, [1, 3]), (4, [4]), (5, [2, 5])] == grouped(path)
    assert Checked(5, 3, 5, "", 1) == open_bundle(path).check()


def test_a_transaction_of_another_node_is_another_one(path: Path) -> None:
    lines = classic(path, {"tx_id": 1}, {"tx_id": 1, "source_node": "main"}, {"tx_id": 1})

    assert [("main", 2, [2]), ("shop-3", 3, [1, 3])] == [
        (g.origin, g.seq, [c.lsn for c in g.changes()]) for g in open_bundle(path).groups()
    ]
    assert {"1"} == {line.change.tx_id for line in lines}


def test_a_change_without_transaction_is_one(path: Path) -> None:
    classic(path, {"tx_id": None}, {"tx_id": ""}, {"tx_id": None})

    assert [(1, [1]), (2, [2]), (3, [3])] == grouped(path)


def test_a_transaction_has_one_stamp_its_latest(path: Path) -> None:
    now = FrozenClock().now()
    later, early = now.isoformat(), now.replace(year=2020).isoformat()
    lines = classic(path, *({"tx_id": "a", "created_at": at} for at in (early, later, early)))

    assert {hlc_of(now)} == {line.change.hlc for line in lines}


def test_the_log_may_begin_late_and_have_gaps(path: Path) -> None:
    classic(path, {"lsn": 40}, {"lsn": 43})

    assert [(40, [40]), (43, [43])] == grouped(path)


def test_unknown_fields_are_kept(path: Path) -> None:
    [line] = classic(path, {"actor": "kiosk", "more": {"a": [1]}})

    assert {"actor": b'"kiosk"', "more": b'{"a": [1]}'} == {
        name: bytes(value) for name, value in (line.change.extra or {}).items()
    }


def test_a_mark_windows_ends_empty_lines_and_gzip_change_nothing(path: Path) -> None:
    lines = classic(path, {}, {})
    text = path.read_bytes()
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n"))

    assert lines == list(open_bundle(path).lines())


@pytest.mark.parametrize("name", ["Shop 3", "shop.3", "SHOP", "店舗", "", "x" * 200, "-a"])
def test_a_node_of_old_gets_an_id_of_today(name: str) -> None:
    assert NODE_ID.fullmatch(node_id_of(name))
    assert node_id_of(name) not in (node_id_of(name + "!"), node_id_of(name + "?"))


def test_a_good_id_stays() -> None:
    assert "shop-3" == node_id_of("shop-3")


@pytest.mark.parametrize(
    ("lines", "number", "fact"),
    [
        ([{"lsn": 2}, {"lsn": 1}], 3, "change 1 stands behind change 2"),
        ([{"lsn": 2}, {"lsn": 2}], 3, "change 2 stands there twice"),
        ([{"lsn": "1"}], 2, "lsn must be an integer from 1, got '1'"),
        ([{"lsn": True}], 2, "lsn must be an integer from 1, got True"),
        ([{"lsn": 2**63}], 2, "lsn must be an integer from 1, got 9223372036854775808"),
        ([{"op": "X"}], 2, "op must be I, U or D, got 'X'"),
        ([{"op": "U", "tombstone": 1}], 2, "tombstone must be 1 for D and 0 for I and U, got 1"),
        ([{"table_name": ""}], 2, "table_name must be the name of a table, got ''"),
        ([{"tx_id": [1]}], 2, "tx_id must be text or a number, got [1]"),
        ([{"pk_json": 7}], 2, "pk_json must be an object, or a string with one, got 7"),
        ([{"pk_json": "{"}], 2, "input data was truncated"),
        ([{"pk_json": "{}"}], 2, "pk_json must be an object with a value for each key column"),
        ([{"pk_json": {"id": None}}], 2, "pk_json must be an object with a value for each key"),
        ([{"payload": None}], 2, "payload must be an object, or a string with one, for I and U"),
        ([{"payload": {"id": 2**64}}], 2, "an integer must have at most 64 bits"),
        ([{"payload": {"id": {"$b": "?"}}}], 2, "only base64 data is allowed"),
        ([{"created_at": "noon"}], 2, "created_at must be a time, got 'noon'"),
        ([{"created_at": None}], 2, "created_at must be a time, got None"),
        ([{"created_at": "x" * 10**6}], 2, "created_at must be a time, got 'xxx"),
        ([{}, "hello", {}], 3, "JSON is malformed"),
        ([{}, '{"a":' * 100_000 + "1" + "}" * 100_000, {}], 3, "its JSON is nested too deep"),
        ([{}, '{"__end__":{}}'], 3, "a second `__meta__`, or an `__end__`"),
        ([{}, "[]"], 3, "expected `object`, got `array`"),
    ],
)
def test_a_line_that_is_none_is_named(
    path: Path, lines: list[dict[str, Any] | str], number: int, fact: str
) -> None:
    with pytest.raises(BundleDamaged) as raised:
        classic(path, *lines)
    message = raised.value.message
    assert message.startswith(f"cannot import {str(path)!r}: line {number}: {fact}")
    assert len(message) < len(str(path)) + 250


def test_a_file_that_ends_in_the_middle_of_a_line_is_torn(path: Path) -> None:
    classic(path, {}, {})
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(BundleTorn, match="it ends in the middle of line 3"):
        open_bundle(path).check()


def test_a_first_line_that_says_nothing_is_someone_elses(path: Path) -> None:
    path.write_text(json.dumps({"__meta__": {"title": "x"}}) + "\n")

    with pytest.raises(ForeignFile, match="no file_version, source_node or client_id"):
        open_bundle(path)


def test_memory_does_not_grow_with_transactions_that_interleave(path: Path) -> None:
    """Goal: flat memory. Method: 20 MB in two transactions, line by line in turn."""
    note = "x" * 10_000
    classic(path, *({"tx_id": "ab"[n % 2], "payload": {"note": note}} for n in range(2_000)))
    tracemalloc.start()
    try:
        sizes = [sum(1 for _ in group.changes()) for group in open_bundle(path).groups()]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert [1_000, 1_000] == sizes
    assert peak < 4_000_000
