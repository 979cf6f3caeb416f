"""Partitions of a job file in other processes: the same records as anywhere else (S193)."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell import Node
from stepwell.errors import JobStartError
from stepwell.job.artifact import ArtifactRegistry
from stepwell.job.importable import NotImportable
from stepwell.jsl.source import JobFile
from tests.conformance import job_file_parts as parts
from tests.conformance.stories import counts
from tests.conformance.test_executors import new_node, out, recorded

PARTS = parts.__name__
EXECUTORS = ("inline", "threads", "processes")


def put(node: Node, folder: Path, text: str) -> JobFile:
    """Write a job file in the language that it looks like, and register its job."""
    if text.lstrip().startswith("<"):
        namespace = "https://jakarta.ee/xml/ns/jakartaee"
        text = f'<job id="night" xmlns="{namespace}" version="2.0">\n{text}\n</job>'
        path = folder / "night.xml"
    else:
        path = folder / "night.yaml"
    path.write_text(text, encoding="utf-8")
    file = JobFile(path, artifacts=node.registry.artifacts, folder=folder)
    node.registry.add(file, origin=file.origin)
    return file


def run_everywhere(folder: Path, text: str, parameters: dict[str, str]) -> list[Any]:
    """What is recorded, written and heard, for each executor in turn."""
    found = []
    for executor in EXECUTORS:
        (own := folder / executor).mkdir()
        with new_node(f"sqlite:///{own}/files.db") as node:
            node.registry.load_modules([PARTS], own)
            put(node, own, text.replace("EXECUTOR", executor))
            parts.Analyzer.HEARD.clear()
            execution = node.operator.run("night", parameters)
            found.append(
                (recorded(node, execution.execution_id), out(node), sorted(parts.Analyzer.HEARD))
            )
    return found


TASKLET = f"""
  <step id="days">
    <properties>
      <property name="stepwell.executor" value="EXECUTOR"/>
      <property name="stepwell.tolerated_failures" value="1"/>
      <property name="rate" value="1.5"/>
    </properties>
    <batchlet ref="REF"><properties>
      <property name="n" value="#{{partitionPlan['n']}}"/>
      <property name="rate" value="#{{jobProperties['rate']}}"/>
    </properties></batchlet>
    <partition>
      <plan partitions="3">
        <properties partition="0">
          <property name="n" value="0"/><property name="ref" value="day"/>
        </properties>
        <properties partition="1">
          <property name="n" value="1"/><property name="ref" value="otherDay"/>
        </properties>
        <properties partition="2">
          <property name="n" value="2"/><property name="ref" value="day"/>
        </properties>
      </plan>
      <collector ref="{PARTS}:Collector"><properties>
        <property name="n" value="#{{partitionPlan['n']}}"/>
      </properties></collector>
      <analyzer ref="{PARTS}:Analyzer"/>
    </partition>
  </step>"""


@pytest.mark.parametrize("ref", ["day", f"{PARTS}:Day", f"{PARTS}.Day", "#{partitionPlan['ref']}"])
def test_a_tasklet_is_made_with_its_properties_wherever_it_runs(ref: str, tmp_path: Path) -> None:
    """S77, S83, S150: by its short name, by its path, by what its partition says."""
    (witnesses := tmp_path / "witnesses").mkdir()
    inline, threads, processes = run_everywhere(
        tmp_path, TASKLET.replace("REF", ref), {"witnesses": str(witnesses)}
    )

    assert inline == threads == processes
    assert ([(0, 0), (1, 1)], [[0, 0], [1, -1], [2, -2]]) == inline[1:]
    assert [(3, 3, 1, 0)] == [inline[0]["counters"]]
    pids = {path.name for path in witnesses.iterdir()}
    assert str(os.getpid()) in pids
    assert 2 <= len(pids)


CHUNK = f"""
job: night
steps:
  - step: numbers
    listeners: {PARTS}:ChunkEar
    chunk:
      reader: {{ref: numbers, properties: {{first: "#{{partitionPlan['first']}}"}}}}
      processor: [doubler, {PARTS}:twice]
      writer: {PARTS}:write
      chunk_size: "#{{partitionPlan['size']}}?:3;"
      skip: {{exceptions: [{PARTS}:Odd], limit: 5}}
    partition:
      executor: EXECUTOR
      plan: [{{first: 0, size: 1}}, {{first: 100}}]
