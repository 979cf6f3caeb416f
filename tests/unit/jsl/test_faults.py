"""Everything that is wrong with a job file is told at once, before anything is recorded (S183)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepwell import Node
from stepwell.errors import JobStartError
from stepwell.jsl.source import JobFile
from tests.unit.jsl.support import (
    FILES,
    known_artifacts,
    load_xml,
    said,
    warned,
    xml_faults,
    xml_file,
    yaml_faults,
    yaml_file,
)

P = "#{jobParameters['p']}"


def test_the_classic_faults_are_told_at_once(tmp_path: Path) -> None:
    """A file with one of each; the same list from `check` and from a refused start."""
    file = JobFile(FILES / "faulty.xml", artifacts=known_artifacts())
    expected = [
        (3, "job 'faulty' must not begin with a decision, 'first' does"),
        (4, "decision 'first': there is no 'nowhere' beside it to go to"),
        (7, "step 'both': item-count must be a whole number, 1 or more, got 'ten'"),
        (7, "step 'both' has a tasklet and a chunk"),
        (9, "reader of step 'both': there is no artifact 'noReader'"),
        (10, "writer of step 'both': there is no 'NoWriter' in module 'tests.unit.jsl.artifacts'"),
        (12, "step 'both': skip: there is no exception class 'ValueEror'"),
        (16, "step 'neither' must have a tasklet (batchlet) or a chunk"),
        (16, "elements must not lead back to themselves: both → neither → both (S47)"),
        (18, "step 'planned': start-limit must be a whole number, 0 or more, got '-1'"),
        (20, "tasklet of step 'planned': property 'a': malformed expression"),
        (22, "step 'planned': a partition has a plan or a mapper, not both"),
        (24, "step 'planned': the plan has no partition 2"),
        (28, "step 'planned': stop restart: unknown operator 'jobProperty' in expression"),
        (30, "flow 'empty' must hold at least one step"),
        (31, "split 'hollow' must hold at least one flow"),
        (32, "step 'both': the id stands twice"),
        (33, "tasklet of step 'both': ref: partitionPlan is not known here"),
    ]

    found = said(file.check())
    with pytest.raises(JobStartError) as refused:
        file.load({})

    assert [line for line, _ in expected] == [line for line, _ in found], found
    for (_, fact), (_, message) in zip(expected, found, strict=True):
        assert message.startswith(fact)
    told: Any = refused.value.fields["faults"]
    assert found == [(one["line"], one["message"]) for one in told]
    for line, message in found:
        assert f"line {line}: {message}" in refused.value.message
    assert f"`stepwell jobs check {FILES / 'faulty.xml'}`" in refused.value.hint


def test_nothing_is_recorded_of_a_faulty_file(tmp_path: Path) -> None:
    """S183."""
    with Node.open(f"sqlite:///{tmp_path}/refused.db") as node:
        file = JobFile(FILES / "faulty.xml", artifacts=known_artifacts())
        node.registry.add(file, origin=file.origin)
        with pytest.raises(JobStartError):
            node.operator.run("faulty", {})
        with node.database.read() as reader:
            count = reader.connection.execute("SELECT COUNT(*) FROM batch_job_instance").fetchone()

    assert (0,) == count


# --- numbers and booleans -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "good", "bad", "rule"),
    [
        ("item-count", ["1", " 25 ", "+7"], ["0", "-1", "", "x", "1.5", "1_0"], "1 or more"),
        ("time-limit", ["0", "10"], ["-1", "", "soon", "inf", "nan"], "seconds, 0 or more"),
        ("skip-limit", ["0", "3"], ["-1", "", "x"], "a whole number, 0 or more"),
        ("retry-limit", ["0", "3"], ["-1", "", "x"], "a whole number, 0 or more"),
    ],
)
def test_numbers_are_read_after_substitution(
    attribute: str, good: list[str], bad: list[str], rule: str, tmp_path: Path
) -> None:
    """S85, S113."""
    body = f"""
        <step id="a"><chunk {attribute}="{P}">
          <reader ref="budgetReader"/><writer ref="budgetWriter"/>
        </chunk></step>"""
    file = xml_file(tmp_path, body)

    for text in good:
        file.load({"p": text})
    for text in bad:
        [fault] = file.check({"p": text})
        start = f"step 'a': {attribute} must be "
        assert fault.message.startswith(start), fault
        assert fault.message.endswith(f"{rule}, got {text!r} from {P!r}")
    # Without parameters nobody knows: no false alarm.
    assert [] == file.check()


def test_booleans_and_words_are_read_after_substitution(tmp_path: Path) -> None:
    """S85."""
    body = f"""
        <step id="a" allow-start-if-complete="{P}"><batchlet ref="prepare"/></step>
        <step id="b"><chunk checkpoint-policy="{P}">
          <reader ref="budgetReader"/><writer ref="budgetWriter"/></chunk></step>"""
    file = xml_file(tmp_path, body, attributes=f'restartable="{P}"')

    assert [
        (1, f"restartable must be true or false, got 'yes' from {P!r}"),
        (2, f"step 'a': allow-start-if-complete must be true or false, got 'yes' from {P!r}"),
        (3, f"step 'b': checkpoint-policy must be one of 'item', 'custom', got 'yes' from {P!r}"),
    ] == said(file.check({"p": "yes"}))
    assert [
        (3, f"step 'b': checkpoint-policy must be one of 'item', 'custom', got 'TRUE' from {P!r}")
    ] == said(file.check({"p": "TRUE"}))
    assert [] == file.check()


def test_a_default_is_checked_when_parameters_are_not_known(tmp_path: Path) -> None:
    body = f'<step id="a" start-limit="{P}?:many;"><batchlet ref="prepare"/></step>'

    rule = "a whole number, 0 or more"
    assert [
        (2, f"step 'a': start-limit must be {rule}, got 'many' from {P + '?:many;'!r}")
    ] == xml_faults(tmp_path, body)


# --- containers ---------------------------------------------------------------------------------


def test_targets_are_looked_for_beside_the_element_after_substitution(tmp_path: Path) -> None:
    """S46, S85."""
    body = f"""
        <step id="a" next="{P}"><batchlet ref="prepare"/><stop on="*" restart="{P}"/></step>
        <decision id="d" ref="chooser"><next on="*" to="inside"/></decision>
        <flow id="f">
          <step id="inside" next="a"><batchlet ref="prepare"/><stop on="*" restart="inside"/></step>
        </flow>"""
    file = xml_file(tmp_path, body)

    assert [
        (2, "step 'a': there is no 'x' beside it to go to"),
        (2, "step 'a': a restart cannot begin at 'x'"),
        (3, "decision 'd': there is no 'inside' beside it to go to"),
        (5, "step 'inside': there is no 'a' beside it to go to"),
        (5, "step 'inside': a restart cannot begin at 'inside'"),
    ] == said(file.check({"p": "x"}))
    # A decision may follow, but nothing restarts at it.
    assert (2, "step 'a': a restart cannot begin at 'd'") in said(file.check({"p": "d"}))
    assert (2, "step 'a': there is no 'd' beside it to go to") not in said(file.check({"p": "d"}))


def test_a_cycle_is_found_in_every_container(tmp_path: Path) -> None:
    """S47."""
    faults = xml_faults(
        tmp_path,
        """
        <step id="a" next="a"><batchlet ref="prepare"/></step>
        <split id="s">
          <flow id="f">
            <step id="b" next="c"><batchlet ref="prepare"/></step>
            <step id="c"><batchlet ref="prepare"/><next on="X" to="b"/></step>
          </flow>
        </split>""",
    )

    assert [
        (2, "elements must not lead back to themselves: a → a (S47)"),
        (6, "elements must not lead back to themselves: b → c → b (S47)"),
    ] == faults


def test_the_implied_next_of_yaml_counts_for_cycles(tmp_path: Path) -> None:
    """S47, S53."""
    body = """
        steps:
          - {step: a, tasklet: prepare}
          - {step: b, tasklet: prepare, transitions: [{on: X, to: a}]}
        """

    message = "elements must not lead back to themselves: a → b → a (S47)"
    assert [(4, message)] == yaml_faults(tmp_path, body)
    assert [] == yaml_faults(tmp_path, "implied_next: false\n" + body.replace("\n        ", "\n"))


def test_ids_are_unique_across_kinds(tmp_path: Path) -> None:
    """S181: in XML with that of the job; a YAML job may be named like its step."""
    inner = "<step id='night'><batchlet ref='prepare'/></step>"
    faults = xml_faults(
        tmp_path, f"<flow id='a'>\n{inner}</flow>\n<decision id='a' ref='chooser'/>"
    )

    assert [(3, "step 'night': the id stands twice"), (4, "decision 'a': the id stands twice")] == (
        faults
    )
    assert [] == yaml_faults(tmp_path, "steps: [{step: night, tasklet: prepare}]")


def test_an_id_is_never_substituted(tmp_path: Path) -> None:
    """S81."""
    file = xml_file(tmp_path, f'<step id="{P}"><batchlet ref="prepare"/></step>')

    assert [P] == [step.name for step in file.load({"p": "x"}).steps]
    assert [(2, f"step {P!r}: nothing is substituted in an id (S81)")] == warned(file.check())


def test_a_flow_of_a_split_goes_nowhere(tmp_path: Path) -> None:
    faults = xml_faults(
        tmp_path,
        """
        <split id="s">
          <flow id="f" next="g"><step id="b"><batchlet ref="prepare"/></step></flow>
          <flow id="g"><step id="c"><batchlet ref="prepare"/></step></flow>
        </split>""",
    )

    assert [(3, "flow 'f' is in a split: it cannot go to 'g'")] == faults


# --- partitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("partition", "message"),
    [
        ('<plan partitions="0"/>', "partitions must be a whole number, 1 or more, got '0'"),
        ('<plan threads="-1"/>', "threads must be a whole number, 0 or more, got '-1'"),
        ('<plan><properties partition="1"/></plan>', "the plan has no partition 1"),
        (
            '<plan partitions="2"><properties partition="x"/></plan>',
            "partition of the plan must be a whole number, 0 or more, got 'x'",
        ),
        (
            '<plan><properties partition="0"/><properties partition="0"/></plan>',
            "partition 0 stands twice in the plan",
        ),
        ("<mapper ref='mapper'/><plan/>", "a partition has a plan or a mapper, not both"),
    ],
)
def test_a_plan_must_fit(partition: str, message: str, tmp_path: Path) -> None:
    body = f'<step id="a"><batchlet ref="prepare"/><partition>{partition}</partition></step>'

    assert [(2, f"step 'a': {message}")] == xml_faults(tmp_path, body)


@pytest.mark.parametrize(
    ("key", "bad", "rule"),
    [
        ("tolerated_failures", "-1", "a count, or a fraction from 0.0 to 1.0"),
        ("tolerated_failures", "1.5", "a count, or a fraction from 0.0 to 1.0"),
        ("tolerated_failures", "some", "a count, or a fraction from 0.0 to 1.0"),
        ("executor", "gpu", "one of 'inline', 'threads', 'processes', 'dask'"),
        ("override", "1", "true or false"),
        ("workers", "x", "a whole number, 0 or more"),
    ],
)
def test_the_options_of_a_partition_must_fit(key: str, bad: str, rule: str, tmp_path: Path) -> None:
    """S163."""
    body = f"steps: [{{step: a, tasklet: prepare, partition: {{partitions: 2, {key}: {bad}}}}}]"

    [(_, message)] = yaml_faults(tmp_path, body)
    assert f"step 'a': {key} must be {rule}, got {bad!r}" == message


PLACES = {
    "next": '<step id="a" next="{}"><batchlet ref="prepare"/><partition/></step>',
    "on": '<step id="a"><batchlet ref="prepare"/><partition/><end on="{}"/></step>',
    "plan": '<step id="a"><batchlet ref="prepare"/><partition><plan partitions="{}"/></partition>'
    "</step>",
    "analyzer": '<step id="a"><batchlet ref="prepare"/><partition><analyzer ref="{}"/></partition>'
    "</step>",
    "another step": '<step id="a"><batchlet ref="{}"/></step>',
    "the job": '<properties><property name="a" value="{}"/></properties>'
    '<step id="a"><batchlet ref="prepare"/></step>',
    "its properties": '<step id="a"><batchlet ref="prepare"/><partition><plan>'
    '<properties partition="0"><property name="a" value="{}"/></properties></plan></partition>'
    "</step>",
}


@pytest.mark.parametrize("place", PLACES)
def test_a_partition_is_asked_only_where_one_runs(place: str, tmp_path: Path) -> None:
    """S83, S88."""
    faults = xml_faults(tmp_path, PLACES[place].format("#{partitionPlan['x']}"))

    assert 1 == len(faults)
    assert "partitionPlan is not known here" in faults[0][1]


def test_what_waits_in_a_property_of_the_step_must_not_reach_its_main_thread(
    tmp_path: Path,
) -> None:
    faults = xml_faults(
        tmp_path,
        """
        <step id="a" next="#{jobProperties['x']}">
          <properties><property name="x" value="#{partitionPlan['x']}"/></properties>
          <batchlet ref="prepare"/>
          <partition/>
        </step>""",
    )

    assert [
        (2, "step 'a': next: partitionPlan is not known here, in \"#{jobProperties['x']}\"")
    ] == faults


# --- artifacts and classes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("noSuch", "there is no artifact 'noSuch'"),
        ("tests.unit.jsl.nowhere:x", "there is no module 'tests.unit.jsl.nowhere', which"),
        ("tests.unit.jsl.artifacts:nowhere", "there is no 'nowhere' in module 'tests.unit.jsl"),
        ("tests.unit.jsl.artifacts.Nowhere", "there is no 'Nowhere' in module 'tests.unit.jsl"),
        ("com.example.Batchlet", "there is no module 'com', which 'com.example.Batchlet' needs"),
        ("tests.unit.jsl:artifacts", "'tests.unit.jsl:artifacts' is a module"),
        ("tests.unit.jsl.files.broken:x", "module 'tests.unit.jsl.files.broken' cannot be impor"),
        ("tests.unit.jsl.artifacts:BudgetReader", "'BudgetReader' cannot be a tasklet: it has no"),
        ("tests.unit.jsl.artifacts:TakesArguments", "'TakesArguments' cannot be a tasklet"),
    ],
)
def test_an_artifact_must_be_there_and_of_use(ref: str, message: str, tmp_path: Path) -> None:
    """S79."""
    (line, found), *_ = xml_faults(tmp_path, f'<step id="a"><batchlet ref="{ref}"/></step>')

    assert (2, True) == (line, found.startswith(f"tasklet of step 'a': {message}")), found


def test_the_nearest_artifact_is_suggested(tmp_path: Path) -> None:
    file = xml_file(tmp_path, '<step id="a"><batchlet ref="prepar"/></step>')

    assert file.check()[0].hint.startswith("did you mean 'prepare'?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nothing", "there is no exception class 'Nothing'"),
        ("print", "'print' is no exception class"),
        ("int", "'int' is no exception class"),
        ("tests.unit.jsl.artifacts:Report", "'tests.unit.jsl.artifacts:Report' is no exception"),
        ("java.lang.Exception", "there is no module 'java', which 'java.lang.Exception' needs"),
    ],
)
def test_exception_classes_are_python_classes(name: str, message: str, tmp_path: Path) -> None:
    """S182."""
    body = f"""
        <step id="a"><chunk>
          <reader ref="budgetReader"/><writer ref="budgetWriter"/>
          <skippable-exception-classes><include class="{name}"/></skippable-exception-classes>
        </chunk></step>"""

    [(line, found)] = xml_faults(tmp_path, body)
    assert (4, True) == (line, found.startswith(f"step 'a': skip: {message}")), found


def test_coroutine_functions_are_refused_where_nobody_awaits_them(tmp_path: Path) -> None:
    """S80."""
    good = "steps: [{step: a, tasklet: 'tests.unit.jsl.artifacts:AsyncTasklet'}]"
    bad = "steps: [{step: a, chunk: {reader: budgetReader, writer: '%s'}}]"

    assert [] == yaml_faults(tmp_path, good)
    for writer in ("AsyncWriter", "async_write"):
        [(_, message)] = yaml_faults(tmp_path, bad % f"tests.unit.jsl.artifacts:{writer}")
        assert "must not be a coroutine function (S80)" in message


def test_what_is_wrong_but_can_start_is_a_warning(tmp_path: Path) -> None:
    """S76, S87, S114: and what is deprecated, with what replaces it."""
    file = yaml_file(
        tmp_path,
        """
        steps:
          - step: old
            tasklet: {ref: oldSalaryBatchlet, properties: {shop: seven, shap: 3}}
          - step: retried
            chunk:
              reader: budgetReader
              writer: budgetWriter
              retry: {exceptions: OSError}
        """,
    )

    assert [
        (
            4,
            (
                "tasklet of step 'old': cannot inject property 'shop' into OldRecalculate: 'seven'"
                " is no int, invalid literal for int() with base 10: 'seven'"
            ),
        ),
        (4, "tasklet of step 'old': property 'shap' is not taken by 'OldRecalculate'"),
        (4, "tasklet of step 'old': 'oldSalaryBatchlet' is deprecated"),
        (9, "step 'retried': it retries without a limit (S114)"),
    ] == warned(file.check())
    hints = {fault.message: fault.hint for fault in file.check()}
    deprecated = "tasklet of step 'old': 'oldSalaryBatchlet' is deprecated"
    assert "use userSalaryDayRecalcBatchlet" == hints[deprecated]
    assert ["old", "retried"] == [step.name for step in file.load({}).steps]


def test_an_unused_algorithm_is_a_warning_and_a_missing_one_a_fault(tmp_path: Path) -> None:
    chunk = """
        <step id="a"><chunk {}>
          <reader ref="budgetReader"/><writer ref="budgetWriter"/>{}
        </chunk></step>"""
    every_ten = '<checkpoint-algorithm ref="tests.unit.jsl.artifacts:EveryTen"/>'

    assert "the checkpoint-algorithm is not used" in str(
        xml_file(tmp_path, chunk.format("", every_ten)).check()
    )
    assert [(2, "step 'a': checkpoint-policy 'custom' needs a <checkpoint-algorithm>")] == (
        xml_faults(tmp_path, chunk.format('checkpoint-policy="custom"', ""))
    )
    [step] = load_xml(tmp_path, chunk.format('checkpoint-policy="custom"', every_ten)).steps
    assert step.checkpoint is not None
