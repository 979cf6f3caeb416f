"""The house rules that a program can check (T22), each reported like a compiler does.

Python is judged by its syntax tree, so that docstrings, comments and strings may name what is
banned, and names are followed through imports: after ``from datetime import datetime as dt`` a
``dt.now()`` is still ``datetime.datetime.now``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

FUNCTION_LINES_MAX = 70  # What fits on a screen; without the docstring.
FILE_LINES_MAX = 400  # What grows past it is two things.
LONG_FILES = ("database/tables.py", "database/migrations/")

STORAGE = ("database/", "repository/", "sync/", "backup/", "items/")


@dataclass(frozen=True)
class Problem:
    """One place that breaks a rule."""

    where: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: error: {self.what}"


@dataclass(frozen=True)
class Ban:
    """A name that may stand only in some places, and what to use elsewhere."""

    shown: str
    allowed: tuple[str, ...]
    instead: str

    def allows(self, where: str) -> bool:
        return where.startswith(self.allowed) if self.allowed else False

    def problem(self, where: str, line: int) -> Problem:
        return Problem(where, line, f"{self.shown} is banned, use {self.instead}")


def _clock(shown: str, instead: str = "the injected Clock") -> Ban:
    return Ban(shown, ("clock.py",), instead)


# The full name as Python knows it; a name that ends in a dot stands for all below it.
BANNED_NAMES = {
    "datetime.datetime.now": _clock("datetime.now("),
    "datetime.datetime.utcnow": _clock("datetime.utcnow("),
    "datetime.datetime.today": _clock("datetime.today("),
    "datetime.date.today": _clock("date.today("),
    "time.time": _clock("time.time("),
    "time.time_ns": _clock("time.time_ns("),
    "time.monotonic": _clock("time.monotonic("),
    "time.monotonic_ns": _clock("time.monotonic_ns("),
    "time.perf_counter": _clock("time.perf_counter("),
    "time.sleep": _clock("time.sleep("),
    "uuid.uuid1": _clock("uuid1(", "the injected Clock's new_id()"),
    "uuid.uuid4": _clock("uuid4(", "the injected Clock's new_id()"),
    "random.": _clock("random."),
    "print": Ban("print(", ("cli/output.py",), "a returned value, or the logger"),
}

BANNED_IMPORTS = {
    "sqlalchemy": Ban("import sqlalchemy", STORAGE, "a function of a storage package"),
    "pickle": Ban("import pickle", (), "JSON, which another program can read"),
    "cloudpickle": Ban("import cloudpickle", (), "JSON, which another program can read"),
    "shelve": Ban("import shelve", (), "JSON, which another program can read"),
    "marshal": Ban("import marshal", (), "JSON, which another program can read"),
}

EARLY_SQLITE = Ban(
    "import sqlite3 at the top", ("testing/",), "an import in the function, when it is chosen"
)
DIALECT = Ban("dialect.name", ("database/",), "a named operation of the dialect")

# These stand on top of the package, so that its public names are beneath them.
FACES = ("__init__.py", "__main__.py", "cli/", "web/", "testing/")

MODULE_NAMES = ("utils", "util", "common", "core", "base", "helpers", "helper", "misc")

# Put together, so that this file does not contain them.
_LATER = re.compile(r"\b(" + "|".join(("FIX" + "ME", "X" + "XX", "TO" + "DO")) + r")\b")
_HOME = re.compile(r"(?<![\w.])/(?:(?:home|Users)/[A-Za-z][\w.-]*|root)/\w")
_REGISTRY = re.compile(
    r"https?://[^\s/\"']*(?:pypi|pythonhosted|npmjs|registry|artifactory|nexus|devpi|mirror)"
    r"|--(?:(?:extra-)?index-url|find-links?|trusted-hosts?)\b"
)
_PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!]*$")


def python_problems(where: str, text: str, submodules: frozenset[str]) -> list[Problem]:
    """What is wrong with one module of the package.

    ``where`` is its path below ``src/stepwell``; ``submodules`` are the names directly in there.
    """
    tree = ast.parse(text)
    problems = [*_size(where, text), *_function_sizes(where, tree), *_module_name(where)]
    problems += _imports(where, tree, submodules)
    problems += _early_sqlite(where, tree)
    problems += _names(where, tree)
    problems += _dialects(where, tree)
    return sorted(set(problems), key=lambda problem: (problem.line, problem.what))


def _size(where: str, text: str) -> Iterator[Problem]:
    lines = len(text.splitlines())
    if lines > FILE_LINES_MAX and not where.startswith(LONG_FILES):
        yield Problem(
            where,
            FILE_LINES_MAX + 1,
            f"the file has {lines} lines, at most {FILE_LINES_MAX} are allowed, make two of it",
        )


def _function_sizes(where: str, tree: ast.Module) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = _length(node)
        if ast.get_docstring(node, clean=False) is not None:
            lines -= _length(node.body[0])
        if lines > FUNCTION_LINES_MAX:
            what = f"{node.name}() has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed"
            yield Problem(where, node.lineno, f"{what}, give its parts names")


def _length(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _module_name(where: str) -> Iterator[Problem]:
    for part in where.removesuffix(".py").split("/"):
        if part in MODULE_NAMES:
            what = f"a module named {part} is banned"
            yield Problem(where, 1, f"{what}, use a name that tells the thing, not the pattern")


def _imports(where: str, tree: ast.Module, submodules: frozenset[str]) -> Iterator[Problem]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported = [node.module]
            if node.module == "stepwell" and not where.startswith(FACES):
                for alias in node.names:
                    if alias.name not in submodules:
                        what = f"from stepwell import {alias.name} goes around the layers"
                        yield Problem(where, node.lineno, f"{what}, import it from its module")
        else:
            continue
        for name in imported:
            ban = BANNED_IMPORTS.get(name.partition(".")[0])
            if ban and not ban.allows(where):
                yield ban.problem(where, node.lineno)


def _early_sqlite(where: str, tree: ast.Module) -> Iterator[Problem]:
    """The command line puts a newer SQLite in place of Python's; an early import prevents it."""
    for node in tree.body:
        is_early = isinstance(node, ast.Import) and any(a.name == "sqlite3" for a in node.names)
        if is_early and not EARLY_SQLITE.allows(where):
            yield EARLY_SQLITE.problem(where, node.lineno)


