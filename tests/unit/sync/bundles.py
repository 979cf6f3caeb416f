"""Changes, metas and files of changes, made by hand for the tests of the format."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from stepwell.sync.bundle import LinesHash, Meta
from stepwell.sync.bundle_reader import ChangeLine, open_bundle
from stepwell.sync.bundle_writer import write_bundle
from stepwell.sync.change import NULL, Change

AT = "2026-11-20T01:02:03.000000Z"


def change(lsn: int, seq: int, **fields: Any) -> Change:
    """Change ``lsn`` of group ``seq`` of shop-1: an insert of row ``lsn``."""
    values: dict[str, Any] = {
        "lsn": lsn,
        "tx_id": f"shop-1.1.{seq}",
        "table_name": "visit",
        "pk_json": msgspec.Raw(b'{"id":%d}' % lsn),
        "op": "I",
        "payload": msgspec.Raw(b'{"id":%d,"note":"x"}' % lsn),
        "created_at": AT,
        "source_node": "shop-1",
        "origin": "shop-1",
        "epoch": 1,
        "seq": seq,
        "hlc": 100 + seq,
        "causal_length": 1,
    }
    values |= fields
    if values["op"] == "D":
        values |= {"payload": NULL, "tombstone": 1}
    return Change(**values)


def meta(last: int, **fields: Any) -> Meta:
    """Of a file that speaks of LSN 1 to ``last``."""
    values = {"tx_id": "b-1", "source_node": "shop-1", "epoch": 1, "exported_at": AT}
    return Meta(**{**values, "to_lsn": last, **fields})


def text_of(changes: Sequence[Change], **fields: Any) -> bytes:
    """A whole file."""
    stream = io.BytesIO()
    last = max((c.lsn for c in changes), default=0)
    write_bundle(stream, meta(last, **fields), changes)
    return stream.getvalue()


def sealed(lines: Sequence[bytes]) -> bytes:
    """The lines of a file, its last one replaced by one with their right hash and counts."""
    lines_hash = LinesHash()
    for line in lines[:-1]:
        lines_hash.add(line)
    end = json.loads(lines[-1])
    end["__end__"]["sha256"] = lines_hash.hex()
    return b"\n".join([*lines[:-1], json.dumps(end).encode()]) + b"\n"


def read(path: Path) -> list[Change]:
    return [line.change for line in open_bundle(path).lines()]


def grouped(path: Path) -> list[tuple[int, list[int]]]:
    """Of each group its seq and its LSNs."""
    return [
        (group.seq, [change.lsn for change in group.changes()])
        for group in open_bundle(path).groups()
    ]


def classic(path: Path, *lines: dict[str, Any] | str, **meta_fields: Any) -> list[ChangeLine]:
    """Write a classic file of lines that are given in part, and read it."""
    first = {"__meta__": meta_fields or {"client_id": "shop-3", "source_node": "shop-3"}}
    texts = [json.dumps(first)]
    for number, fields in enumerate(lines, 1):
        if isinstance(fields, str):
            texts.append(fields)
            continue
        whole = {
            "lsn": number,
            "tx_id": f"t{number}",
            "table_name": "visit",
            "pk_json": {"id": number},
            "op": "I",
            "payload": {"id": number, "note": "x"},
            "tombstone": 0,
            "created_at": "2024-01-02T03:04:05Z",
            "source_node": "shop-3",
        }
        texts.append(json.dumps({**whole, **fields}))
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return list(open_bundle(path).lines())
