"""A document of either language as YAML has it: what differs between them is written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepwell.jsl.build_chunk import ITEM_COUNT, WRITE_SKIP
from stepwell.jsl.model import (
    ChunkElement,
    Element,
    FlowElement,
    JobElement,
    PartitionElement,
    PlanElement,
    Properties,
    SplitElement,
    StepElement,
    Text,
)


def as_yaml(document: JobElement, losses: list[str]) -> JobElement:
    """The same job in YAML; ``losses`` gathers what YAML cannot say of it."""
    if document.language == "yaml":
        return document
    losses.append("a restart without parameters runs with none in XML, with the same in YAML (S10)")
    _find_names(document, losses)
    return replace(
        document,
        language="yaml",
        identity=document.identity or Text("each-start"),
        run_lock=document.run_lock or Text("none"),
        resources=_parts(document.resources, "resources", losses),
        pool=_parts(document.pool, "pool", losses),
        implied_next=document.implied_next or Text("false"),
        elements=tuple(_element(element) for element in document.elements),
    )


def _parts(texts: tuple[Text, ...], what: str, losses: list[str]) -> tuple[Text, ...]:
    """One text with commas between as several, unless an expression might hold commas."""
    if any("#{" in text.text for text in texts):
        losses.append(f"{what}: commas that an expression inserts separate nothing in YAML")
        return texts
    return tuple(Text(part.strip()) for text in texts for part in text.text.split(","))


def _element(element: Element) -> Any:
    match element:
        case FlowElement():
            return replace(element, elements=tuple(_element(one) for one in element.elements))
        case SplitElement():
            return replace(element, flows=tuple(_element(one) for one in element.flows))
        case StepElement():
            chunk, partition = element.chunk, element.partition
            return replace(
                element,
                chunk=chunk and _chunk(chunk),
                partition=partition and _partition(partition),
            )
    return element


def _chunk(chunk: ChunkElement) -> ChunkElement:
    is_custom = chunk.checkpoint_policy is not None and chunk.checkpoint_policy.text != "item"
    return replace(
        chunk,
        checkpoint_policy=Text("custom") if is_custom else None,
        checkpoint_algorithm=chunk.checkpoint_algorithm if is_custom else None,
        item_count=chunk.item_count or Text(str(ITEM_COUNT["xml"])),
        write_skip=chunk.write_skip or Text(WRITE_SKIP["xml"]),
        # Without classes a limit means nothing, and YAML has no place for it.
        skip_limit=chunk.skip_limit if chunk.skippable else None,
        retry_limit=chunk.retry_limit if chunk.retryable else None,
        retry_backoff=chunk.retry_backoff if chunk.retryable else None,
        no_rollback=chunk.no_rollback if chunk.retryable else None,
    )


def _partition(partition: PartitionElement) -> PartitionElement:
    plan = partition.plan or (None if partition.mapper else PlanElement())
    return replace(
        partition,
        plan=plan and replace(plan, partitions=plan.partitions or Text("1")),
        replan_on_restart=partition.replan_on_restart or Text("true"),
    )


# --- names ---------------------------------------------------------------------------------------


def _find_names(document: JobElement, losses: list[str]) -> None:
    """Names of properties that XML substitutes and YAML does not (S81)."""
    for lists in _lists(document):
        losses.extend(
            f"the name {one.name.text!r} of a property is not substituted in YAML"
            for one in lists
            if "#{" in one.name.text
        )


def _lists(part: Any) -> list[Properties]:
    """Every list of properties, however deep."""
    if isinstance(part, tuple):
        return [found for one in part for found in _lists(one)]
    if not hasattr(part, "__dataclass_fields__"):
        return []
    found = [part.properties] if hasattr(part, "properties") else []
    for name in part.__dataclass_fields__:
        if name != "properties":
            found += _lists(getattr(part, name))
    return found
