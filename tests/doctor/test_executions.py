"""T14 for R1 to R21: each rule is broken, found, explained and repaired, and then clean."""

from __future__ import annotations

import pytest

from stepwell import Node
from stepwell.testing import FrozenClock
from tests.conformance.stories import execute, rows
from tests.conformance.test_invariants import BREAKS, tell_a_story
from tests.doctor.patients import codes, doctor_of, found_by, without_machine


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_broken_is_found_explained_repaired_and_clean(
    name: str, node: Node, clock: FrozenClock
) -> None:
    sql, expected = BREAKS[name]
    tell_a_story(node, clock)
    doctor = doctor_of(node)
    assert [] == found_by(doctor)
    execute(node, sql.replace("{false}", "FALSE"))

    found = found_by(doctor)
    assert set(expected.split()) <= set(codes(found))
    assert all(f.explanation and f.hint for f in found)
    outcome = doctor.repair()
    assert [] == outcome.not_repaired
    assert [] == without_machine(outcome.after)
    assert [] == found_by(doctor)
    recorded = rows(node, "SELECT code, actor FROM batch_repair")
    assert len(outcome.repaired) == len(recorded)
    assert {"doctor"} == {actor for _, actor in recorded}
