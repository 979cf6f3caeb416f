"""D1 to D7 of ``invariants.py`` on SQLite: the library, the file and what lies around it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stepwell.database.filesystem import filesystem_of, why_unsafe
from stepwell.database.sqlite_driver import wal_reset_fixed
from stepwell.database.sqlite_errors import RESTORE
from stepwell.database.sqlite_values import unreadable_values
from stepwell.database.wal import TRUNCATE_BYTES, wal_bytes
from stepwell.finding import Finding, Repair, Severity, Statement

FREE_BYTES_MIN = 64 * 1024 * 1024  # The log may grow to this before it is cut.
COMPANIONS = ("-wal", "-shm", "-gate", "-owners")
MESSAGES_MAX = 20  # Of one integrity check.
MESSAGES_OF_ROWS_MAX = 10_000  # What is about rows must not hide what is about pages.

_INDEX_FAULTS = (
    re.compile(r"row \d+ missing from index (?P<index>\S+)"),
    re.compile(r"wrong # of entries in index (?P<index>\S+)"),
    re.compile(r"non-unique entry in index (?P<index>\S+)"),
)
_CONSTRAINT_FAULTS = re.compile(r"CHECK constraint failed in|NULL value in")

EXPLANATIONS = {
    "wal_reset_bug": "SQLite before 3.51.3 can damage a database in WAL mode when one connection"
    " starts the log anew while another one checkpoints (sqlite.org/wal.html#walresetbug)."
    " Stepwell checkpoints only behind its gate, where none of its own commits runs beside; other"
    " programs that write the file are outside of it.",
    "two_sqlite_copies": "Two copies of SQLite in one process that open the same file drop each"
    " other's locks (sqlite.org/howtocorrupt.html). It is safe as long as only one of them opens"
    " this file.",
    "unsafe_filesystem": "SQLite's log needs memory and locks that all processes share. This"
    " filesystem has not got them and damages the database without an error.",
    "not_writable": "Whoever cannot write the file and what lies beside it cannot run anything,"
    " and cannot even read it while its log is in use. Often another user has run a command once.",
    "disk_space": "A commit that finds the disk full is rolled back, and its step fails; a copy"
    " needs as much room as the database.",
    "journal_mode": "Without WAL readers block writers and writers block readers. Stepwell"
    " switches it on when it opens the file, so another program has switched it off.",
    "wal_large": "The log is cut when a checkpoint has moved all of it into the database, which a"
    " reader that stays open prevents. Reads become slower, the disk fuller. Never delete it: it"
    " holds commits.",
    "index_damaged": "An index disagrees with its table; queries miss rows. The rows are whole.",
    "constraint_broken": "A row breaks a CHECK or NOT NULL of its own table: it was written with"
    " the checks switched off. The findings about that row say what is wrong with it.",
    "integrity": "Pages of the file are damaged: by a disk, by a copy taken while it was written,"
    " by a program that wrote or locked the file by other means.",
    "foreign_key": "Rows of your own tables name rows that do not exist. Stepwell cannot know"
    " which of the two is right.",
}


def findings(path: str, driver: Any, raw: Any, *, thorough: bool) -> Iterator[Finding]:
    """Everything that the library and the file tell about themselves."""
    yield from _library(driver)
    yield from _filesystem(path)
    yield from _permissions(path)
    yield from disk_space(path, shutil.disk_usage(Path(path).parent).free, _size(raw))
    mode = _pragma(raw, "journal_mode")[0][0]
    if mode != "wal":
        yield _finding(
            "journal_mode",
            "D4",
            path,
            f"its journal mode is {mode!r}, not 'wal'",
            repair=Repair(
                "open it for work, which switches it to WAL",
                "which program has switched it off",
                operation="open",
            ),
        )
    yield from wal_size(path, wal_bytes(path))
    if thorough:
        whole = list(_integrity(raw, path))
        yield from whole
        if not any(finding.code == "integrity" for finding in whole):
            yield from of_contents(raw)


def of_contents(raw: Any) -> Iterator[Finding]:
    """D7 and D10, which are true of a copy as well; its pages are whole."""
    yield from _foreign_keys(raw)
    yield from unreadable_values(raw)


def damage(raw: Any) -> str:
    """The first thing that is wrong with the pages or indexes; empty when they are whole.

    A row that breaks a CHECK or NOT NULL is whole: it was written so.
    """
    for (message,) in _pragma(raw, f"integrity_check({MESSAGES_OF_ROWS_MAX})"):
        if message != "ok" and not _CONSTRAINT_FAULTS.match(message):
            return str(message).splitlines()[-1]
    return ""


def _finding(
    code: str,
    rule: str,
    where: str,
    what: str,
    *,
    severity: Severity = Severity.ERROR,
    hint: str = "`stepwell doctor --repair`",
    repair: Repair | None = None,
) -> Finding:
    return Finding(code, severity, where, what, hint, rule, EXPLANATIONS[code], repair)


def _pragma(raw: Any, pragma: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = raw.execute(f"PRAGMA {pragma}").fetchall()
    return rows


def _size(raw: Any) -> int:
    return int(_pragma(raw, "page_count")[0][0]) * int(_pragma(raw, "page_size")[0][0])


def _library(driver: Any) -> Iterator[Finding]:
    if not wal_reset_fixed(driver.sqlite_version_info):
        yield _finding(
            "wal_reset_bug",
            "D1",
            f"SQLite {driver.sqlite_version}",
            "it has the WAL-reset bug",
            severity=Severity.WARNING,
            hint="`pip install 'stepwell[sqlite]'` brings a SQLite without it",
        )
    loaded = [name for name in ("_sqlite3", "pysqlite3._sqlite3") if name in sys.modules]
    if len(loaded) > 1:
        yield _finding(
            "two_sqlite_copies",
            "D1",
            f"process {os.getpid()}",
            f"it has two copies of SQLite loaded: {' and '.join(loaded)}",
            severity=Severity.INFO,
            hint="open the file with one of them alone; one value of sqlite_driver in one process",
        )


def _filesystem(path: str) -> Iterator[Finding]:
    filesystem = filesystem_of(path)
    reason = why_unsafe(filesystem)
    if reason:
        yield _finding(
            "unsafe_filesystem",
            "D2",
            path,
            f"it lies on filesystem {filesystem!r}, {reason}",
            hint="stop what uses it, and move it to a local disk (in a container: a named volume)",
        )


def _permissions(path: str) -> Iterator[Finding]:
    for part in (path, str(Path(path).parent), *(path + suffix for suffix in COMPANIONS)):
        if Path(part).exists() and not os.access(part, os.W_OK):
            yield _finding(
                "not_writable",
                "D2",
                part,
                f"this user ({os.geteuid() if hasattr(os, 'geteuid') else ''}) may not write it",
                hint="give it to the user who runs Stepwell, such as with `chown`",
            )


def disk_space(path: str, free_bytes: int, database_bytes: int) -> Iterator[Finding]:
    """D3: there is room for the log, and for a copy."""
    needed = max(FREE_BYTES_MIN, database_bytes)
    if free_bytes < needed:
        yield _finding(
            "disk_space",
            "D3",
            str(Path(path).parent),
            f"{_megabytes(free_bytes)} are free; the log may need {_megabytes(FREE_BYTES_MIN)},"
            f" a copy {_megabytes(database_bytes)}",
            severity=Severity.ERROR if free_bytes < FREE_BYTES_MIN else Severity.WARNING,
            hint="make room",
        )


def wal_size(path: str, size_bytes: int) -> Iterator[Finding]:
    """D5: who holds the log back, when it has grown."""
    if size_bytes <= TRUNCATE_BYTES:
        return
    from stepwell.database.file_users import lagging_readers  # Starts a program; rarely needed.

    readers = lagging_readers(path)
    held = "".join(
        f"; pid {reader.pid} reads it" + (f" ({reader.name})" if reader.name else "")
        for reader in readers
    )
    yield _finding(
        "wal_large",
        "D5",
        path + "-wal",
        f"the log has {_megabytes(size_bytes)}{held}",
        severity=Severity.WARNING,
        hint="end the reader, then `stepwell doctor --repair`"
        if readers
        else "`stepwell doctor --repair`",
        repair=Repair(
            "checkpoint it, and cut it", "why a reader stays open", operation="checkpoint"
        ),
    )


def _megabytes(size: int) -> str:
    return f"{size / 1024 / 1024:,.0f} MiB"


def _integrity(raw: Any, path: str) -> Iterator[Finding]:
    indexes: dict[str, str] = {}
    for (message,) in _pragma(raw, f"integrity_check({MESSAGES_MAX})"):
        if message == "ok":
            continue
        fault = next(filter(None, (pattern.match(message) for pattern in _INDEX_FAULTS)), None)
        if fault is not None:
            indexes.setdefault(fault["index"], message)
        elif _CONSTRAINT_FAULTS.match(message):
            hint = "mend what is found about the row"
            yield _finding("constraint_broken", "D6", path, message, hint=hint)
        else:
            yield _finding("integrity", "D6", path, message, hint=RESTORE)
    for index, message in indexes.items():
        quoted = '"' + index.replace('"', '""') + '"'
        yield _finding(
            "index_damaged",
            "D6",
            f"index {index}",
            message,
            repair=Repair(
                "build the index anew from its table",
                "what damaged it; a unique index may find two rows that are equal",
                statements=(Statement(f"REINDEX {quoted}"),),
            ),
        )


def _foreign_keys(raw: Any) -> Iterator[Finding]:
    """Of the application's tables; Stepwell's own are R22."""
    broken: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in _pragma(raw, "foreign_key_check"):
        if not table.startswith("batch_"):
            broken[table, parent] = broken.get((table, parent), 0) + 1
    for (table, parent), count in broken.items():
        yield _finding(
            "foreign_key",
            "D7",
            f"table {table}",
            f"{count} rows name a row of {parent} that does not exist",
            severity=Severity.WARNING,
            hint=f"`PRAGMA foreign_key_check({table})` in the sqlite3 shell lists them",
        )
