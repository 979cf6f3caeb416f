"""A YAML document as nodes with their lines: every scalar as it is written, nothing constructed.

``on`` is a word here and not a truth value, ``2026-11-20`` is text. Keys that stand twice, aliases
and tags are refused: what a file means is what a reader sees, and it cannot grow while it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from yaml.composer import Composer, ComposerError
from yaml.resolver import Resolver

from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.model import Text

# libyaml's parser, where PyYAML has it: ten times as fast. Both answer the same events.
Parser: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

DEPTH_MAX = 100
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp")}
_PLAIN_TAGS |= {_TAG + name for name in ("seq", "map", "value")}

# What another system, or the XML, calls it.
OTHER_WORDS = {
    "batchlet": "tasklet",
    "checkpoint_algorithm": "checkpoint",
    "commit_interval": "chunk_size",
    "id": "step",
    "item_count": "chunk_size",
    "name": "job",
    "processors": "processor",
    "threads": "workers",
    "time_limit": "time_limit_s",
}


class _Composer(Composer, Resolver):
    """Composes the events of a parser to nodes, without aliases and not too deep."""

    def __init__(self, parser: Any) -> None:
        Composer.__init__(self)
        Resolver.__init__(self)
        self.check_event = parser.check_event
        self.peek_event = parser.peek_event
        self.get_event = parser.get_event
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "aliases are refused here", mark)
        self._depth += 1
        if self._depth > DEPTH_MAX:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, "it is nested too deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_nodes(document: bytes, faults: Faults) -> yaml.Node | None:
    """The root node; None, with a fault, when the document cannot be read."""
    try:
        parser = Parser(document)
        try:
            root = _Composer(parser).get_single_node()
        finally:
            parser.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        faults.error(mark.line + 1 if mark else 0, f"this is no YAML that can be read: {what}")
    except (yaml.YAMLError, ValueError) as error:
        what = " ".join(str(error).split())
        faults.error(1, f"this is no YAML that can be read: {what}", "save it as UTF-8")
    else:
        if root is None:
            faults.error(1, "the file is empty", "a job file begins with `job: NAME`")
        return root
    return None


def line_of(node: yaml.Node) -> int:
    """Where a node begins."""
    mark = node.start_mark
    return int(mark.line) + 1 if mark else 0


def is_null(node: yaml.Node) -> bool:
    """Nothing, ``~`` or ``null``, without quotes."""
    return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"


def text_of(node: yaml.Node, what: str, faults: Faults) -> Text | None:
    """The scalar as it is written."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag not in _PLAIN_TAGS:
            faults.error(line_of(node), f"{what}: the tag {node.tag!r} is refused")
        return Text(str(node.value), line_of(node))
    kind = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
    faults.error(line_of(node), f"{what} must be text, got {kind}")
    return None


def data_of(node: yaml.Node, what: str, faults: Faults) -> Text:
    """A value of a property or parameter: text as it is, a list or mapping as JSON."""
    if isinstance(node, yaml.ScalarNode):
        if is_null(node):
            return Text("", line_of(node))
        return text_of(node, what, faults) or Text("", line_of(node))
    encoded = msgspec.json.encode(_plain(node, what, faults)).decode()
    return Text(encoded, line_of(node))


def _plain(node: yaml.Node, what: str, faults: Faults) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, what, faults) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {
            str(_plain(key, what, faults)): _plain(value, what, faults) for key, value in node.value
        }
    if is_null(node):
        return None
    text = text_of(node, what, faults)
    return text.text if text else None


def items_of(node: yaml.Node | None, what: str, faults: Faults) -> list[yaml.Node]:
    """The items of a list; nothing, with a fault, for anything else."""
    if node is None:
        return []
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    faults.error(line_of(node), f"{what} must be a list, with `- ` before each item")
    return []


class Fields:
    """The keys of one mapping; unknown and doubled ones are faults, null is as if absent.

    Attributes:
        line: Of the key whose value it is, else where it begins.
    """

    def __init__(
        self,
        node: yaml.Node,
        what: str,
        known: tuple[str, ...] | None,
        faults: Faults,
        *,
        line: int | None = None,
    ) -> None:
        self.what = what
        self.line = line_of(node) if line is None else line
        self._faults = faults
        self._keys: dict[str, Text] = {}
        self._values: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            names = f": {', '.join(known)}" if known else ""
            faults.error(line_of(node), f"{what} must be a mapping{names}")
            return
        for key_node, value in node.value:
            key = text_of(key_node, f"a key of {what}", faults)
            if key is None:
                continue
            if key.text in self._keys:
                first = self._keys[key.text].line
                faults.error(key.line, f"{what}: {key.text!r} stands twice, first on line {first}")
                continue
            self._keys[key.text] = key
            if known is not None and key.text not in known:
                self._unknown(key, known)
            else:
                self._values[key.text] = value

    def _unknown(self, key: Text, known: tuple[str, ...]) -> None:
        other = OTHER_WORDS.get(key.text)
        meant = f"write {other!r};" if other in known else did_you_mean(key.text, known)
        self._faults.error(
            key.line,
            f"{self.what}: {key.text!r} is unknown",
            f"{meant} there are {', '.join(known)}".strip(),
        )

    def node(self, name: str) -> yaml.Node | None:
        """The value of a key; None when it is absent or null."""
        found = self._values.get(name)
        return None if found is None or is_null(found) else found

    def line_of(self, name: str) -> int:
        """Where a key stands that is there."""
        return self._keys[name].line

    def inside(self, name: str, known: tuple[str, ...]) -> Fields | None:
        """The mapping that is the value of a key; None when it is absent or null."""
        node = self.node(name)
        if node is None:
            return None
        what = f"{name} of {self.what}"
        return Fields(node, what, known, self._faults, line=self.line_of(name))

    def has(self, name: str) -> bool:
        """Whether the key is there, null or not."""
        return name in self._values

    def text(self, name: str) -> Text | None:
        """The text of a key; None when it is absent or null."""
        node = self.node(name)
        return None if node is None else text_of(node, f"{self.what}: {name}", self._faults)

    def __iter__(self) -> Iterator[tuple[Text, yaml.Node]]:
        """Key and value, in the order of the document."""
        return ((self._keys[name], value) for name, value in self._values.items())
