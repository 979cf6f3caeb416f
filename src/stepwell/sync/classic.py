"""Files of version 1.0: nine fields a line, no hash, no last line; transactions may interleave.

They are turned into changes of today: the group of a transaction is ``(source_node, 0, its last
LSN)``, and comes where that LSN is; its stamp is the latest ``created_at`` in it. No epoch of a
node is 0, so these never meet groups that a node has sent since. Which version a row had is not
known (``base`` is None), nor its causal length before; who applies a change looks at the row.

Lines are sorted in a temporary database on the disk, so that memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from stepwell.database.types import utc_text
from stepwell.errors import DatabaseFull
from stepwell.sync.bundle import CLASSIC_VERSION, MARK, Meta, canonical_key
from stepwell.sync.bundle_files import Lines
from stepwell.sync.change import (
    INTEGER_MAX,
    NODE_ID,
    NULL,
    Change,
    Operation,
    decode_values,
    encode_values,
    hlc_of,
    next_causal_length,
)

if TYPE_CHECKING:
    import sqlite3

_FIELDS = frozenset(
    [
        "lsn",
        "tx_id",
        "table_name",
        "pk_json",
        "op",
        "payload",
        "tombstone",
        "created_at",
        "source_node",
    ]
)
_FIELDS |= {"created_at", "source_node"}
_NO_LINE = (ValueError, RecursionError)

_LINES = (
    "CREATE TABLE line (tx TEXT NOT NULL, lsn INTEGER NOT NULL, number INTEGER NOT NULL,"
    " text BLOB NOT NULL, PRIMARY KEY (tx, lsn)) WITHOUT ROWID"
)
_TRANSACTIONS = (
    "CREATE TABLE tx (tx TEXT PRIMARY KEY, last_lsn INTEGER NOT NULL, stamp INTEGER NOT NULL)"
    " WITHOUT ROWID"
)
_INSERT_LINE = "INSERT INTO line (tx, lsn, number, text) VALUES (?, ?, ?, ?)"
_PUT_TX = (
    "INSERT INTO tx (tx, last_lsn, stamp) VALUES (?, ?, ?) ON CONFLICT (tx) DO UPDATE"
    " SET last_lsn = excluded.last_lsn, stamp = max(stamp, excluded.stamp)"
)
_SORTED = (
    "SELECT line.number, line.text, tx.last_lsn, tx.stamp FROM tx JOIN line ON line.tx = tx.tx"
    " ORDER BY tx.last_lsn, line.lsn"
)


class _Classic(NamedTuple):
    """One line, not yet in a group; ``tx`` tells its transaction from all others in the file."""

    tx: str
    stamp: int
    change: Change


def classic_meta(lines: Lines, fields: dict[str, Any]) -> Meta:
    """The first line of a classic file, in today's form."""
    source, client = fields.get("source_node"), fields.get("client_id")
    if source is None and client is None:
        raise lines.other("its `__meta__` has no file_version, source_node or client_id")
    # A client's file says at least whose it is.
    return Meta(
        file_version=str(fields.get("file_version", CLASSIC_VERSION)),
        source_node=node_id_of(str(source if source is not None else client)),
        client_id="" if client is None else node_id_of(str(client)),
    )


def classic_lines(lines: Lines, meta: Meta) -> Iterator[tuple[int, Change]]:
    """All changes with their line numbers, transaction by transaction, by their last LSN."""
    import sqlite3  # Not before the command line has chosen which one.

    try:
        with closing(sqlite3.connect("", isolation_level=None)) as sorting:
            for statement in (_LINES, _TRANSACTIONS, "BEGIN"):
                sorting.execute(statement)
            _sort_in(sorting, lines, meta)
            for number, text, last_lsn, stamp in sorting.execute(_SORTED):
                change = _read(text, meta).change
                yield number, msgspec.structs.replace(change, seq=last_lsn, hlc=stamp)
    except sqlite3.Error as error:
        raise DatabaseFull(
            f"cannot import {lines.name!r}: its lines cannot be sorted, {error}",
            hint="make room in the folder for temporary files, or name another in TMPDIR",
            fields={"file": lines.name},
        ) from error


def node_id_of(name: str) -> str:
    """The id of a node of old: its name, or what is left of it and eight digits of its hash."""
    if NODE_ID.fullmatch(name):
        return name
    kept = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")[:48]
    return f"{kept or 'node'}-{hashlib.sha256(name.encode('utf-8')).hexdigest()[:8]}"


