"""What this node decides while it applies others' changes: a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stepwell.database.types import utc_text
from stepwell.sync.change import (
    NULL,
    Change,
    Lineage,
    Operation,
    RowKey,
    Values,
    Version,
    encode_values,
    next_causal_length,
    tick,
    version_id,
)
from stepwell.sync.log import LogWriter


class OwnGroup:
    """Changes of one such transaction.

    It is written by ``log_into``, once whatever it decides about stands in the log. Until then
    nothing of it is to be seen, so that it may be thrown away.
    """

    def __init__(self, writer: LogWriter, *, at: datetime, seen_hlc: int, actor: str) -> None:
        node = writer.node
        self.changes: list[Change] = []
        self.hlc = tick(max(writer.last_hlc, seen_hlc), at)
        self._seq = writer.last_seq + 1
        self._is_main = node.is_main
        self._node_id, self._epoch = node.node_id, node.epoch
        self._created_at = utc_text(at)
        self._lineage = Lineage(actor=actor) if actor else None

    def add(
        self,
        op: Operation,
        key: RowKey,
        *,
        values: Values | None,
        before: Values | None,
        base: Version | None,
        lost: Sequence[Version],
        schema: str,
        new_key: RowKey | None = None,
        new_base: Version | None = None,
    ) -> Change:
        """One change that has seen ``base`` and settles the versions in ``lost``."""
        seen = [v for v in (base, new_base, *lost) if v is not None]
        last = max((v.causal_length for v in (base, *lost) if v is not None), default=0)
        new_length = 0
        if new_key is not None:
            new_length = next_causal_length(new_base.causal_length if new_base else 0, "I")
        change = Change(
            lsn=0,
            tx_id=version_id(self._node_id, self._epoch, self._seq),
            table_name=key.table_name,
            pk_json=msgspec.Raw(key.pk_json.encode("utf-8")),
            op=op,
            payload=NULL if values is None else msgspec.Raw(encode_values(values)),
            before=NULL if before is None else msgspec.Raw(encode_values(before)),
            tombstone=int(op == "D"),
            created_at=self._created_at,
            source_node=self._node_id,
            origin=self._node_id,
            epoch=self._epoch,
            seq=self._seq,
            hlc=self.hlc,
            authority=self.hlc if self._is_main else max((v.authority for v in seen), default=0),
            base=base.id if base else None,
            causal_length=next_causal_length(last, "D" if new_key is not None else op),
            new_base=new_base.id if new_base else None,
            new_causal_length=new_length,
            schema=schema,
            resolves=tuple(dict.fromkeys(v.id for v in lost)),
            lineage=self._lineage,
        )
        self.changes.append(change)
        return change

    def log_into(self, writer: LogWriter) -> None:
        """Give it its places, behind what it decides about."""
        if not self.changes:
            return
        for change in self.changes:
            writer.add(change)
        writer.last_seq = self._seq
        writer.last_hlc = max(writer.last_hlc, self.hlc)
