"""Each rule of docs/rules.md is kept somewhere and would be missed somewhere: nothing can rot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SOURCE, TESTS = ROOT / "src" / "stepwell", ROOT / "tests"

RULES_OF_THE_RULEBOOK = 177
CITATION = re.compile(r"\bS(\d{1,3})\b")


class Rule(NamedTuple):
    """One row of the index."""

    number: int
    title: str
    module: str | None
    test: str | None

    def __str__(self) -> str:
        return f"S{self.number}"


def _index() -> Iterator[Rule]:
    text = (ROOT / "docs" / "rules.md").read_text("utf-8")
    for row in re.findall(r"^\| S\d+ \|.*\|$", text, re.MULTILINE):
        number, title, module, test = (cell.strip() for cell in row.strip("|").split(" | "))
        yield Rule(int(number[1:]), title, _path(module), _path(test))


def _path(cell: str) -> str | None:
    return None if cell == "–" else cell.strip("`")


INDEX = list(_index())


def _cited(path: Path) -> set[int]:
    """Every rule that a file names; ruff's codes behind ``noqa`` are no rules."""
    lines = (line.partition("noqa")[0] for line in path.read_text("utf-8").splitlines())
    return {int(number) for line in lines for number in CITATION.findall(line)}


def _cited_below(folder: Path) -> set[int]:
    if not folder.is_dir():
        return _cited(folder)
    files = (path for path in folder.rglob("*.py") if path != Path(__file__))
    return set().union(*(_cited(path) for path in files))


IN_SOURCE, IN_TESTS = _cited_below(SOURCE), _cited_below(TESTS)


def test_the_index_has_every_rule_once() -> None:
    numbers = [rule.number for rule in INDEX]

    assert (RULES_OF_THE_RULEBOOK, []) == (
        len(numbers),
        [n for n in set(numbers) if numbers.count(n) > 1],
    )
    assert [] == [rule for rule in INDEX if not rule.title]


@pytest.mark.parametrize("rule", INDEX, ids=str)
def test_a_rule_is_kept_in_the_source_and_guarded_by_a_test(rule: Rule) -> None:
    assert rule.module is not None
    assert rule.test is not None
    assert (SOURCE / rule.module).is_file()
    assert rule.number in IN_SOURCE
    assert rule.number in _cited_below(TESTS / rule.test)


def test_nothing_cites_a_rule_that_does_not_exist() -> None:
    known = {rule.number for rule in INDEX}

    assert set() == (IN_SOURCE | IN_TESTS) - known
