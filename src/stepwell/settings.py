"""The settings: ``stepwell.toml``, then ``STEPWELL_*`` variables, then flags; the last one wins.

A name that no setting has is refused with the nearest one, so that a typing error never turns a
setting off in silence. Units stand in the names.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from stepwell.channels import ChannelSettings, Event, fault_of_channel
from stepwell.errors import InvalidSetting, SettingsError, UnknownSetting

FILE_NAME = "stepwell.toml"
CONFIG_VARIABLE = "STEPWELL_CONFIG"
PREFIX = "STEPWELL_"

Seconds = Annotated[float, msgspec.Meta(gt=0)]
PoolSize = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class ScheduleSettings:
    """When a job is started by itself.

    Attributes:
        cron: Five fields: minute, hour, day of the month, month, day of the week.
        zone: An IANA time zone; that of the machine unless given.
        catch_up: Which of the runs that no worker was there for run later: ``skip`` none, ``last``
            the last one, ``all`` each of them.
        parameters: Of each run; texts may use ``{due}``, ``{today}``, ``{yesterday}`` and
            ``{month_start}``.
    """

    cron: str
    zone: str | None = None
    catch_up: Literal["skip", "last", "all"] = "last"
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class JobSettings:
    """The operators' side of one job, ``[job."NAME"]``, whatever file defines it.

    Attributes:
        run_lock: ``parameters``, ``job`` or ``none``; replaces the job's own (S184).
        resources: Paths or globs that no two executions have at the same time; replaces the job's
            own (S197).
        pool: The pool, or the pools, that limit how many run at a time; replaces the job's own.
        schedule: A cron expression, or a table with ``cron``, ``zone``, ``catch_up`` and
            ``parameters``.
        priority: Of what is registered without one; a higher number goes first.
        timeout_s: Replaces the job's own (S186).
        attempts: Replaces the job's own (S186).
        max_recoveries: Replaces that of all jobs (S191).
        notify: The channels that are told of this job, or for each its own events; all channels
            with theirs unless given.
    """

    run_lock: Literal["parameters", "job", "none"] | None = None
    resources: tuple[str, ...] | None = None
    pool: str | tuple[str, ...] | None = None
    schedule: str | ScheduleSettings | None = None
    priority: int | None = None
    timeout_s: Seconds | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_recoveries: Count | None = None
    notify: tuple[str, ...] | dict[str, tuple[Event, ...]] | None = None


@dataclass(frozen=True)
class Settings:
    """Everything that can be set, validated.

    Attributes:
        database: URL, ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://…``;
            a relative path starts at the folder of ``stepwell.toml``.
        jobs: Importable modules that hold Job values, relative to that folder.
        job_files: Globs of job files (``.xml``, ``.yaml``), relative to that folder.
        system_properties: What ``#{systemProperties['…']}`` in job files stands for.
        sync_database: The application's database with its tracked tables and their change log, when
            it is another one than ``database``; the jobs' own chunks and the changes they make
            there are then two commits. Empty: ``database``.
        sync_url: Of the hub with which ``sync push`` and ``sync pull`` exchange changes.
        sync_token: By which this node shows there who it is; better in the environment, or in
            ``sync_token_file``, whose path is relative to that folder.
        sync_folder: Where changes lie on their way over HTTP, relative to that folder; made when it
            is missing.
        sync_push_bytes_max: What a hub takes at once, as it is sent.
        durability: ``full`` fsyncs each commit; ``normal`` may lose the last ones when the power
            fails, never the order.
        sqlite_driver: ``auto``, ``sqlite3`` or ``pysqlite3`` (a newer SQLite, from the extra).
        allow_unsafe_filesystem: Open a SQLite database where WAL is known to corrupt it.
        gate_timeout_s: Seconds that a writer waits for its turn.
        shutdown_timeout_s: Seconds that a stopped process waits for its running work.
        doctor_interval_s: Seconds between two looks of the doctor in a worker.
        doctor_auto_repair: Codes of findings whose repair it may do by itself.
        pools: Name and size of each pool; see :mod:`stepwell.repository.pools`.
        max_recoveries: How often registered work whose worker died goes on by itself (S191).
        dask_scheduler: The address of the scheduler that ``executor="dask"`` uses. Empty: that of
            the program's Dask client or of Dask's own configuration, else worker processes of this
            machine, for as long as they are needed.
        backup_folder: Where copies stand, relative to that folder; only ``backups`` is made when it
            is missing, any other must be there.
        log_format: How the command line logs: ``text`` for people, ``json`` for programs.
        notify: Who is told of what, by name; see :class:`ChannelSettings`.
        requests_per_minute: Of one token, or of an address without one, over HTTP; 0: any number.
        require_tls: Refuse to serve others than this machine without a certificate.
        folder: Where ``stepwell.toml`` stands, or the working folder; not a setting.
        file: The file that was read, or None; not a setting.
    """

    database: str = "sqlite:///stepwell.db"
    jobs: tuple[str, ...] = ()
    job_files: tuple[str, ...] = ()
    system_properties: dict[str, str] = field(default_factory=dict)
    sync_database: str = ""
    sync_url: str = ""
    sync_token: str = field(default="", repr=False)
    sync_token_file: str = ""
    sync_folder: str = "sync-transit"
    sync_push_bytes_max: Annotated[int, msgspec.Meta(ge=1)] = 1024 * 1024 * 1024
    durability: Literal["full", "normal"] = "full"
    sqlite_driver: Literal["auto", "sqlite3", "pysqlite3"] = "auto"
    allow_unsafe_filesystem: bool = False
    gate_timeout_s: Seconds = 30.0
    shutdown_timeout_s: Seconds = 30.0
    doctor_interval_s: Seconds = 3_600.0
    doctor_auto_repair: tuple[str, ...] = ()
    pools: dict[str, PoolSize] = field(default_factory=dict)
    max_recoveries: Count = 3
    dask_scheduler: str = ""
    backup_folder: str = "backups"
    log_format: Literal["text", "json"] = "text"
    requests_per_minute: Count = 6_000
    require_tls: bool = False
    notify: dict[str, ChannelSettings] = field(default_factory=dict)
    job: dict[str, JobSettings] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    file: Path | None = None

    @property
    def database_url(self) -> str:
        """``database`` with a relative SQLite path made absolute from ``folder``."""
        return self._absolute(self.database)

    @property
    def sync_database_url(self) -> str | None:
        """``sync_database`` made absolute; None when it is ``database``."""
        url = self._absolute(self.sync_database)
        return None if url in ("", self.database_url) else url

    def job_file_paths(self) -> list[Path]:
        """The files that ``job_files`` names, in the order of its patterns.

        Raises:
            InvalidSetting: a path without wildcards leads nowhere.
        """
        return [path for pattern in self.job_files for path in self._matching(pattern)]

    def _matching(self, pattern: str) -> list[Path]:
        top, below = self.folder, pattern
        if Path(pattern).is_absolute():
            top = Path(Path(pattern).anchor)
            below = str(Path(pattern).relative_to(top))
        paths = sorted(path for path in top.glob(below) if path.is_file())
        if paths or set("*?[") & set(pattern):
            return paths
        near = [path.name for path in (self.folder / pattern).parent.glob("*")]
        close = difflib.get_close_matches(Path(pattern).name, near, n=1)
        raise InvalidSetting(
            f"job_files must name job files, got {pattern!r}, and there is none in"
            f" {str(self.folder)!r}",
            hint=f"did you mean {close[0]!r}?" if close else "it is relative to stepwell.toml",
            fields={"setting": "job_files", "pattern": pattern},
        )

    def _absolute(self, url: str) -> str:
        prefix = "sqlite:///"
        if url.startswith(prefix):
            path = Path(url.removeprefix(prefix)).expanduser()
            return prefix + str(path if path.is_absolute() else self.folder / path)
        return url


NOT_SETTINGS = ("folder", "file")
SECTIONS = ("job", "notify", "pools", "system_properties")  # Tables, which no variable can say.
NAMES = tuple(f.name for f in fields(Settings) if f.name not in NOT_SETTINGS)
VARIABLES = {PREFIX + name.upper(): name for name in NAMES if name not in SECTIONS}


def load_settings(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    working_folder: Path | None = None,
) -> Settings:
    """Read the settings of this process.

    ``flags`` holds what the command line gave, None values left out. ``environment`` and
    ``working_folder`` are the process's own unless given.

    Raises:
        SettingsError: the file cannot be read, a name is unknown or a value breaks its rule.
    """
    environment = os.environ if environment is None else environment
    folder = working_folder or Path.cwd()
    file = _find_file(environment, folder)
    values = _read_file(file) if file is not None else {}
    _refuse_unknown(values, NAMES, where=f" in {file}")
    given = {v: text for v, text in environment.items() if v.startswith(PREFIX)}
    given.pop(CONFIG_VARIABLE, None)
    _refuse_unknown(given, tuple(VARIABLES), where=" in the environment")
    for variable, text in given.items():
        values[VARIABLES[variable]] = _from_text(VARIABLES[variable], text)
    values.update({k: v for k, v in (flags or {}).items() if v is not None})
    settings = _convert(values)
    return replace(settings, folder=file.parent if file is not None else folder, file=file)


def _find_file(environment: Mapping[str, str], folder: Path) -> Path | None:
    named = environment.get(CONFIG_VARIABLE)
    if named:
        path = (folder / Path(named).expanduser()).resolve()
        if path.is_dir():
            path = path / FILE_NAME
        if not path.is_file():
            raise SettingsError(
                f"cannot read settings {str(path)!r}: {CONFIG_VARIABLE} names it,"
                " but there is no such file",
                hint="correct the variable, or unset it",
            )
        return path
    path = folder / FILE_NAME
    return path if path.is_file() else None


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read settings {str(file)!r}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(
            f"cannot read settings {str(file)!r}: {str(error)[:1].lower()}{str(error)[1:]}",
            hint="it must be TOML, as `stepwell init` writes it",
        ) from error


def _refuse_unknown(values: Mapping[str, object], known: tuple[str, ...], *, where: str) -> None:
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise UnknownSetting(
                f"unknown setting {name!r}{where}{meant}",
                hint=f"the settings are: {', '.join(known)}",
                fields={"setting": name},
            )


def _from_text(name: str, text: str) -> object:
    if name in ("jobs", "job_files", "doctor_auto_repair"):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def _convert(values: dict[str, Any]) -> Settings:
    for name, section in values.get("job", {}).items():
        if isinstance(section, dict):
            known = tuple(f.name for f in fields(JobSettings))
            _refuse_unknown(section, known, where=f' in [job."{name}"]')
            schedule = section.get("schedule")
            if isinstance(schedule, dict):
                known = tuple(f.name for f in fields(ScheduleSettings))
                _refuse_unknown(schedule, known, where=f' in [job."{name}".schedule]')
    for name, section in values.get("notify", {}).items():
        if isinstance(section, dict):
            known = tuple(f.name for f in fields(ChannelSettings))
            _refuse_unknown(section, known, where=f" in [notify.{name}]")
    types = get_type_hints(Settings, include_extras=True)
    converted = {}
    for name, value in values.items():
        try:
            # Variables and flags are text: not strict.
            converted[name] = msgspec.convert(value, types[name], strict=False)
        except msgspec.ValidationError as error:
            fact = str(error).split(" - at")[0]
            # These may hold secrets.
            shown = "something else" if name in ("notify", "sync_token") else repr(value)
            raise InvalidSetting(
                f"{name} must be {_RULES[name]}, got {shown}",
                hint=fact[:1].lower() + fact[1:],
                fields={"setting": name},
            ) from None
    settings = Settings(**converted)
    _check_channels(settings)
    return settings


def _check_channels(settings: Settings) -> None:
    """Refuse a channel that could tell nobody, or would tell a secret to everybody on the way."""
    for name, channel in settings.notify.items():
        fault = fault_of_channel(channel)
        if fault:
            raise InvalidSetting(
                f"[notify.{name}] must {fault}",
                hint='for example `command = ["sh", "tell.sh"]`, or `webhook = "https://…"`',
                fields={"setting": "notify", "channel": name},
            )
    for job_name, job in settings.job.items():
        for name in job.notify or ():
            if name not in settings.notify:
                raise InvalidSetting(
                    f'[job."{job_name}"] notify must name channels, got {name!r}',
                    hint=f"the channels are: {', '.join(settings.notify) or 'none'}",
                    fields={"setting": "notify", "job": job_name},
                )


_RULES = {
    "database": "a URL such as 'sqlite:///stepwell.db' or 'postgresql://…'",
    "jobs": "a list of importable modules",
    "job_files": "a list of paths or globs of job files",
    "system_properties": "a section [system_properties] of names and texts",
    "sync_database": "a URL as database's, or empty",
    "sync_url": "a URL such as 'https://head-office.example:9093'",
    "sync_token": "a token that `stepwell token create` has shown",
    "sync_token_file": "a path to a file that holds a token",
    "sync_folder": "a path, such as 'sync-transit'",
    "sync_push_bytes_max": "bytes, 1 or more",
    "durability": "'full' or 'normal'",
    "sqlite_driver": "'auto', 'sqlite3' or 'pysqlite3'",
    "allow_unsafe_filesystem": "true or false",
    "gate_timeout_s": "seconds above 0",
    "shutdown_timeout_s": "seconds above 0",
    "doctor_interval_s": "seconds above 0",
    "doctor_auto_repair": "a list of codes of findings",
    "pools": "a section [pools] of names and whole numbers, 0 or more",
    "max_recoveries": "0 or more",
    "dask_scheduler": "an address such as 'tcp://10.0.0.5:8786', or empty",
    "backup_folder": "a path, such as 'backups' or '/mnt/usb'",
    "log_format": "'text' or 'json'",
    "requests_per_minute": "0 or more",
    "require_tls": "true or false",
    "notify": "sections [notify.NAME] with a command or a webhook",
    "job": 'sections [job."NAME"]',
}
