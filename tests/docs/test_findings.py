"""T21 for the doctor: every code stands on its page, with its severity, and no other does."""

from __future__ import annotations

import re

from stepwell.doctor.examine import EXPLANATIONS
from stepwell.repository.invariants import RULES
from stepwell.repository.surroundings import RULES as AROUND
from stepwell.repository.surroundings import RULES_OF_TIME
from tests.docs.pages import page

ROWS = re.findall(
    r"^\| `(\w+)` \| ((?:error|warning|info)[\w ]*) \| (.+?) \| (.+) \|$",
    page("docs/doctor.md").prose,
    re.MULTILINE,
)


def test_every_finding_is_explained_on_its_page() -> None:
    assert sorted(EXPLANATIONS) == sorted(code for code, *_ in ROWS)


def test_every_explanation_is_a_sentence() -> None:
    assert [] == [code for code, text in EXPLANATIONS.items() if not re.match(r"[A-Z].+\.$", text)]


def test_the_page_tells_the_severity_and_the_rule_of_each_query() -> None:
    told = {code: (severity, what.partition(":")[0]) for code, severity, what, _ in ROWS}

    for rule in (*RULES, *AROUND, *RULES_OF_TIME):
        assert (str(rule.severity), rule.rule) == told[rule.code], rule.code
