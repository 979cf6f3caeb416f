"""Jakarta Batch XML: what is read, and what a document must not be (section 15)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from stepwell import Parameters
from stepwell.errors import JobStartError
from tests.unit.jsl.support import (
    JAKARTA,
    job_file,
    load_xml,
    said,
    warned,
    xml_faults,
    xml_file,
)

JCP = "http://xmlns.jcp.org/xml/ns/javaee"
STEP = '<step id="a"><batchlet ref="prepare"/></step>'


@pytest.mark.parametrize(
    ("namespace", "version", "warnings"),
    [
        (JAKARTA, 'version="2.0"', []),
        (JAKARTA, 'version="1.0"', [(1, "version must be '2.0', got '1.0'")]),
        (JAKARTA, "", [(1, "version must be '2.0', got None")]),
        (JCP, 'version="1.0"', []),
        (JCP, 'version="2.0"', [(1, "version must be '1.0', got '2.0'")]),
    ],
)
def test_both_namespaces_are_read_and_another_version_is_a_warning(
    namespace: str, version: str, warnings: list[tuple[int, str]], tmp_path: Path
) -> None:
    """S180."""
    text = f'<job id="night" xmlns="{namespace}" {version}>{STEP}</job>'
    file = job_file(tmp_path / "night.xml", text)

    assert ([], warnings) == (said(file.check()), warned(file.check()))
    assert "night" == file.load({}).name


@pytest.mark.parametrize("namespace", ["", "urn:else"])
def test_another_namespace_is_refused(namespace: str, tmp_path: Path) -> None:
    """S180."""
    file = job_file(tmp_path / "night.xml", f'<job id="night" xmlns="{namespace}">{STEP}</job>')

    message = f"the namespace must be '{JAKARTA}', got '{namespace}'"
    assert [(1, message)] == said(file.check())


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE job>",
        '<!DOCTYPE job SYSTEM "http://127.0.0.1:9/job.dtd">',
        '<!DOCTYPE job [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE job [<!ENTITY file SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE job [<!ENTITY % all SYSTEM "http://127.0.0.1:9/all"> %all;]>',
    ],
)
def test_a_doctype_is_refused_where_it_begins(doctype: str, tmp_path: Path) -> None:
    """S180: so nothing is expanded, read or fetched."""
    text = f'<?xml version="1.0"?>\n{doctype}\n<job id="&b;&file;" xmlns="{JAKARTA}">{STEP}</job>'
    file = job_file(tmp_path / "night.xml", text)

    [fault] = file.check()
    assert ("a document with a DOCTYPE is refused", 2) == (fault.message, fault.line)
    with pytest.raises(JobStartError, match="DOCTYPE"):
        file.load({})


def test_a_doctype_is_refused_in_every_encoding(tmp_path: Path) -> None:
    text = f'<!DOCTYPE job [<!ENTITY a "b">]><job id="&a;" xmlns="{JAKARTA}">{STEP}</job>'
    file = job_file(tmp_path / "night.xml", text.encode("utf-16"))

    assert ["a document with a DOCTYPE is refused"] == [fault.message for fault in file.check()]


@pytest.mark.parametrize(
    ("text", "line", "fact"),
    [
        ("", 1, "no element found"),
        ("name,day\n1,2\n", 1, "syntax error"),
        ("<job>\n<step>\n</job>", 3, "mismatched tag"),
        ("<job>\n&undefined;</job>", 2, "undefined entity"),
        ('<job a="1" a="2"/>', 1, "duplicate attribute"),
        ('<?xml version="1.0" encoding="ebcdic-99"?><job/>', 1, "unknown encoding"),
        ("<job>" * 200, 1, "nested more than 100 deep"),
        (b"<job>\xff\xfe\x00</job>", 1, "not well-formed"),
    ],
)
def test_what_is_no_xml_is_said_with_its_line(
    text: str | bytes, line: int, fact: str, tmp_path: Path
) -> None:
    [fault] = job_file(tmp_path / "night.xml", text).check()

    assert line == fault.line
    assert fact in fault.message


def test_every_fault_of_order_and_of_names_is_told_at_once(tmp_path: Path) -> None:
    """S181."""
    faults = xml_faults(
        tmp_path,
        """
        <listeners><listener ref="audit"/></listeners>
        <properties/>
        <step id="a" nxt="b" start-limit="1">
          <partition/>
          <batchlet ref="prepare" name="x"/>
          <end on="A"/>
          <listeners/>
        </step>
        <step>text
          <chunk item-counts="3">
            <writer ref="budgetWriter"/>
            <reader ref=""/>
            <reader ref="budgetReader"/>
          </chunk>
          <stp/>
        </step>
        <decision id="d" ref="chooser" next="a"/>
        """,
    )

    assert [
        (3, "<properties> stands too late in <job>"),
        (4, "attribute 'nxt' is unknown in <step>"),
        (6, "<batchlet> stands too late in <step>"),
        (6, "attribute 'name' is unknown in <batchlet>"),
        (8, "<listeners> stands too late in <step>"),
        (10, "<step> must have the attribute 'id'"),
        (10, "<step> must hold no text, got 'text'"),
        (11, "attribute 'item-counts' is unknown in <chunk>"),
        (13, "<reader> stands too late in <chunk>"),
        (13, "'ref' of <reader> must not be empty"),
        (14, "<chunk> may hold one <reader>, this is another"),
        (16, "<stp> is unknown in <step>"),
        (18, "attribute 'next' is unknown in <decision>"),
    ] == faults


def test_a_hint_names_the_nearest_word_or_the_order(tmp_path: Path) -> None:
    file = xml_file(tmp_path, '<step id="a" nxt="b"><stp/><batchlet ref="prepare"/></step>')

    hints = {fault.message: fault.hint for fault in file.check()}
    assert (
        "did you mean 'next'? <step> has id, next, start-limit, allow-start-if-complete"
        == (hints["attribute 'nxt' is unknown in <step>"])
    )
    assert hints["<stp> is unknown in <step>"].startswith("did you mean 'stop'? <step> holds")


def test_foreign_attributes_comments_and_instructions_mean_nothing(tmp_path: Path) -> None:
    job = load_xml(
        tmp_path,
        """
        <!-- a comment --><?target instruction?>
        <step id="a" xmlns:x="urn:x" x:next="nowhere" xml:lang="en">
          <batchlet ref="prepare"/>
        </step>
        """,
    )

    assert ["a"] == [step.name for step in job.steps]


def test_the_engines_own_keys_are_no_properties(tmp_path: Path) -> None:
    """S76."""
    file = xml_file(
        tmp_path,
        """
        <properties>
          <property name="stepwell.identity" value="parameters"/>
          <property name="stepwell.run_lock" value="#{jobParameters['lock']}?:job;"/>
          <property name="stepwell.description" value="every night"/>
          <property name="mine" value="1"/>
        </properties>
        <step id="a">
          <properties>
            <property name="stepwell.executor" value="inline"/>
            <property name="stepwell.tolerated_failures" value="0.25"/>
            <property name="stepwell.partition_override" value="true"/>
          </properties>
          <batchlet ref="prepare"/>
          <partition/>
        </step>
        """,
    )

    job = file.load({})
    [step] = job.steps

    assert ("parameters", "job", "every night") == (job.identity, job.run_lock, job.description)
    assert ("inline", 0.25, True) == (
        step.executor,
        step.tolerated_failures,
        step.partition_override,
    )
    assert ({"mine": "1"}, {}) == (job.properties, step.properties)
    assert "parameters" == file.load({"lock": "parameters"}).run_lock


class Night(Parameters):
    run_date: date


def test_a_named_class_checks_the_parameters_before_anything_is_recorded(tmp_path: Path) -> None:
    file = xml_file(
        tmp_path,
        f"""
        <properties>
          <property name="stepwell.parameters" value="{__name__}:Night"/>
          <property name="on" value="#{{jobParameters['runDate']}}"/>
        </properties>
        {STEP}
        """,
    )

    assert {"on": "2026-11-20"} == file.load({"run_date": "2026-11-20"}).properties
    with pytest.raises(JobStartError) as refused:
        file.load({"runDate": "RUN_DATE_HERE"})
    assert ["run_date"] == list(refused.value.fields["parameters"])


def test_an_own_key_that_does_not_exist_or_does_not_fit_is_a_fault(tmp_path: Path) -> None:
    faults = xml_faults(
        tmp_path,
        """
        <step id="a">
          <properties>
            <property name="stepwell.executer" value="inline"/>
            <property name="stepwell.executor" value="inline"/>
            <property name="stepwell.write_skip" value="item"/>
          </properties>
          <batchlet ref="prepare"/>
        </step>
        """,
    )

    assert [
        (4, "property 'stepwell.executer' is unknown: 'stepwell.' begins the engine's own"),
        (5, "property 'stepwell.executor' is for a step with a <partition>"),
        (6, "property 'stepwell.write_skip' is for a step with a <chunk>"),
    ] == faults
