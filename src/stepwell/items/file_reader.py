"""FileReader: what the readers of files have in common.

Its checkpoint is the name of a file and a byte offset in it, so a restart seeks and reads nothing
again. Invariants: the offset always lies behind a whole record; a record that could not be read
lies before it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from stepwell.errors import ItemError, ItemSourceMissing
from stepwell.items.file_source import FileSource, Paths, resolve_paths
from stepwell.items.iterable import not_open
from stepwell.items.reading import reading

Item = TypeVar("Item")


class FileReader(abc.ABC, Generic[Item]):
    """Reads the records of one file or of several, one behind the other.

    A subclass says how a file begins (``_begin``) and what its records are (``_records``).
    """

    def __init__(self, path: Paths | Callable[..., Paths]) -> None:
        self.path = path

    def open(self, checkpoint: Any = None, step: Any = None) -> None:
        """Find the files, look at the beginning of each, and take position (S94).

        Raises:
            ItemSourceMissing: a file, or the file of the checkpoint, is not there.
            ItemError: a file does not begin as it should, or was changed since the checkpoint.
        """
        self._source: FileSource | None = None
        self._names = resolve_paths(self.path, step)
        self._number = 0 if checkpoint is None else self._number_of(checkpoint)
        # Before the first item, so that a fault in the last file does not wait for hours.
        for name in self._names[self._number + 1 :]:
            self._opened(name).close()
        self._source = self._opened(self._names[self._number])
        if checkpoint is not None:
            try:
                self._go_to(checkpoint, self._source)
            except BaseException:
                self.close()  # The engine closes only what has opened (S100).
                raise
        vars(self)["read"] = reading(self._advance)

    def read(self) -> Item | None:
        """The next item, or None at the end; ``open`` puts a faster callable in its place.

        Raises:
            MalformedItem: this record cannot be read; the next ``read`` goes on behind it.
            ItemError: the file cannot be read any further.
        """
        raise not_open(type(self).__name__)

    def checkpoint(self) -> dict[str, Any]:
        """The file and the offset behind the last record read."""
        if self._source is None:
            raise not_open(type(self).__name__)
        position = {
            "file": self._source.name,
            "number": self._number + 1,
            "offset": self._source.offset(),
        }
        if self._source.header is not None:
            position["header"] = self._source.header
        return position

    def close(self) -> None:
        """Close the file."""
        vars(self).pop("read", None)
        if self._source is not None:
            self._source.close()
            self._source = None

    @abc.abstractmethod
    def _begin(self, source: FileSource) -> None:
        """Go to the first record; what lies before it, such as a header, is checked here."""

    @abc.abstractmethod
    def _records(self, source: FileSource) -> Iterator[Item]:
        """The records from the present offset to the end of the file.

        After a MalformedItem it is called again, with the offset behind that record.
        """

    def _opened(self, name: str) -> FileSource:
        source = FileSource(name)
        try:
            self._begin(source)
        except BaseException:
            source.close()
            raise
        return source

    def _advance(self) -> Iterator[Item] | None:
        if self._source is None:
            raise not_open(type(self).__name__)
        while self._source.is_at_end():
            if self._number + 1 == len(self._names):
                return None
            following = self._opened(self._names[self._number + 1])
            self._source.close()
            self._source = following
            self._number += 1
        return self._records(self._source)

    def _number_of(self, checkpoint: Any) -> int:
        try:
            name, number = str(checkpoint["file"]), int(checkpoint["number"])
            int(checkpoint["offset"])
        except (TypeError, KeyError, ValueError):
            raise ItemError(
                f"cannot go on at checkpoint {checkpoint!r}: {type(self).__name__} wrote no such"
                " checkpoint",
                hint="was the step's reader changed since? start anew, or put it back",
            ) from None
        if name not in self._names:
            raise ItemSourceMissing(
                f"cannot go on in {name!r}: the file of the checkpoint is not among the"
                f" {len(self._names)} files of the reader, the first is {self._names[0]!r}",
                hint="put the file back, or abandon the execution and start anew",
                fields={"file": name},
            )
        index = self._names.index(name)
        if index >= number:  # Fewer is fine: what was read may have been moved away.
            raise ItemError(
                f"cannot go on in {name!r}: it was file {number} at the checkpoint and is file"
                f" {index + 1} now, and the files before it would not be read",
                hint="give new files names that sort behind the old ones",
                fields={"file": name, "number": number},
            )
        return index

    def _go_to(self, checkpoint: Any, source: FileSource) -> None:
        if checkpoint.get("header") != source.header:
            raise ItemError(
                f"cannot go on in {source.name!r}: its header is not the one it had at the"
                " checkpoint",
                hint="put the file back as it was, or abandon the execution and start anew",
                fields={"file": source.name},
            )
        source.seek(int(checkpoint["offset"]))
