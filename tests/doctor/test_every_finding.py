"""T14: there is no finding that nobody has ever seen."""

from __future__ import annotations

import re
from pathlib import Path

from stepwell.doctor.examine import EXPLANATIONS

TESTS = Path(__file__).parents[1]


def test_every_finding_is_brought_about_by_a_test() -> None:
    """Method: its code stands in a string of a test."""
    texts = "\n".join(path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    named = {word for string in re.findall(r'"([\w ]+)"', texts) for word in string.split()}

    assert set() == set(EXPLANATIONS) - named
