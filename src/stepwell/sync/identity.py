"""Two rows that are one: a key leads to another one, on every node alike.

A main decides it, by a change that gives the lost key the kept one and lists the lost version in
``resolves``. From then on rows and foreign keys that name the lost key are rewritten as they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.sync.aliases import kept_key, put_alias, with_kept_parents
from stepwell.sync.change import Change, RowKey, Values, decode_values
from stepwell.sync.claim import Claim, Settled
from stepwell.sync.rows import read_row, update_row
from stepwell.sync.scene import Scene
from stepwell.sync.table import TrackedTable

if TYPE_CHECKING:
    from stepwell.sync.place import Placement


def merge_rows(
    placement: Placement,
    table: TrackedTable,
    change: Change,
    lost: RowKey,
    kept: RowKey,
    values: Values,
) -> None:
    """A main has decided that a key leads to another one."""
    transaction = placement.scene.transaction
    put_alias(transaction, lost, kept, change.version, at=placement.scene.at)
    placement.scene.has_aliases = True
    kept = kept_key(transaction, kept)
    values = {**values, **decode_values(kept.pk_json)}
    now = placement.version(lost)
    row = read_row(transaction, table.shape, decode_values(lost.pk_json))
    placement.versions[lost] = change.version
    if row is not None:
        placement.family.follow(table, row, values)
        placement.family.delete_row(table, lost)
        placement.rows += 1
    placement.place_row(table, change, kept, change.new_version, values, base=change.new_base)
    if row is not None and now is not None and now.id != change.base:
        # It was changed after the main had seen it: that is a change of the kept row now.
        placement.place_row(table, change, kept, now, {**row, **decode_values(kept.pk_json)})


def with_kept(
    scene: Scene, table: TrackedTable, key: RowKey, new_key: RowKey | None, values: Values | None
) -> tuple[RowKey, RowKey | None, Values | None]:
    """Keys that lead elsewhere, in the row's own key and in its foreign keys."""
    transaction = scene.transaction
    kept = kept_key(transaction, key)
    new_kept = None if new_key is None else kept_key(transaction, new_key)
    if values is not None:
        values = {**values, **decode_values((new_kept or kept).pk_json)}
        values = with_kept_parents(transaction, table.shape, scene.keys, values)
    return kept, new_kept if new_kept != kept else None, values


def merge_identity(placement: Placement, claim: Claim) -> Settled:
    """The row that comes is the one that is here: its key leads there from now on."""
    scene = placement.scene
    if not scene.writer.node.is_main:
        raise claim.parked()
    transaction = scene.transaction
    kept = kept_key(transaction, claim.other_key)
    is_newer = claim.version.by_time > claim.other_version.by_time
    image = {**(claim.row if is_newer else claim.other), **decode_values(kept.pk_json)}
    placement.conflicts.append(claim.conflict("merge_identity", status="decided", winner="merged"))
    own = placement.own_group.add(
        "U",
        claim.key,
        values=image,
        before={n: claim.row.get(n) for n in image if claim.row.get(n) != image[n]},
        base=claim.version,
        lost=(claim.version,),
        schema=claim.table.fingerprint,
        new_key=kept,
        new_base=claim.other_version if claim.other_version.seq else None,
    )
    put_alias(transaction, claim.key, kept, own.version, at=scene.at)
    scene.has_aliases = True
    placement.family.follow(claim.table, claim.row, image)
    changed = {name: value for name, value in image.items() if name not in claim.table.shape.key}
    placement.versions[kept] = own.new_version
    # What comes may be here under its own key already, with another value until now.
    placement.family.delete_row(claim.table, claim.key)
    update_row(transaction, claim.table.shape, decode_values(kept.pk_json), changed)
    return Settled(None, own.version)
