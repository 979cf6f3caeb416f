"""Two rows that claim one unique value: looked up before anything is written, decided by index.

``park`` waits for a person. The others are decided wherever both rows meet, by their versions, so
that everybody decides alike; what becomes of the loser is a change of the node that decided, which
travels. ``merge_identity`` is decided on a main alone, because two keys can lead to each other.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from stepwell.sync.change import Change, RowKey, Values, Version, decode_values
from stepwell.sync.claim import Claim, Settled
from stepwell.sync.identity import merge_identity
from stepwell.sync.policy import Side, UniqueRule, nulled_column, renamed_column
from stepwell.sync.rows import rows_blocking, update_row
from stepwell.sync.table import TrackedTable
from stepwell.sync.touched import row_key

if TYPE_CHECKING:
    from stepwell.sync.place import Placement

BLOCKERS_MAX = 100  # Of one row; each is settled in its turn.


def settle(
    placement: Placement,
    table: TrackedTable,
    change: Change,
    key: RowKey,
    row: Values | None,
    values: Values,
    version: Version,
    *,
    was: RowKey | None = None,
) -> Settled:
    """Decide about every row that stands in the way of this one; ``was`` is its key until now.

    Raises:
        CannotPlace: a person, or a main, must decide.
    """
    shape = table.shape
    for _ in range(BLOCKERS_MAX):
        image = {**(row or {}), **values}
        claim = None
        for unique, other in rows_blocking(placement.scene.transaction, shape, image):
            other_key = row_key(shape, other)
            if other_key in (key, was):
                continue
            if placement.family.delete_if_waiting(other_key):
                continue
            other_version = placement.version(other_key) or placement.unversioned()
            claim = Claim(
                table, change, unique, key, image, version, other_key, other, other_version
            )
            break
        if claim is None:
            return Settled(values, version)
        rule = placement.scene.policy(table.name).uniques.get(claim.unique.name, "park")
        if rule == "merge_identity":
            return merge_identity(placement, claim)
        after = _decide(placement, claim, rule)
        if after is not None:
            if after.values is None:
                return after
            values, version = after.values, after.version
    raise claim.parked() if claim else AssertionError("unreachable")


def _decide(placement: Placement, claim: Claim, rule: UniqueRule) -> Settled | None:
    """Make room in the table, or change what comes: then it is answered."""
    policy = placement.scene.policy(claim.table.name)
    if rule == "main_wins":
        is_winner = claim.version.by_authority > claim.other_version.by_authority
    else:
        is_winner = claim.version.by_time > claim.other_version.by_time
    loser_key = claim.other_key if is_winner else claim.key
    loser, loser_version = claim.other, claim.other_version
    if not is_winner:
        loser, loser_version = claim.row, claim.version
    changed: Values | None = None
    if rule in ("rename_loser", "null_loser"):
        changed = _changed(claim, rule, loser, loser_key)
        if changed is None:
            raise claim.parked()
    elif rule == "park" or policy.rows == "manual":
        raise claim.parked()
    placement.conflicts.append(
        claim.conflict(rule, status="decided", winner="theirs" if is_winner else "ours")
    )
    own = placement.own_group.add(
        "D" if changed is None else "U",
        loser_key,
        values=None if changed is None else {**loser, **changed},
        before=loser if changed is None else {name: loser[name] for name in changed},
        base=loser_version if loser_version.seq else None,
        lost=(loser_version,) if loser_version.seq else (),
        schema=claim.table.fingerprint,
    )
    if not is_winner:
        return Settled(None if changed is None else {**claim.row, **changed}, own.version)
    placement.wrote_own(claim.table, own, loser_key, Side(loser_version, loser))
    placement.versions[loser_key] = own.version
    placement.replaced(claim.table, loser)
    if changed is None:
        placement.family.delete(claim.table, own, loser_key, loser)
        placement.family.delete_if_waiting(loser_key)
    else:
        transaction = placement.scene.transaction
        update_row(transaction, claim.table.shape, decode_values(loser_key.pk_json), changed)
    return None


def _changed(claim: Claim, rule: UniqueRule, loser: Values, key: RowKey) -> Values | None:
    """The loser's new value: the same on every node, another one for every row."""
    shape, index = claim.table.shape, claim.unique.name
    if claim.unique.is_key:
        return None
    if rule == "null_loser":
        nulled = nulled_column(shape, index)
        return None if nulled is None or loser.get(nulled) is None else {nulled: None}
    renamed = renamed_column(shape, index)
    text = None if renamed is None else loser.get(renamed)
    if renamed is None or not isinstance(text, str):
        return None
    mark = hashlib.sha256(key.pk_json.encode("utf-8")).hexdigest()[:8]
    return {renamed: f"{text}~{mark}"}
