"""What must be true of one node's change log, as far as the node alone can see it (L1 to L8).

- **L1** Rows and their versions agree: what is alive has a row, what is a row has an alive version.
- **L2** The changes of a group stand together in the log: it came whole.
- **L3** A group has one receipt: a primary key says so.
- **L4** A conflict names whose image lost; what waits for a person is told.
- **L5** Every foreign key between tracked tables finds its row.
- **L6** Nothing is pruned that a live peer lacks, or that waits in quarantine.
- **L7** The database lies where it lay; its triggers are whole.
- **L8** LSNs and own numbers have no hole, and every group in the log has its receipt.

The doctor gathers them; the simulator asks them of every node. Equal rows on all nodes are the
business of ``sync verify``. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from sqlalchemy import text

from stepwell.database.connect import Database
from stepwell.database.prepared import Prepared, Row
from stepwell.database.transaction import Reader
from stepwell.finding import Finding, Severity
from stepwell.sync import capture, peers, prune
from stepwell.sync.change import key_text
from stepwell.sync.rows import broken_foreign_keys, read_rows_after
from stepwell.sync.schema import is_made_in
from stepwell.sync.table import TrackedTable, tracked_tables
from stepwell.sync.versions import alive_keys

Check = Callable[[Reader], list[Finding]]

SHOWN_MAX = 20  # Of one kind; what is wrong once is often wrong a thousand times.
ROWS_AT_ONCE = 1_000

EXPLANATIONS = {
    "row_without_version": (
        "A row of a tracked table is unknown to the change log, so no other node has it. It was"
        " written while its triggers were switched off, or they were dropped."
    ),
    "version_without_row": (
        "The change log believes that a row is alive, and it is not there. It was deleted while its"
        " triggers were switched off, or they were dropped."
    ),
    "group_torn": (
        "The changes of one transaction do not stand together in the log. The log was changed by"
        " hand."
    ),
    "conflict_without_winner": (
        "A conflict is recorded as decided, and nothing says whose image won. It was changed"
        " by hand."
    ),
    "conflicts_wait": "Two nodes changed one row, and a person must say which image it shall have.",
    "quarantine_waits": (
        "A transaction of another node is received and cannot be applied yet. What depends on it"
        " waits, too; nothing else does."
    ),
    "reference_broken": (
        "A row of a tracked table names a row that is not there. Other nodes would refuse it."
    ),
    "pruned_too_far": (
        "The log begins behind a change that a live peer has not acknowledged, so the peer can get"
        " it from nowhere but a snapshot."
    ),
    "node_moved": (
        "The database lies in another place than when it became a node. When it is a copy, two"
        " databases would write as one node."
    ),
    "capture_incomplete": (
        "The triggers of a tracked table are not those of its columns, so changes may be missed."
    ),
    "log_has_hole": "LSNs are missing in the log. Rows of it were deleted by hand.",
    "numbers_have_hole": (
        "Numbers of this node's own transactions are missing in the log. Other nodes refuse what"
        " stands behind a hole."
    ),
    "group_without_receipt": (
        "The log has a transaction of another node that counts as not received. It would be applied"
        " twice."
    ),
    "parked_without_quarantine": (
        "A transaction is recorded as parked, and stands in no quarantine, so nobody would try it"
        " again."
    ),
}

_HOLES = Prepared(
    text(
        "SELECT n.last_lsn - n.horizon_lsn + 1 - (SELECT COUNT(*) FROM change_log c WHERE"
        " c.lsn >= n.horizon_lsn AND c.lsn <= n.last_lsn), n.horizon_lsn, n.last_lsn"
        " FROM sync_node n"
    )
)
_OWN_HOLES = Prepared(
    text(
        "SELECT c.epoch, MAX(c.seq) - MIN(c.seq) + 1 - COUNT(DISTINCT c.seq), MIN(c.seq),"
        " MAX(c.seq) FROM change_log c JOIN sync_node n ON n.node_id = c.origin"
        " WHERE c.epoch > 0 AND c.lsn <= n.last_lsn"
        " GROUP BY c.epoch HAVING MAX(c.seq) - MIN(c.seq) + 1 <> COUNT(DISTINCT c.seq)"
    )
)
_TORN = Prepared(
    text(
        "SELECT c.origin, c.epoch, c.seq, MIN(c.lsn), MAX(c.lsn), COUNT(*),"
        " COUNT(DISTINCT c.tx_id) FROM change_log c, sync_node n WHERE c.lsn <= n.last_lsn"
        " GROUP BY c.origin, c.epoch, c.seq"
        " HAVING MAX(c.lsn) - MIN(c.lsn) + 1 <> COUNT(*) ORDER BY 4"
    )
)
_NO_RECEIPT = Prepared(
    text(
        "SELECT DISTINCT c.origin, c.epoch, c.seq FROM change_log c, sync_node n"
        " WHERE c.origin <> n.node_id AND c.lsn <= n.last_lsn AND NOT EXISTS (SELECT 1 FROM"
        " sync_applied a WHERE a.origin = c.origin AND a.epoch = c.epoch AND a.seq >= c.seq)"
    )
)
_PARKED = Prepared(
    text(
        "SELECT a.origin, a.epoch, a.seq FROM sync_applied a WHERE a.result = 'parked'"
        " AND NOT EXISTS (SELECT 1 FROM sync_quarantine q WHERE q.origin = a.origin"
        " AND q.epoch = a.epoch AND q.seq = a.seq AND q.closed_at IS NULL)"
    )
)
_UNDECIDED = Prepared(
    text(
        "SELECT conflict_id, table_name, pk_json FROM sync_conflict"
        " WHERE status = 'decided' AND winner IS NULL"
    )
)
_COUNTS = Prepared(
    text(
        "SELECT (SELECT COUNT(*) FROM sync_conflict WHERE status = 'waiting'),"
        " (SELECT COUNT(*) FROM sync_quarantine WHERE closed_at IS NULL)"
    )
)


def examine(reader: Reader) -> list[Finding]:
    """Every broken invariant of a node; none of a database that is no node."""
    return [finding for check in _CHECKS.values() for finding in check(reader)]


def checks(database: Database, *, thorough: bool = True) -> dict[str, Check]:
    """The checks, each by a name; those that read whole tables only when it is to be thorough."""

    def of_node(check: Check) -> Check:
        def asked(reader: Reader) -> list[Finding]:
            if not is_made_in(database, reader) or peers.find_node(reader) is None:
                return []
            return check(reader)

        return asked

    place = str(database.path or "")
    found = {**_CHECKS, "L7 node_moved": lambda reader: _moved(reader, place)}
    return {
        name: of_node(check)
        for name, check in found.items()
        if thorough or name not in _READ_TABLES
    }


def _rows(reader: Reader) -> list[Finding]:
    """L1; only when nothing waits to be sealed: until then they may disagree."""
    if reader.ask(reader.application.has_raw) or peers.own_node(reader).sealing is not None:
        return []
    found: list[Finding] = []
    for table in tracked_tables(reader).values():
        if table.baseline is None:
            found += _rows_of(reader, table)
    return found


def _rows_of(reader: Reader, table: TrackedTable) -> list[Finding]:
    alive = {key.pk_json for key, _ in alive_keys(reader, table.name)}
    rows: set[str] = set()
    after = None
    while page := read_rows_after(reader, table.shape, after, ROWS_AT_ONCE):
        for row in page:
            after = {name: row[name] for name in table.key}
            rows.add(key_text(after))
    where = f"table {table.name}"
    hint = f"`stepwell sync untrack {table.name}`, then `track` announces all of its rows"
    return [
        *_told(
            "row_without_version",
            Severity.ERROR,
            "L1",
            (
                (f"{where} {key}", "no node but this one has the row")
                for key in sorted(rows - alive)
            ),
            hint,
        ),
        *_told(
            "version_without_row",
            Severity.ERROR,
            "L1",
            ((f"{where} {key}", "it is alive in the log alone") for key in sorted(alive - rows)),
            hint,
        ),
    ]


def _torn(reader: Reader) -> list[Finding]:
    found = []
    for origin, epoch, seq, first, last, count, _ in reader.fetch_all(_TORN):
        where = f"group {origin}.{epoch}.{seq}"
        fact = f"its {count} changes stand between LSN {first} and {last}"
        found.append(_finding("group_torn", Severity.ERROR, "L2", where, fact, _BY_HAND))
    return found[:SHOWN_MAX]


def _undecided(reader: Reader) -> list[Finding]:
    facts = (
        (f"conflict {number}", f"{table} {key} has no winner")
        for number, table, key in reader.fetch_all(_UNDECIDED)
    )
    return _told("conflict_without_winner", Severity.ERROR, "L4", facts, _BY_HAND)


def _waiting(reader: Reader) -> list[Finding]:
    [(conflicts, parked)] = reader.fetch_all(_COUNTS)
    found = []
    if conflicts:
        hint = "`stepwell sync conflicts list --status waiting`"
        fact = f"{conflicts} wait for a person"
        found.append(_finding("conflicts_wait", Severity.WARNING, "L4", "conflicts", fact, hint))
    if parked:
        hint = "`stepwell sync quarantine list` shows why"
        fact = f"{parked} groups wait"
        found.append(_finding("quarantine_waits", Severity.WARNING, "L8", "quarantine", fact, hint))
    return found


def _references(reader: Reader) -> list[Finding]:
    shapes = [table.shape for table in tracked_tables(reader).values()]
    facts = (
        (f"table {name}", f"a row names one of {parent} that is not there")
        for name, parent in broken_foreign_keys(reader, shapes)
    )
    return _told("reference_broken", Severity.ERROR, "L5", facts, "mend the rows")


def _pruned(reader: Reader) -> list[Finding]:
    horizon = peers.own_node(reader).horizon_lsn
    facts = (
        (
            f"peer {holder.node_id}" if holder.node_id else "quarantine",
            f"it needs LSN {holder.after_lsn + 1}, the log begins at {horizon}",
        )
        for holder in prune.plan(reader).holders
        if holder.after_lsn + 1 < horizon
    )
    hint = "`stepwell sync bootstrap --to FILE`, for that peer's `rejoin --from FILE`"
    return _told("pruned_too_far", Severity.ERROR, "L6", facts, hint)


def _capture(reader: Reader) -> list[Finding]:
    return [
        _finding(
            "capture_incomplete",
            Severity.ERROR,
            "L7",
            f"table {fault.table_name}",
            fault.what,
            f"`stepwell sync track {fault.table_name}` mends it and announces what was missed",
        )
        for fault in capture.faults(reader)
    ]


def _moved(reader: Reader, place: str) -> list[Finding]:
    known = peers.own_node(reader).place
    if not known or not place or known == place:
        return []
    return [
        _finding(
            "node_moved",
            Severity.WARNING,
            "L7",
            f"node {peers.own_node(reader).node_id}",
            f"it lies at {place!r}, and lay at {known!r}",
            "`stepwell sync rejoin` begins a new epoch here; never use both copies as one node",
        )
    ]


def _holes(reader: Reader) -> list[Finding]:
    found = []
    for missing, first, last in reader.fetch_all(_HOLES):
        if missing:
            fact = f"{missing} of LSN {first} to {last} are missing"
            found.append(_finding("log_has_hole", Severity.ERROR, "L8", "log", fact, _BY_HAND))
    for epoch, missing, first, last in reader.fetch_all(_OWN_HOLES):
        fact = f"{missing} of group {first} to {last} of epoch {epoch} are missing"
        found.append(_finding("numbers_have_hole", Severity.ERROR, "L8", "log", fact, _BY_HAND))
    return found


def _receipts(reader: Reader) -> list[Finding]:
    return [
        *_told(
            "group_without_receipt",
            Severity.ERROR,
            "L8",
            (
                (f"group {o}.{e}.{s}", "it is in the log")
                for o, e, s in reader.fetch_all(_NO_RECEIPT)
            ),
            _BY_HAND,
        ),
        *_told(
            "parked_without_quarantine",
            Severity.ERROR,
            "L8",
            ((_group(row), "it is parked") for row in reader.fetch_all(_PARKED)),
            _BY_HAND,
        ),
    ]


def _group(row: Row) -> str:
    return "group " + ".".join(map(str, row))


_BY_HAND = "put back a backup, then `stepwell sync rejoin`; tables of the log are not for hands"

_CHECKS: dict[str, Check] = {
    "L1 rows and versions": _rows,
    "L2 group_torn": _torn,
    "L4 conflict_without_winner": _undecided,
    "L4 what waits": _waiting,
    "L5 reference_broken": _references,
    "L6 pruned_too_far": _pruned,
    "L7 capture_incomplete": _capture,
    "L8 holes": _holes,
    "L8 receipts": _receipts,
}
_READ_TABLES = {"L1 rows and versions", "L2 group_torn", "L5 reference_broken", "L8 receipts"}


def _told(
    code: str,
    severity: Severity,
    rule: str,
    facts: Iterable[tuple[str, str]],
    hint: str,
) -> list[Finding]:
    return [
        _finding(code, severity, rule, where, what, hint)
        for where, what in islice(facts, SHOWN_MAX)
    ]


def _finding(code: str, severity: Severity, rule: str, where: str, what: str, hint: str) -> Finding:
    return Finding(
        code=code,
        severity=severity,
        where=where,
        what=what,
        hint=hint,
        rule=rule,
        explanation=EXPLANATIONS[code],
    )
