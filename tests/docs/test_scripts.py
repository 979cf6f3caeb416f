"""The scripts over the command line name only verbs and options that exist, and the same ones.

Those for Windows cannot be run here; what they call can be read. ``tests/cli`` runs the others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.cli.commands import command
from tests.docs.pages import ROOT

SCRIPTS = sorted((ROOT / "scripts").iterdir())
CALL = re.compile(
    r'^ *(?:"\$stepwell"|& \$Stepwell|"%STEPWELL%"|.*exec "\$stepwell") (?P<words>[^|;\n]+)',
    re.MULTILINE,
)
BATCHES = [p for p in SCRIPTS if p.suffix == ".bat" and p.with_suffix(".ps1").exists()]
POWERSHELL = re.compile(r'-File "%~dp0(?P<script>\S+)"(?P<words>.*)$', re.MULTILINE)


def calls(path: Path) -> list[list[str]]:
    """The words of each call of ``stepwell``; arguments that are variables left out."""
    found = [match["words"].split() for match in CALL.finditer(path.read_text(encoding="utf-8"))]
    return [[word for word in words if not re.match(r'"?[$%]', word)] for words in found]


def options_of(words: list[str]) -> set[str]:
    """The options of the command that the first words name; a variable may be any of a group."""
    found: Any = command()
    for word in words:
        if not word.startswith("-") and hasattr(found, "commands"):
            found = found.commands[word]
    commands = [command(), found, *getattr(found, "commands", {}).values()]
    return {name for each in commands for option in each.params for name in option.opts}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_calls_what_there_is(path: Path) -> None:
    for words in calls(path):
        assert set() == {word for word in words if word.startswith("--")} - options_of(words)


@pytest.mark.parametrize("name", ["backup", "restore"])
def test_both_shells_call_the_same(name: str) -> None:
    shell, powershell = (ROOT / "scripts" / f"{name}{suffix}" for suffix in (".sh", ".ps1"))

    assert calls(shell) == calls(powershell) != []


@pytest.mark.parametrize("path", BATCHES, ids=lambda p: p.name)
def test_a_batch_file_hands_on_to_its_script_what_that_takes(path: Path) -> None:
    [called] = POWERSHELL.finditer(path.read_text(encoding="utf-8"))
    script = (path.parent / called["script"]).read_text(encoding="utf-8")
    parameters = set(re.findall(r"\[(?:string|int)\]\$(\w+)", script))

    assert set() == set(re.findall(r" -(\w+)", called["words"])) - parameters


def test_a_script_that_is_missing_its_program_does_not_say_that_all_is_well() -> None:
    """Goal: PowerShell goes on behind a command that is not found, and ends with 0."""
    for path in SCRIPTS:
        if path.suffix == ".ps1":
            text = path.read_text(encoding="utf-8")
            assert text.index('$ErrorActionPreference = "Stop"') < text.index("& $Stepwell")
