"""What a ``state.json`` may look like: understood whole, or refused whole with every fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import ContextTooLarge, InvalidStateFile, ItemSourceMissing
from stepwell.state_import.file import ITEMS_MAX, STANDINGS, StateFile, read_state_file


def read(tmp_path: Path, document: object) -> StateFile:
    file = tmp_path / "state.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return read_state_file(file)


def test_an_item_is_its_id_its_status_and_whatever_else_it_says(tmp_path: Path) -> None:
    state = read(
        tmp_path,
        {
            "version": 3,
            "job": "item",
            "items": [
                {
                    "id": 7,
                    "status": "In Progress",
                    "job": "other",
                    "priority": 5,
                    "parameters": {"file": "a"},
                    "title": "A",
                },
                {"id": "b", "state": "failed", "error": "no answer", "after": [7]},
                {},
            ],
        },
    )
    first, second, third = state.items

    assert ("item", {"version": 3}, 64) == (state.job, state.others, len(state.digest))
    assert ("7", "waiting", "other", 5, {"file": "a"}, {"title": "A"}) == (
        first.id,
        first.standing,
        first.job,
        first.priority,
        first.parameters,
        first.others,
    )
    assert ("failed", "no answer", "7") == (second.standing, second.error, second.after)
    assert (None, "waiting", None, {}) == (third.id, third.standing, third.job, third.others)


@pytest.mark.parametrize(
    "document",
    [
        [{"id": "a"}, {"id": "b"}],
        {"items": [{"id": "a"}, {"id": "b"}]},
        {"tasks": {"a": {}, "b": {}}},
        {"work_items": [{"id": "a"}, {"id": "b"}]},
    ],
    ids=["a list", "items", "an object of tasks", "work_items"],
)
def test_items_are_a_list_or_an_object_by_id(document: object, tmp_path: Path) -> None:
    assert ["a", "b"] == [item.id for item in read(tmp_path, document).items]


def test_every_word_for_a_status_is_understood(tmp_path: Path) -> None:
    items = [{"status": word.upper()} for word in STANDINGS]

    assert list(STANDINGS.values()) == [i.standing for i in read(tmp_path, items).items]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"\xef\xbb\xbf[]")

    assert () == read_state_file(tmp_path / "state.json").items


BAD: list[tuple[object, str]] = [
    ("", "it is no JSON"),
    ("{", "it is no JSON"),
    ("[" * 100_000, "it is no JSON"),
    ('["\udc80"]'.encode("utf-8", "surrogatepass").decode("latin-1"), "item 1 must be an object"),
    ("7", "it must be an object or a list of items"),
    ({}, "it must have one of items, tasks, work_items, got none of them"),
    ({"items": [], "tasks": []}, "got items and tasks"),
    ({"items": "x"}, "its items must be a list or an object"),
    ([7], "item 1 must be an object"),
    ({"items": {"a": 7}}, "item 'a' must be an object"),
    ([{"status": "perhaps"}], "item 1: status must be one of pending, queued, "),
    ([{"status": ["x"]}], "got ['x']"),
    ([{"priority": "high"}], "item 1: priority must be a whole number, got 'high'"),
    ([{"priority": True}], "item 1: priority must be a whole number, got True"),
    ([{"parameters": [1]}], "item 1: parameters must be an object, got [1]"),
    ([{"id": {}}], "item 1: id must be text or a number, got {}"),
    ([{"job": 7}], "item 1: job must be text, got 7"),
    ({"items": [], "job": 7}, "the file: job must be text, got 7"),
    ([{"id": "a"}, {"id": "a"}], "id 'a' stands 2 times"),
    ([{"after": "x"}], "item 1: after names 'x', which is not in the file"),
    ([{"id": 1, "after": 2}, {"id": 2}], "item 1: after names '2', which stands behind it"),
    ([{"id": 1, "after": 1}], "item 1: after names '1', which stands behind it"),
    ([{"after": [1, 2]}], "item 1: after must be the id of one item, got [1, 2]"),
    ([{}] * (ITEMS_MAX + 1), f"it has {ITEMS_MAX + 1} items, at most {ITEMS_MAX} are read"),
    ([7] * 12, "item 10 must be an object; and 2 more"),
]


@pytest.mark.parametrize(("document", "fact"), BAD, ids=[b[1] for b in BAD])
def test_what_is_not_understood_is_refused_by_name(
    document: object, fact: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidStateFile) as refused:
        read(tmp_path, document)

    assert f"cannot import state {str(tmp_path / 'state.json')!r}: " in refused.value.message
    assert fact in refused.value.message
    assert "nothing was recorded" in refused.value.hint


def test_a_file_that_is_not_there_or_a_folder_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(ItemSourceMissing, match="cannot import state"):
            read_state_file(path)


def test_what_would_be_kept_has_a_limit(tmp_path: Path) -> None:
    document: dict[str, Any] = {"items": [], "notes": "x" * 70_000}

    with pytest.raises(ContextTooLarge, match=r"the other keys of state\.json"):
        read(tmp_path, document)
