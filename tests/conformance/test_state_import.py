"""An old ``state.json``: recorded once and whole, and what is not understood is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell import Job, Node, NonIdentifying, Parameters, StepContext
from stepwell.errors import InvalidStateFile, StateAlreadyImported
from stepwell.job.resource import Declared
from stepwell.repository.blockers import list_declared
from stepwell.repository.invariants import examine
from stepwell.state_import.run import JOB_NAME, import_state
from stepwell.worker import Worker
from tests.conformance.stories import counts, nothing, rows, tasklet_job


class Item(Parameters):
    id: str
    files: list[str]
    agent_name: str = "clerk"
    note: NonIdentifying[str] = ""


def item_job(**options: Any) -> Job:
    options = {"resources": lambda i: i.files, "pool": lambda i: i.agent_name, **options}
    return tasklet_job("item", options.pop("function", nothing), parameters=Item, **options)


STATE: dict[str, Any] = {
    "version": 3,
    "items": [
        {"id": "a", "status": "done", "files": ["/a"], "agentName": "clerk"},
        {"id": "b", "status": "failed", "files": ["/b"], "error": "no answer"},
        {"id": "c", "status": "skipped", "files": ["/c"]},
        {"id": "d", "status": "running", "files": ["/d"], "title": "D", "after": "a"},
        {"id": "e", "files": ["/e"], "priority": 5, "after": "d"},
    ],
}


@pytest.fixture
def known(node: Node) -> Iterator[Node]:
    """A node that knows the job; afterwards every promise holds."""
    node.pools.set("clerk", 1)
    node.registry.add(item_job(), origin="the test")
    yield node
    with node.database.read() as reader:
        assert [] == examine(reader)


def state_file(folder: Path, state: object = STATE, name: str = "state.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(state), encoding="utf-8")
    return file


def test_what_waits_is_registered_and_what_has_ended_is_recorded_as_ended(
    known: Node, tmp_path: Path
) -> None:
    imported = import_state(known.operator, state_file(tmp_path), job="item", triggered_by="eve")

    assert {"completed": 1, "failed": 1, "abandoned": 1, "waiting": 2} == imported.counts
    assert [
        (JOB_NAME, "COMPLETED", "COMPLETED", None, 0, None),
        ("item", "COMPLETED", "IMPORTED", None, 0, None),
        ("item", "FAILED", "IMPORTED", "no answer", 0, None),
        ("item", "ABANDONED", "IMPORTED", None, 0, None),
        ("item", "STARTING", None, None, 0, 2),
        ("item", "STARTING", None, None, 5, 5),
    ] == rows(
        known,
        "SELECT job_name, status, exit_code, exit_message, priority, after_id"
        " FROM batch_job_execution JOIN batch_job_instance USING (job_instance_id)"
        " ORDER BY job_execution_id",
    )
    with known.database.read() as reader:
        assert Declared(("/d",), ("clerk",)) == list_declared(reader, 5)
        assert Declared() == list_declared(reader, 2)
    assert "eve" == known.operator.get_job_execution(5).triggered_by


def test_what_is_not_understood_is_kept_in_the_context(known: Node, tmp_path: Path) -> None:
    """Of an item in its own, of the file in the import's."""
    seen: list[Any] = []

    def work(step: StepContext) -> None:
        seen.append((step.parameters.id, step.job.context))

    known.registry._jobs.clear()
    known.registry.add(item_job(function=work), origin="the test")
    imported = import_state(known.operator, state_file(tmp_path), job="item")
    Worker(known.operator, known.clock, drain=True).run()

    assert [("d", {"title": "D"}), ("e", {})] == seen
    assert [('{"version":3}',)] == rows(
        known,
        "SELECT serialized_context FROM batch_job_execution_context"
        f" WHERE job_execution_id = {imported.execution.execution_id}",
    )


def test_the_same_content_is_imported_once_wherever_it_lies(known: Node, tmp_path: Path) -> None:
    first = import_state(known.operator, state_file(tmp_path), job="item")
    before = counts(known)

    for path in (state_file(tmp_path), state_file(tmp_path, name="copy.json")):
        with pytest.raises(StateAlreadyImported) as refused:
            import_state(known.operator, path)

        assert (
            f"cannot import state {str(path)!r}: it is already imported"
            f" (execution {first.execution.execution_id})"
        ) == refused.value.message
    assert before == counts(known)


