"""What travels: values, keys, versions, changes and groups; pure records, no I/O.

**Values on the wire** (and in ``change_log``) are JSON. What JSON cannot say has a form of one key:

========================  ==============================================
a BLOB                    ``{"$b": "base64"}``
not a finite number       ``{"$f": "inf"}``, ``"-inf"``, ``"nan"``
a decimal                 ``{"$d": "1.50"}``
text that is no UTF-8     ``{"$x": "hex of its bytes"}``
========================  ==============================================

NULL is a key with ``null``; a key that is absent says nothing about its column. Integers have 64
bits; a real is written with as many digits as bring back its bits, and always with a point or an
exponent, so that it comes back as a real.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from stepwell.database.application import InvalidText, Value

__all__ = ["InvalidText", "Value"]

Operation = Literal["I", "U", "D"]
Boundary = Literal["exact", "sealed", "baseline"]

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
NODE_ID_MAX = 63
NODE_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

# --- values -----------------------------------------------------------------------------------


Values = dict[str, Value]


def _to_wire(value: Value) -> Any:
    """The form of a value that JSON cannot say by itself."""
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$f": str(value)}
    if isinstance(value, InvalidText):
        return {"$x": value.hex()}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$b": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Decimal):
        return {"$d": str(value)}
    return value


def _from_wire(form: Mapping[str, Any]) -> Value:
    if len(form) == 1:
        [(kind, text)] = form.items()
        if isinstance(text, str):
            if kind == "$b":
                return base64.b64decode(text, validate=True)
            if kind == "$f" and text in ("inf", "-inf", "nan"):
                return float(text)
            if kind == "$d":
                with suppress(InvalidOperation):
                    return Decimal(text)
            if kind == "$x":
                return InvalidText(bytes.fromhex(text))
    raise ValueError(f"a value must be a JSON scalar or one of $b, $f, $d, $x, got {form!r}")


_PLAIN = frozenset((str, int, bool, type(None)))
_encoder = msgspec.json.Encoder()
_sorting_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(dict[str, Any])
_Integer = Annotated[int, msgspec.Meta(ge=INTEGER_MIN, le=INTEGER_MAX)]
_scalar_decoder: msgspec.json.Decoder[Values] = msgspec.json.Decoder(
    dict[str, _Integer | float | str | bool | None]
)


def encode_values(values: Mapping[str, Value]) -> bytes:
    """A row image, or a part of one, as a JSON object in the order of ``values``."""
    return _encoder.encode(
        {
            name: value if type(value) in _PLAIN else _to_wire(value)
            for name, value in values.items()
        }
    )


def decode_values(text: bytes | str | msgspec.Raw) -> Values:
    """The other way round.

    Raises:
        ValueError: no JSON object, a number beyond 64 bits, or a form that this page does not know.
    """
    try:
        # Mostly there is nothing else in it, and then nothing to look at.
        return _scalar_decoder.decode(text)
    except msgspec.ValidationError:
        values: dict[str, Any] = _decoder.decode(text)
    for name, value in values.items():
        if isinstance(value, dict):
            values[name] = _from_wire(value)
        elif type(value) is list:  # No JSON value has a subclass's type.
            raise ValueError(f"a value must be a JSON scalar, got an array for {name!r}")
        elif isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
            raise ValueError(f"an integer must have at most 64 bits, got {value} for {name!r}")
    return values


def key_text(key: Mapping[str, Value]) -> str:
    """``pk_json``: the key columns as a JSON object sorted by name, the same text on every node."""
    wire = key
    if not _PLAIN.issuperset(map(type, key.values())):
        wire = {name: _to_wire(value) for name, value in key.items()}
    return _sorting_encoder.encode(wire).decode("utf-8")


class RowKey(NamedTuple):
    """Which row: its table, and ``pk_json`` as :func:`key_text` writes it."""

    table_name: str
    pk_json: str


# --- the hybrid logical clock -----------------------------------------------------------------

COUNTER_BITS = 16
AHEAD_MAX_MS = 5 * 60 * 1000  # A stamp further ahead of this node's clock is parked.


def hlc_of(moment: datetime) -> int:
    """The least stamp of a millisecond: milliseconds since 1970 (UTC), 16 bits of counter below."""
    return int(moment.timestamp() * 1000) << COUNTER_BITS


def tick(last: int, moment: datetime) -> int:
    """The stamp of a new group: never before ``moment``, always after every stamp seen so far."""
    return max(last + 1, hlc_of(moment))


def moment_of(hlc: int) -> datetime:
    """The millisecond that a stamp lies in."""
    return datetime.fromtimestamp((hlc >> COUNTER_BITS) / 1000, UTC)


# --- versions ---------------------------------------------------------------------------------


class Version(msgspec.Struct, frozen=True):
    """Which write a row's state is.

    Attributes:
        origin: The node that committed it first.
        epoch: That node's epoch then; a restore begins a new one.
        seq: The number of its group there, dense from 1.
        hlc: Its group's stamp. A write that saw another one has a greater stamp.
        causal_length: Odd: the row is alive; even: deleted. It grows with each birth and death.
        authority: The stamp of the last write of a main that this one has seen; its own stamp for
            a write of a main; 0 when it has seen none. It makes ``main_wins`` an order, too.
    """

    origin: str
    epoch: int
    seq: int
    hlc: int
    causal_length: int
    authority: int = 0

    @property
    def id(self) -> str:
        """``origin.epoch.seq``, by which a change names what it was based on."""
        return version_id(self.origin, self.epoch, self.seq)

    @property
    def is_alive(self) -> bool:
        """Whether the row exists."""
        return self.causal_length % 2 == 1

    @property
    def by_time(self) -> tuple[int, bool, str, int, int]:
        """Sorts by ``lww``: the later stamp, then main, then the node's id; alike everywhere."""
        return self.hlc, self.authority == self.hlc, self.origin, self.epoch, self.seq

    @property
    def by_authority(self) -> tuple[int, int, bool, str, int, int]:
        """Sorts by ``main_wins``: who has seen the later word of a main, then by time."""
        return self.authority, *self.by_time


