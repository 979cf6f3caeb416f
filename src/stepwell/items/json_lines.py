"""JSON Lines files: one JSON value a line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import msgspec

from stepwell.errors import MalformedItem
from stepwell.items.file_reader import FileReader
from stepwell.items.file_source import READ_FAULTS, FileSource, Paths
from stepwell.items.file_writer import FileWriter

Item = TypeVar("Item")

FACT_CHARACTERS_MAX = 300  # Of what a validator says about a line.


class JsonLinesReader(FileReader[Item], Generic[Item]):
    """Reads files with one JSON value a line.

    The checkpoint is a file and a byte offset (S94, S95): a restart seeks and reads nothing again.
    A ``.gz`` file is decompressed again up to there. Empty lines and a byte order mark are left
    out. Memory does not grow with the file.

    >>> JsonLinesReader("orders-*.jsonl.gz")
    >>> JsonLinesReader("orders.jsonl", type=Order)

    Args:
        path: A file, a glob, or a list of them, read one behind the other: a list in its order,
            a glob sorted by name. Or a function of ``step`` (or of nothing) that returns these.
        type: What each line is decoded to and checked against: a msgspec Struct, a dataclass, a
            TypedDict or any other type of msgspec, or a pydantic model. Without it, dicts, lists,
            text and numbers come as they are. A Struct costs less than a dict.

    Raises:
        ItemSourceMissing: on ``open``, a file is not there, or nothing matches the glob.
        MalformedItem: on ``read``, a line is no JSON, has another shape than ``type``, or is
            ``null``, which would end the data (S96). The message names file and line; the next
            ``read`` goes on behind it, so it may be skipped.
        ItemError: on a restart, the file is shorter than the checkpoint.
    """

    @overload
    def __init__(
        self: JsonLinesReader[Any], path: Paths | Callable[..., Paths], *, type: None = ...
    ) -> None: ...

    @overload
    def __init__(self, path: Paths | Callable[..., Paths], *, type: type[Item]) -> None: ...

    def __init__(
        self,
        path: Paths | Callable[..., Paths],
        *,
        type: Any = None,  # noqa: A002 - the word that msgspec uses, too
    ) -> None:
        super().__init__(path)
        self.type = type

    def _begin(self, source: FileSource) -> None:
        source.skip_byte_order_mark()

    def _records(self, source: FileSource) -> Iterator[Item]:
        decode = _decoder(self.type)
        try:
            for line in source.file:
                try:
                    item = decode(line)
                except (msgspec.MsgspecError, ValueError) as error:
                    if not line.strip():
                        continue
                    raise self._malformed(source, _fact(error)) from error
                if item is None:
                    raise self._malformed(source, "it is null, which would be the end of the data")
                yield item
        except READ_FAULTS as error:
            raise source.unreadable(error) from error

    def _malformed(self, source: FileSource, fact: str) -> MalformedItem:
        line = source.line()
        fields: dict[str, object] = {"file": source.name, "line": line}
        byte = re.search(r"\(byte (\d+)\)", fact)
        if byte is not None:
            fields["column"] = int(byte[1]) + 1
            fact = fact.replace(byte[0], f"in column {fields['column']}")
        return MalformedItem(
            f"cannot read line {line} of {source.name!r}: {fact}",
            hint="mend the line, or leave such lines out: `skip=Skip(MalformedItem, limit=…)`",
            fields=fields,
        )


class JsonLinesWriter(FileWriter[Any]):
    """Writes a file with one JSON value a line, a chunk at a time.

    A first start makes the file anew under its final name; a restart cuts it to the last committed
    chunk (S94), so no line is lost or doubled. Until the step is COMPLETED the file may end in
    lines of a chunk that is not committed. Each chunk costs one fsync, within its transaction.

    >>> ChunkStep("export", orders, None, JsonLinesWriter("orders.jsonl"))

    Args:
        path: The file; a name that ends in ``.gz`` is compressed. Or a function of ``step`` (or of
            nothing) that returns it.

    Items are whatever msgspec encodes (dicts, lists, dataclasses, Structs; dates and Decimals
    become text, NaN becomes null), and pydantic models.

    Raises:
        MalformedItem: an item cannot be encoded; nothing of its chunk is in the file.
        ItemError: the file was changed since the checkpoint, or cannot be written.
        ItemSourceMissing: the folder, or the file of the checkpoint, is not there.
    """

    def _encode(self, items: Sequence[Any]) -> bytes:
        encoder = msgspec.json.Encoder(enc_hook=_encode_other)
        try:
            return encoder.encode_lines(items)
        except Exception as error:
            raise self._no_json(items, encoder, error) from error

    def _no_json(
        self, items: Sequence[Any], encoder: msgspec.json.Encoder, error: Exception
    ) -> MalformedItem:
        number = next(n for n, item in enumerate(items, 1) if not _can_encode(encoder, item))
        return MalformedItem(
            f"cannot write item {number} of the chunk to {self._name!r}: {error}",
            hint="let the processor return what JSON can carry",
            fields={"file": self._name, "item": number},
        )


def _decoder(kind: Any) -> Callable[[bytes], Any]:
    if kind is None:
        return msgspec.json.Decoder().decode
    # By what it can do, not by its class: pydantic need not be imported to ask.
    validate: Callable[[bytes], Any] | None = getattr(kind, "model_validate_json", None)
    return msgspec.json.Decoder(kind).decode if validate is None else validate


def _encode_other(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is no JSON type")
    return dump(mode="json")


def _fact(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= FACT_CHARACTERS_MAX else text[:FACT_CHARACTERS_MAX] + "…"


def _can_encode(encoder: msgspec.json.Encoder, item: Any) -> bool:
    try:
        encoder.encode(item)
    except Exception:  # noqa: BLE001 - whatever a model's own method raises
        return False
    return True
