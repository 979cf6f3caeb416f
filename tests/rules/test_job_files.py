"""Section 15, and the table of section 2: what a document must be, and what differs in XML."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell import BatchStatus, Node
from stepwell.errors import JobStartError
from stepwell.jsl import batch_property
from stepwell.jsl.source import JobFile
from tests.conformance.stories import counts
from tests.rules.shown import HERE, JAKARTA, SEEN, Chooser, Numbers, Show, job_file, know, run

JCP = "http://xmlns.jcp.org/xml/ns/javaee"
COMPLETED, FAILED = BatchStatus.COMPLETED, BatchStatus.FAILED
STEP = '<step id="a"><batchlet ref="show"/></step>'
LANGUAGES = ("xml", "yaml")


@pytest.fixture(autouse=True)
def _known(node: Node) -> None:
    SEEN.clear()
    know(node, show=Show, chooser=Chooser, numbers=Numbers)


def file_of(node: Node, folder: Path, text: str) -> JobFile:
    path = folder / "night.xml"
    path.write_text(text, encoding="utf-8")
    file = JobFile(path, artifacts=node.registry.artifacts, folder=folder)
    node.registry.add(file, origin=file.origin)
    return file


def refused(node: Node, **parameters: str) -> str:
    """What a refused start says; nothing was recorded."""
    before = counts(node)
    with pytest.raises(JobStartError) as error:
        run(node, parameters)
    assert before == counts(node)
    return error.value.message


# --- the document ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("namespace", "version", "warning"),
    [
        (JAKARTA, "2.0", None),
        (JAKARTA, "3.0", "version must be '2.0', got '3.0'"),
        (JCP, "1.0", None),
        (JCP, "2.0", "version must be '1.0', got '2.0'"),
    ],
)
def test_a_document_of_either_namespace_runs_and_another_version_is_a_warning(
    node: Node,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    namespace: str,
    version: str,
    warning: str | None,
) -> None:
    """S180."""
    file_of(node, tmp_path, f'<job id="night" xmlns="{namespace}" version="{version}">{STEP}</job>')

    assert COMPLETED is run(node).batch_status
    told = [r.getMessage() for r in caplog.records if r.name == "stepwell.jsl"]
    assert ([f"night.xml: line 1: {warning}"] if warning else []) == told


def test_another_namespace_refuses_the_start(node: Node, tmp_path: Path) -> None:
    """S180."""
    file_of(node, tmp_path, f'<job id="night" xmlns="urn:x" version="2.0">{STEP}</job>')

    assert f"line 1: the namespace must be '{JAKARTA}', got 'urn:x'" in refused(node)


def test_a_doctype_refuses_the_start(node: Node, tmp_path: Path) -> None:
    """S180: the entity would have been the id."""
    doctype = '<!DOCTYPE job [<!ENTITY name SYSTEM "file:///etc/hostname">]>'
    job = f'<job id="&name;" xmlns="{JAKARTA}" version="2.0">{STEP}</job>'
    file_of(node, tmp_path, f"{doctype}\n{job}")

    assert "line 1: a document with a DOCTYPE is refused" in refused(node)


def test_ids_are_unique_across_kinds(node: Node, tmp_path: Path) -> None:
    """S181: in XML across the job's own, too."""
    again = {
        "xml": '<flow id="a"><step id="night"><batchlet ref="show"/></step></flow>'
        '<split id="a"><flow id="f"><step id="b"><batchlet ref="show"/></step></flow></split>',
        "yaml": """
            steps:
              - {flow: a, steps: [{step: night, tasklet: show}]}
              - {split: a, flows: [{flow: f, steps: [{step: b, tasklet: show}]}]}
            """,
    }
    for language, body in again.items():
        job_file(node, tmp_path, language, body)
        found = refused(node)
        node.registry._jobs.clear()

        assert "split 'a': the id stands twice" in found
        assert (language == "xml") is ("step 'night': the id stands twice" in found)


PARTS = {
    "job": ["<properties/>", "<listeners/>", STEP],
    "step": [
        "<properties/>",
        "<listeners/>",
        "<batchlet ref='show'/>",
        "<partition/>",
        "<end on='X'/>",
    ],
    "flow": [STEP, "<end on='X'/>"],
    "decision": ["<properties/>", "<end on='X'/>"],
    "chunk": [
        "<reader ref='numbers'/>",
        "<processor ref='numbers'/>",
        "<writer ref='numbers'/>",
        "<checkpoint-algorithm ref='numbers'/>",
        "<skippable-exception-classes/>",
        "<retryable-exception-classes/>",
        "<no-rollback-exception-classes/>",
    ],
    "skippable-exception-classes": ["<include class='OSError'/>", "<exclude class='IOError'/>"],
    "partition": [
        "<plan/>",
        "<collector ref='show'/>",
        "<analyzer ref='show'/>",
        "<reducer ref='show'/>",
    ],
}
AROUND: dict[str, Callable[[str], str]] = {
    "job": lambda inner: inner,
    "step": lambda inner: f'<step id="s">{inner}</step>',
    "flow": lambda inner: f'<flow id="s">{inner}</flow>',
    "decision": lambda inner: f'{STEP}<decision id="s" ref="chooser">{inner}</decision>',
    "chunk": lambda inner: f'<step id="s"><chunk>{inner}</chunk></step>',
    "skippable-exception-classes": lambda inner: (
        '<step id="s"><chunk><reader ref="numbers"/><writer ref="numbers"/>'
        f"<skippable-exception-classes>{inner}</skippable-exception-classes></chunk></step>"
    ),
    "partition": lambda inner: (
        f'<step id="s"><batchlet ref="show"/><partition>{inner}</partition></step>'
    ),
}


