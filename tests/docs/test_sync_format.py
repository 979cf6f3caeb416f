"""T21 for the format: its page has every field, and the file that it shows is one."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from stepwell.sync.bundle import LINE_BYTES_MAX, End, Meta
from stepwell.sync.bundle_files import EXPANDED_FREE_BYTES, EXPANSION_MAX
from stepwell.sync.bundle_reader import open_bundle
from stepwell.sync.change import Change
from tests.docs.pages import page

PAGE = page("docs/sync-format.md")


def fields_of(heading: str) -> set[str]:
    section = PAGE.text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_every_field_is_explained() -> None:
    assert set(Meta.__struct_fields__) == fields_of("The first line")
    assert set(Change.__struct_fields__) - {"extra"} == fields_of("A change")
    assert set(End.__struct_fields__) == fields_of("The last line")


def test_what_may_be_left_out_has_the_value_that_is_told() -> None:
    optional = {f.name for f in msgspec.structs.fields(Change) if not f.required}
    section = PAGE.text.split("\n## A change\n")[1].split("\n## ")[0]
    never = set(re.findall(r"^\| `(\w+)` \|.*\| never \|$", section, re.MULTILINE))

    assert set() == never & optional


def test_the_file_that_is_shown_is_one(tmp_path: Path) -> None:
    [example] = [block.text for block in PAGE.blocks() if block.language == "json"]
    (tmp_path / "week.jsonl").write_text(example, encoding="utf-8")
    checked = open_bundle(tmp_path / "week.jsonl").check()

    assert (2, 2) == (checked.rows, checked.groups)


def test_the_limits_are_those_of_the_code() -> None:
    limits = PAGE.text.split("\n## Limits\n")[1].split("\n## ")[0]

    assert f"at most {LINE_BYTES_MAX >> 20} MiB" in limits
    assert (
        f"more than {EXPANDED_FREE_BYTES >> 20} MiB may expand to {EXPANSION_MAX} times" in limits
    )
