"""Run an example from its command line, in a copy of its own, as a person would."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from tests.support.warm import ENVIRONMENT, warm_program

ROOT = Path(__file__).resolve().parents[2]
KILLED = Path(__file__).with_name("killed.py")
COMMAND_TIMEOUT_S = 100


def copy_of(example: str, to: Path) -> Path:
    """The example's folder, copied to the same place within another checkout."""
    folder = to / "examples" / example
    ignored = shutil.ignore_patterns("*.db*", "__pycache__", "forecast.jsonl", "book")
    shutil.copytree(ROOT / "examples" / example, folder, ignore=ignored)
    return folder


def stepwell(folder: Path, *arguments: str, killed_by: tuple[str, str, int] | None = None) -> str:
    """What the command printed; its exit status must be 0, or SIGKILL where it is ``killed_by``."""
    if killed_by is None:
        return ends(folder, 0, *arguments)
    done = start(folder, *arguments, killed_by=killed_by)
    output, _ = done.communicate(timeout=COMMAND_TIMEOUT_S)

    assert -9 == done.returncode, output
    return output


def refused(folder: Path, *arguments: str) -> str:
    """What a command printed that the state forbids."""
    return ends(folder, 4, *arguments)


def ends(folder: Path, code: int, *arguments: str) -> str:
    """What the command printed; its exit status must be ``code``."""
    ended, output, _ = warm_program().call(
        arguments, folder, ENVIRONMENT, COMMAND_TIMEOUT_S, is_mixed=True
    )

    assert code == ended, output
    return output


def start(
    folder: Path,
    *arguments: str,
    killed_by: tuple[str, str, int] | None = None,
    **variables: str,
) -> subprocess.Popen[str]:
    """The running command; ``killed_by`` is module, function and the number of its last call."""
    inherited = {name: value for name, value in os.environ.items() if name[:9] != "STEPWELL_"}
    command = ["-m", "stepwell"]
    if killed_by is not None:
        command = [str(KILLED), *map(str, killed_by)]
    return subprocess.Popen(
        [sys.executable, *command, *arguments],
        cwd=folder,
        env={**inherited, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """All rows of a query, read by a program that is not Stepwell."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def module_of(file: Path) -> ModuleType:
    """A module of an example, imported under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
