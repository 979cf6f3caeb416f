"""``init``: the settings, a first job and the database, where they are missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.errors import SettingsError
from stepwell.settings import CONFIG_VARIABLE, FILE_NAME, load_settings

if TYPE_CHECKING:
    from stepwell.cli.session import Session

JOBS_FILE = "jobs.py"
DATABASE = "sqlite:///stepwell.db"

SETTINGS_TEXT = """\
# The settings of Stepwell; STEPWELL_* variables override them.
database = {database}  # relative to this file; or postgresql://…
jobs = ["jobs"]  # importable modules, relative to this file
"""

JOBS_TEXT = '''\
"""The jobs of this folder. `stepwell run first` runs the one below, `stepwell status` shows it."""

from pathlib import Path

from stepwell import ChunkStep, Job, TaskletStep
from stepwell.items import CsvReader, SqlWriter

CITIES = Path(__file__).with_name("cities.csv")


def prepare(step):
    """Make the file that is read and the table that is written, where they are missing."""
    if not CITIES.exists():
        CITIES.write_text(
            "name,country,population\\n"
            "Tokyo,Japan,14254000\\n"
            "Oslo,Norway,724000\\n"
            "Nairobi,Kenya,4397000\\n"
            "Lima,Peru,10152000\\n"
            "Matera,Italy,59700\\n"
        )
    with step.transaction() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS city"
            " (name TEXT PRIMARY KEY, country TEXT NOT NULL, population INTEGER NOT NULL)"
        )


def large(city):
    """The city, or None to leave it out."""
    return city if city["population"] >= 100_000 else None


first = Job(
    "first",
    description="cities from a CSV file into a table",
    steps=[
        TaskletStep("prepare", prepare),
        ChunkStep(
            "load",
            CsvReader(CITIES, types={"population": int}),
            large,
            SqlWriter("city", key=["name"]),  # With a key a second run updates the same rows.
            chunk_size=2,
        ),
    ],
)
'''


def init(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where; made when it is missing.")
    ] = Path(),
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write stepwell.toml and a first job, and make the database.

    What is there already is kept as it is; only what is missing is made.
    """
    from stepwell.cli.output import Output, Page

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    made, kept = _write_files(session, folder)
    location, is_new = _make_database(session, folder)
    (made if is_new else kept).append(location)
    if wants_json:
        output.json({"folder": str(folder.absolute()), "made": made, "kept": kept})
        return
    page = Page()
    for path in made:
        page.line(f"made {path}")
    for path in kept:
        page.line(f"kept {path}, it was there already")
    go_there = "" if folder.absolute() == Path.cwd() else f"cd {folder}, "
    if str(folder / JOBS_FILE) in made:
        page.hint(f"{go_there}`stepwell run first` runs the first job, `stepwell jobs` lists them")
    else:
        page.hint(f"{go_there}`stepwell jobs` lists the jobs")
    output.page(page)


def _write_files(session: Session, folder: Path) -> tuple[list[str], list[str]]:
    """The paths that were made and those that were kept."""
    if session.config is not None:
        raise SettingsError(
            f"cannot init with settings {str(session.config)!r}: init writes its own {FILE_NAME}",
            hint="name a folder with `--folder` instead",
        )
    settings_file, jobs_file = folder / FILE_NAME, folder / JOBS_FILE
    made: list[str] = []
    kept: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        database = session.database_url or DATABASE
        _write(settings_file, SETTINGS_TEXT.format(database=_toml(database)), made, kept)
        wanted = load_settings(environment=_own(folder), working_folder=folder).jobs
        if "jobs" in wanted and not (folder / "jobs").is_dir():
            _write(jobs_file, JOBS_TEXT, made, kept)
    except OSError as error:
        raise SettingsError(
            f"cannot write into folder {str(folder)!r}: {error.strerror or error}",
            hint="choose another one with `--folder`, or let this user write there",
            fields={"folder": str(folder)},
        ) from error
    return made, kept


def _write(path: Path, text: str, made: list[str], kept: list[str]) -> None:
    """Write a file that is not there; "x" leaves one alone that appeared meanwhile."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        kept.append(str(path))
    else:
        made.append(str(path))


def _make_database(session: Session, folder: Path) -> tuple[str, bool]:
    """Open the database of the folder's settings; its location, and whether it was made now."""
    settings = load_settings(
        {"database": session.database_url}, environment=_own(folder), working_folder=folder
    )
    session.use(settings)
    session.prefer_newer_sqlite()
    from stepwell.database.migrations import migrate

    with session.open_database(create=True, migrated=False) as database:
        is_new = database.schema_version() is None
        migrate(database)
        return database.location, is_new


def _own(folder: Path) -> dict[str, str]:
    """The environment without a file that it names: `init` is about this folder's."""
    environment = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    return environment | {CONFIG_VARIABLE: str((folder / FILE_NAME).absolute())}


def _toml(text: str) -> str:
    """``text`` as a TOML string."""
    import json

    return json.dumps(text, ensure_ascii=False)