def _names(where: str, tree: ast.Module) -> Iterator[Problem]:
    known = _imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            ban = _ban_of(_full_name(node, known))
            if ban and not ban.allows(where):
                yield ban.problem(where, node.lineno)


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Which full name each imported name stands for."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                known[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _full_name(node: ast.expr, known: dict[str, str]) -> str | None:
    """``datetime.datetime.now`` for the expression that means it; None for a local's attribute."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "print" if node.id == "print" else None)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, known)
        return f"{owner}.{node.attr}" if owner else None
    return None


def _ban_of(name: str | None) -> Ban | None:
    if name is None:
        return None
    return BANNED_NAMES.get(name) or BANNED_NAMES.get(name.partition(".")[0] + ".")


def _dialects(where: str, tree: ast.Module) -> Iterator[Problem]:
    if DIALECT.allows(where):
        return
    for node in ast.walk(tree):
        asks = (
            isinstance(node, ast.Attribute)
            and node.attr == "name"
            and _last(node.value)
            in (
                "dialect",
                "_dialect",
            )
        )
        compares = isinstance(node, ast.Compare) and any(
            _last(side) == "dialect_name" for side in (node.left, *node.comparators)
        )
        if asks or compares:
            yield DIALECT.problem(where, node.lineno)


def _last(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def code_problems(where: str, text: str) -> list[Problem]:
    """Words in code that put work off."""
    return _lines(where, text, _LATER, lambda word: f"{word} is banned, do it or file an issue")


def file_problems(where: str, text: str, checkout: Path) -> list[Problem]:
    """What would tie any file of the repository to one machine."""
    places = re.compile(_HOME.pattern + "|" + re.escape(f"{checkout}/"))
    return [
        *_lines(where, text, places, lambda path: f"{path} is a path of one machine"),
        *_lines(where, text, _REGISTRY, lambda host: f"{host} names a package registry"),
    ]


def constraint_problems(where: str, text: str) -> list[Problem]:
    """Constraints pin by name and version, nothing else."""
    return [
        Problem(where, number, f"a constraint must be name==version, got {line}")
        for number, line in enumerate(text.splitlines(), 1)
        if line and not line.startswith("#") and not _PIN.match(line)
    ]


def _lines(
    where: str, text: str, pattern: re.Pattern[str], message: Callable[[str], str]
) -> list[Problem]:
    return [
        Problem(where, number, message(found.group()))
        for number, line in enumerate(text.splitlines(), 1)
        for found in pattern.finditer(line)
    ]
