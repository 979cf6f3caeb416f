"""MigrationTasklet: the application's own tables, migrated as a step (S199).

Stepwell's tables are not meant: those are migrated when the database is opened.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from stepwell.database.script import split_statements
from stepwell.errors import DatabaseError, ItemSourceMissing, MigrationFailed
from stepwell.runner.context import StepContext

CREATE_APPLIED = """CREATE TABLE IF NOT EXISTS applied_migration (
  name TEXT NOT NULL PRIMARY KEY, sha256 TEXT NOT NULL, step_execution_id BIGINT NOT NULL)"""
SELECT_APPLIED = "SELECT name, sha256 FROM applied_migration"
INSERT_APPLIED = """INSERT INTO applied_migration (name, sha256, step_execution_id)
VALUES (:name, :sha256, :step_execution_id)"""


class MigrationTasklet:
    """A tasklet that applies the SQL files of a folder, each once, in the order of their names.

    >>> TaskletStep("migrateMetadataStep", MigrationTasklet("migrations"))

    Each file is one transaction with its row in ``applied_migration``: after a crash, or on a
    database where it has run before, the step goes on behind the last file that was applied. A
    second run changes nothing; processes that start at once apply each file once. Statements run
    with foreign keys on; BEGIN, COMMIT and PRAGMA are refused.

    Args:
        folder: Holds ``*.sql``, named so that they sort: ``001_first.sql``, ``002_index.sql``.

    Raises (from the step):
        ItemSourceMissing: the folder does not exist or holds no ``.sql`` file.
        MigrationFailed: a statement failed and its file was rolled back, or an applied file has
            changed since.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __call__(self, step: StepContext) -> str:
        """Apply what is pending; the exit status tells whether anything was."""
        files = self._files()
        with step.transaction() as connection:
            connection.execute(CREATE_APPLIED)
        applied_count = 0
        for number, file in enumerate(files, start=1):
            applied_count += self._apply(step, file)
            step.progress(number, len(files), "migrations")
        step.logger.info("%d of %d migrations were pending", applied_count, len(files))
        return "MIGRATED" if applied_count else "UP TO DATE"

    def _files(self) -> list[Path]:
        files = sorted(self.folder.glob("*.sql"))
        if not files:
            fact = "it holds no .sql file" if self.folder.is_dir() else "there is no such folder"
            raise ItemSourceMissing(
                f"cannot migrate from {str(self.folder)!r}: {fact}",
                hint="put numbered files there, e.g. 001_first.sql",
            )
        return files

    def _apply(self, step: StepContext, file: Path) -> bool:
        """Apply one file unless it is; the look and the work share the write transaction."""
        script = file.read_text(encoding="utf-8")
        digest = hashlib.sha256(script.encode()).hexdigest()
        with step.transaction() as connection:
            known: dict[str, str] = dict(connection.execute(SELECT_APPLIED).fetchall())
            if file.name in known:
                self._refuse_changed(file, known[file.name], digest)
                return False
            for statement in split_statements(script):
                try:
                    connection.execute(statement)
                except DatabaseError as error:
                    raise MigrationFailed(
                        f"cannot apply migration {file.name!r}: {error.message}",
                        hint=f"it was rolled back; correct it and start again: {_short(statement)}",
                        fields={"file": file.name},
                    ) from error
            connection.execute(
                INSERT_APPLIED,
                {
                    "name": file.name,
                    "sha256": digest,
                    "step_execution_id": step.step_execution_id,
                },
            )
        return True

    @staticmethod
    def _refuse_changed(file: Path, applied: str, digest: str) -> None:
        if applied != digest:
            raise MigrationFailed(
                f"cannot apply migration {file.name!r}: it has changed since it was applied",
                hint="put it back as it was, and make the change in a new file",
                fields={"file": file.name},
            )


def _short(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 80 else line[:79] + "…"
