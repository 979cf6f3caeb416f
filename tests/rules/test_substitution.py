"""Section 9, rule by rule, in both languages: what is inserted where, and what becomes of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import JobStartError
from tests.conformance.stories import counts
from tests.rules.shown import HERE, SEEN, Chooser, Numbers, Show, ShowOther, job_file, know, run

COMPLETED, FAILED, STOPPED = BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.STOPPED
LANGUAGES = ("xml", "yaml")
P, J, S = "#{jobParameters['%s']}", "#{jobProperties['%s']}", "#{systemProperties['%s']}"


@pytest.fixture(autouse=True)
def _known(node: Node) -> None:
    SEEN.clear()
    know(node, show=Show, showOther=ShowOther, chooser=Chooser, numbers=Numbers)


def show(language: str, properties: Mapping[str, str], **job: str) -> str:
    """A job whose only step shows its properties; ``job`` are properties of the job."""
    if language == "xml":
        return f"""
        {_properties_in_xml(job)}
        <step id="a"><batchlet ref="show">{_properties_in_xml(properties)}</batchlet></step>"""
    return f"""
        properties: {_properties_in_yaml(job)}
        steps: [{{step: a, tasklet: {{ref: show, properties: {_properties_in_yaml(properties)}}}}}]
        """


def _properties_in_xml(properties: Mapping[str, str]) -> str:
    listed = "".join(f'<property name="{n}" value="{v}"/>' for n, v in properties.items())
    return f"<properties>{listed}</properties>"


def _properties_in_yaml(properties: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}: "{value}"' for name, value in properties.items()) + "}"


def shown(node: Node, folder: Path, language: str, text: str, **parameters: object) -> Any:
    """What the property ``a`` is after substitution."""
    job_file(node, folder, language, show(language, {"a": text}))
    SEEN.clear()
    assert COMPLETED is run(node, parameters).batch_status
    [(a, _)] = SEEN
    return a


# --- where expressions may stand ------------------------------------------------------------------

EVERYWHERE = {
    "xml": f"""
        <properties><property name="#{{jobParameters['name']}}" value="N"/></properties>
        <step id="a" next="{P % "next"}" start-limit="{P % "limit"}">
          <chunk item-count="{P % "size"}">
            <reader ref="{P % "reader"}">
              <properties><property name="count" value="{P % "count"}"/></properties>
            </reader>
            <writer ref="{HERE}:{P % "writer"}"/>
            <skippable-exception-classes>
              <include class="{HERE}:{P % "skipped"}"/>
            </skippable-exception-classes>
          </chunk>
        </step>
        <step id="never"><batchlet ref="show"/></step>
        <step id="b">
          <batchlet ref="show#{{jobParameters['which']}}">
            <properties><property name="a" value="{J % "key"}"/></properties>
          </batchlet>
          <stop on="{P % "on"}" exit-status="{P % "exit"}" restart="{P % "restart"}"/>
        </step>
        <step id="c"><batchlet ref="show"/></step>""",
    "yaml": f"""
        properties: {{"#{{jobParameters['name']}}": "L", key: "{P % "key"}"}}
        implied_next: false
        steps:
          - step: a
            next: "{P % "next"}"
            start_limit: "{P % "limit"}"
            chunk:
              chunk_size: "{P % "size"}"
              reader: {{ref: "{P % "reader"}", properties: {{count: "{P % "count"}"}}}}
              writer: "{HERE}:{P % "writer"}"
              write_skip: chunk
              skip: {{exceptions: "{HERE}:{P % "skipped"}"}}
          - {{step: never, tasklet: show}}
          - step: b
            tasklet: {{ref: "show#{{jobParameters['which']}}", properties: {{a: "{J % "key"}"}}}}
            transitions:
              - on: "{P % "on"}"
                stop: {{exit_status: "{P % "exit"}", restart: "{P % "restart"}"}}
          - {{step: c, tasklet: show}}
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_expressions_stand_anywhere_in_a_value(node: Node, tmp_path: Path, language: str) -> None:
    """S81. In YAML a name is never substituted; in XML that of a property is."""
    file = job_file(node, tmp_path, language, EVERYWHERE[language])
    given = {
        "name": "key",
        "next": "b",
        "limit": "3",
        "size": "2",
        "reader": "numbers",
        "count": "4",
        "writer": "write",
        "skipped": "Wrong",
        "which": "Other",
        "on": "N*",
        "exit": "WAITS",
        "restart": "c",
        "key": "N",
    }
    execution = run(node, given)

    assert (STOPPED, "WAITS", "c") == (
        *(execution.batch_status, execution.exit_status),
        execution.restart_position,
    )
    assert [[3, 4], "other", ("N", None)] == SEEN
    job = file.load(given)
    assert ({"key": "N"} if language == "xml" else {P % "name": "L", "key": "N"}) == job.properties
    assert 3 == job.steps[0].start_limit


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_substituted_in_an_id(node: Node, tmp_path: Path, language: str) -> None:
    """S81."""
    name = P % "p"
    body = {
        "xml": f'<step id="{name}"><batchlet ref="show"/></step>',
        "yaml": f'steps: [{{step: "{name}", tasklet: show}}]',
    }
    job_file(node, tmp_path, language, body[language])
    execution = run(node, {"p": "x"})

    [step] = node.operator.get_step_executions(execution.execution_id)
    assert name == step.step_name


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Several, joined with literals.
        (f"{P % 'x'}-{P % 'y'}/{P % 'x'}.csv", "X-Y/X.csv"),
        (f"{P % 'none'}?:x;{P % 'y'}?:{P % 'x'};.txt", "xY.txt"),
        # A default, that may hold expressions, which have none of their own.
        (f"{P % 'none'}?:d;", "d"),
        (f"{P % 'none'}?:d {P % 'x'} e;", "d X e"),
        (f"{P % 'none'}?:{P % 'none'}?:c;", "?:c"),
        (f"{P % 'x'}?:d;", "X"),
        # Anywhere else it is literal text.
        (f"{P % 'x'} ?:d;", "X ?:d;"),
        ("a?:b;", "a?:b;"),
        (f"{P % 'x'}?:d;?:e;", "X?:e;"),
        ("plain } # { text", "plain } # { text"),
    ],
)
def test_a_default_begins_right_behind_its_expression(
    node: Node, tmp_path: Path, language: str, text: str, expected: str
) -> None:
    """S81, S82."""
    assert expected == shown(node, tmp_path, language, text, x="X", y="Y")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("#{jobParameters['x'}", "malformed expression"),
        ("#{jobParameters[x]}", "malformed expression"),
        ("#{", "malformed expression"),
        ("#{parameters['x']}", "unknown operator 'parameters'"),
        (f"{P % 'x'}?:d", "the default '?:d' has no end"),
    ],
)
def test_a_malformed_expression_refuses_the_start(
    node: Node, tmp_path: Path, language: str, text: str, fact: str
) -> None:
    """S82, S183."""
    before = counts(node)
    job_file(node, tmp_path, language, show(language, {"a": text}))

    with pytest.raises(JobStartError) as refused:
        run(node, {"x": "X"})
    assert fact in refused.value.message
    assert before == counts(node)


