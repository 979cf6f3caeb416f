"""What an expression sees: parameters, levels of properties, the host's, the partition's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.jsl.expression import OrElse, Reference, parse
from stepwell.jsl.surroundings import (
    NoPartitionHere,
    Surroundings,
    assumed,
    complete,
    partition_text,
)

LEVEL = st.dictionaries(st.sampled_from("abc"), st.text(st.sampled_from("xy"), max_size=2))


def test_each_operator_looks_in_its_own_place() -> None:
    """S83, S84."""
    around = Surroundings(
        parameters={"a": "parameter"}, system_properties={"a": "system"}, levels=({"a": "level"},)
    )

    assert "parameter" == around.fill(parse("#{jobParameters['a']}"))
    assert "level" == around.fill(parse("#{jobProperties['a']}"))
    assert "system" == around.fill(parse("#{systemProperties['a']}"))
    assert "|" == around.fill(parse("#{jobParameters['b']}|#{systemProperties['PATH']}"))


@given(st.lists(LEVEL, max_size=4), st.sampled_from("abc"))
def test_inner_beats_outer(levels: list[dict[str, str]], name: str) -> None:
    """S83."""
    merged: dict[str, str] = {}
    for level in levels:
        merged |= level

    around = Surroundings(levels=tuple(levels))

    assert merged.get(name, "") == around.fill(parse(f"#{{jobProperties['{name}']}}"))


def test_what_waits_travels_through_properties() -> None:
    """S83: a property of the step may wait, and whoever refers to it waits with it."""
    step = Surroundings(partitions_here=True)
    waiting = step.fill(parse("#{partitionPlan['day']}?:none;"))
    inside = step.within({"day": waiting})

    template = inside.fill(parse("day-#{jobProperties['day']}.csv"))

    assert "day-7.csv" == complete(template, {"day": 7})
    assert "day-none.csv" == complete(template, {})
    assert "day-none.csv" == complete(template, None)


def test_a_partition_is_asked_only_where_one_runs() -> None:
    """S83."""
    template = parse("#{partitionPlan['a']}")

    assert Reference("partitionPlan", "a") == Surroundings(partitions_here=True).fill(template)
    assert "7" == Surroundings(partition={"a": "7"}).fill(template)
    with pytest.raises(NoPartitionHere):
        Surroundings().fill(template)


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), (7, "7"), (True, "true"), (None, ""), (1.5, "1.5"), ([1, 2], "[1,2]")],
)
def test_a_partition_may_hold_other_things_than_text(value: Any, text: str) -> None:
    assert text == partition_text({"a": value}, "a")


def test_a_check_without_parameters_takes_the_defaults() -> None:
    around = Surroundings(any_parameter=True, partitions_here=True, parameters={"known": "K"})

    def would_be(text: str) -> str | None:
        return assumed(around.fill(parse(text)))

    assert "K" == would_be("#{jobParameters['known']}")
    assert None is would_be("#{jobParameters['a']}")
    assert "10" == would_be("#{jobParameters['a']}?:10;")
    assert "x-10" == would_be("x-#{jobParameters['a']}?:10;")
    assert None is would_be("x-#{jobParameters['a']}")
    assert "K" == would_be("#{jobParameters['a']}?:#{jobParameters['known']};")
    # A partition has no default before it starts.
    assert None is would_be("#{partitionPlan['a']}?:10;")


def test_only_the_default_of_a_parameter_is_assumed() -> None:
    assert None is assumed(OrElse(Reference("partitionPlan", "a"), "x"))
    assert "x" == assumed(OrElse(Reference("jobParameters", "a"), "x"))
