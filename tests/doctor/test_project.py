"""A project's own invariants: examined, counted, planned, repaired and recorded like ours."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell import Invariant, Node
from stepwell.errors import InvalidSetting
from stepwell.finding import Repair
from stepwell.job.registry import JobRegistry
from tests.conformance.stories import execute, rows
from tests.doctor.patients import doctor_of, found_by, without_machine

BREACHES = (
    "SELECT i.id, i.status FROM invoice i JOIN payment p ON p.invoice_id = i.id"
    " WHERE i.status = 'open'"
)
PAY = "UPDATE invoice SET status = 'paid' WHERE id = :id AND status = 'open'"
DOUBT = "UPDATE invoice SET status = 'doubtful' WHERE id = :id AND status = 'open'"
LARGE = "SELECT 1 FROM payment WHERE invoice_id = :id AND amount >= 100"


@pytest.fixture
def books(node: Node) -> Node:
    execute(node, "CREATE TABLE invoice (id INTEGER, status TEXT)")
    execute(node, "CREATE TABLE payment (invoice_id INTEGER, amount INTEGER)")
    execute(node, "INSERT INTO invoice VALUES (1, 'open'), (2, 'open'), (3, 'open'), (4, 'paid')")
    execute(node, "INSERT INTO payment VALUES (1, 200), (2, 5), (4, 7)")
    return node


def registry_of(*invariants: Invariant) -> JobRegistry:
    registry = JobRegistry()
    for invariant in invariants:
        registry.add_invariant(invariant, origin="the test")
    return registry


def open_though_paid(*repairs: tuple[Any, str], **more: Any) -> Invariant:
    explain = "invoice {id} is {status}, and it is paid"
    return Invariant("open_though_paid", BREACHES, explain, repairs, **more)


def test_a_breach_is_found_counted_repaired_and_recorded(books: Node) -> None:
    invariant = open_though_paid((LARGE, PAY), (None, DOUBT), metric="invoices_in_doubt")
    doctor = doctor_of(books, registry_of(invariant))

    found = found_by(doctor)
    assert ["id 1", "id 2"] == [finding.where for finding in found]
    assert "invoice 1 is open, and it is paid" == found[0].what
    assert isinstance(found[0].repair, Repair)
    assert f"{PAY}, because {LARGE} answers a row" == found[0].repair.does
    assert {"invoices_in_doubt": 2} == doctor.metrics()
    assert 2 == doctor.counts()["open_though_paid"]
    assert [] == rows(books, "SELECT * FROM batch_repair")

    outcome = doctor.repair()
    assert [] == without_machine(outcome.after)
    assert [(1, "paid"), (2, "doubtful"), (3, "open"), (4, "paid")] == rows(
        books, "SELECT id, status FROM invoice ORDER BY id"
    )
    assert ({"invoices_in_doubt": 0}, 0) == (doctor.metrics(), doctor.counts()["open_though_paid"])
    assert [
        ("id 1", "invoice 1 is open, and it is paid", 1, "doctor"),
        ("id 2", "invoice 2 is open, and it is paid", 1, "doctor"),
    ] == rows(books, "SELECT place, found, rows_changed, actor FROM batch_repair ORDER BY place")
    assert [] == doctor.repair().repaired


def test_a_function_may_choose_the_repair(books: Node) -> None:
    def is_large(breach: dict[str, Any], connection: Any) -> bool:
        return connection.execute(LARGE, breach).fetchone() is not None

    registry = registry_of(open_though_paid((is_large, PAY)))

    [first, second] = found_by(doctor_of(books, registry))
    assert isinstance(first.repair, Repair)
    assert first.repair.does.endswith("because is_large answers yes")
    assert None is second.repair


@pytest.mark.parametrize(
    ("repair", "why"),
    [
        ("UPDATE invoice SET status = 'open' WHERE id = :id", "do not mend what was found"),
        ("INSERT INTO payment VALUES (:id, 0)", "do not mend what was found"),
        ("UPDATE invoice SET status = 'paid' WHERE id = :id", "change rows a second time"),
        ("UPDATE nothing SET status = 'paid'", "nothing"),
        ("COMMIT", "would end or change the transaction"),
    ],
)
def test_a_repair_that_must_not_stand_is_taken_back(repair: str, why: str, books: Node) -> None:
    doctor = doctor_of(books, registry_of(open_though_paid((None, repair))))
    before = rows(books, "SELECT * FROM invoice"), rows(books, "SELECT * FROM payment")

    outcome = doctor.repair()

    assert ["id 1", "id 2"] == [each.finding.where for each in outcome.not_repaired]
    assert why in outcome.not_repaired[0].why
    assert before == (rows(books, "SELECT * FROM invoice"), rows(books, "SELECT * FROM payment"))
    assert [] == rows(books, "SELECT * FROM batch_repair")


def test_an_invariant_that_cannot_be_asked_is_a_finding_and_hides_no_other(books: Node) -> None:
    torn = Invariant("torn", "SELECT nothing FROM nowhere", "{nothing}")
    registry = registry_of(torn, open_though_paid())

    found = found_by(doctor_of(books, registry))

    assert {"check_failed", "open_though_paid"} == {finding.code for finding in found}
    assert [] == doctor_of(books, registry).repair().repaired


def test_only_the_named_codes_are_mended(books: Node) -> None:
    doctor = doctor_of(books, registry_of(open_though_paid((None, PAY))))

    assert [] == doctor.repair(only=["dead_owner"]).repaired
    assert 2 == len(doctor.repair(only=["open_though_paid"]).repaired)


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"code": "Not Snake"}, "a name must be in snake_case, got 'Not Snake'"),
    ({"code": ""}, "it has no code"),
    ({"metric": "a-b"}, "a name must be in snake_case, got 'a-b'"),
    ({"breaches": "DELETE FROM invoice"}, "breaches must be a SELECT"),
    ({"severity": "bad"}, "severity must be info, warning or error: 'bad'"),
    ({"repairs": [("x = 1", PAY)]}, "a condition must be None, a SELECT or a function"),
    ({"repairs": [(None, "SELECT 1")]}, "a repair must change something, got a SELECT"),
]


@pytest.mark.parametrize(("fault", "fact"), FAULTS)
def test_a_faulty_invariant_is_refused_where_it_is_written(
    fault: dict[str, Any], fact: str
) -> None:
    whole = {"code": "code", "breaches": BREACHES, "explain": "", **fault}

    with pytest.raises(InvalidSetting) as raised:
        Invariant(**whole)

    assert f"cannot use invariant {whole['code']!r}: {fact}" == raised.value.message


def test_two_invariants_of_one_code_are_refused() -> None:
    registry = registry_of(open_though_paid())
    with pytest.raises(InvalidSetting) as raised:
        registry.add_invariant(open_though_paid(), origin="module b")

    assert "got 'open_though_paid' twice, the second time in module b" in raised.value.message