# --- what is inserted -----------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_default_applies_to_an_empty_value_and_nothing_is_scanned_twice(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S83: what somebody passes as a parameter is never an expression."""
    assert "d" == shown(node, tmp_path, language, f"{P % 'x'}?:d;", x="")
    assert " " == shown(node, tmp_path, language, f"{P % 'x'}?:d;", x=" ")
    inserted = f"{P % 'y'}?:z;"
    assert inserted == shown(node, tmp_path, language, P % "x", x=inserted, y="Y")


@pytest.mark.parametrize("language", LANGUAGES)
def test_properties_are_looked_for_from_the_inside_out(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S83: earlier ones of the same list, then the step's, then the job's."""
    body = {
        "xml": f"""
            <properties>
              <property name="p" value="job"/><property name="q" value="job {J % "p"}"/>
            </properties>
            <step id="a">
              <properties>
                <property name="r" value="step {J % "p"}"/><property name="p" value="step"/>
              </properties>
              <batchlet ref="show"><properties>
                <property name="p" value="own"/>
                <property name="a" value="{J % "p"}, {J % "q"}, {J % "r"}"/>
              </properties></batchlet>
            </step>
            <step id="b"><batchlet ref="show"/></step>""",
        "yaml": f"""
            properties: {{p: job, q: "job {J % "p"}"}}
            steps:
              - step: a
                properties: {{r: "step {J % "p"}", p: step}}
                tasklet:
                  ref: show
                  properties: {{p: own, a: "{J % "p"}, {J % "q"}, {J % "r"}"}}
            """,
    }
    job_file(node, tmp_path, language, body[language])
    run(node)

    assert [("own, job job, step job", None)] == SEEN


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_supplies_system_properties_and_not_the_environment(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S83."""
    known = f"{S % 'out'}|{S % 'PATH'}|"
    host = {"out": "/var/out"}
    job_file(node, tmp_path, language, show(language, {"a": known}), system_properties=host)
    run(node)

    assert os.environ["PATH"]
    assert [("/var/out||", None)] == SEEN


PARTITIONED = {
    "xml": """
        <step id="a">
          <properties><property name="day" value="#{partitionPlan['day']}?:no day;"/></properties>
          <batchlet ref="show">
            <properties>
              <property name="a" value="#{jobProperties['day']}"/>
              <property name="b" value="#{partitionPlan['day']}?:#{jobParameters['x']};"/>
            </properties>
          </batchlet>
          <partition><plan partitions="2" threads="1">
            <properties partition="0"><property name="day" value="2026-11-20"/></properties>
          </plan></partition>
        </step>""",
    "yaml": """
        steps:
          - step: a
            properties: {day: "#{partitionPlan['day']}?:no day;"}
            tasklet:
              ref: show
              properties:
                a: "#{jobProperties['day']}"
                b: "#{partitionPlan['day']}?:#{jobParameters['x']};"
            partition: {partitions: 2, workers: 1, plan: {0: {day: 2026-11-20}}}
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_partitions_properties_wait_for_their_partition(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S83: and so does whatever depends on them."""
    job_file(node, tmp_path, language, PARTITIONED[language])
    run(node, {"x": "X"})

    assert [("2026-11-20", "2026-11-20"), ("no day", "X")] == sorted(SEEN)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "text",
    [
        P % "missing",
        J % "undefined",
        J % "later",  # A forward reference.
        J % "a",  # Itself.
        S % "undefined",
    ],
)
def test_what_is_undefined_is_empty(node: Node, tmp_path: Path, language: str, text: str) -> None:
    """S84."""
    job_file(node, tmp_path, language, show(language, {"a": f"[{text}]", "later": "L"}))
    run(node)

    assert [("[]", None)] == SEEN


CHUNK = {
    "xml": f"""
        <step id="a"><chunk item-count="{P % "n"}">
          <reader ref="numbers"><properties><property name="count" value="1"/></properties></reader>
          <writer ref="{HERE}:write"/></chunk></step>""",
    "yaml": f"""
        steps:
          - step: a
            chunk:
              chunk_size: "{P % "n"}"
              reader: {{ref: numbers, properties: {{count: 1}}}}
              writer: {HERE}:write
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_numbers_are_parsed_from_the_substituted_text(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S85."""
    name = "item-count" if language == "xml" else "chunk_size"
    before = counts(node)
    job_file(node, tmp_path, language, CHUNK[language])

    for wrong in ("ten", "0", "1.5", ""):
        with pytest.raises(JobStartError) as refused:
            run(node, {"n": wrong})
        expected = f"step 'a': {name} must be a whole number, 1 or more, got {wrong!r} from"
        assert expected in refused.value.message
    assert before == counts(node)
    assert COMPLETED is run(node, {"n": "10"}).batch_status


# --- what is injected -----------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, ("own a", None)),
        ({"a": "", "b": ""}, ("own a", None)),
        ({"a": P % "missing", "b": P % "missing"}, ("own a", None)),
        ({"a": "A", "b": "B"}, ("A", "B")),
        ({"c": "C"}, ("own a", None)),
    ],
)
def test_what_resolves_to_nothing_is_not_injected(
    node: Node,
    tmp_path: Path,
    language: str,
    properties: dict[str, str],
    expected: tuple[str, str | None],
) -> None:
    """S76, S86: the artifact keeps its own default, or None; nor does it get anybody else's."""
    job = {"a": "of the job", "b": "of the job"}
    job_file(node, tmp_path, language, show(language, properties, **job))
    run(node, {"a": "a parameter"})

    assert [expected] == SEEN


