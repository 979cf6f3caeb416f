"""URLs of PostgreSQL databases: for messages, for programs, for the server's other databases."""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit


def without_password(url: str) -> str:
    """The URL for messages."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    options = [option for option in parse_qsl(parts.query) if option[0] != "password"]
    question_mark = "?" if options else ""
    return (
        f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"
        f"{question_mark}{urlencode(options, safe='/')}"
    )


def conninfo_of(url: str) -> dict[str, Any]:
    """What libpq is told, for programs that use it; with the password."""
    conninfo = importlib.import_module("psycopg.conninfo")
    return dict(conninfo.conninfo_to_dict(url))


def url_of(url: str, database: str) -> str:
    """The URL of another database of the same server."""
    parts = urlsplit(url)
    options = [option for option in parse_qsl(parts.query) if option[0] != "dbname"]
    return urlunsplit(parts._replace(path="/" + quote(database), query=urlencode(options)))
