"""Node: one database and everything that is wired on it; the composition root."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from stepwell.built_in_jobs import add_built_in_jobs
from stepwell.clock import Clock
from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.migrations import migrate
from stepwell.errors import JobExecutionNotRunning
from stepwell.execution.status import BatchStatus
from stepwell.job.registry import JobRegistry
from stepwell.operator import JobOperator
from stepwell.repository.executions import QUEUE
from stepwell.repository.pools import Pools
from stepwell.repository.questions import Access
from stepwell.repository.repository import JobRepository
from stepwell.repository.steps import get_context, list_steps
from stepwell.schedules import Schedules
from stepwell.settings import Settings, load_settings
from stepwell.worker import Duty, Tell, Worker

SCHEDULES_S = 1.0  # A minute's job starts within its first seconds.

if TYPE_CHECKING:
    from stepwell.doctor.doctor import Doctor
    from stepwell.notifications import Notifier
    from stepwell.sync.remote import Remote
    from stepwell.sync.session import Sync


class Node:
    """One database, opened and migrated, with its jobs and its operator.

    >>> with Node.open("sqlite:///night.db") as node:
    ...     node.operator.run(job, {"day": "2026-11-20"})

    Closing it stops what it runs, waits, and closes the connections.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        clock: Clock,
        *,
        purpose: str,
        access: Access | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock
        self.repository = JobRepository(database, clock)
        self.pools = Pools(database)
        if settings.pools:
            self.pools.configure(settings.pools)
        self.registry = JobRegistry()
        self._purpose = purpose
        self._sync: Sync | None = None
        self._making = Lock()  # The first of several threads opens the other database.
        self._doctor: Doctor | None = None
        self.operator = JobOperator(
            self.repository, self.registry, settings, purpose=purpose, access=access
        )
        self.locks = self.repository.locks
        self.schedules = Schedules(
            self.repository, self.registry, self.operator, settings, access=access
        )
        # What a worker of this node does on its timer, beside claiming and recovery.
        self.duties: list[Duty] = [
            Duty("the schedules", SCHEDULES_S, self.schedules.fire_due),
            Duty("the doctor", settings.doctor_interval_s, self._examine),
        ]
        self.notifier: Notifier | None = None
        if settings.notify:
            from stepwell.notifications import Notifier  # HTTP only when needed.

            self.notifier = Notifier(self.repository, settings)
            self.notifier.start()

    @classmethod
    def open(
        cls,
        where: str | Settings | None = None,
        *,
        clock: Clock | None = None,
        create: bool = True,
        purpose: str = "library",
        access: Access | None = None,
    ) -> Node:
        """Open a URL, a Settings, or (None) what the settings of this process name.

        Stepwell's own tables are migrated before anything else (S199). ``create`` False refuses
        a missing SQLite file. ``access`` is asked before each operation of the operator and
        refuses it by answering False (S176). The jobs of the settings are loaded when
        ``load_jobs`` is called.

        Raises:
            SettingsError, DatabaseError: the message says what to do.
        """
        if isinstance(where, Settings):
            settings = where
        else:
            settings = load_settings({"database": where})
        clock = clock or Clock()
        database = open_database(
            settings.database_url,
            clock=clock,
            options=DatabaseOptions(
                durability=settings.durability,
                sqlite_driver=settings.sqlite_driver,
                allow_unsafe_filesystem=settings.allow_unsafe_filesystem,
                gate_timeout_s=settings.gate_timeout_s,
                create=create,
            ),
        )
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, settings, clock, purpose=purpose, access=access)

    @property
    def doctor(self) -> Doctor:
        """Examines and repairs this database, with the jobs that are registered here."""
        if self._doctor is None:
            from stepwell.doctor.copy import folder_of  # Most programs never ask.
            from stepwell.doctor.doctor import Doctor

            self._doctor = Doctor(
                self.database,
                self.registry,
                folder=folder_of(self.settings),
                auto_repair=self.settings.doctor_auto_repair,
            )
        return self._doctor

    def _examine(self) -> None:
        self.doctor.run_once()

    @property
    def sync(self) -> Sync:
        """The change log of the settings' ``sync_database``, which is this one unless they say so.

        Raises:
            DatabaseError: the other database cannot be opened.
        """
        with self._making:
            if self._sync is None:
                from stepwell.sync.session import Sync  # Most commands do without.

                url = self.settings.sync_database_url
                database = self.database if url is None else self._open_sync_database(url)
                is_apart = database is not self.database
                self._sync = Sync(
                    database,
                    self.clock,
                    actor=self._purpose,
                    is_apart=is_apart,
                    remote=self._remote(),
                    run=self._run_built_in,
                )
            return self._sync

    def _remote(self) -> Remote:
        from stepwell.sync.remote import Remote

        settings = self.settings
        return Remote(
            url=settings.sync_url,
            token=settings.sync_token,
            token_file=settings.sync_token_file,
            transit=Path(settings.sync_folder),
            folder=settings.folder,
        )

    def _run_built_in(self, name: str, parameters: Mapping[str, object]) -> dict[str, Any]:
        """Run a job of the change log; what the step that reports has left in its context."""
        self.add_sync_jobs()
        self.operator.recover_dead()
        execution = self.operator.run(name, parameters)
        if isinstance(execution.exception, Exception):
            raise execution.exception
        if execution.batch_status is not BatchStatus.COMPLETED:
            raise JobExecutionNotRunning(
                execution.execution_id, str(execution.batch_status), verb="finish"
            )
        with self.database.read() as reader:
            steps = list_steps(reader, execution.execution_id)
            [reports] = [s for s in steps if s.step_name in ("finish", "write")]
            found: dict[str, Any] = json.loads(get_context(reader, reports.step_execution_id))
        return {"execution_id": execution.execution_id, **found}

    def _open_sync_database(self, url: str) -> Database:
        options = replace(self.database.options, create=False)
        return open_database(url, clock=self.clock, options=options)

    def load_jobs(self) -> None:
        """Register the jobs of the modules that the settings name, job files and built-in jobs.

        Raises:
            InvalidSetting: a module cannot be imported, a job file is not there, or two jobs have
                one name.
        """
        settings = self.settings
        self.registry.load_modules(settings.jobs, settings.folder)
        if settings.job_files:
            from stepwell.jsl.source import load_job_files  # XML and YAML only when needed.

            load_job_files(
                self.registry,
                settings.job_file_paths(),
                settings.folder,
                system_properties=settings.system_properties,
            )
        add_built_in_jobs(self.registry, lambda: self)
        if settings.doctor_auto_repair:
            self.doctor.refuse_unknown_codes()

    def add_sync_jobs(self) -> None:
        """Register the built-in jobs of the change log alone; ``load_jobs`` does so, too."""
        from stepwell.sync.jobs import add_sync_jobs

        add_sync_jobs(self.registry, lambda: self.sync)

    def worker(
        self,
        *,
        parallel: int = 1,
        jobs: Collection[str] = (),
        pools: Collection[str] = (),
        drain: bool = False,
        tell: Tell | None = None,
    ) -> Worker:
        """A worker for the registered executions of this database; see :class:`.Worker`.

        The schedules of the settings are recorded first.

        Raises:
            InvalidSetting: a schedule of the settings cannot work.
        """
        self.schedules.reconcile()
        options = {} if tell is None else {"tell": tell}
        return Worker(
            self.operator,
            self.clock,
            parallel=parallel,
            jobs=jobs,
            pools=pools,
            drain=drain,
            duties=self.duties,
            listen=partial(self.database.listening, QUEUE),
            **options,
        )

    def close(self) -> None:
        """Stop what runs here, wait within the shutdown timeout, close the connections."""
        try:
            self.operator.close()
        finally:
            if self.notifier is not None:
                self.notifier.close()  # What has ended last is told of too.
            if self._sync is not None and self._sync.database is not self.database:
                self._sync.database.close()
            self.database.close()

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
