"""The tables of the change log, in the application's database; the one definition for both kinds.

They lie beside the tracked tables, because a change, its version and its place in the log commit
together. That is the file of the batch tables, or another one (setting ``sync_database``).

- ``lsn`` is dense and commit-ordered: :mod:`stepwell.sync.log` gives it under the write lock.
- ``sync_applied`` and the data that it speaks of commit together (law 5).
- Raw changes, the stash of the triggers, and the context row belong to capture: their tables are
  made there, without any constraint, because the conflict clause of a foreign statement leaks into
  the body of a trigger.

The tables have a version of their own, ``sync_schema``; see :mod:`stepwell.sync.schema`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from stepwell.database.types import UtcTimestamp

metadata = MetaData()

# A 64-bit identity on PostgreSQL; on SQLite only INTEGER names the rowid.
IDENTITY = BigInteger().with_variant(Integer(), "sqlite")


def _identity(name: str) -> Column[int]:
    return Column(name, IDENTITY, primary_key=True, autoincrement=True)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _number(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, UtcTimestamp(), nullable=nullable)


def _flag(name: str) -> Column[int]:
    # 0 or 1; a file of the change log says it so, too.
    return Column(name, Integer, nullable=False, server_default=text("0"))


def _group() -> list[Column[object]]:
    """What names a group everywhere."""
    return [_text("origin"), _number("epoch"), _number("seq")]  # type: ignore[list-item]


sync_schema = Table("sync_schema", metadata, Column("version", Integer, nullable=False))

# One row: who this database is, and how far its log has come.
sync_node = Table(
    "sync_node",
    metadata,
    Column("one", Integer, CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    _text("node_id"),
    _flag("is_main"),
    _number("epoch"),
    _number("last_lsn"),
    _number("last_seq"),
    _number("last_hlc"),
    _number("horizon_lsn"),  # The oldest LSN still kept.
    # The raw group that is being sealed: its first changes stand in the log beyond last_lsn.
    _text("sealing", nullable=True),
    _text("place"),  # Where the database lay when it was last used: a clone lies elsewhere.
    _time("created_at"),
    sqlite_with_rowid=False,
)

# The other nodes that this one has heard of.
sync_peer = Table(
    "sync_peer",
    metadata,
    _key("node_id"),
    _flag("is_main"),
    _number("epoch"),
    _time("added_at"),
    _time("seen_at", nullable=True),
    _time("retired_at", nullable=True),
    sqlite_with_rowid=False,
)

# How far each peer has come in this log (direction out), and this node in each peer's (in).
sync_state = Table(
    "sync_state",
    metadata,
    _key("client_id"),
    _key("direction"),
    _number("last_lsn"),
    _number("peer_epoch"),
    _text("last_hash", nullable=True),  # Of the last file, which the next one names (prev_hash).
    _text("last_result", nullable=True),
    _time("updated_at"),
    CheckConstraint("direction IN ('in', 'out')", name="sync_state_direction"),
    sqlite_with_rowid=False,
)

# What is captured. Columns, keys, indexes and foreign keys as they were when the triggers were
# made; the policy is JSON that sync/policy.py reads.
sync_table = Table(
    "sync_table",
    metadata,
    _identity("table_id"),
    Column("table_name", Text, nullable=False, unique=True),
    _text("shape"),
    _text("fingerprint"),
    _text("policy"),
    # The key behind which the baseline goes on; empty: at the first row; NULL: it is complete.
    _text("baseline", nullable=True),
    _time("tracked_at"),
    sqlite_autoincrement=True,
)

change_log = Table(
    "change_log",
    metadata,
    _identity("lsn"),
    _text("tx_id"),
    _text("table_name"),
    _text("pk_json"),
    _text("op"),
    _text("payload", nullable=True),
    _text("before", nullable=True),
    _flag("tombstone"),
    _text("created_at"),  # As it stands in a file; it sorts.
    _text("source_node"),
    *_group(),
    _number("hlc"),
    _number("authority"),
    _text("base", nullable=True),
    _number("causal_length"),
    _text("new_base", nullable=True),
    Column("new_causal_length", BigInteger, nullable=False, server_default=text("0")),
    _text("boundary"),
    _text("schema"),
    _text("resolves", nullable=True),  # JSON array of version ids.
    _text("lineage", nullable=True),  # JSON, see change.Lineage.
    _text("extra", nullable=True),  # JSON, fields of a newer release.
    CheckConstraint("op IN ('I', 'U', 'D')", name="change_log_op"),
    sqlite_autoincrement=True,
)
Index("change_log_group", change_log.c.origin, change_log.c.epoch, change_log.c.seq)

# The version of every tracked row that was ever written; an even causal length is a tombstone.
# It survives pruning.
sync_row = Table(
    "sync_row",
    metadata,
    _key("table_name"),
    _key("pk_json"),
    *_group(),
    _number("hlc"),
    _number("causal_length"),
    _number("authority"),
    # Policy `columns` only: JSON, what each column's own last write was.
    _text("column_versions", nullable=True),
    sqlite_with_rowid=False,
)

# Every group of another node that has been received; result says what became of it.
sync_applied = Table(
    "sync_applied",
    metadata,
    _key("origin"),
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _text("tx_id"),
    _text("hash"),
    _text("result"),
    _text("received_from"),
    _time("applied_at"),
    CheckConstraint(
        "result IN ('applied', 'conflict', 'parked', 'skipped', 'dropped')",
        name="sync_applied_result",
    ),
    sqlite_with_rowid=False,
)

# A losing image, or two that wait for a person.
sync_conflict = Table(
    "sync_conflict",
    metadata,
    _identity("conflict_id"),
    _text("table_name"),
    _text("pk_json"),
    _text("kind"),
    _text("index_name", nullable=True),
    _text("policy"),
    _text("status"),
    _text("winner", nullable=True),
    _text("base_image", nullable=True),
    _text("our_image", nullable=True),
    _text("their_image", nullable=True),
    _text("our_version", nullable=True),
    _text("their_version", nullable=True),
    *_group(),
    _number("lsn", nullable=True),
    _time("detected_at"),
    _text("resolved_by", nullable=True),
    _time("resolved_at", nullable=True),
    _text("resolution", nullable=True),
    CheckConstraint("status IN ('decided', 'waiting', 'resolved')", name="sync_conflict_status"),
    sqlite_autoincrement=True,
)
Index(
    "sync_conflict_waiting",
    sync_conflict.c.conflict_id,
    sqlite_where=text("status = 'waiting'"),
    postgresql_where=text("status = 'waiting'"),
)
Index("sync_conflict_row", sync_conflict.c.table_name, sync_conflict.c.pk_json)

# A group that could not be applied, or that waits behind one. Its changes stand in change_log;
# lines that nobody can read are kept in raw_lines.
sync_quarantine = Table(
    "sync_quarantine",
    metadata,
    _identity("quarantine_id"),
    *_group(),
    _text("tx_id"),
    _text("reason"),
    _text("message"),
    _number("line", nullable=True),
    _text("table_name", nullable=True),
    _text("pk_json", nullable=True),
    _number("waits_for", nullable=True),
    _text("raw_lines", nullable=True),
    _text("source_node"),
    _time("parked_at"),
    _time("closed_at", nullable=True),
    _text("outcome", nullable=True),
    CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="sync_quarantine_end"),
    sqlite_autoincrement=True,
)
Index(
    "sync_quarantine_open",
    sync_quarantine.c.quarantine_id,
    sqlite_where=text("closed_at IS NULL"),
    postgresql_where=text("closed_at IS NULL"),
)
Index("sync_quarantine_group", *(sync_quarantine.c[name] for name in ("origin", "epoch", "seq")))

# What a parked group would have touched: its rows, their parents, its unique keys. A later group
# that touches one of them waits, too.
sync_quarantine_key = Table(
    "sync_quarantine_key",
    metadata,
    Column("quarantine_id", IDENTITY, primary_key=True, autoincrement=False),
    _key("kind"),
    _key("table_name"),
    _key("key"),
    sqlite_with_rowid=False,
)
Index(
    "sync_quarantine_key_key",
    sync_quarantine_key.c.table_name,
    sync_quarantine_key.c.key,
    sync_quarantine_key.c.kind,
)

# Two keys that are one row (merge_identity, temporary ids of a client): the first leads to the
# second, in rows and foreign keys that come later.
sync_alias = Table(
    "sync_alias",
    metadata,
    _key("table_name"),
    _key("pk_json"),
    _text("kept_pk_json"),
    *_group(),
    _time("created_at"),
    sqlite_with_rowid=False,
)

sync_audit = Table(
    "sync_audit",
    metadata,
    _identity("audit_id"),
    _time("at"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail", nullable=True),
    sqlite_autoincrement=True,
)
