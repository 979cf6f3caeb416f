"""The doctor on a timer and as a job: what it tells, and what it may do by itself."""

from __future__ import annotations

import logging

import pytest

from stepwell import Node
from stepwell.doctor.doctor import Doctor
from stepwell.errors import InvalidSetting
from stepwell.settings import Settings
from tests.conformance.stories import execute, rows
from tests.doctor.patients import codes, without_machine


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("duty")
    return Settings(
        database=f"sqlite:///{folder}/stepwell.db", sqlite_driver="pysqlite3", folder=folder
    )


def test_a_worker_looks_by_itself_and_tells_the_log(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    execute(node, "DROP INDEX batch_skip_step")

    with caplog.at_level(logging.INFO, logger="stepwell.doctor"):
        node.worker(drain=True).run()

    assert "missing_index at index batch_skip_step: it is missing" in caplog.messages
    assert 1 == node.doctor.counts()["missing_index"]
    assert [] == rows(node, "SELECT * FROM batch_repair")


def test_only_what_the_setting_names_is_mended_by_itself(node: Node) -> None:
    execute(node, "DROP INDEX batch_skip_step")
    execute(node, "DROP VIEW batch_job_execution_tracking")
    doctor = Doctor(node.database, auto_repair=["missing_index"])

    assert ["missing_view"] == codes(without_machine(doctor.run_once()))
    assert [("missing_index", "doctor")] == rows(node, "SELECT code, actor FROM batch_repair")


def test_a_code_that_no_finding_has_is_refused(settings: Settings) -> None:
    wrong = Settings(database=settings.database, doctor_auto_repair=("missing_indexes",))
    with Node.open(wrong) as node, pytest.raises(InvalidSetting) as raised:
        node.load_jobs()

    assert "doctor_auto_repair must name codes of findings, got 'missing_indexes'" == (
        raised.value.message
    )
    assert "did you mean 'missing_index'?" == raised.value.hint


def test_the_built_in_job_examines_and_repairs(node: Node) -> None:
    node.load_jobs()
    execute(node, "DROP INDEX batch_skip_step")

    looked = node.operator.run("stepwell.doctor")
    mended = node.operator.run("stepwell.doctor", {"repair": True})
    again = node.operator.run("stepwell.doctor", {"thorough": False})

    assert ["COMPLETED"] * 3 == [e.batch_status for e in (looked, mended, again)]
    exits = rows(node, "SELECT exit_code FROM batch_step_execution ORDER BY step_execution_id")
    assert [("FINDINGS",), ("CLEAN",), ("CLEAN",)] == exits
    assert [("missing_index",)] == rows(node, "SELECT code FROM batch_repair")
    [context] = rows(
        node, "SELECT serialized_context FROM batch_step_execution_context ORDER BY 1 LIMIT 1"
    )
    assert "missing_index" in context[0] or "counts" in context[0]
