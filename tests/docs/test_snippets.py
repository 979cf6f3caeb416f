"""T21: what the pages show runs as it stands, in a folder of its own, one block after the other."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stepwell.settings import load_settings
from tests.docs.pages import ROOT, Block, Page, as_pattern, pages
from tests.support.warm import warm_program

SNIPPET_TIMEOUT_S = 60


def _runs(block: Block) -> bool:
    return block.language in ("python", "toml", "diff", "console") and not (
        block.language == "console" and "$ " not in block.text
    )


PAGES = [page for page in pages() if any(_runs(block) for block in page.blocks())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_runs_as_it_stands(page: Page, tmp_path: Path) -> None:
    for block in page.blocks():
        if "excerpt" in block.directives:
            _find_excerpt(block)
        if "file" in block.directives:
            _write(block, tmp_path)
        if "excerpt" not in block.directives and _runs(block):
            _RUN[block.language](block, tmp_path)


def _run_python(block: Block, folder: Path) -> None:
    if "file" in block.directives:
        return
    script = folder / "snippet.py"
    script.write_text(block.text, encoding="utf-8")
    output = _finish(block, [sys.executable, str(script)], folder, exits=0)
    expected = _shown_values(block.text)
    assert expected == _in_order(expected, output.splitlines()), f"{block} printed:\n{output}"


def _run_toml(block: Block, folder: Path) -> None:
    settings = tomllib.loads(block.text)
    place = folder / "only-settings"
    place.mkdir(exist_ok=True)
    (place / "stepwell.toml").write_text(block.text, encoding="utf-8")
    loaded = load_settings(environment={}, working_folder=place)

    assert settings["database"] == loaded.database


def _apply_diff(block: Block, folder: Path) -> None:
    file = folder / block.directives["edit"]
    before, after = (
        "".join(line[1:] + "\n" for line in block.text.splitlines() if line.startswith(sign))
        for sign in "-+"
    )
    text = file.read_text(encoding="utf-8")

    assert 1 == text.count(before), f"{block}: {before!r} should stand once in {file.name}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def _run_console(block: Block, folder: Path) -> None:
    """Each ``$`` line is a command; the lines behind it are what it prints, … is anything."""
    steps: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    for number, (command, shown) in enumerate(steps, start=1):
        exits = int(block.directives.get("exits", "0")) if number == len(steps) else 0
        output = _finish(block, _words(command), folder, exits=exits)
        pattern = as_pattern("\n".join(shown))
        assert re.search(pattern, output, flags=re.DOTALL), (
            f"{block}: `{command}` should print {shown}, it printed:\n{output}"
        )


_RUN = {
    "python": _run_python,
    "toml": _run_toml,
    "diff": _apply_diff,
    "console": _run_console,
}


def _words(command: str) -> list[str]:
    """A plain command as its words, anything else for the shell."""
    if re.fullmatch(r"stepwell [^|&;<>()$`\\*?\[~#\n]+", command):
        return shlex.split(command)
    return ["bash", "-c", command]


def _finish(block: Block, command: list[str], folder: Path, *, exits: int) -> str:
    """Run a command as a reader would, without this process's settings; what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEPWELL_")}
    scripts = Path(sys.executable).parent
    environment |= {"PATH": f"{scripts}{os.pathsep}{environment['PATH']}", "COLUMNS": "200"}
    if command[0] == "stepwell":
        words = tuple(command[1:])
        code, output, _ = warm_program().call(
            words, folder, environment, SNIPPET_TIMEOUT_S, is_mixed=True
        )
        assert exits == code, f"{block}: {words} ended with {code}:\n{output}"
        return output
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SNIPPET_TIMEOUT_S,
        check=False,
    )
    # A shell replaced by its command dies of the signal itself, where a shell would answer 128 + n.
    status = 128 - done.returncode if done.returncode < 0 else done.returncode
    assert exits == status, f"{block}: {command[-1]!r} ended with {status}:\n{done.stdout}"
    return done.stdout


def _write(block: Block, folder: Path) -> None:
    (folder / block.directives["file"]).write_text(block.text, encoding="utf-8")


def _find_excerpt(block: Block) -> None:
    source = _squeezed((ROOT / block.directives["excerpt"]).read_text(encoding="utf-8"))

    assert re.search(as_pattern(_squeezed(block.text)), source, flags=re.DOTALL), (
        f"{block} is not found in {block.directives['excerpt']}"
    )


def _squeezed(code: str) -> str:
    """Without white space and the comma before a closing bracket: how a formatter breaks lines."""
    return re.sub(r",([)\]}])", r"\1", re.sub(r"\s+", "", code))


def _shown_values(code: str) -> list[str]:
    """What a snippet says that it prints: behind a print on its line, or on lines of their own.

    Comments on their own lines count only behind the last line of code.
    """
    lines = code.rstrip().splitlines()
    end = len(lines)
    while end and lines[end - 1].startswith("# "):
        end -= 1
    beside = [re.search(r"\bprint\(.*\)  # (.+)$", line) for line in lines[:end]]
    return [found[1] for found in beside if found] + [line[2:] for line in lines[end:]]


def _in_order(expected: list[str], actual: list[str]) -> list[str]:
    """Those of ``expected`` that are lines of ``actual``, one behind the other."""
    rest = iter(actual)
    return [value for value in expected if value in rest]
