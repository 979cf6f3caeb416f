"""IterableReader: counts what it gave, skips it after a restart, never ends the data too early."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ItemError, MalformedItem, StepUsageError
from stepwell.items import IterableReader
from tests.unit.items.support import all_items, items_and_faults, opened, rest


@given(st.lists(st.integers()), st.data())
def test_after_a_restart_at_any_place_the_remainder_follows(
    items: list[int], data: st.DataObject
) -> None:
    k = data.draw(st.integers(0, len(items)))
    reader = IterableReader(items)
    reader.open(None)
    first = [reader.read() for _ in range(k)]
    checkpoint = reader.checkpoint()
    reader.close()

    assert first == items[:k]
    assert checkpoint == k
    assert all_items(reader, checkpoint) == items[k:]


def test_behind_the_end_there_is_nothing_again_and_again() -> None:
    reader = IterableReader([1])
    reader.open(None)

    assert [reader.read(), reader.read(), reader.read()] == [1, None, None]
    assert reader.checkpoint() == 1


def test_two_copies_of_one_reader_do_not_disturb_each_other() -> None:
    configured = IterableReader([1, 2, 3])
    one, other = copy.copy(configured), copy.copy(configured)
    one.open(None)
    other.open(2)

    assert [one.read(), other.read(), one.read()] == [1, 3, 2]


@pytest.mark.parametrize(
    "iterable",
    [
        lambda: iter([1, 2, 3]),
        lambda: (n for n in [1, 2, 3]),
        lambda step: range(1, step.parameters + 1),
    ],
)
def test_a_function_makes_the_iterable_at_each_open(iterable: Any) -> None:
    reader = IterableReader(iterable)
    step = SimpleNamespace(parameters=3)
    reader.open(None, step)
    assert rest(reader) == [1, 2, 3]
    reader.close()
    reader.open(1, step)
    assert rest(reader) == [2, 3]


@pytest.mark.parametrize("once", [iter([1]), (n for n in [1]), map(str, [1])])
def test_what_can_be_read_only_once_is_refused(once: Any) -> None:
    with pytest.raises(StepUsageError, match="yields them only once") as refused:
        IterableReader(once)

    assert "lambda" in refused.value.hint


def test_what_is_no_iterable_is_refused() -> None:
    with pytest.raises(StepUsageError, match="cannot read items from a int: it is no iterable"):
        IterableReader(7)  # type: ignore[arg-type]
    with pytest.raises(StepUsageError, match="it returned a int, which is no iterable"):
        IterableReader(lambda: 7).open(None)  # type: ignore[arg-type]


def test_none_among_the_items_is_a_fault_and_not_the_end() -> None:
    items, faults = items_and_faults(IterableReader([1, None, 3]))

    assert items == [1, 3]
    assert [type(fault) for fault in faults] == [MalformedItem]
    assert str(faults[0]) == "cannot read item 2: it is None, which would be the end of the data"


class Faulty:
    """Yields 0 to 4 and raises instead of 2, as an iterator that can go on."""

    def __iter__(self) -> Iterator[int]:
        self.next = -1
        return self

    def __next__(self) -> int:
        self.next += 1
        if self.next == 2:
            raise ValueError("two")
        if self.next > 4:
            raise StopIteration
        return self.next


@pytest.mark.parametrize("reads", range(6))
def test_a_fault_counts_as_consumed_so_that_a_restart_passes_it(reads: int) -> None:
    """Goal: S94 with S117. Method: restart after each read, faulty ones included."""
    reader = IterableReader(Faulty)
    got: list[int | str | None] = []
    with opened(reader):
        for _ in range(reads):
            try:
                got.append(reader.read())
            except ValueError:
                got.append("fault")
        checkpoint = reader.checkpoint()
    items, faults = items_and_faults(reader, checkpoint)

    assert got == [0, 1, "fault", 3, 4][:reads]
    assert items == [n for n in [0, 1, "fault", 3, 4][reads:] if n != "fault"]
    assert got.count("fault") + len(faults) == 1


def test_a_generator_that_has_raised_never_looks_like_the_end() -> None:
    """Goal: nothing behind a skipped fault is lost in silence."""

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    reader = IterableReader(broken)
    reader.open(None)
    assert reader.read() == 1
    with pytest.raises(ValueError, match="two"):
        reader.read()

    for _ in range(2):
        with pytest.raises(ItemError, match="cannot read behind item 2: the generator raised"):
            reader.read()


def test_fewer_items_than_before_the_restart_are_noticed() -> None:
    with pytest.raises(
        ItemError, match="cannot go on behind item 3: the iterable has only 2 items"
    ):
        IterableReader(["a", "b"]).open(3)


@pytest.mark.parametrize("checkpoint", [-1, "3", {"offset": 3}, [1]])
def test_the_checkpoint_of_another_reader_is_refused(checkpoint: Any) -> None:
    with pytest.raises(ItemError, match="an IterableReader counts items"):
        IterableReader(["a", "b"]).open(checkpoint)


def test_reading_needs_an_open_reader() -> None:
    reader = IterableReader([1])
    with pytest.raises(StepUsageError, match="it is not open"):
        reader.read()
    reader.open(None)
    reader.close()
    with pytest.raises(StepUsageError, match="it is not open"):
        reader.read()
