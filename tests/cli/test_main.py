"""What holds for every command: help, global options, usage errors, errors that nobody foresaw."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.cli.commands import COMMANDS, command
from stepwell.cli.main import call, global_options_first
from stepwell.cli.output import EXIT_STATUSES
from tests.cli.program import Ended, Folder


@pytest.mark.parametrize("words", [[], ["run"], ["jobs", "show"]], ids=" ".join)
def test_a_help_ends_with_the_exit_statuses(tmp_path: Path, words: list[str]) -> None:
    """Also in a folder whose settings are broken."""
    (tmp_path / "stepwell.toml").write_text("this is no TOML")

    out = Folder(tmp_path).done(*words, "--help").out

    assert " ".join(out.split()).endswith(EXIT_STATUSES)


def commands(part: Any, path: str = "stepwell") -> Iterator[tuple[str, Any]]:
    yield path, part
    for name, below in getattr(part, "commands", {}).items():
        yield from commands(below, f"{path} {name}")


def test_the_help_of_every_command_ends_so() -> None:
    assert {EXIT_STATUSES} == {part.epilog for _, part in commands(command())}


def test_every_command_prints_json_but_those_that_only_hold_others() -> None:
    without = {
        name
        for name, part in commands(command())
        if "--json" not in {option for parameter in part.params for option in parameter.opts}
    }

    groups = {
        name
        for name, part in commands(command())
        if getattr(part, "commands", {}) and not part.invoke_without_command
    }
    assert groups == without


def test_the_exit_statuses_are_those_of_the_contract() -> None:
    assert (
        "Exit status: 0 done · 1 failed · 2 usage · 3 stopped or partial"
        " · 4 conflict (state forbids) · 5 findings (doctor, jobs check)"
    ) == EXIT_STATUSES


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    ended = Folder(tmp_path).call()

    assert (2, "") == (ended.code, ended.err)
    assert all(name in ended.out for name in COMMANDS)


def test_version(tmp_path: Path) -> None:
    assert re.fullmatch(r"stepwell \d+\.\d+\.\d+\S*\n", Folder(tmp_path).done("--version").out)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["satus"], "no such command 'satus'. Did you mean 'status'"),
        (["status", "--wach"], "no such option: --wach"),
        (["jobs", "shw"], "no such command 'shw'"),
        (["status", "1", "2"], "unexpected extra argument"),
        (["--database"], "option '--database' requires an argument"),
        (["history", "x", "--limit", "0"], "invalid value for '--limit'"),
    ],
)
def test_a_wrong_word_exits_2_with_a_hint(
    capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    code = call(words)

    out, err = capsys.readouterr()
    Ended(code, out, err).refused(2, told, "--help` shows what it takes")


def test_a_wrong_word_in_json(tmp_path: Path) -> None:
    ended = Folder(tmp_path).call("status", "--json", "--wach")

    assert (2, "") == (ended.code, ended.err)
    assert "usage_error" == ended.json["code"]
    assert "`stepwell status --help` shows what it takes" == ended.json["hint"]


@pytest.mark.parametrize(
    ("words", "front", "rest"),
    [
        (["status", "--database", "x", "1"], ["--database", "x"], ["status", "1"]),
        (["run", "j", "a=1", "-v", "--config=f"], ["-v", "--config=f"], ["run", "j", "a=1"]),
        (["run", "--", "--database", "x"], [], ["run", "--", "--database", "x"]),
        (["status", "--database"], ["--database"], ["status"]),
    ],
)
def test_global_options_may_stand_anywhere(
    words: list[str], front: list[str], rest: list[str]
) -> None:
    assert (front, rest) == global_options_first(words)


def test_config_names_the_settings(past: Folder, tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    assert "load" in folder.done("jobs", "--config", f"{past.path}/stepwell.toml").out
    assert "load" in folder.done("jobs", STEPWELL_CONFIG=str(past.path)).out
    folder.call("jobs", "--config", "no.toml").refused(2, "'no.toml'", "correct `--config`")


def test_wrong_settings_are_named(folder: Folder) -> None:
    (folder.path / "stepwell.toml").write_text('durabilty = "full"\n')

    folder.call("status").refused(2, "unknown setting 'durabilty'", "did you mean 'durability'?")


def test_what_nobody_foresaw_is_an_internal_error_with_a_reference(folder: Folder) -> None:
    """Method: a definition that only breaks when it is shown."""
    jobs = folder.path / "jobs.py"
    jobs.write_text(
        "from stepwell import Job\n"
        "class Odd:\n"
        "    name = property(lambda self: 1 / 0)\n"
        "odd = Job('odd', [Odd()])\n"
    )

    ended = folder.call("jobs", TMPDIR=str(folder.path))
    document = folder.call("jobs", "--json", TMPDIR=str(folder.path)).json

    ended.refused(1, "internal error ", "ZeroDivisionError", "please report it")
    [reference] = re.findall(r"internal error (\w{8}): ", ended.err)
    whole = (folder.path / f"stepwell-{reference}.log").read_text()
    assert "Traceback (most recent call last)" in whole
    assert "1 / 0" in whole
    assert "internal_error" == document["code"]
    assert {"reference", "file"} == set(document["fields"])


def test_logging_is_quiet_unless_asked(folder: Folder) -> None:
    quiet = folder.done("run", "talks", "--again")
    told = folder.done("run", "talks", "--again", "-v")
    everything = folder.done("-vv", "run", "talks", "--again")

    assert "" == quiet.err
    line = r"^\d\d:\d\d:\d\d INFO stepwell\.runner \[talks \d+\]: .*COMPLETED$"
    assert re.search(line, told.err, re.MULTILINE)
    assert len(everything.err) >= len(told.err)


def test_a_message_cannot_write_escape_sequences_to_the_terminal(folder: Folder) -> None:
    jobs = folder.path / "jobs.py"
    jobs.write_text(jobs.read_text().replace("the till is locked", "\\x1b[2J\\nlocked"))

    ended = folder.call("run", "broken")

    assert "\x1b" not in ended.out + ended.err
    assert "locked" in ended.out


def test_python_m_stepwell_is_the_same_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stepwell", "--version"]

    assert "stepwell" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