"""


def test_a_chunk_is_made_for_its_partition_wherever_it_runs(tmp_path: Path) -> None:
    """S83, S141: sizes that wait, a registered object, a function, a listener of chunks."""
    inline, threads, processes = run_everywhere(tmp_path, CHUNK, {})

    assert inline == threads == processes
    assert [(4, 0), (8, 0), (16, 0), (404, 1), (408, 1), (416, 1)] == inline[1]
    assert [(0, '{"chunks":5}'), (1, '{"chunks":2}')] == [tuple(c) for c in inline[0]["contexts"]]
    assert 2 == inline[0]["step"][3].process_skip_count


FUNCTION = f"""
job: night
parameters: {{first: date, shops: {{type: "list[int]", default: [1, 2]}}}}
steps:
  - step: days
    tasklet: {PARTS}:count_days
    partition:
      executor: EXECUTOR
      plan: [2026-11-20, 2026-11-21]
      collector: {PARTS}:beside
      analyzer: {PARTS}:Analyzer
"""


def test_a_function_and_the_parameters_of_the_file_are_found_there(tmp_path: Path) -> None:
    """S8, S195: a model that no module holds is made again from what the file says."""
    inline, threads, processes = run_everywhere(tmp_path, FUNCTION, {"first": "2026-01-01"})

    assert inline == threads == processes
    assert [0, 1] == inline[2]
    assert ["Friday of January", "Saturday of January"] == [
        attempt.exit_status for attempt in inline[0]["attempts"]
    ]


@pytest.mark.parametrize(
    ("ref", "fact"),
    [
        ("alone", "no module of `jobs` has artifact 'alone', and <"),
        ("__main__:Tasklet", "'__main__:Tasklet' is in the program itself"),
    ],
)
def test_what_another_process_cannot_find_refuses_the_start_with_its_line(
    ref: str, fact: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S183, S193."""
    monkeypatch.setattr(sys.modules["__main__"], "Tasklet", parts.Day, raising=False)
    with new_node(f"sqlite:///{tmp_path}/files.db") as node:
        node.registry.artifacts.add("alone", parts.Doubler(3), origin="the program")
        text = TASKLET.replace("REF", ref).replace("EXECUTOR", "processes")
        file = put(node, tmp_path, text)
        before = counts(node)

        with pytest.raises(
            JobStartError, match="line 3: step 'days': run must be found"
        ) as refused:
            node.operator.run("night", {})
        assert fact in refused.value.message
        assert before == counts(node)
        assert "use executor='threads'" in refused.value.message
        file.path.write_text(file.path.read_text().replace("processes", "threads"))
        assert [] == [str(fault) for fault in file.check() if fault.is_error]


def test_a_registry_travels_as_places_and_imports_what_is_asked_for() -> None:
    registry = ArtifactRegistry()
    registry.add("day", parts.Day, origin="a module", module=PARTS)
    registry.add("doubler", parts.artifacts["doubler"], origin="a module", module=PARTS)
    registry.add("write", parts.write, origin="the program")
    registry.add("alone", parts.Doubler(3), origin="the program")

    there = pickle.loads(pickle.dumps(registry))

    assert (parts.Day, parts.write) == (there.find("day"), there.find("write"))
    assert parts.artifacts["doubler"] is there.find("doubler")
    assert None is there.find("alone")
    with pytest.raises(NotImportable, match="Doubler object"):
        registry.require_portable("alone")
