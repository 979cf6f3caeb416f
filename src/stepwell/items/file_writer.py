"""FileWriter: what the writers of files have in common.

Guarantees that a file never keeps lines of a chunk that was not committed, once the step has gone
on or was restarted. Invariants:

- A checkpoint never points beyond bytes that are on the disk (fsync comes first).
- The file is cut to the checkpoint by ``open``, and to the beginning of a chunk when that chunk is
  written again, so no line is doubled.

What is on disk after a crash: the committed chunks, and perhaps a part of the next one, which the
restart cuts off. A file is complete when its step is COMPLETED, not before.
"""

from __future__ import annotations

import abc
import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from stepwell.errors import ItemError, ItemSourceMissing
from stepwell.items.file_source import FilePath
from stepwell.job.function import with_arguments

Item = TypeVar("Item", contravariant=True)


class FileWriter(abc.ABC, Generic[Item]):
    """Writes the items of each chunk to the end of one file, under its final name.

    ``open(None)`` empties a file that is there: a first start makes the file anew. ``open`` with a
    checkpoint cuts the file to it (S94).

    A chunk's list may reach ``write`` twice, when its transaction has failed and the engine tries
    again (S118, S120, S121). A repetition has the same ``step.idempotency_key`` (S92): the file is
    cut to where that chunk began. When the engine drops the list instead (a skipped write), the
    next ``checkpoint`` comes under that key without a ``write``, and cuts it off as well. With a
    ``step`` that has no such key each ``write`` is a new chunk.

    A file whose name ends in ``.gz`` is compressed, one gzip member a chunk, so that it can be cut
    between two chunks.
    """

    def __init__(self, path: FilePath | Callable[..., FilePath]) -> None:
        self.path = path

    def open(self, checkpoint: Any = None, step: Any = None) -> None:
        """Make the file anew, or cut it to the checkpoint.

        Raises:
            ItemSourceMissing: the folder, or the file of the checkpoint, is not there.
            ItemError: the file is shorter than the checkpoint, or cannot be written.
        """
        path = with_arguments(self.path, 1)(step) if callable(self.path) else self.path
        self._name = os.fspath(path)
        self._step = step
        self._key: str | None = None  # Of the last chunk written.
        self._saw_checkpoint = False  # Whether that chunk had its checkpoint already.
        offset = 0 if checkpoint is None else self._offset_of(checkpoint)
        self._restore(checkpoint or {})
        self._file = self._open_file(must_exist=checkpoint is not None)
        self._start = self._end = offset
        self._length: int | None = None  # Of the file; None after a fault, when it is unknown.
        self._synced = False
        try:
            self._cut(offset, was_checkpoint=checkpoint is not None)
            if checkpoint is None:
                self._append(self._beginning())
        except BaseException:
            self._file.close()  # The engine closes only what has opened (S100).
            raise

    def write(self, items: Sequence[Item], step: Any = None) -> None:
        """Append the items of one chunk.

        Raises:
            MalformedItem: an item cannot be written; nothing of the list is in the file.
            ItemError: the file cannot be written, for example because the disk is full.
        """
        key = getattr(step, "idempotency_key", None)
        if key is not None and key == self._key:
            self._end = self._start
        self._step, self._key, self._saw_checkpoint = step, key, False
        self._start = self._end
        self._append(self._encode(items))

    def checkpoint(self) -> dict[str, Any]:
        """The length of the file behind the chunks written; it is on the disk when this returns."""
        key = getattr(self._step, "idempotency_key", None)
        if self._saw_checkpoint and key is not None and key == self._key:
            self._end = self._start  # The list was dropped after a failed commit.
        self._saw_checkpoint = True
        try:
            if self._length != self._end:
                self._cut(self._end)
            if not self._synced:
                os.fsync(self._file.fileno())
                self._synced = True
        except OSError as error:
            raise self._cannot("write", error) from error
        return {"offset": self._end}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what else ``checkpoint`` holds; called by each ``open``, {} on a first start."""
        del checkpoint

    def _beginning(self) -> bytes:
        """What a new file begins with."""
        return b""

    @abc.abstractmethod
    def _encode(self, items: Sequence[Item]) -> bytes:
        """The bytes of one chunk, each record with its line end."""

    def _append(self, data: bytes) -> None:
        if not data:
            return
        if self._name.endswith(".gz"):
            data = gzip.compress(data, mtime=0)
        try:
            if self._length != self._end:
                self._cut(self._end)
            self._length, self._synced = None, False
            self._file.seek(self._end)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise self._cannot("write", error) from error
        self._end += len(data)
        self._length = self._end

    def _cut(self, offset: int, *, was_checkpoint: bool = False) -> None:
        length = os.fstat(self._file.fileno()).st_size
        if length < offset:
            raise ItemError(
                f"cannot go on at byte {offset} of {self._name!r}: it has only {length} bytes, so"
                " the file was changed since the "
                + ("checkpoint" if was_checkpoint else "last chunk"),
                hint="put the file back as it was, or abandon the execution and start anew",
                fields={"file": self._name, "offset": offset, "bytes": length},
            )
        if length > offset:
            self._file.truncate(offset)
            self._synced = False
        self._length = offset

    def _offset_of(self, checkpoint: Any) -> int:
        offset = checkpoint.get("offset") if isinstance(checkpoint, Mapping) else None
        if not isinstance(offset, int) or offset < 0:
            raise ItemError(
                f"cannot go on at checkpoint {checkpoint!r}: {type(self).__name__} wrote no such"
                " checkpoint",
                hint="was the step's writer changed since? start anew, or put it back",
            )
        return offset

    def _open_file(self, *, must_exist: bool) -> BinaryIO:
        path = Path(self._name)
        # Unbuffered: a buffer would keep the bytes of a failed write and try again on close.
        try:
            if must_exist:
                return path.open("r+b", buffering=0)
            file = path.open("w+b", buffering=0)
        except FileNotFoundError:
            raise self._missing(must_exist=must_exist) from None
        except OSError as error:
            raise self._cannot("open", error) from error
        if os.name == "posix":
            _sync_folder(path.parent)
        return file

    def _missing(self, *, must_exist: bool) -> ItemSourceMissing:
        if must_exist:
            return ItemSourceMissing(
                f"cannot go on in {self._name!r}: the file of the checkpoint is gone",
                hint="put the file back, or abandon the execution and start anew",
                fields={"file": self._name},
            )
        folder = str(Path(self._name).absolute().parent)
        return ItemSourceMissing(
            f"cannot write {self._name!r}: there is no folder {folder!r}",
            hint=f"mkdir -p {folder}",
            fields={"file": self._name},
        )

    def _cannot(self, verb: str, error: OSError) -> ItemError:
        return ItemError(
            f"cannot {verb} {self._name!r}: {(error.strerror or str(error)).lower()}",
            fields={"file": self._name},
        )


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk only after its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
