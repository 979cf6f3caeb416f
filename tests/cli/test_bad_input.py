"""Wrong words at wrong moments: refused with a code of the table, and nothing is half done."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from tests.cli.program import Folder

# Root may write everything, unless it has given that up.
AS_OTHERS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.mark.skipif(
    bool(AS_OTHERS) and shutil.which(AS_OTHERS[0]) is None, reason="root cannot be refused here"
)
def test_a_second_worker_that_may_not_write_is_refused_and_the_first_goes_on(
    folder: Folder,
) -> None:
    first = folder.start("work")
    first.until("working, 1 execution at a time")
    for file in folder.path.glob("stepwell.db*"):
        file.chmod(0o444)
    second = folder.call("work", by=AS_OTHERS)
    folder.done("register", "sevens")
    first.until("execution 1 of job 'sevens' COMPLETED")
    first.send(signal.SIGTERM)

    second.refused(2, "is read-only for this user")
    assert 0 == first.end().code
    assert [(1, "work")] == folder.rows(
        "SELECT COUNT(*), MAX(purpose) FROM batch_owner WHERE purpose = 'work'"
    )


ON_WHAT_IS_COMPLETED = [
    (("stop", "1"), 4, "cannot stop execution 1: it is COMPLETED"),
    (("restart", "1"), 4, "cannot restart execution 1: it is COMPLETED"),
    (("priority", "1", "5"), 4, "cannot set the priority of execution 1: it is COMPLETED"),
    (("register", "load", "day=2026-11-20"), 4, "it is already COMPLETED"),
    (("run", "load", "day=2026-11-20"), 4, "it is already COMPLETED"),
]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    ON_WHAT_IS_COMPLETED,
    ids=[" ".join(w) for w, *_ in ON_WHAT_IS_COMPLETED],
)
def test_what_is_completed_stays_so(
    words: tuple[str, ...], code: int, said: str, past: Folder
) -> None:
    before = past.rows(RECORDED)
    past.call(*words).refused(code, said)

    assert before == past.rows(RECORDED)


RECORDED = (
    "SELECT (SELECT COUNT(*) FROM batch_job_execution), (SELECT COUNT(*) FROM batch_request),"
    " (SELECT COUNT(*) FROM batch_status_history)"
)


def test_what_is_abandoned_stays_closed(folder: Folder) -> None:
    folder.call("run", "broken")
    folder.done("abandon", "1")
    before = folder.rows(RECORDED)

    folder.call("stop", "1").refused(4, "cannot stop execution 1: it is ABANDONED")
    folder.call("restart", "1").refused(4, "cannot restart execution 1: it is ABANDONED")
    folder.call("priority", "1", "5").refused(4, "it is ABANDONED")
    folder.call("register", "broken").refused(4, "is ABANDONED, which closes the instance")
    folder.call("register", "sevens", "--after", "1").refused(
        2, "its instance never completes", "register it without waiting"
    )
    assert before == folder.rows(RECORDED)


@pytest.mark.parametrize(
    "words",
    [
        ("restart", "77"),
        ("diff", "1", "77"),
        ("skips", "retry", "77"),
    ],
    ids=" ".join,
)
def test_an_unknown_execution_is_told_with_its_id(words: tuple[str, ...], past: Folder) -> None:
    refused = past.call(*words, "--json")

    assert (2, "no_such_job_execution") == (refused.code, refused.json["code"])
    assert {"execution_id": 77} == refused.json["fields"]


def test_a_restart_keeps_its_reason(folder: Folder) -> None:
    folder.call("run", "broken")
    folder.call("restart", "1", "--reason", "the till was opened")

    assert [("operator", "the till was opened")] == folder.rows(
        "SELECT actor, reason FROM batch_status_history"
        " WHERE job_execution_id = 2 AND from_status IS NULL AND step_execution_id IS NULL"
    )
