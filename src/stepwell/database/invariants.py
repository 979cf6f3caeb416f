"""What must be true of the database itself, its file, its server and the machine around it.

- **D1** SQLite is free of the WAL-reset bug, and the process has one copy of it.
- **D2** The file lies on a local filesystem; this user may write it, its folder and its companions.
- **D3** The disk has room for the log and for a copy.
- **D4** The journal mode is WAL.
- **D5** The log stays small; no reader holds it back (on PostgreSQL: no old transaction).
- **D6** Every page and every index is whole.
- **D7** The application's own foreign keys are kept.
- **D8** The tables are those of this release: not older, not newer.
- **D9** No table, column, constraint, index, trigger or view of them is missing.
- **D10** Every value is of the type of its column; JSON is JSON.
- **D11** This machine's clock and the server's agree.

What differs between the databases is told by their dialects. Nothing here writes.
"""

from __future__ import annotations

from stepwell.database.connect import Database
from stepwell.database.migrations import HEAD
from stepwell.database.schema import drift
from stepwell.finding import Finding, Repair, Severity

EXPLANATIONS = {
    "no_tables": "The database is there and holds nothing of Stepwell's: it is new, it is another"
    " program's, or the settings name the wrong one.",
    "schema_old": "An older release made the tables. They are brought up to date when the database"
    " is opened for work.",
    "schema_too_new": "A newer release has changed the tables. This one cannot know how, so it"
    " looks at nothing in them.",
}


def examine(database: Database, *, thorough: bool = True) -> list[Finding]:
    """The findings of D1 to D7, D10 and D11; without ``thorough`` none that reads every page."""
    with database.read() as reader:
        return reader.ask(
            lambda connection: database.dialect.findings(connection, thorough=thorough)
        )


def examine_version(database: Database) -> list[Finding]:
    """D8. Whatever it finds, the tables need not be looked at: they are not this release's."""
    version = database.schema_version()
    if version == HEAD:
        return []
    if version is None:
        code, severity, what = "no_tables", Severity.WARNING, "it has no Stepwell tables"
    elif version > HEAD:
        return [
            Finding(
                "schema_too_new",
                Severity.ERROR,
                f"database {database.location!r}",
                f"its format is {version.lstrip('0')}, this release reads up to {HEAD.lstrip('0')}",
                "upgrade Stepwell",
                "D8",
                EXPLANATIONS["schema_too_new"],
            )
        ]
    else:
        code, severity = "schema_old", Severity.WARNING
        what = f"its format is {version.lstrip('0')}, this release's is {HEAD.lstrip('0')}"
    return [
        Finding(
            code,
            severity,
            f"database {database.location!r}",
            what,
            "`stepwell db migrate`, or `stepwell doctor --repair`",
            "D8",
            EXPLANATIONS[code],
            Repair("bring the tables up to date", operation="migrate"),
        )
    ]


def examine_schema(database: Database) -> list[Finding]:
    """D9."""
    with database.read() as reader:
        return reader.ask(lambda connection: drift(database.dialect, connection))
