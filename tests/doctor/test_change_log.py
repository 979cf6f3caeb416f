"""T14 for L1 to L8: the change log is broken by hand in every way that a node can see alone."""

from __future__ import annotations

import pytest

from stepwell import Node
from tests.conformance.stories import execute, rows
from tests.doctor.patients import codes, doctor_of, execute_unchecked, found_by

# Of each row of sync_node there is one; it knows a time.
_CONFLICT = """INSERT INTO sync_conflict (table_name, pk_json, kind, policy, status, origin, epoch,
    seq, detected_at) SELECT 'store', '{{}}', 'update', 'lww', '{}', 'other', 1, 1, created_at
    FROM sync_node"""
_QUARANTINE = """INSERT INTO sync_quarantine (origin, epoch, seq, tx_id, reason, message,
    source_node, parked_at) SELECT 'other', 1, 1, 'x', 'constraint', 'no', 'other', created_at
    FROM sync_node"""
_PARKED = """INSERT INTO sync_applied (origin, epoch, seq, tx_id, hash, result, received_from,
    applied_at) SELECT 'other', 1, 1, 'x', 'x', 'parked', 'other', created_at FROM sync_node"""
_PEER = """INSERT INTO sync_peer (node_id, is_main, epoch, added_at)
    SELECT 'main', 1, 1, created_at FROM sync_node"""
_STATE = """INSERT INTO sync_state (client_id, direction, last_lsn, peer_epoch, updated_at)
    SELECT 'main', 'out', 0, 1, created_at FROM sync_node"""
_OF_STORE = "(SELECT MIN(pk_json) FROM sync_row WHERE table_name = 'store')"
_LAST = "(SELECT last_lsn FROM sync_node)"

# By the code that it is found under.
BREAKS: dict[str, tuple[str, ...]] = {
    "row_without_version": (f"DELETE FROM sync_row WHERE pk_json = {_OF_STORE}",),
    "version_without_row": (
        f"UPDATE sync_row SET pk_json = '{{\"id\":77}}' WHERE pk_json = {_OF_STORE}",
    ),
    "group_torn": (f"UPDATE change_log SET seq = 1 WHERE lsn = {_LAST}",),
    "conflict_without_winner": (_CONFLICT.format("decided"),),
    "conflicts_wait": (_CONFLICT.format("waiting"),),
    "quarantine_waits": (_QUARANTINE,),
    "parked_without_quarantine": (_PARKED,),
    "pruned_too_far": (_PEER, _STATE, "UPDATE sync_node SET horizon_lsn = 3"),
    "log_has_hole": (f"DELETE FROM change_log WHERE lsn = {_LAST} - 1",),
    "numbers_have_hole": (f"DELETE FROM change_log WHERE lsn = {_LAST} - 1",),
    "group_without_receipt": (f"UPDATE change_log SET origin = 'other' WHERE lsn = {_LAST}",),
    "node_moved": ("UPDATE sync_node SET place = '/elsewhere/night.db'",),
}


@pytest.fixture
def node(node: Node) -> Node:
    """A node of the change log with four transactions of two tables."""
    execute(node, "CREATE TABLE store (id INTEGER NOT NULL PRIMARY KEY)")
    execute(
        node,
        "CREATE TABLE visit (id INTEGER NOT NULL PRIMARY KEY,"
        " store INTEGER NOT NULL REFERENCES store (id))",
    )
    node.sync.init("shop-1")
    for table in ("store", "visit"):
        node.sync.track(table)
    for number in (1, 2):
        execute(node, f"INSERT INTO store (id) VALUES ({number})")
        node.sync.status()
        execute(node, f"INSERT INTO visit (id, store) VALUES ({number}, {number})")
        node.sync.status()
    assert [] == found_by(doctor_of(node))
    return node


@pytest.mark.parametrize("code", BREAKS)
def test_what_is_broken_in_the_change_log_is_found_and_explained(code: str, node: Node) -> None:
    if code == "node_moved" and node.database.path is None:
        pytest.skip("a server's database does not lie in a file")
    for sql in BREAKS[code]:
        execute(node, sql)

    found = found_by(doctor_of(node))
    assert code in codes(found)
    assert all(f.explanation and f.hint and f.repair is None for f in found)


def test_a_reference_that_leads_nowhere_is_found(node: Node) -> None:
    if node.database.path is None:
        pytest.skip("a server lets nobody break one")
    execute_unchecked(node, "INSERT INTO visit (id, store) VALUES (9, 9)")
    node.sync.status()

    assert "reference_broken" in codes(found_by(doctor_of(node)))
    execute(node, "INSERT INTO store (id) VALUES (9)")
    node.sync.status()
    assert "reference_broken" not in codes(found_by(doctor_of(node)))


def test_a_trigger_that_is_gone_is_found_and_mended_as_the_hint_says(node: Node) -> None:
    is_sqlite = node.database.path is not None
    there = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'store'"
        if is_sqlite
        else "SELECT tgname FROM pg_trigger WHERE tgrelid = 'store'::regclass AND NOT tgisinternal"
    )
    [(name,), *_] = rows(node, there)
    execute(node, f'DROP TRIGGER "{name}"' + ("" if is_sqlite else " ON store"))
    doctor = doctor_of(node)

    assert "capture_incomplete" in codes(found_by(doctor))
    node.sync.track("store")
    node.sync.status()
    assert [] == found_by(doctor)