def test_what_is_here_already_is_left_as_it_is(known: Node, tmp_path: Path) -> None:
    """Goal: law 5. Method: the old program went on and saved once more."""
    import_state(known.operator, state_file(tmp_path), job="item")
    newer = {**STATE, "items": [*STATE["items"], {"id": "f", "files": [], "after": "e"}]}
    newer["items"][3] = {**newer["items"][3], "status": "done"}
    before = known.operator.get_job_execution(5).batch_status

    imported = import_state(known.operator, state_file(tmp_path, newer), job="item")

    assert {"kept": 5, "waiting": 1} == imported.counts
    assert before is known.operator.get_job_execution(5).batch_status
    assert [(6,)] == rows(
        known, "SELECT after_id FROM batch_job_execution ORDER BY job_execution_id DESC LIMIT 1"
    )


def test_a_failed_item_can_be_restarted(known: Node, tmp_path: Path) -> None:
    import_state(known.operator, state_file(tmp_path), job="item")

    restarted = known.operator.wait(known.operator.restart(3))

    assert restarted is not None
    assert "COMPLETED" == restarted.batch_status


BAD: list[tuple[dict[str, Any], str]] = [
    ({"id": "x"}, "item 1: cannot start job 'item': parameter 'files': it is missing"),
    ({"id": "x", "files": 7}, "item 1: cannot start job 'item': parameter 'files': input should"),
    ({"id": "x", "files": [""]}, "resource '': it must be a path or a glob as text"),
    ({"id": "x", "files": [], "job": "itme"}, "item 1: cannot find job 'itme'"),
    (
        {"id": "x", "files": [], "parameters": {"fils": 1}},
        "parameter 'fils': there is no such parameter",
    ),
    ({"id": "x", "files": [], "priority": 10**9}, "a priority must be from -1000000 to 1000000"),
    ({"id": "x", "files": [], "notes": "x" * 70_000}, "the other keys of item 1: it is 70"),
]


@pytest.mark.parametrize(("item", "fact"), BAD, ids=[b[1] for b in BAD])
def test_what_cannot_be_recorded_is_refused_before_anything_is(
    known: Node, tmp_path: Path, item: dict[str, Any], fact: str
) -> None:
    before = counts(known)
    file = state_file(tmp_path, [item, *STATE["items"]])

    with pytest.raises(InvalidStateFile) as refused:
        import_state(known.operator, file, job="item")

    assert fact in refused.value.message
    assert before == counts(known)


def test_two_items_that_are_one_are_refused(known: Node, tmp_path: Path) -> None:
    """Their ids differ, but the job does not look at them."""
    known.registry.add(tasklet_job("plain", nothing), origin="the test")
    items = [{"parameters": {"day": 1}, "x": 1}, {"parameters": {"day": 1}, "x": 2}]

    with pytest.raises(InvalidStateFile, match="item 2: job and parameters are those of item 1"):
        import_state(known.operator, state_file(tmp_path, items), job="plain")
    named = state_file(tmp_path, [{"id": n, **item} for n, item in enumerate(items)])
    assert {"waiting": 2} == import_state(known.operator, named, job="plain").counts


def test_items_that_name_no_job_need_one(known: Node, tmp_path: Path) -> None:
    with pytest.raises(InvalidStateFile, match="item 1 names no job, nor does the file") as refused:
        import_state(known.operator, state_file(tmp_path))

    assert "`--job JOB`" in refused.value.hint
    named = {**STATE, "job": "item"}
    assert 2 == import_state(known.operator, state_file(tmp_path, named)).counts["waiting"]


def test_a_pool_without_a_size_leaves_nothing_behind(node: Node, tmp_path: Path) -> None:
    """The transaction of the items rolls back whole, and the import can be run again."""
    node.registry.add(item_job(), origin="the test")
    file = state_file(tmp_path)
    with pytest.raises(Exception, match="its pool 'clerk' has no size"):
        import_state(node.operator, file, job="item")
    [(recorded,)] = rows(node, "SELECT COUNT(*) FROM batch_job_execution")
    node.pools.set("clerk", 1)

    assert 1 == recorded
    assert 2 == import_state(node.operator, file, job="item").counts["waiting"]