TYPED = {
    "xml": f"""
        <step id="a"><batchlet ref="{HERE}:Typed"><properties>
          <property name="another.name" value="t"/>
          <property name="text" value="not this"/>
          <property name="flag" value="{P % "flag"}"/>
          <property name="whole" value="{P % "whole"}"/>
          <property name="number" value="1e3"/>
          <property name="day" value="2026-11-20"/>
        </properties></batchlet></step>""",
    "yaml": f"""
        steps:
          - step: a
            tasklet:
              ref: {HERE}:Typed
              properties:
                another.name: t
                text: not this
                flag: "{P % "flag"}"
                whole: "{P % "whole"}"
                number: 1e3
                day: 2026-11-20
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_value_is_converted_to_the_declared_type(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S87: bool is true only for `true`, int and float by their constructors."""
    job_file(node, tmp_path, language, TYPED[language])
    flags = {"true": True, "TRUE": True, "yes": False, "1": False, "false": False}
    for number, text in enumerate(flags):
        run(node, {"flag": text, "whole": str(number)})

    day = date(2026, 11, 20)
    expected = [("t", flag, number, 1000.0, day) for number, flag in enumerate(flags.values())]
    assert expected == SEEN


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_failed_conversion_fails_the_step(node: Node, tmp_path: Path, language: str) -> None:
    """S87."""
    job_file(node, tmp_path, language, TYPED[language])
    execution = run(node, {"whole": "seven"})
    [step] = node.operator.get_step_executions(execution.execution_id)

    assert (FAILED, FAILED, []) == (execution.batch_status, step.batch_status, SEEN)
    failure = step.failure
    assert failure is not None
    assert "cannot inject property 'whole' into Typed: 'seven' is no int" in failure.message


@pytest.mark.parametrize("level", ["job", "step"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_failed_conversion_of_a_listener_fails_its_level(
    node: Node, tmp_path: Path, language: str, level: str
) -> None:
    """S87: that of a job listener the job, before any step."""
    name = f"{HERE}:Listener"
    if language == "xml":
        listeners = f"""<listeners><listener ref="{name}"><properties>
            <property name="whole" value="seven"/></properties></listener></listeners>"""
        of_job, of_step = (listeners, "") if level == "job" else ("", listeners)
        body = f'{of_job}<step id="a">{of_step}<batchlet ref="show"/></step>'
    else:
        listeners = f"listeners: [{{ref: '{name}', properties: {{whole: seven}}}}]"
        of_job, of_step = (listeners, "") if level == "job" else ("", f", {listeners}")
        body = f"{of_job}\nsteps: [{{step: a, tasklet: show{of_step}}}]"
    job_file(node, tmp_path, language, body)
    execution = run(node)
    steps = node.operator.get_step_executions(execution.execution_id)

    assert (FAILED, []) == (execution.batch_status, SEEN)
    assert ([] if level == "job" else [FAILED]) == [step.batch_status for step in steps]
    failure = execution.failure if level == "job" else steps[0].failure
    assert failure is not None
    assert "cannot inject property 'whole' into Listener" in failure.message


PLAN = {
    "xml": f"""
        <properties><property name="from" value="job"/></properties>
        <step id="a">
          <properties><property name="from" value="step"/></properties>
          <batchlet ref="show"><properties>
            <property name="a" value="#{{partitionPlan['one']}}"/>
            <property name="b" value="#{{partitionPlan['two']}}"/>
          </properties></batchlet>
          <partition><plan partitions="{P % "count"}" threads="1">
            <properties partition="{P % "last"}">
              <property name="one" value="{P % "x"}?:d;"/>
              <property name="two" value="{J % "from"} {J % "one"} {S % "out"}"/>
            </properties>
          </plan></partition>
        </step>""",
    "yaml": f"""
        properties: {{from: job}}
        steps:
          - step: a
            properties: {{from: step}}
            tasklet:
              ref: show
              properties: {{a: "#{{partitionPlan['one']}}", b: "#{{partitionPlan['two']}}"}}
            partition:
              partitions: "{P % "count"}"
              workers: 1
              plan:
                1: {{one: "{P % "x"}?:d;", two: "{J % "from"} {J % "one"} {S % "out"}"}}
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_static_plan_may_use_the_other_operators(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S88."""
    host = {"out": "/out"}
    job_file(node, tmp_path, language, PLAN[language], system_properties=host)
    run(node, {"count": "2", "last": "1", "x": "X"})

    assert [("own a", None), ("X", "step X /out")] == sorted(SEEN, reverse=True)
