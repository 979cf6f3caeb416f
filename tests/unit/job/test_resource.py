"""Spellings of one path are one resource; globs exclude each other unless they cannot meet."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.job.resource import first_overlap, normalise, overlap


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b", "/a/c", False),
        ("/a/b", "/a/bc", False),
        ("/a", "/a/b/c", True),
        ("/", "/a", True),
        ("/a/*.csv", "/a/b.csv", True),
        ("/a/*.csv", "/a/b.txt", False),
        ("/a/*.csv", "/a/b.csv/part", True),
        ("/a/*.csv", "/a", True),
        ("/a/*.csv", "/b/x.csv", False),
        ("/a/x*", "/a/*y", True),
        ("/a/x*z", "/a/y*z", False),
        ("/a/a*b*", "/a/*ba", True),
        ("/a/?", "/a/xy", False),
        ("/a/??", "/a/x*", True),
        ("/a/[0-9].csv", "/a/x.csv", True),  # What a class holds is not asked.
        ("/a/[0-9].csv", "/a/xy.csv", False),
        ("/a/[[]x", "/a/[x", True),
        ("/a/[[]x", "/a/yx", False),
        ("/a/[x", "/a/[x", True),
        ("/a/**/z", "/a/z", True),
        ("/a/**/z", "/a/b/c/z", True),
        ("/a/**/z", "/a/b/c", True),  # /a/b/c/z lies below both.
        ("/a/**/z.csv", "/b/z.csv", False),
        ("/**/x", "/a/b", True),
        ("/a/**", "/a", True),
        ("/a/*/x/1", "/a/b/y/2", False),
        ("/a/**/b/**/c", "/a/x/**/b/y", True),
    ],
)
def test_two_resources_exclude_each_other_when_a_path_may_belong_to_both(
    one: str, other: str, expected: bool
) -> None:
    assert (expected, expected) == (overlap(one, other), overlap(other, one))


segments = st.lists(st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "?", "?b"]), max_size=3)
names = st.text(alphabet="ab", min_size=1, max_size=3)


@given(segments, segments, st.lists(names, max_size=4))
def test_no_path_belongs_to_two_that_do_not_overlap(
    one: list[str], other: list[str], path: list[str]
) -> None:
    """Goal: soundness. Method: a random path that two random globs cover makes them overlap."""

    def covers(pattern: list[str]) -> bool:
        return len(pattern) <= len(path) and all(map(fnmatch.fnmatchcase, path, pattern))

    if covers(one) and covers(other):
        assert overlap("/" + "/".join(one), "/" + "/".join(other))


def test_a_long_path_and_many_stars_cost_neither_the_stack_nor_the_minute() -> None:
    assert overlap("/" + "a/" * 2_000, "/**/" + "*/" * 100 + "a")
    assert not overlap("/" + "*a" * 500 + "b", "/" + "a*" * 500 + "c")


def test_spellings_of_one_path_are_one_resource(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    spellings = ["data/x.csv", "./data//x.csv", "other/../data/x.csv", tmp_path / "data/x.csv"]

    assert {(f"{tmp_path}/data/x.csv",)} == {normalise(text, tmp_path) for text in spellings}


def test_a_relative_glob_starts_at_the_folder(tmp_path: Path) -> None:
    assert (f"{tmp_path}/data/**/*.csv",) == normalise("data/**/*.csv", tmp_path)


def test_a_link_and_its_target_are_one_resource_and_both_names_count(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    by_link = normalise("link/x.csv", tmp_path)

    assert (f"{tmp_path}/link/x.csv", f"{tmp_path}/real/x.csv") == by_link
    assert first_overlap(by_link, normalise("real", tmp_path))
    assert first_overlap(by_link, normalise("l*", tmp_path))


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "data/*/../x", "a" * 5_000, None, 7])
def test_what_is_no_path_is_refused(text: object, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"it must|behind a wildcard"):
        normalise(text, tmp_path)
