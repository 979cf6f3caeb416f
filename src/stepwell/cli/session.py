"""What every command shares: the global options, the settings, and the doors to the database."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.cli.logs import set_up_logging
from stepwell.clock import Clock
from stepwell.errors import CannotOpenDatabase, SettingsError
from stepwell.settings import CONFIG_VARIABLE, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.database.connect import Database
    from stepwell.database.dialect import DatabaseOptions
    from stepwell.job.registry import JobRegistry
    from stepwell.node import Node


@dataclass
class Session:
    """One call of the command line.

    Nothing is read before a command asks for it, so that ``--help`` works in a broken folder.
    """

    database_url: str | None = None
    config: Path | None = None
    verbosity: int = 0
    log_format: str | None = None
    clock: Clock = field(default_factory=Clock)
    _settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings, flags included; read once.

        Raises:
            SettingsError: the file or a value is wrong.
        """
        if self._settings is None:
            self._settings = self._load_settings()
        return self._settings

    def use(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._settings = settings

    def _load_settings(self) -> Settings:
        environment = dict(os.environ)
        if self.config is not None:
            if not self.config.exists():
                raise SettingsError(
                    f"cannot read settings {str(self.config)!r}: there is no such file",
                    hint="correct `--config`, or make one with `stepwell init`",
                )
            environment[CONFIG_VARIABLE] = str(self.config.absolute())
        settings = load_settings(
            {"database": self.database_url, "log_format": self.log_format},
            environment=environment,
        )
        if self.log_format is None and settings.log_format != "text":
            set_up_logging(self.verbosity, settings.log_format)
        return settings

    def prefer_newer_sqlite(self) -> None:
        """Use the SQLite of the extra, unless the settings say otherwise."""
        if self.settings.sqlite_driver in ("auto", "pysqlite3"):
            from stepwell.database.sqlite_driver import prefer_newer_sqlite

            prefer_newer_sqlite()

    def load_jobs(self, database: Callable[[], Database] | None = None) -> JobRegistry:
        """The jobs that the settings name; the one place where the command line looks for them.

        ``database`` is what a built-in job is loaded from; without it those can only be listed.

        Raises:
            InvalidSetting: a module cannot be imported, a job file is not there, or two jobs have
                one name.
        """
        registry = self.load_modules()
        settings = self.settings
        if settings.job_files:
            from stepwell.jsl.source import load_job_files

            load_job_files(
                registry,
                settings.job_file_paths(),
                settings.folder,
                system_properties=settings.system_properties,
            )
        from stepwell.built_in_jobs import add_built_in_jobs
        from stepwell.runner.skipped import no_database

        add_built_in_jobs(registry, database=database or no_database)
        return registry

    def load_modules(self) -> JobRegistry:
        """The jobs and artifacts of the modules that the settings name, without job files.

        Raises:
            InvalidSetting: a module cannot be imported, or two jobs have one name.
        """
        # Before the user's modules import it.
        self.prefer_newer_sqlite()
        from stepwell.job.registry import JobRegistry

        registry = JobRegistry()
        registry.load_modules(self.settings.jobs, self.settings.folder)
        return registry

    def database_options(self, create: bool = False) -> DatabaseOptions:
        """How the settings have a database opened."""
        from stepwell.database.dialect import DatabaseOptions

        chosen = {
            option.name: getattr(self.settings, option.name)
            for option in fields(DatabaseOptions)
            if hasattr(self.settings, option.name)
        }
        return DatabaseOptions(**chosen, create=create)

    def open_database(self, *, create: bool = False, migrated: bool = True) -> Database:
        """The database of the settings, with Stepwell's tables brought up to date.

        A missing file is created only with ``create``; so are the tables where there are none at
        all: looking at the wrong file must not change it. ``migrated`` False leaves them alone.

        Raises:
            CannotOpenDatabase: there is no such file, or it has no tables of Stepwell.
            DatabaseError: the message says what to do.
        """
        self.prefer_newer_sqlite()
        from stepwell.database.connect import open_database
        from stepwell.database.migrations import migrate

        database = open_database(
            self.settings.database_url, clock=self.clock, options=self.database_options(create)
        )
        try:
            if migrated:
                if not create and database.schema_version() is None:
                    raise CannotOpenDatabase(
                        f"cannot read database {database.location!r}: it has no Stepwell tables",
                        hint="`stepwell init` or `stepwell run JOB` makes them,"
                        " if this is the right database",
                        fields={"database": database.location},
                    )
                migrate(database)
        except BaseException:
            database.close()
            raise
        # See main(): from here on little is imported and much may be done.
        gc.freeze()
        gc.enable()
        return database

    def look_at_database(self) -> Database:
        """The database of the settings as it stands, for reading alone, whatever its state.

        Raises:
            CannotOpenDatabase, DatabaseDamaged, DatabaseReadOnly: it cannot even be looked at.
        """
        self.prefer_newer_sqlite()
        from stepwell.database.looking import open_to_look

        return open_to_look(
            self.settings.database_url, clock=self.clock, options=self.database_options()
        )

    def open_node(self, *, create: bool = False, purpose: str = "cli") -> Node:
        """The database with everything wired on it; for commands that change something."""
        from stepwell.node import Node

        database = self.open_database(create=create)
        try:
            return Node(database, self.settings, self.clock, purpose=purpose)
        except BaseException:
            database.close()
            raise
