"""``FILE.errors.jsonl``: the groups of a file that were parked, a line each."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from stepwell.sync.apply import Applied

logger = logging.getLogger("stepwell.sync")


class ErrorReport:
    """``FILE.errors.jsonl``, none without errors; after a kill as long as what is committed."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self._file: Any = None
        try:
            if path.exists():
                if size:
                    os.truncate(path, size)
                else:
                    path.unlink()
        except OSError as error:
            self._give_up(error)

    def add(self, parked: Sequence[Applied]) -> None:
        """Groups that were parked."""
        if not parked:
            return
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            for applied in parked:
                self._file.write(msgspec.json.encode(_error(applied)) + b"\n")
        except OSError as error:
            self._give_up(error)

    def flush(self) -> int:
        """Have the disk hold it; answers its length."""
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._size = self._file.tell()
            except OSError as error:
                self._give_up(error)
        return self._size

    def close(self) -> None:
        """Nothing more is written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _give_up(self, error: OSError) -> None:
        logger.warning(
            "cannot write %s: %s; `stepwell sync quarantine list` has the same", self._path, error
        )


def _error(applied: Applied) -> dict[str, Any]:
    return {
        "line": applied.line,
        "table": applied.table_name,
        "pk_json": None if applied.pk_json is None else msgspec.Raw(applied.pk_json.encode()),
        "reason": applied.reason,
        "message": applied.message,
        "quarantine_id": applied.quarantine_id,
        "origin": applied.origin,
        "epoch": applied.epoch,
        "seq": applied.seq,
        "tx_id": applied.tx_id,
    }


def told(applied: Applied) -> str:
    """A parked group in one line."""
    at = "" if applied.line is None else f" (line {applied.line})"
    return (
        f"parked group {applied.seq} of {applied.origin}{at} as {applied.quarantine_id}:"
        f" {applied.reason}: {applied.message}"
    )