def _sort_in(sorting: sqlite3.Connection, lines: Lines, meta: Meta) -> None:
    last_lsn = 0
    iterator = iter(lines)
    next(iterator)  # The first one is known.
    for line in iterator:
        if not line.strip():
            continue
        if MARK.match(line):
            raise lines.damaged("a second `__meta__`, or an `__end__`, which this version has not")
        try:
            tx, stamp, change = _read(line, meta)
        except _NO_LINE as error:
            raise lines.no_json(error) from error
        if change.lsn <= last_lsn:
            twice = change.lsn == last_lsn
            raise lines.damaged(
                f"change {change.lsn} stands "
                + ("there twice" if twice else f"behind change {last_lsn}")
            )
        last_lsn = change.lsn
        sorting.execute(_INSERT_LINE, (tx, change.lsn, lines.number, line))
        sorting.execute(_PUT_TX, (tx, change.lsn, stamp))


_line_decoder = msgspec.json.Decoder(dict[str, Any])
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _read(line: bytes, meta: Meta) -> _Classic:
    fields = _line_decoder.decode(line)
    lsn = fields.get("lsn")
    if type(lsn) is not int or not 1 <= lsn <= INTEGER_MAX:
        raise ValueError(f"lsn must be an integer from 1, got {_shown(lsn)}")
    op = _operation(fields)
    table_name = fields.get("table_name")
    if not isinstance(table_name, str) or not table_name:
        raise ValueError(f"table_name must be the name of a table, got {_shown(table_name)}")
    key = canonical_key(_object("pk_json", fields.get("pk_json")))
    moment = _moment(fields.get("created_at"))
    named = fields.get("source_node")
    node = meta.source_node if named in (None, "") else node_id_of(str(named))
    tx_id = fields.get("tx_id")
    if not isinstance(tx_id, str | int | None):
        raise ValueError(f"tx_id must be text or a number, got {_shown(tx_id)}")  # noqa: TRY004
    # Without one, the change is a transaction of its own.
    tx_id = f"{node}.{lsn}" if tx_id in (None, "") else str(tx_id)
    change = Change(
        lsn=lsn,
        tx_id=tx_id,
        table_name=table_name,
        pk_json=msgspec.Raw(key),
        op=op,
        payload=NULL if op == "D" else _image(key, fields.get("payload")),
        tombstone=int(op == "D"),
        created_at=utc_text(moment),
        source_node=node,
        origin=node,
        causal_length=next_causal_length(0, op),
        extra=_others(line) if fields.keys() - _FIELDS else None,
    )
    return _Classic(f"{node} {tx_id}", max(0, hlc_of(moment)), change)


def _operation(fields: dict[str, Any]) -> Operation:
    op, tombstone = fields.get("op"), fields.get("tombstone")
    if op not in ("I", "U", "D"):
        raise ValueError(f"op must be I, U or D, got {_shown(op)}")
    if tombstone not in (None, 0, 1) or (tombstone and op != "D"):
        raise ValueError(f"tombstone must be 1 for D and 0 for I and U, got {_shown(tombstone)}")
    operation: Operation = op
    return operation


def _object(name: str, value: Any) -> bytes:
    """An object, or a string that is the JSON of one; JSON inside of it becomes its text."""
    if isinstance(value, str):
        value = msgspec.json.decode(value)
    if not isinstance(value, dict):
        what = f"{name} must be an object, or a string with one, got {_shown(value)}"
        raise ValueError(what)  # noqa: TRY004
    return msgspec.json.encode({column: _plain(held) for column, held in value.items()})


def _plain(value: Any) -> Any:
    is_wire_form = isinstance(value, dict) and len(value) == 1 and next(iter(value))[:1] == "$"
    if isinstance(value, dict | list) and not is_wire_form:
        return msgspec.json.encode(value).decode("utf-8")
    return value


def _image(key: bytes, payload: Any) -> msgspec.Raw:
    """The payload, with the key where it leaves that out. That of a U may be a part of the row."""
    if payload is None:
        raise ValueError("payload must be an object, or a string with one, for I and U")
    values = decode_values(_object("payload", payload))
    return msgspec.Raw(encode_values({**decode_values(key), **values}))


def _moment(created_at: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(created_at.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return moment.astimezone(UTC)
    except (AttributeError, ValueError, OverflowError):
        raise ValueError(f"created_at must be a time, got {_shown(created_at)}") from None


def _others(line: bytes) -> dict[str, msgspec.Raw]:
    return {n: value for n, value in _raw_decoder.decode(line).items() if n not in _FIELDS}


def _shown(value: Any) -> str:
    text = repr(value[:80] if isinstance(value, str) else value)
    return text if len(text) <= 100 else text[:100] + "…"
