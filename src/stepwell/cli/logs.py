"""Log lines on stderr: one line each, warnings only unless ``-v`` asks for more."""

from __future__ import annotations

import logging
import sys
from datetime import datetime

from stepwell.cli.text import one_line

# Their information is about their own insides.
_TALKATIVE = ("alembic", "sqlalchemy", "asyncio")


class StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is now, so that a display on the terminal is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log line that cannot be printed ends nothing
            self.handleError(record)


class LineFormatter(logging.Formatter):
    """``21:04:05 WARNING stepwell.runner: …``; the traceback only when more was asked for."""

    def __init__(self, *, traces: bool) -> None:
        super().__init__()
        self._traces = traces

    def format(self, record: logging.LogRecord) -> str:
        """One line; with ``traces`` the traceback behind it."""
        at = datetime.fromtimestamp(record.created).astimezone()
        line = f"{at:%H:%M:%S} {record.levelname} {record.name}: {one_line(record.getMessage())}"
        if self._traces and record.exc_info:
            return f"{line}\n{self.formatException(record.exc_info)}"
        return line


def _is_not_shown_anyhow(record: logging.LogRecord) -> bool:
    """How an execution has ended is told on stdout already."""
    return not getattr(record, "is_shown", False)


def set_up_logging(verbosity: int) -> None:
    """WARNING, with one ``-v`` INFO, with two DEBUG; everything goes to stderr."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = StderrHandler()
    if verbosity == 0:
        handler.addFilter(_is_not_shown_anyhow)
    handler.setFormatter(LineFormatter(traces=verbosity > 0))
    logging.basicConfig(level=level, handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if verbosity < 2 else level)
