"""What ``docs/cli.md`` says of JSON is what the program prints, key by key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Folder

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def promised(noun: str) -> set[str]:
    """The keys in the first column of the table ``| key of NOUN | is |``."""
    text = PAGE.read_text(encoding="utf-8")
    title = rf"^\| key of {noun} \| is \|\n\|---\|---\|\n"
    [table] = re.findall(title + r"((?:\|.*\n)+)", text, re.MULTILINE)
    return {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.fixture(scope="module")
def documents(past: Folder) -> dict[str, Any]:
    """One of each noun, as the program prints it."""
    partly = past.json("status", "4")
    sevens = past.json("status", "2")
    jobs = past.json("jobs")["jobs"]
    return {
        "a refusal": past.call("status", "99", "--json").json,
        "an execution": past.json("history", "load")["executions"][0],
        "a full execution": partly,
        "a step": partly["steps"][0],
        "a partition": partly["partitions"][0],
        "a skip": sevens["skips"][0],
        "a change": partly["history"][0],
        "a definition": jobs[0],
        "a database": past.json("db", "info"),
    }


@pytest.mark.parametrize(
    ("noun", "besides"),
    [
        ("a refusal", []),
        ("an execution", []),
        ("a full execution", ["an execution", "an execution with owner and steps"]),
        ("a step", []),
        ("a partition", []),
        ("a skip", []),
        ("a change", []),
        ("a definition", []),
        ("a database", []),
    ],
)
def test_a_document_has_exactly_the_promised_keys(
    documents: dict[str, Any], noun: str, besides: list[str]
) -> None:
    keys = promised(noun).union(*map(promised, besides))

    assert keys == set(documents[noun])


def test_what_is_within_a_step_has_the_promised_keys(documents: dict[str, Any]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    step = documents["a step"]
    execution = documents["a full execution"]
    within = [
        *step["counters"],
        *step["partitions"],
        *step["progress"],
        *execution["owner"],
        *documents["a definition"]["steps"][0],
    ]

    assert [] == [key for key in within if f"`{key}`" not in text]


def test_the_options_that_the_page_names_exist(past: Folder) -> None:
    text = PAGE.read_text(encoding="utf-8")
    options = set(re.findall(r"`[^`\n]*?(--[a-z-]+)", text))

    assert {"--json", "--watch", "--force", "--sql", "--partitions"} <= options
    helps = " ".join(
        past.done(*words, "--help").out
        for words in (
            *([], ["run"], ["status"], ["recover"], ["doctor"]),
            *(["db", "migrate"], ["db", "copy"]),
        )
    )
    assert set() == {option for option in options if option not in helps}
