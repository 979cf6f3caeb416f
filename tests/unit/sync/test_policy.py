"""Every policy that a node decides by itself is a maximum or a sum: any order ends alike."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.database.shape import Column, TableShape, Unique
from stepwell.errors import InvalidPolicy
from stepwell.sync.change import Version
from stepwell.sync.columns import Row, Write, encode_stamps, greatest, merge, stamps_of, union
from stepwell.sync.policy import (
    Policy,
    Side,
    check_policy,
    decide,
    encode_policy,
    find_resolver,
    parse_policy,
    resolver,
)

VERSIONS = st.builds(
    Version,
    origin=st.sampled_from(("main", "shop-1", "shop-2")),
    epoch=st.integers(1, 2),
    seq=st.integers(1, 5),
    hlc=st.integers(1, 6),
    causal_length=st.integers(1, 4),
    authority=st.integers(0, 6),
)
DECIDING = [
    Policy(rows=rows, delete_wins=delete_wins)
    for rows in ("lww", "main_wins")
    for delete_wins in (False, True)
]


@pytest.mark.parametrize("policy", DECIDING, ids=encode_policy)
@given(versions=st.lists(VERSIONS, min_size=1, max_size=5))
def test_the_greatest_version_is_the_row_in_every_order(
    policy: Policy, versions: list[Version]
) -> None:
    """Commutative, associative, idempotent: all orders, and each version twice."""
    sides = [
        Side(version, None if version.causal_length % 2 == 0 else {"n": number})
        for number, version in enumerate(versions)
    ]
    by_order: dict[Any, Side] = {policy.order(side.version): side for side in sides}
    sides = list(by_order.values())

    def join(one: Side, other: Side) -> Side:
        decision = decide(policy, one, other)
        return Side(decision.version, decision.values)

    ends = {repr(reduce(join, (*order, *order))) for order in itertools.permutations(sides)}

    assert 1 == len(ends)


COLUMNS = Policy(
    rows="columns",
    columns={"high": "max", "low": "min", "count": "delta", "tags": "union"},
)


@st.composite
def writes(draw: st.DrawFn) -> list[Write]:
    """Concurrent changes of one row, in one life or two, deletes among them."""
    made = []
    for seq in range(1, draw(st.integers(2, 4)) + 1):
        length = draw(st.sampled_from((1, 1, 1, 2, 3)))
        hlc = draw(st.integers(1, 5))
        version = Version(f"shop-{seq}", 1, seq, hlc, length)
        if length % 2 == 0:
            made.append(Write(version, None, None, is_birth=False))
            continue
        n = st.integers(0, 4)
        values = {
            "a": draw(n),
            "b": draw(n),
            "high": draw(n),
            "low": draw(n),
            "count": draw(n),
            "tags": draw(st.sampled_from(('["x"]', '["y", "x"]', '["z"]', "[]"))),
        }
        if draw(st.booleans()):
            made.append(Write(version, values, None, is_birth=True))
        else:
            changed = draw(st.sets(st.sampled_from(sorted(values)), min_size=1))
            before = {name: draw(n) if name != "tags" else "[]" for name in sorted(changed)}
            made.append(Write(version, values, before, is_birth=False))
    return made


@given(made=writes())
def test_columns_end_alike_in_every_order_behind_a_birth(made: list[Write]) -> None:
    values = {"a": 0, "b": 0, "high": 1, "low": 3, "count": 2, "tags": '["x"]'}
    birth = Write(Version("main", 1, 1, 1, 1), dict(values), None, is_birth=True)
    lives = {write.version.causal_length for write in made if write.is_birth}
    # A change of a row comes behind the birth of its life, on every node.
    made = [w for w in made if w.is_birth or w.version.causal_length in (1, 2)]
    ends = set()
    for order in itertools.permutations(made):
        row: Row | None = None
        for write in (birth, *order):
            row = merge(COLUMNS, row, write).row
            assert row is not None
            text = encode_stamps(row.stamps)
            row = Row(row.version, row.values, stamps_of(text, row.version, None, COLUMNS))
        assert row is not None
        ends.add(repr((row.version, row.values)))

    assert 1 == len(ends), lives


def test_what_only_one_side_changed_is_no_conflict() -> None:
    policy = Policy(rows="columns", columns={"stock": "delta"})
    values = {"name": "tea", "price": 3, "stock": 10}
    born = merge(policy, None, Write(Version("main", 1, 1, 1, 1), values, None, is_birth=True)).row

    def change(origin: str, hlc: int, **new: Any) -> Write:
        before = {name: values[name] for name in new}
        version = Version(origin, 1, 1, hlc, 1)
        return Write(version, {**values, **new}, before, is_birth=False)  # type: ignore[arg-type]

    first = merge(policy, born, change("shop-1", 5, price=4, stock=7))
    second = merge(policy, first.row, change("shop-2", 4, name="green tea", stock=8))
    third = merge(policy, second.row, change("shop-3", 3, price=9))

    assert {"name": "green tea", "price": 4, "stock": 5} == second.row.values
    assert ((), ("price",)) == (second.lost, third.lost)
    assert second.row.values == third.row.values


VALUES = st.none() | st.integers(-3, 3) | st.floats() | st.text(max_size=2) | st.binary(max_size=2)
ARRAYS = st.sampled_from(('["a"]', '["b","a"]', '[ "a", "b" ]', "[]", '{"no": 1}', "text", None))


@given(one=VALUES, other=VALUES, third=VALUES, is_max=st.booleans())
def test_the_greatest_value_is_a_maximum(one: Any, other: Any, third: Any, *, is_max: bool) -> None:
    def join(a: Any, b: Any) -> Any:
        return greatest(a, b, is_max=is_max)

    assert repr(join(one, other)) == repr(join(other, one))
    assert repr(join(join(one, other), third)) == repr(join(one, join(other, third)))
    assert repr(one) == repr(join(one, one))


@given(one=ARRAYS, other=ARRAYS, third=ARRAYS)
def test_the_union_of_arrays_is_one(one: Any, other: Any, third: Any) -> None:
    assert union(one, other) == union(other, one)
    assert union(union(one, other), third) == union(one, union(other, third))
    assert one == union(one, one)


def test_values_of_different_types_have_an_order() -> None:
    values = [None, math.nan, 1, 2.5, Decimal("2.75"), "a", b"a"]

    assert b"a" == reduce(lambda a, b: greatest(a, b, is_max=True), values)  # type: ignore[arg-type,return-value]
    assert greatest(None, 3, is_max=False) == 3


@pytest.mark.parametrize("rows", ["manual", "function"])
def test_what_is_no_maximum_is_left_to_a_person(rows: Any) -> None:
    one, other = Side(Version("a", 1, 1, 1, 1), {}), Side(Version("b", 1, 1, 2, 1), {})

    assert "person" == decide(Policy(rows=rows), one, other).winner


@pytest.mark.parametrize("text", ["lww", "main_wins", "columns", "manual"])
def test_a_policy_is_one_word(text: str) -> None:
    policy = parse_policy(text)

    assert text == policy.rows
    assert policy == parse_policy(encode_policy(policy)) or text == "lww"


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("newest", r"^policy must be one of lww, .*, or JSON, got 'newest'$"),
        ('{"row": "lww"}', r"^policy must be an object of its fields: .* unknown field `row`"),
        ('{"rows": "last"}', r"^policy must be an object of its fields: Invalid enum value 'last'"),
        ('{"rows": "function"}', r"^policy must name a function with"),
        ('{"columns": {"n": "max"}}', r'^policy must have "rows": "columns"'),
    ],
)
def test_a_policy_that_is_none_is_refused(text: str, fact: str) -> None:
    with pytest.raises(InvalidPolicy, match=fact):
        parse_policy(text)


SHAPE = TableShape(
    "item",
    "table",
    (
        Column("id", "INTEGER", "integer", nullable=False),
        Column("code", "TEXT", "text", nullable=False),
        Column("n", "INTEGER", "integer", nullable=True),
    ),
    ("id",),
    (
        Unique("primary key", ('"id"',), ("",), ("id",), is_key=True),
        Unique("item_code", ('"code"',), ("",), ("code",)),
        Unique("item_n", ('"n"',), ("",), ("n",)),
    ),
)


@pytest.mark.parametrize(
    ("policy", "fact"),
    [
        (Policy(rows="columns", columns={"m": "max"}), "must name its columns, got 'm'"),
        (Policy(rows="columns", columns={"id": "max"}), "must leave out the key, got 'id'"),
        (Policy(rows="columns", columns={"n": "delta"}), "must be an integer and NOT NULL"),
        (Policy(rows="columns", columns={"n": "union"}), "must hold the text of an array"),
        (Policy(uniques={"item_m": "park"}), r"unique indexes \(item_code, item_n\), got 'item_m'"),
        (Policy(uniques={"item_n": "rename_loser"}), "must have a column of text"),
        (Policy(uniques={"item_code": "null_loser"}), "must have a column for NULL"),
    ],
)
def test_a_policy_that_a_table_cannot_follow_is_refused(policy: Policy, fact: str) -> None:
    with pytest.raises(InvalidPolicy, match=fact):
        check_policy(policy, SHAPE)


def test_a_policy_that_fits_is_taken() -> None:
    check_policy(Policy(uniques={"item_code": "rename_loser", "item_n": "null_loser"}), SHAPE)
    check_policy(Policy(rows="columns", columns={"n": "max", "code": "union"}), SHAPE)


def test_a_function_is_known_by_its_name_alone() -> None:
    @resolver("sum of the test")
    def add(base: Any, ours: Any, theirs: Any) -> Any:
        return {"n": ours["n"] + theirs["n"]}

    assert add is find_resolver("sum of the test")
    assert find_resolver("os.system") is None
