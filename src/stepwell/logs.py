"""Log lines that say which run they belong to, as text or as JSON.

A program that embeds Stepwell sets its own logging up and adds what it likes of this: the filter
to a handler of its own, the formatter if it wants JSON. Guarantees: nothing here raises into the
code that logs, and a line is one line, whatever stands in its message.

>>> handler = logging.StreamHandler()
>>> handler.addFilter(RunFilter())
>>> handler.setFormatter(JsonFormatter())
>>> logging.basicConfig(handlers=[handler], level=logging.INFO)
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from stepwell.execution.current import current_run

# Which run a line belongs to; each is None where there is none.
RUN_FIELDS = ("job", "execution_id", "step", "partition")

# How worker processes log: the level and the format of the process that has started them. It is no
# setting, so that programs which a job calls keep their own.
FOLLOW_VARIABLE = "_STEPWELL_LOGS"

# What is not printed as it is: an escape sequence in a message must not reach the terminal.
CONTROL = dict.fromkeys((*range(32), *range(127, 160)), "�")
_ONE_LINE = CONTROL | dict.fromkeys((9, 10, 13), " ")

# What every record has; the rest is what the caller has added.
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "is_shown"}


def one_line(text: str) -> str:
    """``text`` without line ends and control characters."""
    return text.translate(_ONE_LINE).strip()


class RunFilter(logging.Filter):
    """Adds ``job``, ``execution_id``, ``step`` and ``partition`` to each record of a handler.

    Also to records of other libraries and of the job's own code: what counts is where they are
    made. It lets everything pass.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is not there."""
        for name, value in current_run().items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


class LineFormatter(logging.Formatter):
    """``21:04:05 WARNING stepwell.runner [billing 41 load]: …``, in local time.

    The traceback stands behind it only with ``traces``.
    """

    def __init__(self, *, traces: bool = True) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One line; with ``traces`` the traceback behind it."""
        at = datetime.fromtimestamp(record.created).astimezone()
        run = " ".join(str(each) for each in _run_of(record).values() if each is not None)
        where = f"{record.name} [{one_line(run)}]" if run else record.name
        line = f"{at:%H:%M:%S} {record.levelname} {where}: {one_line(record.getMessage())}"
        if self._traces and record.exc_info:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at`` in UTC, ``level``, ``logger``, ``message``, the run, the rest.

    The rest is what the caller has added with ``extra``, and ``trace`` when there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        import msgspec

        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        values: dict[str, Any] = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_run_of(record),
        }
        for name, value in vars(record).items():
            if name not in _OF_EVERY_RECORD and name not in values:
                values[name] = value
        if record.exc_info:
            values["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(values, enc_hook=str).decode()


def _run_of(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name, None) for name in RUN_FIELDS}


class StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is now, so that a display on the terminal is not torn."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RunFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log line that cannot be printed ends nothing
            self.handleError(record)


def formatter_of(log_format: str, *, traces: bool) -> logging.Formatter:
    """``text`` or ``json``."""
    return JsonFormatter() if log_format == "json" else LineFormatter(traces=traces)


def let_workers_follow(level: int, log_format: str) -> None:
    """Have processes that are started from here on log like this one; see ``follow_parent``."""
    os.environ[FOLLOW_VARIABLE] = f"{level} {log_format}"


def follow_parent() -> None:
    """In a worker process: log as the process that has started it, unless this one has its own."""
    level, _, log_format = os.environ.get(FOLLOW_VARIABLE, "").partition(" ")
    if level.isdigit() and not logging.getLogger().handlers:
        handler = StderrHandler()
        handler.setFormatter(formatter_of(log_format, traces=int(level) < logging.WARNING))
        logging.basicConfig(level=int(level), handlers=[handler])
