"""Log lines on stderr: one line each, warnings only unless ``-v`` asks for more."""

from __future__ import annotations

import logging

from stepwell.logs import StderrHandler, formatter_of, let_workers_follow

# Their information is about their own insides.
_TALKATIVE = ("alembic", "sqlalchemy", "asyncio")


def _is_not_shown_anyhow(record: logging.LogRecord) -> bool:
    """How an execution has ended is told on stdout already."""
    return not getattr(record, "is_shown", False)


def set_up_logging(verbosity: int, log_format: str) -> None:
    """WARNING, with one ``-v`` INFO, with two DEBUG; everything goes to stderr.

    A second call changes the format.
    """
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    handler = StderrHandler()
    if verbosity == 0 and log_format == "text":
        handler.addFilter(_is_not_shown_anyhow)
    handler.setFormatter(formatter_of(log_format, traces=verbosity > 0))
    root = logging.getLogger()
    for former in [each for each in root.handlers if isinstance(each, StderrHandler)]:
        root.removeHandler(former)
    logging.basicConfig(level=level, handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if verbosity < 2 else level)
    let_workers_follow(level, log_format)
