"""What travels: values keep every bit, versions have one order, a group has one hash."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.sync.change import (
    INTEGER_MAX,
    INTEGER_MIN,
    NULL,
    Change,
    InvalidText,
    Lineage,
    Version,
    decode_change,
    decode_values,
    encode_change,
    encode_values,
    hash_of,
    hlc_of,
    key_text,
    moment_of,
    next_causal_length,
    parse_version_id,
    tick,
)
from stepwell.testing import FrozenClock

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(INTEGER_MIN, INTEGER_MAX),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", struct.pack("Q", bits))[0]),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.binary(min_size=1).map(lambda tail: InvalidText(b"\xff" + tail)),
)


def bits(value: object) -> object:
    """A value that equals another one only when they are the same in type and bits."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return type(value), str(value) if isinstance(value, Decimal) else value


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=5))
def test_every_value_comes_back_with_its_type_and_bits(values: dict[str, object]) -> None:
    back = decode_values(encode_values(values))  # type: ignore[arg-type]

    assert [(name, bits(value)) for name, value in values.items()] == [
        (name, bits(value)) for name, value in back.items()
    ]


def test_null_is_not_absent() -> None:
    assert b'{"a":null}' == encode_values({"a": None})
    assert ({"a": None}, {}) == (decode_values(b'{"a":null}'), decode_values(b"{}"))


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"a":[1]}',
        b'{"a":{"b":1}}',
        b'{"a":{"$z":"x"}}',
        b'{"a":{"$b":"?"}}',
        b'{"a":{"$b":"YQ==","c":1}}',
        b'{"a":{"$f":"1.5"}}',
        b'{"a":{"$x":"0"}}',
        b'{"a":{"$d":"1,5"}}',
        b'{"a":9223372036854775808}',
        b'{"a":1e999}',
        b'{"a":1',
    ],
)
def test_what_is_no_value_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        decode_values(text)


def test_a_key_has_one_text() -> None:
    assert '{"day":"2026-01-02","store":7}' == key_text({"store": 7, "day": "2026-01-02"})


def test_stamps_rise_and_follow_the_clock() -> None:
    now = FrozenClock().now()
    first = tick(0, now)

    assert hlc_of(now) == first
    assert first + 1 == tick(first, now)
    assert hlc_of(now) + 10**9 + 1 == tick(hlc_of(now) + 10**9, now)
    assert now.replace(microsecond=now.microsecond // 1000 * 1000) == moment_of(first)


def test_versions_have_one_order_by_time_and_one_by_authority() -> None:
    old_word = Version("main", 1, 1, 100, 1, authority=100)
    after_it = Version("shop-1", 1, 1, 300, 1, authority=100)
    new_word = Version("main", 1, 2, 200, 1, authority=200)
    tied = Version("shop-1", 1, 2, 200, 1, authority=100)

    assert after_it == max(old_word, after_it, new_word, key=lambda v: v.by_time)
    assert new_word == max(old_word, after_it, new_word, key=lambda v: v.by_authority)
    assert new_word == max(new_word, tied, key=lambda v: v.by_time)
    assert ("shop-1", 1, 2) == parse_version_id(tied.id)


@pytest.mark.parametrize(
    ("last", "op", "after"),
    [(0, "I", 1), (0, "U", 1), (0, "D", 2), (1, "U", 1), (1, "I", 1), (1, "D", 2), (2, "I", 3)],
)
def test_the_causal_length_is_odd_while_the_row_lives(last: int, op: str, after: int) -> None:
    assert after == next_causal_length(last, op)  # type: ignore[arg-type]


def change(**changes: object) -> Change:
    values: dict[str, object] = {
        "lsn": 3,
        "tx_id": "shop-1.1.2",
        "table_name": "visit",
        "pk_json": msgspec.Raw(b'{"id":1}'),
        "op": "U",
        "payload": msgspec.Raw(b'{"id":1,"n":2,"note":"x"}'),
        "before": msgspec.Raw(b'{"n":null}'),
        "created_at": "2026-11-20T01:02:03.000000Z",
        "source_node": "shop-1",
        "origin": "shop-1",
        "epoch": 1,
        "seq": 2,
        "lineage": Lineage(job_name="visits", execution_id=4, step_name="load", chunk="7"),
    }
    return Change(**{**values, **changes})  # type: ignore[arg-type]


def test_a_change_travels_as_one_line() -> None:
    line = encode_change(change())

    assert b"\n" not in line
    assert change() == decode_change(line)
    assert '{"id":1}' == decode_change(line).key.pk_json


def test_the_old_image_of_an_update_is_whole() -> None:
    assert {"id": 1, "n": None, "note": "x"} == change().old_values()
    assert {"n": None} == change(op="D", payload=NULL).old_values()
    assert change(before=NULL).old_values() is None


def test_a_group_has_the_same_hash_wherever_it_has_been() -> None:
    elsewhere = change(lsn=90, source_node="main", extra={"later": msgspec.Raw(b"1")})

    assert hash_of([change()]) == hash_of([elsewhere])
    assert hash_of([change()]) != hash_of([change(payload=msgspec.Raw(b'{"id":1,"n":3}'))])
    assert hash_of([change()]) != hash_of([change(), change()])
