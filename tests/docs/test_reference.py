"""T21: whatever a user can meet by name is found on its page, and no page names what is not."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import stepwell
import stepwell.items
import stepwell.testing
from stepwell.cli.commands import command
from stepwell.database.tables import metadata
from stepwell.errors import StepwellError
from stepwell.settings import NAMES, SECTIONS, VARIABLES, JobSettings, Settings, load_settings
from tests.docs.pages import ROOT, Page, page, pages


def _families(error_class: type[StepwellError]) -> list[type[StepwellError]]:
    children = [c for c in error_class.__subclasses__() if c.__module__.startswith("stepwell.")]
    return [error_class] + [found for child in children for found in _families(child)]


ERRORS = _families(StepwellError)


def test_every_error_code_is_explained_with_its_class_and_kind() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| ([\w ]+) \|", page("docs/errors.md").prose, re.MULTILINE
    )

    assert sorted((e.code, e.__name__, str(e.kind)) for e in ERRORS) == sorted(rows)


def test_every_error_code_belongs_to_one_class() -> None:
    assert len(ERRORS) == len({error.code for error in ERRORS})


def test_every_setting_is_explained_with_its_variable_and_default() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`(\w+)`|none) \| `([^`]+)` \|",
        page("docs/settings.md").prose,
        re.MULTILINE,
    )
    variable = {name: variable for variable, name in VARIABLES.items()}
    defaults = {
        name: {} if name in SECTIONS else tomllib.loads(f"value = {default}")["value"]
        for name, _, default in rows
    }
    actual = Settings()

    assert sorted(NAMES) == sorted(name for name, _, _ in rows)
    assert {name: variable.get(name, "") for name in NAMES} == {n: v for n, v, _ in rows}
    assert {name: _plain(getattr(actual, name)) for name in NAMES} == defaults


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_every_setting_of_a_job_is_explained() -> None:
    explained = page("docs/settings.md").table_codes

    assert set() == {field.name for field in fields(JobSettings)} - explained


@pytest.mark.parametrize("name", stepwell.__all__)
def test_a_public_name_is_explained(name: str) -> None:
    assert re.search(rf"`{name}\b", page("docs/names.md").prose)
    assert getattr(stepwell, name) is not None


@pytest.mark.parametrize("name", stepwell.items.__all__)
def test_a_ready_made_reader_or_writer_is_explained(name: str) -> None:
    assert re.search(rf"`{name}\b", page("docs/names.md").prose)


@pytest.mark.parametrize("name", [*stepwell.testing.__all__, "stepwell_node", "frozen_clock"])
def test_what_helps_to_test_a_job_is_explained(name: str) -> None:
    assert re.search(rf"`{name}\b", page("docs/testing.md").prose)


def test_the_glossary_names_files_tables_and_classes_that_exist() -> None:
    source = ROOT / "src" / "stepwell"
    known = set(metadata.tables) | {"batch_job_execution_tracking", "applied_migration", "batch_"}
    problems = []
    for row in re.findall(r"^\| .+ \|$", page("docs/GLOSSARY.md").prose, re.MULTILINE)[2:]:
        word, _, names, tables, file, _ = (cell.strip() for cell in row.strip("|").split("|"))
        text = (source / file.strip("`")).read_text("utf-8")
        unknown = set(re.findall(r"`(\w+)`", tables)) - known
        problems += [f"{word}: there is no table {table}" for table in unknown]
        for name in re.findall(r"`([\w.]+)`", names):
            last = name.rsplit(".")[-1]
            # The file that is named defines the name, or is where it does its work.
            if not re.search(rf"\b{last}\b", text):
                problems.append(f"{word}: {last} is not in {file}")

    assert [] == problems


@pytest.mark.parametrize("example", ["flights", "recap", "weather"])
def test_the_settings_of_an_example_load(example: str) -> None:
    settings = load_settings(environment={}, working_folder=ROOT / "examples" / example)

    assert (example,) == settings.jobs
    assert f"{example}.db" == Path(settings.database).name


@pytest.mark.parametrize("one", pages(), ids=lambda one: one.name)
def test_every_relative_link_leads_somewhere(one: Page) -> None:
    problems = []
    for link in one.links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (one.path.parent / target).resolve() if target else one.path
        if not path.exists():
            problems.append(f"{link}: there is no such file")
        elif anchor and anchor not in Page(path).anchors:
            problems.append(f"{link}: there is no such heading")

    assert [] == problems


def test_the_index_of_the_documentation_has_every_page() -> None:
    linked = {link.partition("#")[0] for link in page("docs/README.md").links}
    there = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}

    assert set() == there - linked - {"README.md"}


@pytest.mark.parametrize("name", ["README.md", "README.ja.md", "CONTRIBUTING.md"])
def test_every_make_command_is_a_target(name: str) -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(_code(page(name)))))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    assert {"install"} <= named
    assert set() == named - targets


def _code(one: Page) -> list[str]:
    """What a page sets as code: blocks for a shell, and words between back quotes."""
    shell = [block.text for block in one.blocks() if block.language in ("console", "text")]
    return shell + re.findall(r"`([^`\n]+)`", one.prose)


def test_the_japanese_readme_keeps_step_with_the_english_one() -> None:
    """Goal: the same structure, commands, code and links; only the prose is translated."""
    english, japanese = page("README.md"), page("README.ja.md")
    inline = r"`([^`\n]+)`"

    assert [level for level, _ in english.headings] == [level for level, _ in japanese.headings]
    assert [b.text for b in english.blocks()] == [b.text for b in japanese.blocks()]
    assert english.links == japanese.links
    assert sorted(re.findall(inline, english.prose)) == sorted(re.findall(inline, japanese.prose))
    assert [_rows(english), _items(english)] == [_rows(japanese), _items(japanese)]


def _rows(one: Page) -> int:
    return len(re.findall(r"^\|", one.prose, re.MULTILINE))


def _items(one: Page) -> int:
    return len(re.findall(r"^(?:- |\d+\. )", one.prose, re.MULTILINE))


def _commands(part: Any, path: str = "stepwell") -> Iterator[tuple[str, Any]]:
    """Every command that can be called, as one types it."""
    below = getattr(part, "commands", {})
    if not below or part.invoke_without_command:
        yield path, part
    for name, each in below.items():
        yield from _commands(each, f"{path} {name}")


COMMANDS = dict(_commands(command()))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_are_explained(name: str) -> None:
    text = page("docs/commands.md").prose
    options = [name for parameter in COMMANDS[name].params for name in parameter.opts]

    assert re.search(rf"`{name}[ `]", text)
    assert [] == [o for o in options if o.startswith("-") and not re.search(rf"`{o}[ `]", text)]


def test_no_page_tells_of_a_command_that_does_not_exist() -> None:
    known = {name.split()[1] for name in COMMANDS if " " in name}
    told: set[str] = set()
    for one in pages():
        if one.name.startswith(("docs/", "README", "examples/")):
            for code in _code(one):
                told |= set(re.findall(r"(?<!from )\bstepwell ([a-z][a-z-]*)\b", code))

    assert known == told | known


def test_every_command_that_a_hint_names_exists() -> None:
    """A hint is the next command: one that does not exist is worse than none."""
    named = {
        (file.name, name)
        for file in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"`stepwell ([a-z-]+)", file.read_text(encoding="utf-8"))
    }

    commands = command().commands
    assert set() == {(file, name) for file, name in named if name not in commands}
