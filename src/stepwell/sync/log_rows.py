"""A change as a row of ``change_log``: the same fields, in the same order."""

from __future__ import annotations

from sys import intern
from typing import cast

import msgspec

from stepwell.database.prepared import Row
from stepwell.sync.change import NULL, Boundary, Change, Lineage

_resolves = msgspec.json.Decoder(tuple[str, ...])
_lineage = msgspec.json.Decoder(Lineage)
_extra = msgspec.json.Decoder(dict[str, msgspec.Raw])


def row_of(change: Change, lsn: int, source_node: str) -> Row:
    """In the order of the columns, which is that of the fields."""
    return (
        lsn,
        change.tx_id,
        change.table_name,
        str(change.pk_json, "utf-8"),
        change.op,
        _text(change.payload),
        _text(change.before),
        change.tombstone,
        change.created_at,
        source_node,
        change.origin,
        change.epoch,
        change.seq,
        change.hlc,
        change.authority,
        change.base,
        change.causal_length,
        change.new_base,
        change.new_causal_length,
        change.boundary,
        change.schema,
        _json(change.resolves),
        _json(change.lineage),
        _json(change.extra),
    )


def _text(raw: msgspec.Raw) -> str | None:
    return None if raw is NULL or raw == NULL else str(raw, "utf-8")


def _json(value: object) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def change_of(row: Row) -> Change:
    """Spelled out: a third of an export is spent here, and a dictionary would double that."""
    (
        lsn,
        tx_id,
        table_name,
        pk_json,
        op,
        payload,
        before,
        tombstone,
        created_at,
        source_node,
        origin,
        epoch,
        seq,
        hlc,
        authority,
        base,
        causal_length,
        new_base,
        new_causal_length,
        boundary,
        schema,
        resolves,
        lineage,
        extra,
    ) = row
    return Change(
        lsn=lsn,
        tx_id=tx_id,
        table_name=table_name,
        pk_json=msgspec.Raw(pk_json.encode()),
        op=op,
        payload=_raw(payload),
        before=_raw(before),
        tombstone=tombstone,
        created_at=created_at,
        source_node=source_node,
        origin=origin,
        epoch=epoch,
        seq=seq,
        hlc=hlc,
        authority=authority,
        base=base,
        causal_length=causal_length,
        new_base=new_base,
        new_causal_length=new_causal_length,
        # A default is left out of a line, and of a hash, only when it is the very object.
        boundary=cast(Boundary, intern(boundary)),
        schema=schema,
        resolves=() if resolves is None else _resolves.decode(resolves),
        lineage=None if lineage is None else _lineage.decode(lineage),
        extra=None if extra is None else _extra.decode(extra),
    )


def _raw(text: str | None) -> msgspec.Raw:
    return NULL if text is None else msgspec.Raw(text.encode())
