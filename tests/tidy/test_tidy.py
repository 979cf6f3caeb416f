"""The house rules hold in this repository (T22), and the checker sees what it must see.

The import layers are checked by ``lint-imports`` in ``make check``, not here.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.tidy.rules import (
    FILE_LINES_MAX,
    FUNCTION_LINES_MAX,
    Problem,
    code_problems,
    constraint_problems,
    file_problems,
    python_problems,
)

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "stepwell"
CODE = (".py", ".toml", ".yml", ".yaml", ".sql", ".sh", ".html", ".css", ".js", ".xml")
VENDORED = "src/stepwell/web/static/vendor"


def submodules() -> frozenset[str]:
    return frozenset(path.stem for path in PACKAGE.iterdir())


def repository_files() -> list[Path]:
    """Every file that is, or is about to be, part of the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    paths = (ROOT / name for name in listed.split("\0") if name)
    return sorted(path for path in set(paths) if path.is_file())


def texts() -> list[tuple[str, str]]:
    """Name and text of every file in the repository that has a text."""
    found = []
    for path in repository_files():
        content = path.read_bytes()
        if b"\0" not in content:
            name = path.relative_to(ROOT).as_posix()
            found.append((name, content.decode("utf-8", errors="replace")))
    return found


def complain(problems: list[Problem]) -> None:
    if problems:
        pytest.fail("\n" + "\n".join(map(str, problems)), pytrace=False)


def test_the_package_keeps_the_house_rules() -> None:
    problems = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        problems += python_problems(where, path.read_text(encoding="utf-8"), submodules())

    complain(problems)


def test_no_work_is_put_off_in_code() -> None:
    complain(
        [
            problem
            for name, text in texts()
            if name.endswith((*CODE, "Makefile", ".ci/run")) and not name.startswith(VENDORED)
            for problem in code_problems(name, text)
        ]
    )


def test_no_file_is_tied_to_one_machine() -> None:
    complain([problem for name, text in texts() for problem in file_problems(name, text, ROOT)])


def test_constraints_pin_by_version_alone() -> None:
    complain(constraint_problems("constraints.txt", (ROOT / "constraints.txt").read_text()))


BROKEN = {
    "time of day": ("from datetime import datetime, UTC\nnow = datetime.now(UTC)", "datetime.now("),
    "renamed": ("import datetime as d\nx = d.datetime.now()", "datetime.now("),
    "not called": ("import time\nwait = time.sleep", "time.sleep("),
    "imported alone": ("from time import time\nt = time()", "time.time("),
    "random id": ("from uuid import uuid4\nx = uuid4()", "uuid4("),
    "randomness": ("import random\nx = random.uniform(1, 2)", "random."),
    "randomness alone": ("from random import choice\nx = choice([1])", "random."),
    "print": ("def f():\n    print(1)", "print("),
    "dialect": ("def f(engine):\n    return engine.dialect.name", "dialect.name"),
    "dialect compared": ("def f(x):\n    return x.dialect_name == 'sqlite'", "dialect.name"),
    "pickle": ("import pickle", "import pickle"),
    "sqlite3 too early": ("import sqlite3", "import sqlite3 at the top"),
    "SQL": ("def f():\n    from sqlalchemy.sql import text", "import sqlalchemy"),
}


@pytest.mark.parametrize(("text", "shown"), BROKEN.values(), ids=BROKEN)
def test_a_ban_is_reported_like_a_compiler_does(text: str, shown: str) -> None:
    messages = list(map(str, python_problems("runner/chunk.py", text, frozenset())))

    assert len(messages) == 1
    assert messages[0].startswith("runner/chunk.py:")
    assert f": error: {shown} is banned, use " in messages[0]


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("clock.py", "import time\nnow = time.time()"),
        ("cli/output.py", "print(1)"),
        ("database/types.py", "def f(dialect):\n    return dialect.name"),
        ("items/sql.py", "import sqlalchemy"),
        ("runner/chunk.py", '"""Not datetime.now( nor pickle."""\n# time.sleep(1)\nx = "print("'),
        ("runner/chunk.py", "def f(clock):\n    return clock.time.sleep(1)"),
        ("runner/chunk.py", "from stepwell import errors"),
        ("cli/main.py", "from stepwell import Node"),
    ],
)
def test_what_is_allowed_is_not_reported(where: str, text: str) -> None:
    assert [] == python_problems(where, text, frozenset({"errors"}))


def test_the_public_names_are_not_a_way_around_the_layers() -> None:
    problems = python_problems("job/job.py", "from stepwell import Node", frozenset({"node"}))

    message = "from stepwell import Node goes around the layers, import it from its module"
    assert [Problem("job/job.py", 1, message)] == problems


def test_a_function_is_measured_without_its_docstring() -> None:
    docstring = '    """One.\n\n' + "    More.\n" * 100 + '    """\n'
    longest = "def f():\n" + docstring + "    x = 1\n" * (FUNCTION_LINES_MAX - 1)

    assert [] == python_problems("runner/job.py", longest, frozenset())
    [problem] = python_problems("runner/job.py", longest + "    x = 1\n", frozenset())
    assert "runner/job.py:1: error: f() has 71 lines, at most 70 are allowed" in str(problem)


def test_a_file_is_measured_unless_it_is_made_of_tables() -> None:
    text = "x = 1\n" * (FILE_LINES_MAX + 1)

    assert [] == python_problems("database/tables.py", text, frozenset())
    [problem] = python_problems("repository/rows.py", text, frozenset())
    assert "repository/rows.py:401: error: the file has 401 lines" in str(problem)


@pytest.mark.parametrize("where", ["runner/utils.py", "core/job.py"])
def test_a_module_is_named_for_the_thing(where: str) -> None:
    [problem] = python_problems(where, "", frozenset())

    assert "is banned, use a name that tells the thing" in problem.what


@pytest.mark.parametrize(
    "line",
    [
        "see /" + "home/ann/notes.txt",
        "/" + "root/notes.txt",
        f"{ROOT}/src",
        "https" + "://files.pythonhosted.org/x",
        "http" + "://pypi.example.net/simple",
        "--index" + "-url=x",
    ],
)
def test_a_machine_or_a_registry_in_a_file_is_found(line: str) -> None:
    assert [] != file_problems("docs/x.md", line, ROOT)


def test_work_put_off_is_found() -> None:
    assert [Problem("a.py", 2, "TO" + "DO is banned, do it or file an issue")] == code_problems(
        "a.py", "x = 1\n# TO" + "DO: more\n"
    )


@pytest.mark.parametrize("line", ["a @ file:///x", "a>=1", "a==1 --hash=sha256:0", "-e ."])
def test_a_constraint_that_is_no_pin_is_found(line: str) -> None:
    assert [] != constraint_problems("constraints.txt", line)