@pytest.mark.parametrize("element", PARTS)
def test_the_order_of_child_elements(node: Node, tmp_path: Path, element: str) -> None:
    """S181: as written in its table; each pair of neighbours exchanged is one fault."""
    parts = PARTS[element]
    order = job_file(node, tmp_path, "xml", AROUND[element]("".join(parts)))
    assert [] == [str(f) for f in order.check() if "too late" in f.message]

    for place in range(len(parts) - 1):
        exchanged = [*parts[:place], parts[place + 1], parts[place], *parts[place + 2 :]]
        job_file(node, tmp_path, "xml", AROUND[element]("".join(exchanged)))

        tag = parts[place][1:].partition(" ")[0].rstrip("/>")
        assert f"line 2: <{tag}> stands too late in <{element}>" in refused(node)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<steps/>", "<steps> is unknown in <job>"),
        ('<step id="a" nxt="b"/>', "attribute 'nxt' is unknown in <step>"),
        ("<step/>", "<step> must have the attribute 'id'"),
        ('<step id="a"><batchlet/></step>', "<batchlet> must have the attribute 'ref'"),
        ('<step id="a"><next to="b"/></step>', "<next> must have the attribute 'on'"),
        (f"{STEP}text", "<job> must hold no text, got 'text'"),
        (f'<listeners/>{STEP}<step xmlns="urn:x" id="b"/>', "<step> is of namespace 'urn:x'"),
        (
            '<step id="a"><batchlet ref="show"/><batchlet ref="show"/></step>',
            "<step> may hold one <batchlet>, this is another",
        ),
    ],
)
def test_what_no_document_has_refuses_the_start(
    node: Node, tmp_path: Path, body: str, message: str
) -> None:
    """S181, S183."""
    job_file(node, tmp_path, "xml", body)

    assert f"line 2: {message}" in refused(node)


