"""T15: databases of every release are upgraded, and those of a newer one refused.

What a kill in the middle of it leaves is told in ``tests/crash/test_upgrade_kills.py``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Job, Node, TaskletStep
from stepwell.database import migrations
from stepwell.database.connect import open_database
from stepwell.database.migrations import HEAD
from stepwell.doctor.doctor import Doctor
from stepwell.errors import SchemaTooNew
from tests.conformance.stories import nothing
from tests.doctor.patients import no_copy, to_be_mended
from tests.migrations.released import FOLDER, dumped, load
from tests.support.backups import Copier
from tests.support.upgrades import NEXT, next_release, rows_sha256, tell, told, upgrade

RELEASED = sorted({path.name.partition(".")[0] for path in FOLDER.glob("*.sql")})


def kind_of(url: str) -> str:
    return url.partition(":")[0]


def test_every_revision_but_the_last_has_its_database_kept() -> None:
    """Goal: whoever adds a revision has kept what the release before has written."""
    revisions = migrations._revisions_after(None)

    assert [] == [
        f"{revision}.{kind}.sql"
        for revision in revisions[:-1]
        for kind in ("sqlite", "postgresql")
        if not (FOLDER / f"{revision}.{kind}.sql").exists()
    ]


@pytest.mark.parametrize("revision", [*RELEASED, "this release"])
def test_a_database_of_a_release_is_upgraded_and_goes_on(
    revision: str, database_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Method: it is made from its text, opened, repaired of what was at work, and runs a job."""
    if revision == "this release":
        source = f"sqlite:///{tmp_path}/source.db"
        if kind_of(database_url) != "sqlite":
            source = request.getfixturevalue("new_postgresql_database")()
        tell(source)
        text = dumped(source)
    else:
        text = (FOLDER / f"{revision}.{kind_of(database_url)}.sql").read_text(encoding="utf-8")
    load(database_url, text)

    with Node.open(database_url) as node:
        doctor = Doctor(node.database, copy=no_copy)
        assert HEAD == node.database.schema_version()
        doctor.repair()
        left = [f for f in to_be_mended(doctor.examine()) if f.code != "wal_reset_bug"]
        assert [] == left
        ended = node.operator.run(Job("after", steps=[TaskletStep("only", nothing)]))
        assert BatchStatus.COMPLETED is ended.batch_status


def test_what_is_kept_of_a_release_is_all_of_it(
    database_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    tell(database_url)
    other = f"sqlite:///{tmp_path}/other.db"
    if kind_of(database_url) != "sqlite":
        other = request.getfixturevalue("new_postgresql_database")()
    load(other, dumped(database_url))

    with open_database(database_url) as one, open_database(other) as two:
        assert rows_sha256(one) == rows_sha256(two)


def test_many_that_upgrade_at_once_do_it_once(database_url: str) -> None:
    tell(database_url)

    def open_and_upgrade(_: int) -> list[str]:
        with open_database(database_url) as mine:
            return migrations.migrate(mine)

    with next_release(), ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(open_and_upgrade, range(6)))

    assert [[NEXT]] == [revisions for revisions in applied if revisions]


def test_a_database_of_the_next_release_is_refused_and_left_alone(
    database_url: str, tmp_path: Path
) -> None:
    tell(database_url)
    upgrade(database_url)
    before = told(database_url)
    copier = Copier(database_url, tmp_path / "backups")

    refusals: list[Any] = [
        lambda: Node.open(database_url),
        lambda: copier.create("x"),
    ]
    for refused in refusals:
        with pytest.raises(SchemaTooNew, match=f"its format is {int(NEXT)}, .* up to {int(HEAD)}"):
            refused()
    with open_database(database_url) as database:
        doctor = Doctor(database, copy=no_copy)
        codes = {finding.code for finding in doctor.examine()}
        assert "schema_too_new" in codes
        assert [] == doctor.repair().repaired
    assert before == told(database_url)


def test_a_copy_of_this_release_is_proven_and_restored_by_the_next_one(
    database_url: str, tmp_path: Path
) -> None:
    """Goal: a backup outlives an upgrade; it is examined as the restore will leave it."""
    tell(database_url)
    copier = Copier(database_url, tmp_path / "backups")
    copier.create("before-upgrade")
    with next_release():
        upgrade(database_url)
        proof = copier.verify("before-upgrade")
        copier.restore("before-upgrade")
        with open_database(database_url) as database:
            restored = database.schema_version()
        copier.create("behind-upgrade")

    assert ([NEXT], []) == (proof.migrations, proof.findings)
    assert NEXT == restored
    with pytest.raises(SchemaTooNew):
        copier.verify("behind-upgrade")
