"""Stages: what is recorded, among what the definition says."""

from __future__ import annotations

from dataclasses import replace

from stepwell import Job, TaskletStep
from stepwell.looks.reading import Look, Watch
from stepwell.looks.stages import stages_of
from stepwell.testing import temporary_node


def look_at(*names: str) -> Look:
    """An execution that has run these steps."""
    with temporary_node() as node:
        job = Job("load", [TaskletStep(name, lambda: None) for name in names])
        execution = node.operator.run(job)
        return Watch(node.database, node.clock).look(execution.execution_id)


def told(look: Look, *names: str) -> list[tuple[str, str]]:
    return [(stage.name, stage.status) for stage in stages_of(look, names)]


def test_stages_stand_in_the_order_of_the_definition() -> None:
    look = look_at("count", "send")
    none = replace(look, steps=())

    assert [
        ("fetch", "not run here"),
        ("count", "COMPLETED"),
        ("check", "not run here"),
        ("send", "COMPLETED"),
        ("tidy", "not begun"),
    ] == told(look, "fetch", "count", "check", "send", "tidy")
    assert [("fetch", "not begun"), ("count", "not begun")] == told(none, "fetch", "count")


def test_what_the_definition_does_not_know_is_shown_first() -> None:
    look = look_at("count", "send")

    assert [("count", "COMPLETED"), ("send", "COMPLETED")] == told(look)
    assert [("count", "COMPLETED"), ("send", "COMPLETED"), ("tidy", "not begun")] == told(
        look, "send", "tidy"
    )
