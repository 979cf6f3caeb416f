"""The file of changes: its lines, their order, its hash; pure, no I/O.

``docs/sync-format.md`` is the format; this module says it in code, for the writer and the reader
alike. Invariants of a file:

- the first line is ``__meta__``, the last one ``__end__``;
- LSNs rise from line to line, between ``from_lsn`` and ``to_lsn``;
- the changes of a group stand together, and of each origin ``(epoch, seq)`` rises from group to
  group;
- ``sha256`` is that of all lines before the last, each ended by one LF.
"""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import msgspec

from stepwell.sync.change import (
    INTEGER_MAX,
    NODE_ID,
    NULL,
    Change,
    decode_change,
    decode_values,
    encode_change,
    key_text,
)

FILE_VERSION = "2.0"
CLASSIC_VERSION = "1.0"
MAJOR_VERSION = 2
# A line is the one thing that is held whole. Room for a BLOB of 20 MB in both images.
LINE_BYTES_MAX = 64 * 1024 * 1024
COMPRESSED_ENDINGS = (".gz", ".zst")


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first line: what the file is.

    Attributes:
        file_version: Major and minor; a reader refuses a greater major one.
        tx_id: The file's own id, the same in all its parts; empty in a classic file.
        source_node: Whose log it is from.
        epoch: That node's epoch; 0 in a classic file.
        is_main: Whether that node is a main.
        client_id: The node it was written for; empty for anybody.
        exported_at: When, UTC.
        from_lsn, to_lsn: The part of the log that it speaks of, both included; ``to_lsn`` is
            ``from_lsn - 1`` when that is empty. What the receiver has already is left out.
        tx_grouping: How the lines of a transaction stand.
        schema_version: Of the tables of the change log at the source.
        schemas: The fingerprint of each table in the file.
        known: Of each origin, the epoch and the last seq that the source has received.
        received: Of each node whose log the source reads, its epoch and how far: the receipt.
        part: Counted from 1.
        continues: The tx_id of the group that the part before has begun; empty for none.
        prev_hash: ``sha256`` of the part before, or of the file before that the same client got.
    """

    file_version: str = FILE_VERSION
    tx_id: str = ""
    source_node: str
    epoch: int = 0
    is_main: bool = False
    client_id: str = ""
    exported_at: str = ""
    from_lsn: int = 1
    to_lsn: int = 0
    tx_grouping: str = "contiguous"
    schema_version: int = 0
    schemas: dict[str, str] = {}
    known: dict[str, tuple[int, int]] = {}
    received: dict[str, tuple[int, int]] = {}
    part: int = 1
    continues: str = ""
    prev_hash: str = ""


class End(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last line: a file without it is torn.

    Attributes:
        rows: Changes in this part.
        groups: Groups that begin in this part.
        to_lsn: How far this part goes.
        more: Another part follows.
        sha256: Of all lines before, see the module.
    """

    rows: int
    groups: int
    to_lsn: int
    more: bool = False
    sha256: str


class _MetaLine(msgspec.Struct, omit_defaults=False):
    meta: msgspec.Raw = msgspec.field(name="__meta__")


class _EndLine(msgspec.Struct):
    end: End = msgspec.field(name="__end__")


MARK = re.compile(rb'\s*\{\s*"__(meta|end)__"\s*:')
# A key of one column that is as every node writes it: of most rows, and told without decoding it.
PLAIN_KEY = re.compile(
    rb'\{"[^"\\\x00-\x1f\x7f-\xff]+":'
    rb'(?:0|-?[1-9][0-9]{0,17}|"[^"\\\x00-\x1f\x7f-\xff]*")\}'
)
CHANGE_BEGINS = b'{"lsn":'  # As every line of a change that a node has written.

_encoder = msgspec.json.Encoder()
_first_line = msgspec.json.Decoder(_MetaLine)
_end_line = msgspec.json.Decoder(_EndLine)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELDS = frozenset(Change.__struct_fields__) - {"extra"}  # That one stands for all others.