SKIPPING = {
    "xml": f"""
        <step id="a"><chunk item-count="2">
          <reader ref="numbers"/><processor ref="{HERE}:odd"/><writer ref="{HERE}:write"/>
          <skippable-exception-classes><include class="{{}}"/></skippable-exception-classes>
        </chunk></step>""",
    "yaml": f"""
        steps:
          - step: a
            chunk:
              chunk_size: 2
              reader: numbers
              processor: {HERE}:odd
              writer: {HERE}:write
              skip: {{{{exceptions: "{{}}"}}}}
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "is_skipped"),
    [(f"{HERE}:Wrong", True), (f"{HERE}.Wrong", True), ("Exception", True), ("ValueError", False)],
)
def test_exception_classes_are_those_of_python(
    node: Node, tmp_path: Path, language: str, name: str, is_skipped: bool
) -> None:
    """S182."""
    job_file(node, tmp_path, language, SKIPPING[language].format(name))
    execution = run(node)
    [step] = node.operator.get_step_executions(execution.execution_id)

    expected = (COMPLETED, 1, [[1], [3]]) if is_skipped else (FAILED, 0, [])
    assert expected == (execution.batch_status, step.metrics.process_skip_count, SEEN)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("java.lang.Exception", "there is no module 'java', which 'java.lang.Exception' needs"),
        ("Eception", "there is no exception class 'Eception'"),
        (f"{HERE}:Show", f"'{HERE}:Show' is no exception class"),
    ],
)
def test_what_is_no_exception_class_refuses_the_start(
    node: Node, tmp_path: Path, language: str, name: str, message: str
) -> None:
    """S182, S183."""
    job_file(node, tmp_path, language, SKIPPING[language].format(name))

    assert f"step 'a': skip: {message}" in refused(node)


# --- what differs in XML --------------------------------------------------------------------------

TWO_STEPS = {
    "xml": f'{STEP}<step id="b"><batchlet ref="show"/></step>',
    "yaml": "steps: [{step: a, tasklet: show}, {step: b, tasklet: show}]",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_of_steps_leads_on_in_yaml_alone(node: Node, tmp_path: Path, language: str) -> None:
    """S43, S53."""
    job_file(node, tmp_path, language, TWO_STEPS[language])
    execution = run(node)

    names = [s.step_name for s in node.operator.get_step_executions(execution.execution_id)]
    assert ["a"] if language == "xml" else ["a", "b"] == names


def test_each_start_of_an_xml_job_is_an_instance_and_no_lock_refuses_it(
    node: Node, tmp_path: Path
) -> None:
    """S5, S184."""
    job = job_file(node, tmp_path, "xml", STEP).load({})
    first, second = run(node, {"day": "1"}), run(node, {"day": "1"})

    assert ("each-start", None) == (job.identity, job.run_lock)
    assert first.instance_id != second.instance_id


class Sometimes:
    """A tasklet that shows its day, and fails while it is in the way."""

    fails = True
    day: str = batch_property("none")

    def process(self) -> None:
        SEEN.append(self.day)
        if Sometimes.fails:
            raise RuntimeError(self.day)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_restart_without_parameters_runs_with_those_of_the_execution_or_with_none(
    node: Node, tmp_path: Path, language: str
) -> None:
    """S10: an XML job never inherits any."""
    know(node, sometimes=Sometimes)
    day = "#{jobParameters['day']}"
    body = {
        "xml": f"""<step id="a"><batchlet ref="sometimes"><properties>
            <property name="day" value="{day}"/></properties></batchlet></step>""",
        "yaml": f'steps: [{{step: a, tasklet: {{ref: sometimes, properties: {{day: "{day}"}}}}}}]',
    }
    job_file(node, tmp_path, language, body[language])
    Sometimes.fails = True
    failed = run(node, {"day": "20"})
    Sometimes.fails = False
    restarted = node.operator.restart(failed.execution_id)
    ended = node.operator.wait(restarted, 30)

    assert ended is not None
    assert ["20", "none" if language == "xml" else "20"] == SEEN
    given = {p.name: p.value for p in node.operator.get_parameters(restarted)}
    assert ({} if language == "xml" else {"day": "20"}) == given


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_defaults_of_a_chunk(node: Node, tmp_path: Path, language: str) -> None:
    """S101, S130."""
    chunk = {
        "xml": f"""<step id="a"><chunk>
            <reader ref="numbers"/><writer ref="{HERE}:write"/></chunk></step>""",
        "yaml": f"steps: [{{step: a, chunk: {{reader: numbers, writer: '{HERE}:write'}}}}]",
    }
    [step] = job_file(node, tmp_path, language, chunk[language]).load({}).steps

    expected = (10, "chunk") if language == "xml" else (1_000, "item")
    assert expected == (step.chunk_size, step.write_skip)


SHOPS = {
    "xml": """
        <step id="a">
          <batchlet ref="sometimes">
            <properties><property name="day" value="#{partitionPlan['day']}"/></properties>
          </batchlet>
          <partition><plan partitions="2" threads="1">
            <properties partition="0">
              <property name="day" value="#{jobParameters['x']}0"/>
            </properties>
            <properties partition="1">
              <property name="day" value="#{jobParameters['x']}1"/>
            </properties>
          </plan></partition>
        </step>""",
    "yaml": """
        parameters: {x: {type: str, identifying: false}}
        steps:
          - step: a
            tasklet: {ref: sometimes, properties: {day: "#{partitionPlan['day']}"}}
            partition:
              workers: 1
              plan: [{day: "#{jobParameters['x']}0"}, {day: "#{jobParameters['x']}1"}]
        """,
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_properties_of_a_plan_on_a_restart(node: Node, tmp_path: Path, language: str) -> None:
    """S156: substituted afresh in XML, those of the frozen plan in YAML."""
    know(node, sometimes=Sometimes)
    job_file(node, tmp_path, language, SHOPS[language])
    Sometimes.fails = True
    failed = run(node, {"x": "A"})
    Sometimes.fails = False
    ended = node.operator.wait(node.operator.restart(failed.execution_id, {"x": "B"}), 30)

    assert ended is not None
    assert COMPLETED is ended.batch_status
    again = ["B0", "B1"] if language == "xml" else ["A0", "A1"]
    assert ["A0", "A1", *again] == SEEN


def numbers_of(step: object, count: int = 2) -> list[int]:
    """A function as reader, with a property."""
    return list(range(count))


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (f"{__name__}:numbers_of", [0, 1]),
        (f"{{ref: '{__name__}:numbers_of', properties: {{count: 3}}}}", [0, 1, 2]),
        ("listed", [7, 8]),
    ],
)
def test_a_reader_may_be_a_function_or_a_list(
    node: Node, tmp_path: Path, reader: str, expected: list[int]
) -> None:
    """S77, S87."""
    know(node, listed=[7, 8])
    body = f"steps: [{{step: a, chunk: {{reader: {reader}, writer: '{HERE}:note'}}}}]"
    job_file(node, tmp_path, "yaml", body)

    assert COMPLETED is run(node).batch_status
    assert [expected] == SEEN
