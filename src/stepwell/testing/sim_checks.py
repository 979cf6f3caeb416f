"""The oracles of a simulation: what must hold of nodes that have received the same (L1 to L8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from stepwell.database.transaction import Reader
from stepwell.finding import Severity
from stepwell.sync import peers
from stepwell.sync.change import Change, RowKey, Value, Values, key_text
from stepwell.sync.conflict import list_conflicts
from stepwell.sync.digest import parked_rows
from stepwell.sync.invariants import examine
from stepwell.sync.log import seal_all
from stepwell.sync.rows import read_rows_after, same_row
from stepwell.sync.table import tracked_tables
from stepwell.sync.versions import find_version
from stepwell.testing.sim_node import Packet, SimNode

Rows = dict[RowKey, Values]


def rows_of(node: SimNode) -> Rows:
    """Every tracked row of a node."""
    seal_all(node.database)
    found: Rows = {}
    with node.database.read() as reader:
        for table in tracked_tables(reader).values():
            for row in read_rows_after(reader, table.shape, None, 10_000):
                key = key_text({name: row[name] for name in table.key})
                found[RowKey(table.name, key)] = row
    return found


def parked_of(node: SimNode) -> set[RowKey]:
    """Rows that wait for a person, or for a cause that has not come."""
    with node.database.read() as reader:
        return {RowKey(*row) for row in parked_rows(reader)}


def differences(nodes: Sequence[SimNode]) -> list[str]:
    """L1: rows that are not equal on all nodes, parked ones apart."""
    first, *others = nodes
    ours = rows_of(first)
    found = []
    for other in others:
        theirs = rows_of(other)
        parked = parked_of(first) | parked_of(other)
        with first.database.read() as reader:
            tables = tracked_tables(reader)
        for key in sorted((ours.keys() | theirs.keys()) - parked):
            here, there = ours.get(key), theirs.get(key)
            shape = tables[key.table_name].shape
            if (here is None) != (there is None) or (
                here is not None and there is not None and not same_row(shape, here, there)
            ):
                found.append(
                    f"L1 {key.table_name} {key.pk_json}: {first.name} has {here}"
                    f" ({_version(first, key)}), {other.name} has {there} ({_version(other, key)})"
                )
    return found


def _version(node: SimNode, key: RowKey) -> str:
    with node.database.read() as reader:
        version = find_version(reader, key)
    return "none" if version is None else f"{version.id}, length {version.causal_length}"


def versions_of(node: SimNode) -> dict[RowKey, str]:
    """The version of every tracked row of a node."""
    return {key: _version(node, key) for key in rows_of(node)}


def untouched(node: SimNode, default: object) -> dict[RowKey, str]:
    """The same, of rows of which a migration is no news: nobody wrote the new column."""
    return {
        key: _version(node, key)
        for key, row in rows_of(node).items()
        if key.table_name not in node.rebuilt and row.get("extra", default) == default
    }


def twice(node: SimNode, packets: Iterable[Packet]) -> list[str]:
    """L3: everything that was ever sent to a node, sent again, changes nothing."""
    before, parked = rows_of(node), parked_of(node)
    for packet in packets:
        if packet.receiver == node.name:
            node.receive_what_fits(packet)
    after = rows_of(node)
    return [] if (before, parked) == (after, parked_of(node)) else [f"L3 on {node.name}"]


def losers(
    nodes: Sequence[SimNode], packets: Iterable[Packet], *, column_default: Value
) -> list[str]:
    """L4: a version that is no row's, nor before it, nor equal to one of these, is recorded.

    Who does not have the added column wrote a row that has its default.
    """
    bases: dict[tuple[RowKey, str], set[str]] = {}
    images: dict[tuple[RowKey, str], Values | None] = {}
    for packet in packets:
        for group in packet.groups():
            for change in group:
                for key, base, image in _written(change):
                    known = {v for v in (base, *change.resolves) if v is not None}
                    bases.setdefault((key, change.version.id), set()).update(known)
                    images[key, change.version.id] = image
    recorded: set[tuple[RowKey, str | None]] = set()
    for node in nodes:
        with node.database.read() as reader:
            for conflict in list_conflicts(reader, limit=100_000):
                recorded |= {
                    (conflict.key, conflict.our_version),
                    (conflict.key, conflict.their_version),
                }
    with nodes[0].database.read() as reader:
        parked = parked_rows(reader)
        return _unrecorded(reader, bases, images, recorded, parked, column_default)


def _written(change: Change) -> Iterator[tuple[RowKey, str | None, Values | None]]:
    """The rows that a change writes: key, base and image; two when it gives a row another key."""
    if change.op == "D":
        yield change.key, change.base, None
        return
    values = change.new_values()
    key = RowKey(change.table_name, key_text({"id": values["id"]}))
    if key != change.key:
        yield change.key, change.base, None
        yield key, change.new_base, values
    else:
        yield key, change.base, values


def _unrecorded(
    reader: Reader,
    bases: dict[tuple[RowKey, str], set[str]],
    images: dict[tuple[RowKey, str], Values | None],
    recorded: set[tuple[RowKey, str | None]],
    parked: Iterable[tuple[str, str]],
    column_default: Value,
) -> list[str]:
    simple = {"note", "master"}
    left_out = {RowKey(*row) for row in parked}
    found = []
    for key in sorted({key for key, _ in bases if key.table_name in simple} - left_out):
        now = find_version(reader, key)
        # What a version has seen and overwritten is no loser, whatever became of that version.
        before = {version for row, version in recorded if row == key and version is not None}
        before |= {now.id} if now is not None else set()
        before = _with_ancestors(bases, key, before)
        for other, version in bases:
            if other != key or version in before:
                continue
            # Two nodes may have written the same: then the row has been so, and nothing is lost.
            # That it was so before this version was written is no excuse.
            apart = before - _with_ancestors(bases, key, {version})
            been = [images.get((key, each)) for each in apart] or [None]
            if not any(_has_been(images[key, version], each, column_default) for each in been):
                found.append(f"L4 {key.table_name} {key.pk_json}: {version} is nowhere")
    return found


def _has_been(image: Values | None, other: Values | None, column_default: Value) -> bool:
    """Whether a row that was so has held an image; columns that it does not speak of may differ."""
    if image is None or other is None:
        return image is other
    other = {"extra": column_default, **other}
    return all(other.get(name) == value for name, value in image.items())


def _with_ancestors(
    bases: dict[tuple[RowKey, str], set[str]], key: RowKey, versions: set[str]
) -> set[str]:
    """Versions of a row, and all that they have seen of it."""
    found, waiting = set(versions), list(versions)
    while waiting:
        for base in bases.get((key, waiting.pop()), ()):
            if base not in found:
                found.add(base)
                waiting.append(base)
    return found


def passed(nodes: Sequence[SimNode]) -> list[str]:
    """L8: what a cursor has passed has been received."""
    by_name = {node.name: node for node in nodes}
    found = []
    for node in nodes:
        with node.database.read() as reader:
            states = peers.list_states(reader, "in")
            known = peers.known(reader)
        for state in states:
            source = by_name[state.client_id]
            for packet_change in _log_until(source, state.last_lsn):
                origin, epoch, seq = packet_change
                if origin != node.name and (epoch, seq) > known.get(origin, (0, 0)):
                    found.append(
                        f"L8 {node.name} has passed {origin}.{epoch}.{seq} of {state.client_id}"
                    )
    return found


def _log_until(node: SimNode, lsn: int) -> list[tuple[str, int, int]]:
    from stepwell.sync.log import changes_of

    return [(c.origin, c.epoch, c.seq) for c in changes_of(node.database, 0, lsn)]


def findings(nodes: Sequence[SimNode]) -> list[str]:
    """What the doctor sees of each node alone."""
    found = []
    for node in nodes:
        with node.database.read() as reader:
            found += [
                f"{finding.rule} on {node.name}: {finding.where}: {finding.what}"
                for finding in examine(reader)
                if finding.severity is Severity.ERROR
            ]
    return found
