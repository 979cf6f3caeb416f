"""Markdown pages as tests see them: headings, links, and fenced blocks with their directives.

A directive is a comment right before a block, invisible to a reader:

- ``<!-- file: NAME -->``: the block is the content of that file.
- ``<!-- edit: NAME -->``: the block is a diff; its ``-`` lines are replaced by its ``+`` lines.
- ``<!-- exits: N -->``: the last command of a console block ends with N instead of 0.
- ``<!-- excerpt: PATH -->``: the block stands in that file of the repository; … is anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_DIRECTIVE = re.compile(r"<!-- (file|edit|exits|excerpt): (.+?) -->")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path within the repository.
        line: Of the fence, counted from 1.
        language: ``python``, ``console``, …; only these are run: see ``test_snippets.py``.
    """

    page: str
    line: int
    language: str
    text: str
    directives: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """One page, read from the repository."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.DOTALL | re.MULTILINE)

    @property
    def headings(self) -> list[tuple[int, str]]:
        """Level and text of each heading."""
        found = re.findall(r"^(#+) (.+)$", self.prose, flags=re.MULTILINE)
        return [(len(marks), text) for marks, text in found]

    @property
    def anchors(self) -> set[str]:
        """What a link to a heading may name, as GitHub makes it."""
        kept = (re.sub(r"[^\w\- ]", "", text.lower()) for _, text in self.headings)
        return {text.replace(" ", "-") for text in kept}

    @property
    def links(self) -> list[str]:
        return _LINK.findall(self.prose)

    @property
    def table_codes(self) -> set[str]:
        """The first cells of all table rows, when they are code."""
        return set(re.findall(r"^\| `([^`]+)`", self.prose, flags=re.MULTILINE))

    def blocks(self) -> Iterator[Block]:
        directives: dict[str, str] = {}
        lines = iter(enumerate(self.text.splitlines(), start=1))
        for number, line in lines:
            fence = _FENCE.match(line)
            if fence:
                inside = []
                for _, inner in lines:
                    if inner == "```":
                        break
                    inside.append(inner)
                yield Block(self.name, number, fence[1], "\n".join(inside) + "\n", directives)
            found = _DIRECTIVE.match(line)
            directives = {**directives, found[1]: found[2]} if found else {}


def pages() -> list[Page]:
    """Every page that people are meant to read."""
    places = ("*.md", "docs/**/*.md", "changelog.d/*.md", "examples/**/*.md")
    return [Page(path) for place in places for path in sorted(ROOT.glob(place))]


def page(name: str) -> Page:
    return Page(ROOT / name)


def as_pattern(text: str) -> str:
    """A regular expression for shown text in which … stands for anything, or for nothing."""
    return ".*?".join(map(re.escape, text.split("…")))
