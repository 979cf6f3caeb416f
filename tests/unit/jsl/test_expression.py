"""Expressions: what the grammar says, what is inserted, what waits (section 9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.jsl.expression import (
    OPERATORS,
    Joined,
    MalformedExpression,
    OrElse,
    Reference,
    Template,
    fill,
    join,
    parse,
    write,
)

# Texts with everything that means something somewhere in the grammar.
SIGNS = st.text(st.sampled_from("ab#{}?:;'[] "), max_size=8)
LITERALS = SIGNS.filter(lambda text: "#{" not in text)
NAMES = st.text(st.sampled_from("ab.#{};:?"), min_size=1, max_size=5)
REFERENCES = st.builds(Reference, st.sampled_from(OPERATORS), NAMES)


def _safely_joined(parts: list[Template]) -> Template:
    """Joined so that no neighbours make an expression or a default of each other."""
    safe: list[Template] = []
    for part in parts:
        before = safe[-1] if safe else ""
        if isinstance(part, str) and not isinstance(before, str) and part.startswith(("?:", "?")):
            safe.append(" ")
        ends_open = isinstance(before, str) and before.endswith("#")
        if ends_open and not (isinstance(part, str) and not part.startswith("{")):
            safe.append(" ")
        safe.append(part)
    return join(safe)


DEFAULTS = st.lists(
    LITERALS.filter(lambda text: ";" not in text and not text.endswith("#")) | REFERENCES,
    max_size=3,
).map(join)
TEMPLATES = st.lists(
    LITERALS | REFERENCES | st.builds(OrElse, REFERENCES, DEFAULTS), max_size=5
).map(_safely_joined)
ANSWERS = st.dictionaries(REFERENCES, SIGNS)


def p(name: str) -> Reference:
    return Reference("jobParameters", name)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("", ""),
        ("plain ?: text; and }", "plain ?: text; and }"),
        ("#{jobParameters['a']}", p("a")),
        ("#{jobParameters['a b.c']}", p("a b.c")),
        ("x#{jobParameters['a']}y", Joined(("x", p("a"), "y"))),
        ("#{jobParameters['a']}#{jobParameters['b']}", Joined((p("a"), p("b")))),
        ("#{jobParameters['a']}?:x;", OrElse(p("a"), "x")),
        ("#{jobParameters['a']}?:;", OrElse(p("a"), "")),
        ("#{jobParameters['a']}?:x;y;", Joined((OrElse(p("a"), "x"), "y;"))),
        # Not directly behind the expression: literal text.
        ("#{jobParameters['a']} ?:x;", Joined((p("a"), " ?:x;"))),
        # An expression inside a default has no default of its own.
        (
            "#{jobParameters['a']}?:#{jobParameters['b']}?:c;",
            OrElse(p("a"), Joined((p("b"), "?:c"))),
        ),
        (
            "#{jobParameters['a']}?:x;#{jobParameters['b']}?:#{jobProperties['c']};.txt",
            Joined((OrElse(p("a"), "x"), OrElse(p("b"), Reference("jobProperties", "c")), ".txt")),
        ),
        ("#{jobParameters['a;b']}?:#{jobParameters['c;d']};", OrElse(p("a;b"), p("c;d"))),
        ("#{jobParameters['#{']}", p("#{")),
    ],
)
def test_a_text_is_parsed_as_the_grammar_says(text: str, template: Template) -> None:
    """S81, S82."""
    assert template == parse(text)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("#{", "malformed expression '#{'"),
        ("a#{jobParameters}", "malformed expression '#{jobParameters}'"),
        ("#{jobParameters['']}", "malformed expression \"#{jobParameters['']}\""),
        ('#{jobParameters["a"]}', "malformed expression '#{jobParameters[\"a\"]}'"),
        ("#{ jobParameters['a']}", "malformed expression \"#{ jobParameters['a']}\""),
        ("#{jobParameter['a']}", "unknown operator 'jobParameter' in"),
        ("#{jobParameters['a']}?:x", "the default '?:x' has no end"),
        ("#{jobParameters['a']}?:#{jobParameters['b']}", "has no end"),
        ("#{jobParameters['a']}?:#{b};", "malformed expression '#{b};'"),
    ],
)
def test_a_malformed_expression_is_refused(text: str, fact: str) -> None:
    """S82."""
    with pytest.raises(MalformedExpression) as refused:
        parse(text)

    assert fact in refused.value.fact
    assert refused.value.hint


def test_the_nearest_operator_is_suggested() -> None:
    with pytest.raises(MalformedExpression) as refused:
        parse("#{jobParameter['a']}")

    assert refused.value.hint.startswith("did you mean 'jobParameters'?")


@given(TEMPLATES)
def test_what_is_written_is_parsed_as_it_was(template: Template) -> None:
    assert template == parse(write(template))


@given(LITERALS)
def test_a_text_without_an_expression_is_itself(text: str) -> None:
    assert text == parse(text)


@given(st.text(st.sampled_from("ab#{}?:;'[]jobParmets"), max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        template = parse(text)
    except MalformedExpression:
        return
    assert write(template) == text


@given(TEMPLATES, ANSWERS)
def test_filling_answers_everything_and_scans_nothing_twice(
    template: Template, answers: dict[Reference, str]
) -> None:
    """S83, S84. Method: against the rules applied to the template part by part."""

    def expected(part: Template) -> str:
        match part:
            case str():
                return part
            case Reference():
                return answers.get(part, "")
            case OrElse(value, default):
                return expected(value) or expected(default)
            case Joined(parts):
                return "".join(map(expected, parts))

    assert expected(template) == fill(template, lambda r: answers.get(r, ""))


@given(TEMPLATES, ANSWERS, ANSWERS)
def test_what_waits_is_filled_later_as_if_all_had_been_known_at_once(
    template: Template, now: dict[Reference, str], later: dict[Reference, str]
) -> None:
    """S83: partitionPlan is deferred, and so is the default that depends on it."""
    first = fill(template, lambda r: now.get(r, r))
    at_once = {**later, **now}

    assert fill(template, lambda r: at_once.get(r, "")) == fill(first, lambda r: later.get(r, ""))


def test_the_default_applies_to_an_empty_value() -> None:
    """S83."""
    template = parse("#{jobParameters['a']}?:#{jobParameters['b']};!")

    assert "A!" == fill(template, lambda r: {"a": "A", "b": "B"}[r.name])
    assert "B!" == fill(template, lambda r: {"a": "", "b": "B"}[r.name])
    assert "!" == fill(template, lambda r: "")