def version_id(origin: str, epoch: int, seq: int) -> str:
    """``shop-3.1.42``; a node's id has no dot."""
    return f"{origin}.{epoch}.{seq}"


def parse_version_id(text: str) -> tuple[str, int, int]:
    """``('shop-3', 1, 42)``.

    Raises:
        ValueError: it is no version id.
    """
    origin, epoch, seq = text.split(".")
    return origin, int(epoch), int(seq)


def next_causal_length(last: int, op: Operation) -> int:
    """What a row's causal length is after ``op``; ``last`` is 0 for a row never seen."""
    if op == "D":
        return last + 1 if last % 2 else last + 2
    return last if last % 2 else last + 1


# --- changes and groups -----------------------------------------------------------------------

NULL = msgspec.Raw(b"null")  # No image.


class Lineage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which run of which job wrote a change.

    Attributes:
        job_name: The job.
        execution_id: The job execution, in the batch tables of the origin.
        step_name: The step.
        chunk: Number of the chunk, ``7`` or ``7.2``; empty outside of one.
        partition: Number of the partition, None outside of one.
        actor: Who, for a transaction that is not a job's.
    """

    job_name: str = ""
    execution_id: int | None = None
    step_name: str = ""
    chunk: str = ""
    partition: int | None = None
    actor: str = ""


class Change(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One changed row: a line of a file, a row of ``change_log``.

    The JSON inside (``pk_json``, ``payload``, ``before``) stays undecoded until somebody asks, so
    that passing a change on costs a copy. All changes of a group have the same ``tx_id``,
    ``origin``, ``epoch``, ``seq``, ``hlc``, ``authority``, ``boundary`` and ``lineage``.

    Attributes:
        lsn: Position in the log of the node that it was read from.
        tx_id: The transaction of the origin.
        table_name: Without a schema.
        pk_json: The row's key before the change, as :func:`key_text` writes it.
        op: I, U or D.
        payload: The whole new image; NULL for D. When its key columns differ from ``pk_json`` the
            change gives the row another key.
        before: For U the old values of the columns that changed (the others are in the payload);
            for D the whole old image; NULL for I and where it is not known.
        tombstone: 1 for D.
        created_at: When the origin wrote it, UTC.
        source_node: From whom the log has it: the node itself, or the peer that delivered it.
        origin, epoch, seq, hlc, authority: See :class:`Version`.
        base: Id of the version that the origin changed; None when it knew none.
        causal_length: Of ``pk_json`` after the change.
        new_base, new_causal_length: The same for the new key, when the key changes.
        boundary: exact: one transaction; sealed: a run of whole ones; baseline: rows that were
            there when the table was first tracked.
        schema: Fingerprint of the table's columns at the origin.
        resolves: Ids of versions that lost and whose conflict this change settles.
        lineage: The job that wrote it.
        extra: Fields that this release does not know, kept and passed on.
    """

    lsn: int
    tx_id: str
    table_name: str
    pk_json: msgspec.Raw
    op: Operation
    payload: msgspec.Raw = NULL
    before: msgspec.Raw = NULL
    tombstone: int = 0
    created_at: str
    source_node: str
    origin: str = ""
    epoch: int = 0
    seq: int = 0
    hlc: int = 0
    authority: int = 0
    base: str | None = None
    causal_length: int = 0
    new_base: str | None = None
    new_causal_length: int = 0
    boundary: Boundary = "exact"
    schema: str = ""
    resolves: tuple[str, ...] = ()
    lineage: Lineage | None = None
    extra: dict[str, msgspec.Raw] | None = None

    @property
    def key(self) -> RowKey:
        """The row that it changes, by its key before the change."""
        return RowKey(self.table_name, bytes(self.pk_json).decode("utf-8"))

    @property
    def version(self) -> Version:
        """What the row's version is after it (of the old key, when it changes the key)."""
        return self._version(self.causal_length)

    @property
    def new_version(self) -> Version:
        """The version of the new key, when it changes the key."""
        return self._version(self.new_causal_length)

    def _version(self, causal_length: int) -> Version:
        return Version(self.origin, self.epoch, self.seq, self.hlc, causal_length, self.authority)

    def new_values(self) -> Values:
        """The new image; empty for D."""
        return decode_values(self.payload) if self.payload != NULL else {}

    def old_values(self) -> Values | None:
        """The whole old image; None where it is not known."""
        if self.before == NULL:
            return None
        before = decode_values(self.before)
        return {**self.new_values(), **before} if self.op == "U" else before