def encode_meta(meta: Meta) -> bytes:
    """The first line, without its end."""
    # What a reader needs to know the file by is never left out.
    fields = {"file_version": meta.file_version, **msgspec.to_builtins(meta)}
    return _encoder.encode({"__meta__": fields})


def encode_end(end: End) -> bytes:
    """The last line, without its end."""
    return _encoder.encode({"__end__": end})


def decode_meta(line: bytes) -> dict[str, Any]:
    """The fields of the first line, whatever the file's version.

    Raises:
        ValueError, RecursionError: it is no first line.
    """
    return msgspec.json.decode(_first_line.decode(line).meta, type=dict[str, Any])


def decode_end(line: bytes) -> End:
    """The last line.

    Raises:
        ValueError, RecursionError: it is none.
    """
    return _end_line.decode(line).end


def encode_line(change: Change) -> bytes:
    """The line of a change, without its end; fields of a newer release stand where they stood."""
    if not change.extra:
        return encode_change(change)
    line = encode_change(msgspec.structs.replace(change, extra=None))
    return line[:-1] + b"," + _encoder.encode(change.extra)[1:]


def decode_line(line: bytes) -> Change:
    """The change in a line; unknown fields are in ``extra``, ``pk_json`` is canonical.

    Values in the images are left as they are: they are looked at when they are applied.

    Raises:
        ValueError, RecursionError: it is no line of a change.
    """
    change = decode_change(line)
    if change.extra is not None or encode_change(change) != line:
        others = {n: value for n, value in _members.decode(line).items() if n not in _FIELDS}
        change = msgspec.structs.replace(change, extra=others or None)
    if PLAIN_KEY.fullmatch(change.pk_json) is None:
        key = canonical_key(change.pk_json)
        if key != bytes(change.pk_json):
            change = msgspec.structs.replace(change, pk_json=msgspec.Raw(key))
    _require_whole(change)
    return change


def canonical_key(pk_json: msgspec.Raw | bytes) -> bytes:
    """``pk_json`` as every node writes it.

    Raises:
        ValueError: it is no object with a value for each column.
    """
    key = decode_values(pk_json)
    if not key or None in key.values():
        raise ValueError("pk_json must be an object with a value for each key column")
    return key_text(key).encode("utf-8")


def _require_whole(change: Change) -> None:
    """What the types do not say."""
    if not (
        0 <= change.epoch <= INTEGER_MAX
        and 0 <= change.hlc <= INTEGER_MAX
        and 0 <= change.authority <= INTEGER_MAX
        and 0 <= change.causal_length <= INTEGER_MAX
        and 0 <= change.new_causal_length <= INTEGER_MAX
    ):
        raise ValueError("epoch, hlc, authority and causal_length must be 0 or more, in 64 bits")
    if not (1 <= change.lsn <= INTEGER_MAX and 1 <= change.seq <= INTEGER_MAX):
        raise ValueError(
            f"lsn and seq must be 1 or more, in 64 bits, got {change.lsn}, {change.seq}"
        )
    _require_nodes(change.origin, change.source_node)
    if not change.tx_id or not change.table_name:
        raise ValueError("tx_id and table_name must not be empty")
    _require_moment(change.created_at)
    is_deleted = change.op == "D"
    payload = change.payload
    if change.tombstone != is_deleted:
        raise ValueError(f"tombstone must be 1 for D and 0 for I and U, got {change.tombstone}")
    if (payload is NULL or payload == NULL) != is_deleted:
        raise ValueError("payload must be null for D, and an object for I and U")
    for image in (payload, change.before):
        if image is not NULL and image != NULL and bytes(image)[:1] != b"{":
            raise ValueError("payload and before must be an object or null")


# Lines that follow each other have the same nodes, and often the same moment.
@lru_cache(maxsize=1_024)
def _require_nodes(origin: str, source_node: str) -> None:
    for name, node in (("origin", origin), ("source_node", source_node)):
        if NODE_ID.fullmatch(node) is None:
            raise ValueError(f"{name} must be the id of a node, got {node!r}")


