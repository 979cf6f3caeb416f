"""The YAML form: every scalar as it is written, every fault with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stepwell.job.flow import Decision, Flow, Split, on
from stepwell.job.step import ChunkStep, PartitionedStep
from tests.unit.jsl import artifacts
from tests.unit.jsl.support import job_file, load_yaml, said, yaml_faults, yaml_file

STEP = "steps: [{step: a, tasklet: prepare}]"

WHOLE = """
description: every night
identity: each-start
run_lock: null
restartable: false
properties: {region: north, limit: 007, none: ~}
listeners: [{ref: audit, properties: {to: me}}]
steps:
  - step: first
    tasklet: prepare
    start_limit: 3
    allow_start_if_complete: true
    transitions:
      - {on: NO, to: last}
      - {on: "*", stop: {exit_status: WAITING, restart: first}}
      - {on: OFF, end: true}
      - on: ON
        fail:
  - flow: inner
    steps:
      - step: chunked
        chunk:
          reader: {ref: budgetReader, properties: {count: 12}}
          processor: [double, tests.unit.jsl.artifacts:scale]
          writer: budgetWriter
          time_limit_s: 1.5
          skip: {exceptions: ValueError, limit: 3}
          retry:
            exceptions: [OSError]
            exclude: [FileNotFoundError]
            limit: 2
            backoff_s: 0.5
            no_rollback: [ConnectionError]
      - decision: choose
        decider: chooser
        transitions: [{on: MORE, to: parts}]
      - step: parts
        tasklet: tests.unit.jsl.artifacts:recalculate_day
        partition:
          plan: [2026-11-20, 2026-11-21]
          workers: 3
          executor: inline
          tolerated_failures: 1
    next: both
  - split: both
    flows:
      - {flow: left, steps: [{step: l, tasklet: prepare}]}
      - {flow: right, steps: [{step: r, tasklet: prepare}]}
    next: last
  - step: last
    tasklet: prepare
"""


def test_a_job_is_read_whole(tmp_path: Path) -> None:
    job = load_yaml(tmp_path, WHOLE)
    first, inner, both, last = job.steps
    chunked, choose, parts = inner.elements

    assert ("each-start", None, False) == (job.identity, job.run_lock, job.restartable)
    assert {"region": "north", "limit": "007", "none": ""} == job.properties
    assert (3, True, artifacts.prepare) == (
        first.start_limit,
        first.allow_start_if_complete,
        first.function,
    )
    assert [
        on("NO").to("last"),
        on("*").stop("WAITING", restart="first"),
        on("OFF").end(),
        on("ON").fail(),
    ] == first.transitions
    assert isinstance(chunked, ChunkStep)
    assert isinstance(choose, Decision)
    assert isinstance(parts, PartitionedStep)
    assert (artifacts.double, artifacts.scale) == tuple(chunked.processor)  # type: ignore[arg-type]
    assert (1.5, 3, 2, 0.5) == (
        chunked.time_limit_s,
        chunked.skip and chunked.skip.limit,
        chunked.retry and chunked.retry.limit,
        chunked.retry and chunked.retry.backoff,
    )
    assert chunked.retry is not None
    assert [True, False, True] == [
        chunked.retry.matches(OSError()),
        chunked.retry.matches(FileNotFoundError()),
        chunked.retry.no_rollback.matches(ConnectionResetError()),
    ]
    assert ["2026-11-20", "2026-11-21"] == parts.partitions
    assert (3, "inline", 1) == (parts.workers, parts.executor, parts.tolerated_failures)
    assert isinstance(both, Split)
    assert ["left", "right"] == [flow.name for flow in both.flows]
    assert ("both", "last", None) == (inner.next, both.next, last.next)
    assert isinstance(inner, Flow)


def test_a_job_in_yaml_follows_the_rules_of_one_in_python(tmp_path: Path) -> None:
    """S5, S53, S101, S130, S184: the table of section 2."""
    job = load_yaml(
        tmp_path,
        "steps: [{step: a, chunk: {reader: budgetReader, writer: budgetWriter}}]",
    )
    [step] = job.steps

    assert ("parameters", "parameters", True) == (job.identity, job.run_lock, job.implied_next)
    assert (1_000, "item") == (step.chunk_size, step.write_skip)


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("- a\n- b\n", 1, "the job must be a mapping: job, description"),
        ("just text", 1, "the job must be a mapping"),
        ("job: a\nsteps: [\n", 3, "this is no YAML that can be read"),
        ("job: a\n\tsteps: b\n", 2, "this is no YAML that can be read"),
        ("job: a\n---\njob: b\n", 2, "but found another document"),
        ("job: &a b\nsteps: [*a]\n", 2, "aliases are refused here"),
        ("job: a\nx: " + "[" * 150, 2, "it is nested too deep"),
        (b"job: \xff\xfe\xff", 1, "this is no YAML that can be read"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(
    text: str | bytes, line: int, fact: str, tmp_path: Path
) -> None:
    faults = said(job_file(tmp_path / "night.yaml", text).check())

    assert line == faults[0][0]
    assert fact in faults[0][1]


def test_nothing_is_constructed(tmp_path: Path) -> None:
    """A tag that would make an object is a fault, whatever it names."""
    text = f"job: night\nproperties: {{a: !!python/object/apply:os.getcwd []}}\n{STEP}\n"
    text += "description: !secret x\n"
    file = job_file(tmp_path / "night.yaml", text)

    assert (4, "the job: description: the tag '!secret' is refused") in said(file.check())


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    faults = yaml_faults(
        tmp_path,
        """
        discription: x
        restartable: maybe
        steps:
          - tasklet: prepare
          - step: a
            batchlet: prepare
            tasklet:
            next: b
            next: c
          - step: b
            tasklet: prepare
            chunk: {reader: budgetReader, writer: budgetWriter, item_count: 3}
            transitions:
              - {on: A}
              - {on: A, to: c, end: true}
              - {to: c}
              - {on: A, end: {restart: a}}
          - step: c
            tasklet: {properties: {a: 1}}
            listeners: {ref: }
            properties: 3
          - decision: d
          - step:
        """,
    )

    transition = "a transition of step 'b' must have `on` and one of to, end, stop and fail"
    assert [
        (2, "the job: 'discription' is unknown"),
        (3, "restartable must be true or false, got 'maybe'"),
        (5, "an element must say what it is"),
        (6, "step 'a' must have a tasklet (batchlet) or a chunk"),
        (7, "step 'a': 'batchlet' is unknown"),
        (10, "step 'a': 'next' stands twice, first on line 9"),
        (13, "chunk of step 'b': 'item_count' is unknown"),
        (13, "step 'b' has a tasklet and a chunk"),
        (15, transition),
        (16, transition),
        (17, transition),
        (18, "end of a transition of step 'b': 'restart' is unknown"),
        (20, "tasklet of step 'c' must name an artifact"),
        (21, "listeners of step 'c' must name an artifact"),
        (22, "properties of step 'c' must be a mapping"),
        (23, "decision 'd' must have a decider"),
        (24, "the step must have a name"),
        (24, "step '' must have a tasklet (batchlet) or a chunk"),
    ] == faults


def test_keys_that_stand_twice_are_refused(tmp_path: Path) -> None:
    faults = yaml_faults(
        tmp_path,
        """
        properties:
          a: 1
          a: 2
        steps:
          - step: a
            tasklet: prepare
        properties: {}
        """,
    )

    assert [
        (4, "properties of the job: 'a' stands twice, first on line 3"),
        (8, "the job: 'properties' stands twice, first on line 2"),
    ] == faults


def test_another_systems_word_leads_to_ours(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "steps: [{step: a, batchlet: prepare}]")

    hints = [f.hint for f in file.check() if "'batchlet' is unknown" in f.message]
    assert hints[0].startswith("write 'tasklet'; there are step, tasklet")


# --- parameters ---------------------------------------------------------------------------------

PARAMETERS = f"""
parameters:
  start_date: date
  end_date: {{type: date, default: 2026-11-30}}
  shops: {{type: "list[int]", default: [1, 2]}}
  rate: {{type: decimal, default: 1.50, description: of tax}}
  note: str?
  user: {{type: str, default: nobody, identifying: false}}
