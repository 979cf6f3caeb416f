"""Conflicts, column by column, and as JSON with quarantined groups; see ``docs/cli.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepwell.looks.text import iso_utc
from stepwell.sync.change import Values, encode_values
from stepwell.sync.conflict import Conflict

if TYPE_CHECKING:
    from stepwell.sync.apply import Applied
    from stepwell.sync.change import Change
    from stepwell.sync.quarantine import Quarantined

NO_ROW = "(no row)"


@dataclass(frozen=True)
class ColumnLook:
    """One column of the images, as texts.

    Attributes:
        differs: In a word, how the sides differ; empty when they do not.
    """

    name: str
    base: str
    ours: str
    theirs: str
    differs: str


def columns_of(conflict: Conflict) -> list[str]:
    """The columns of all images."""
    images = (conflict.base, conflict.ours, conflict.theirs)
    return list(dict.fromkeys(name for image in images if image for name in image))


def compare(conflict: Conflict) -> list[ColumnLook]:
    """Every column, in the order of the images."""
    found = []
    for name in columns_of(conflict):
        base, ours, theirs = (
            value_text(image, name) for image in (conflict.base, conflict.ours, conflict.theirs)
        )
        differs = _differs(None if conflict.base is None else base, ours, theirs)
        found.append(ColumnLook(name, base, ours, theirs, differs))
    return found


def value_text(image: Values | None, name: str) -> str:
    """A value as a file of changes writes it; empty for none."""
    if image is None:
        return NO_ROW
    if name not in image:
        return ""
    return encode_values({"": image[name]}).decode("utf-8")[4:-1]


def _differs(base: str | None, ours: str, theirs: str) -> str:
    if ours == theirs:
        return ""
    if base is None:
        return "differs"
    if ours == base:
        return "changed there"
    return "changed here" if theirs == base else "changed on both sides"


def conflict_json(found: Conflict) -> dict[str, Any]:
    """A conflict with its images."""

    def image(values: Values | None) -> Any:
        return None if values is None else json.loads(encode_values(values))

    return {
        "conflict_id": found.conflict_id,
        "table": found.table_name,
        "pk_json": json.loads(found.pk_json),
        "kind": found.kind,
        "index": found.index_name,
        "policy": found.policy,
        "status": found.status,
        "state": found.state,
        "winner": found.winner,
        "base": image(found.base),
        "ours": image(found.ours),
        "theirs": image(found.theirs),
        "our_version": found.our_version,
        "their_version": found.their_version,
        "origin": found.origin,
        "epoch": found.epoch,
        "seq": found.seq,
        "detected_at": iso_utc(found.detected_at),
        "resolved_at": iso_utc(found.resolved_at),
        "resolved_by": found.resolved_by,
        "resolution": found.resolution,
    }


def quarantined_json(found: Quarantined, changes: Iterable[Change] | None = None) -> dict[str, Any]:
    """A parked group, with its changes where they are given."""
    document = {
        "quarantine_id": found.quarantine_id,
        "origin": found.origin,
        "epoch": found.epoch,
        "seq": found.seq,
        "tx_id": found.tx_id,
        "reason": found.reason,
        "message": found.message,
        "line": found.line,
        "table": found.table_name,
        "pk_json": found.pk_json,
        "waits_for": found.waits_for,
        "source_node": found.source_node,
        "parked_at": iso_utc(found.parked_at),
        "closed_at": iso_utc(found.closed_at),
        "outcome": found.outcome,
    }
    if changes is not None:
        document["changes"] = [
            {
                "op": change.op,
                "table": change.table_name,
                "pk_json": json.loads(bytes(change.pk_json)),
                "payload": json.loads(bytes(change.payload)),
                "before": json.loads(bytes(change.before)),
            }
            for change in changes
        ]
    return document


def applied_json(applied: Applied) -> dict[str, Any]:
    """What came of trying a group, or of giving it up."""
    return {
        "origin": applied.origin,
        "epoch": applied.epoch,
        "seq": applied.seq,
        "result": applied.result,
        "reason": applied.reason,
        "message": applied.message,
        "released": list(applied.released),
    }