@lru_cache(maxsize=1_024)
def _require_moment(text: str) -> None:
    datetime.fromisoformat(text)
    if not text.endswith("Z"):
        raise ValueError(f"created_at must be UTC and end in Z, got {text!r}")


class LineOrder:
    """Whether changes stand in the order that a file must have; it remembers a group an origin.

    Attributes:
        rows, groups: How many so far, over all parts.
        last_lsn: Of the last change; 0 before the first.
        last_tx_id: Of its group.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.groups = 0
        self.last_lsn = 0
        self.last_tx_id = ""
        self._from_lsn, self._to_lsn = 1, INTEGER_MAX
        self._group: tuple[str, int, int] | None = None
        self._latest: dict[str, tuple[int, int]] = {}
        self._must_continue = False

    def begin(self, meta: Meta) -> None:
        """The lines of another part follow.

        Raises:
            ValueError: it goes on with a group that the part before has not begun.
        """
        self._from_lsn, self._to_lsn = meta.from_lsn, meta.to_lsn
        self._must_continue = bool(meta.continues)
        if not meta.continues:
            self._group = None
        elif meta.continues != self.last_tx_id:
            raise ValueError(
                f"it goes on with transaction {meta.continues!r}, the part before ends in"
                f" {self.last_tx_id!r}"
            )

    def add(self, change: Change) -> None:
        """The next change.

        Raises:
            ValueError: it may not stand there; the text says why.
        """
        lsn, group = change.lsn, (change.origin, change.epoch, change.seq)
        if lsn == self.last_lsn:
            raise ValueError(f"change {lsn} stands there twice")
        if lsn < self.last_lsn:
            raise ValueError(f"change {lsn} stands behind change {self.last_lsn}")
        if not self._from_lsn <= lsn <= self._to_lsn:
            raise ValueError(
                f"change {lsn} lies outside of {self._from_lsn} to {self._to_lsn},"
                " of which the first line speaks"
            )
        if group != self._group:
            self._begin_group(change, group)
        elif change.tx_id != self.last_tx_id:
            raise ValueError(
                f"group {change.version.id} has transaction {change.tx_id!r}, and"
                f" {self.last_tx_id!r} before"
            )
        self._must_continue = False
        self.last_lsn = lsn
        self.rows += 1

    def is_same_group(self, change: Change) -> bool:
        """Whether it belongs to the group of the last one."""
        return (change.origin, change.epoch, change.seq) == self._group

    def _begin_group(self, change: Change, group: tuple[str, int, int]) -> None:
        if self._must_continue:
            raise ValueError(f"transaction {self.last_tx_id!r} must go on there")
        origin, *number = group
        if tuple(number) <= self._latest.get(origin, (-1, 0)):
            raise ValueError(f"group {change.version.id} stands behind a later one of its node")
        self._latest[origin] = cast(tuple[int, int], tuple(number))
        self._group = group
        self.last_tx_id = change.tx_id
        self.groups += 1


class LinesHash:
    """The hash of lines, whatever their ends became on the way."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """The next line, without its end."""
        self._sha256.update(line + b"\n")

    def hex(self) -> str:
        """64 hexadecimal digits."""
        return self._sha256.hexdigest()


def part_path(path: Path, part: int) -> Path:
    """Where a part lies: ``week.jsonl.gz``, then ``week.part2.jsonl.gz`` and so on."""
    if part == 1:
        return path
    name = path.name
    ending = next((e for e in COMPRESSED_ENDINGS if name.lower().endswith(e)), "")
    stem, kind = name[: len(name) - len(ending)], name[len(name) - len(ending) :]
    first, dot, last = stem.rpartition(".")
    inner = f"{first}.part{part}.{last}" if dot and first else f"{stem}.part{part}"
    return path.with_name(inner + kind)