properties: {{from: "#{{jobParameters['startDate']}}", to: "#{{jobParameters['end_date']}}"}}
{STEP}
"""


def test_parameters_are_typed_and_their_texts_substituted_in_either_spelling(
    tmp_path: Path,
) -> None:
    """S8: a default is substituted like a given value."""
    file = yaml_file(tmp_path, PARAMETERS)
    job = file.load({"startDate": "2026-11-20"})
    assert job.parameters is not None
    model: Any = job.parameters(start_date="2026-11-20")

    assert {"from": "2026-11-20", "to": "2026-11-30"} == job.properties
    assert (date(2026, 11, 30), [1, 2], None) == (model.end_date, model.shops, model.note)
    assert "of tax" == job.parameters.model_fields["rate"].description
    assert "2026-11-21" == file.load({"start_date": date(2026, 11, 21)}).properties["from"]


def test_faulty_parameters_refuse_the_start_by_name(tmp_path: Path) -> None:
    from stepwell.errors import JobStartError

    file = yaml_file(tmp_path, PARAMETERS)

    with pytest.raises(JobStartError) as refused:
        file.load({"start_date": "soon", "shop": 3})
    assert {"start_date", "shop"} == set(refused.value.fields["parameters"])  # type: ignore[call-overload]


def test_parameters_may_be_a_model_of_a_module_or_any_or_none(tmp_path: Path) -> None:
    from tests.unit.job.test_definitions import Range

    named = load_yaml(
        tmp_path,
        f"parameters: tests.unit.job.test_definitions:Range\n{STEP}",
        start_date="2026-11-20",
    )

    assert Range is named.parameters
    assert None is load_yaml(tmp_path, STEP, any="x").parameters
    none = load_yaml(tmp_path, f"parameters:\n{STEP}").parameters
    assert none is not None
    assert {} == none.model_fields


def test_faults_of_parameters_have_lines(tmp_path: Path) -> None:
    faults = yaml_faults(
        tmp_path,
        f"""
parameters:
  a-b: date
  copy: date
  c: dte
  d: {{type: date, default: soon}}
  e: {{type: int, identifying: perhaps}}
  f: {{type: tests.unit.jsl.nowhere:Type}}
{STEP}
""",
    )

    assert [
        (3, "parameter 'a-b' has a name that cannot be used"),
        (4, "parameter 'copy' has a name that cannot be used"),
        (5, "parameter 'c': type 'dte' is unknown"),
        (6, "parameter 'd': its default must be of its type, got 'soon'"),
        (7, "parameter 'e': identifying must be true or false, got 'perhaps'"),
        (
            8,
            (
                "parameter 'f': there is no module 'tests.unit.jsl.nowhere', which"
                " 'tests.unit.jsl.nowhere:Type' needs"
            ),
        ),
    ] == faults