@dataclass(frozen=True)
class Group:
    """The changes of one transaction of the origin (or of one sealed run), in their order.

    A group that is too long for memory is passed as the iterator of its changes instead.
    """

    changes: tuple[Change, ...] = field(default=())

    @property
    def first(self) -> Change:
        """Any change tells what they have in common."""
        return self.changes[0]

    @property
    def id(self) -> tuple[str, int, int]:
        """Origin, epoch, seq."""
        return self.first.origin, self.first.epoch, self.first.seq


class GroupHash:
    """Tells one content of a group from another, wherever the group has been.

    What differs from node to node (``lsn``, ``source_node``) and what nobody here understands
    (``extra``) stays outside.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()

    def add(self, change: Change) -> None:
        """The next change of the group."""
        self._sha256.update(
            _encoder.encode(msgspec.structs.replace(change, lsn=0, source_node="", extra=None))
        )
        self._sha256.update(b"\n")

    def hex(self) -> str:
        """64 hexadecimal digits."""
        return self._sha256.hexdigest()


def hash_of(changes: Iterable[Change]) -> str:
    """The hash of a whole group."""
    group_hash = GroupHash()
    for change in changes:
        group_hash.add(change)
    return group_hash.hex()


_change_decoder = msgspec.json.Decoder(Change)


def encode_change(change: Change) -> bytes:
    """One line of a file, without its end."""
    return _encoder.encode(change)


def decode_change(line: bytes | str) -> Change:
    """A line of this release's format; fields that it does not know are left out.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it is no such line (both are ValueErrors).
    """
    return _change_decoder.decode(line)
