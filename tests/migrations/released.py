"""Keep what a release writes, so that every later release is tested with it (T15).

    python tests/migrations/released.py

At each release that has a new revision it writes ``released/REVISION.sqlite.sql`` and
``released/REVISION.postgresql.sql``: a database with a past, as text. They never change again. A
revision that is not the last one was released, so it must have both; a test says so.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg

from stepwell.database.migrations import HEAD
from stepwell.database.postgresql_programs import run_program
from stepwell.database.postgresql_url import conninfo_of

FOLDER = Path(__file__).parent / "released"


def dumped(url: str) -> str:
    """A database as the text that makes it again."""
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"))
        try:
            return "\n".join(connection.iterdump()) + "\n"
        finally:
            connection.close()
    with tempfile.TemporaryDirectory() as folder, psycopg.connect(url) as connection:
        file = Path(folder) / "dump.sql"
        run_program(
            "pg_dump",
            ["--inserts", "--no-owner", f"--file={file}"],
            conninfo=conninfo_of(url),
            server=connection.info.server_version // 10000,
            what="keep a release",
        )
        return file.read_text(encoding="utf-8")


def load(url: str, text: str) -> None:
    """Make a database from such a text."""
    if url.startswith("sqlite"):
        raw = sqlite3.connect(url.removeprefix("sqlite:///"))
        raw.executescript(text)
        raw.close()
        return
    # What begins with a backslash is for psql alone.
    statements = re.sub(r"^\\.*$", "", text, flags=re.MULTILINE)
    with psycopg.connect(url) as connection:
        connection.execute(statements.encode())


def main() -> None:
    """Write both files; beside a running server of the tests."""
    from tests.postgresql_server import __file__ as server_file
    from tests.support.upgrades import tell

    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/told.db"
        tell(url)
        (FOLDER / f"{HEAD}.sqlite.sql").write_text(dumped(url), encoding="utf-8")
    server = subprocess.Popen(
        [sys.executable, str(server_file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    _, _, directory = server.stdout.readline().strip().partition(" ")
    url = f"postgresql://postgres@/postgres?host={directory}"
    tell(url)
    (FOLDER / f"{HEAD}.postgresql.sql").write_text(dumped(url), encoding="utf-8")
    server.stdin.close()
    server.wait()


if __name__ == "__main__":
    main()
