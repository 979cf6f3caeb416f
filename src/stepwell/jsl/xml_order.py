"""Which elements and attributes a Jakarta Batch document has, and in which order (S181)."""

from __future__ import annotations

from dataclasses import dataclass

from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.xml_tree import Node

_FLOW_OF_WORK = ("decision", "flow", "split", "step")
_TRANSITIONS = ("end", "fail", "next", "stop")

SHOWN_CHARACTERS_MAX = 40  # Of text that stands where none may.
MAY_BE_EMPTY = ("value", "on")


@dataclass(frozen=True)
class Shape:
    """One kind of element.

    Attributes:
        slots: The children in their order; those of one slot may stand in any order.
        once: The slots of which only one child may stand.
        attributes: Those it may have; the ones in ``needed`` it must have.
    """

    slots: tuple[tuple[str, ...], ...] = ()
    once: frozenset[int] = frozenset()
    attributes: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()


def _once(*numbers: int) -> frozenset[int]:
    return frozenset(numbers)


_REF = Shape((("properties",),), _once(0), ("ref",), ("ref",))
_CLASSES = Shape((("include",), ("exclude",)))
_CLASS = Shape(attributes=("class",), needed=("class",))
_ENDING = Shape(attributes=("on", "exit-status"), needed=("on",))

SHAPES = {
    "job": Shape(
        (("properties",), ("listeners",), _FLOW_OF_WORK),
        _once(0, 1),
        ("id", "version", "restartable"),
        ("id",),
    ),
    "step": Shape(
        (("properties",), ("listeners",), ("batchlet", "chunk"), ("partition",), _TRANSITIONS),
        _once(0, 1, 2, 3),
        ("id", "next", "start-limit", "allow-start-if-complete"),
        ("id",),
    ),
    "flow": Shape((_FLOW_OF_WORK, _TRANSITIONS), _once(), ("id", "next"), ("id",)),
    "split": Shape((("flow",),), _once(), ("id", "next"), ("id",)),
    "decision": Shape((("properties",), _TRANSITIONS), _once(0), ("id", "ref"), ("id", "ref")),
    "batchlet": _REF,
    "chunk": Shape(
        (
            ("reader",),
            ("processor",),
            ("writer",),
            ("checkpoint-algorithm",),
            ("skippable-exception-classes",),
            ("retryable-exception-classes",),
            ("no-rollback-exception-classes",),
        ),
        _once(0, 1, 2, 3, 4, 5, 6),
        ("checkpoint-policy", "item-count", "time-limit", "skip-limit", "retry-limit"),
    ),
    "reader": _REF,
    "processor": _REF,
    "writer": _REF,
    "checkpoint-algorithm": _REF,
    "skippable-exception-classes": _CLASSES,
    "retryable-exception-classes": _CLASSES,
    "no-rollback-exception-classes": _CLASSES,
    "include": _CLASS,
    "exclude": _CLASS,
    "partition": Shape(
        (("mapper", "plan"), ("collector",), ("analyzer",), ("reducer",)), _once(0, 1, 2, 3)
    ),
    "mapper": _REF,
    "plan": Shape((("properties",),), attributes=("partitions", "threads")),
    "collector": _REF,
    "analyzer": _REF,
    "reducer": _REF,
    "listeners": Shape((("listener",),)),
    "listener": _REF,
    "properties": Shape((("property",),), attributes=("partition",)),
    "property": Shape(attributes=("name", "value"), needed=("name", "value")),
    "next": Shape(attributes=("on", "to"), needed=("on", "to")),
    "end": _ENDING,
    "fail": _ENDING,
    "stop": Shape(attributes=("on", "exit-status", "restart"), needed=("on",)),
}


def check_order(root: Node, faults: Faults) -> None:
    """Every element and attribute that is unknown, missing, doubled or out of order."""
    if root.tag != "job":
        faults.error(root.line, f"the root must be <job>, got <{root.tag}>")
        return
    _check(root, None, faults)


def _check(node: Node, parent: Node | None, faults: Faults) -> None:
    shape = SHAPES[node.tag]
    _check_attributes(node, parent, shape, faults)
    if node.text:
        text = node.text[:SHOWN_CHARACTERS_MAX]
        faults.error(node.text_line, f"<{node.tag}> must hold no text, got {text!r}")
    slot_of = {tag: number for number, slot in enumerate(shape.slots) for tag in slot}
    reached = 0
    taken: dict[int, Node] = {}
    for child in node.children:
        if child.tag not in slot_of or child.namespace != node.namespace:
            _unknown_child(child, node, list(slot_of), faults)
            continue
        slot = slot_of[child.tag]
        if slot in taken and slot in shape.once:
            _second_child(child, taken[slot], node, faults)
        elif slot < reached:
            order = ", ".join("|".join(names) for names in shape.slots)
            faults.error(
                child.line,
                f"<{child.tag}> stands too late in <{node.tag}>",
                f"the order is {order}",
            )
        taken.setdefault(slot, child)
        reached = max(reached, slot)
        _check(child, node, faults)


def _second_child(child: Node, first: Node, node: Node, faults: Faults) -> None:
    if {child.tag, first.tag} in ({"batchlet", "chunk"}, {"mapper", "plan"}):
        return  # The content says it better: see structure.py and build.py.
    faults.error(
        child.line,
        f"<{node.tag}> may hold one <{child.tag}>, this is another",
        f"the first stands on line {first.line}",
    )


def _unknown_child(child: Node, node: Node, known: list[str], faults: Faults) -> None:
    if child.tag in known:
        message = f"<{child.tag}> is of namespace {child.namespace!r}, its parent is not"
        faults.error(child.line, message, "remove its `xmlns`")
        return
    holds = f"<{node.tag}> holds " + (", ".join(f"<{tag}>" for tag in known) or "nothing")
    meant = did_you_mean(child.tag, known)
    faults.error(
        child.line,
        f"<{child.tag}> is unknown in <{node.tag}>",
        f"{meant} {holds}".strip(),
    )


def _check_attributes(node: Node, parent: Node | None, shape: Shape, faults: Faults) -> None:
    known = list(shape.attributes)
    needed = list(shape.needed)
    if node.tag == "properties":
        # Only the lists of a plan are for one partition.
        known, needed = (known, known) if parent and parent.tag == "plan" else ([], [])
    for name in node.attributes:
        if name not in known:
            has = f"<{node.tag}> has " + (", ".join(known) or "no attributes")
            meant = did_you_mean(name, known)
            faults.error(
                node.line,
                f"attribute {name!r} is unknown in <{node.tag}>",
                f"{meant} {has}".strip(),
            )
    for name in needed:
        if name not in node.attributes:
            faults.error(node.line, f"<{node.tag}> must have the attribute {name!r}")
        elif name not in MAY_BE_EMPTY and not node.attributes[name]:
            faults.error(node.line, f"{name!r} of <{node.tag}> must not be empty")
