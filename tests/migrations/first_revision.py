"""Write down what ``tables.py`` makes as the first revision, while nothing has been released.

    python tests/migrations/first_revision.py

Once a release has created databases, the first revision never changes again, and this program
goes; from then on a change of ``tables.py`` comes with a revision of its own.
"""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path
from typing import Any

from sqlalchemy import create_mock_engine

from stepwell.database import migrations
from stepwell.database.tables import metadata

PATH = Path(migrations.__file__).parent / "versions" / "0001_first.py"

START = '''"""The tables of the first release; this file does not follow ``tables.py``."""

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None


def upgrade() -> None:
    for statement in STATEMENTS[op.get_context().dialect.name]:
        op.execute(text(statement.replace(":", r"\\:")))


'''


def statements_of(url: str) -> list[str]:
    """Every statement that makes the tables, in the dialect's own words."""
    found: list[str] = []

    def take(element: Any, *_: object) -> None:
        sql = str(element.compile(dialect=engine.dialect)).strip().expandtabs(2)
        found.append("\n".join(short for line in sql.splitlines() for short in shortened(line)))

    engine = create_mock_engine(url, take)
    metadata.create_all(engine, checkfirst=False)
    # A table's indexes come in the order of a set.
    groups = itertools.groupby(found, key=lambda sql: " INDEX " in sql.partition(" ON ")[0])
    return [sql for is_index, group in groups for sql in (sorted(group) if is_index else group)]


def shortened(line: str) -> list[str]:
    """A line as several that fit, broken where no string is."""
    lines = textwrap.wrap(
        line.rstrip(), 90, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    assert all(short.count("'") % 2 == 0 for short in lines), line
    return lines


def literal(name: str, statements: list[str]) -> str:
    texts = "".join(f'    """{statement}""",\n' for statement in statements)
    return f"{name} = (\n{texts})\n"


def first_revision() -> str:
    """The text of the file."""
    return (
        START
        + literal("SQLITE", statements_of("sqlite://"))
        + "\n"
        + literal("POSTGRESQL", statements_of("postgresql+psycopg://"))
        + '\nSTATEMENTS = {"sqlite": SQLITE, "postgresql": POSTGRESQL}\n'
    )


if __name__ == "__main__":
    PATH.write_text(first_revision())
