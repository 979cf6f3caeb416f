"""Everything that the command line prints, and the exit statuses: the one renderer.

Results go to stdout, refusals to stderr. With ``--json`` stdout holds JSON alone: one document, the
result or the problem; what watches prints one document a line. On a terminal words of status have
a colour and what runs is drawn in place; elsewhere everything is plain lines.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from stepwell.errors import Kind, StepwellError
from stepwell.execution.records import JobExecution
from stepwell.execution.status import BatchStatus, Result
from stepwell.looks.text import lines, one_line

DONE = 0
FAILED = 1
USAGE = 2
STOPPED = 3
CONFLICT = 4
FINDINGS = 5
ENDED_AT_ONCE = 130  # As a shell reports a program that Ctrl-C has ended.

EXIT_STATUSES = (
    "Exit status: 0 done · 1 failed · 2 usage · 3 stopped or partial"
    " · 4 conflict (state forbids) · 5 findings (doctor, jobs check)"
)

_EXIT_OF_KIND = {
    Kind.USAGE: USAGE,
    Kind.NOT_FOUND: USAGE,
    Kind.CONFLICT: CONFLICT,
    Kind.UNAVAILABLE: FAILED,
    Kind.CORRUPT: FAILED,
    Kind.BUG: FAILED,
}

_COLOURS = {
    "COMPLETED": "32",
    "SUCCESS": "32",
    "alive": "32",
    "FAILED": "31",
    "FAILURE": "31",
    "dead": "31",
    "STOPPED": "33",
    "STOPPING": "33",
    "PARTIAL": "33",
    "ABANDONED": "35",
    "STARTED": "36",
    "STARTING": "36",
}
_COLOURED = re.compile(rf"(?<![\w'-])(?:{'|'.join(_COLOURS)})(?![\w'-])")
_BOLD = "1"
_SHOW_CURSOR = "\x1b[?25h"
BAR_CHARACTERS = 24


def exit_status_of(error: StepwellError) -> int:
    """The exit status that tells a script what it can do about an error."""
    return _EXIT_OF_KIND[error.kind]


def exit_status_of_execution(execution: JobExecution) -> int:
    """The exit status of ``run``: how the execution has ended."""
    match execution.batch_status:
        case BatchStatus.COMPLETED:
            return STOPPED if execution.result is Result.PARTIAL else DONE
        case BatchStatus.STOPPED:
            return STOPPED
        case _:
            return FAILED


class Page:
    """Lines to be shown, put together before anything is printed."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self.lines)

    def heading(self, text: str) -> None:
        """A title, with an empty line before it."""
        if self.lines:
            self.line()
        self.lines.append((_BOLD, one_line(text)))

    def line(self, text: str = "") -> None:
        """One line."""
        self.lines.append(("", one_line(text)))

    def hint(self, text: str) -> None:
        """What to do next."""
        self.lines.append(("", f"  hint: {one_line(text)}"))

    def block(self, text: str, *, indent: str = "  ") -> None:
        """Several lines as they are, such as a traceback."""
        self.lines.extend(("", indent + part) for part in lines(text))

    def facts(self, facts: Mapping[str, str]) -> None:
        """Label and value, one pair a line; an empty value is left out."""
        shown = {label: value for label, value in facts.items() if value}
        width = max((_width(label) for label in shown), default=0)
        for label, value in shown.items():
            self.lines.append(("", f"{_padded(label, width)}  {one_line(value)}"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as what stands in them; ``>`` before a name aligns to the right.

        A column without any value is left out.
        """
        names = [name.removeprefix(">") for name in columns]
        cells = [[one_line(cell) for cell in row] for row in rows]
        kept = [i for i, _ in enumerate(names) if any(row[i] for row in cells)]
        widths = {i: max(_width(row[i]) for row in [names, *cells]) for i in kept}
        for number, row in enumerate([names, *cells]):
            parts = [
                _padded(row[i], widths[i], to_the_right=columns[i].startswith(">")) for i in kept
            ]
            self.lines.append((_BOLD if number == 0 else "", ("  ".join(parts)).rstrip()))


def bar(percent: int | None) -> str:
    """A bar as text; empty when nothing is known."""
    if percent is None:
        return ""
    full = BAR_CHARACTERS * percent // 100
    return "█" * full + "░" * (BAR_CHARACTERS - full)


class Display(Protocol):
    """A place on the terminal that is drawn again and again."""

    def show(self, page: Page) -> None:
        """Draw ``page`` over what was there."""


class Output:
    """Where one command prints.

    Attributes:
        wants_json: Whether ``--json`` was given; the command then calls :meth:`json` alone.
        reader_has_gone: Nobody reads stdout any more, as behind ``| head``; a watch ends then.
    """

    def __init__(self, *, wants_json: bool = False) -> None:
        self.wants_json = wants_json
        # Kept, because a display or a job may put something else in its place.
        self._stdout: TextIO = sys.stdout
        self.reader_has_gone = False

    @property
    def is_terminal(self) -> bool:
        """Whether people watch: stdout is a terminal that can be drawn on."""
        return (
            not self.wants_json and self._stdout.isatty() and os.environ.get("TERM", "") != "dumb"
        )

    def page(self, page: Page) -> None:
        """Print a page."""
        self._write("\n".join(self._painted(page)))

    def line(self, text: str) -> None:
        """Print one line."""
        page = Page()
        page.line(text)
        self.page(page)

    def hint(self, text: str) -> None:
        """Print what to do next."""
        page = Page()
        page.hint(text)
        self.page(page)

    def text(self, text: str) -> None:
        """Print text as it is, such as SQL."""
        self._write(text.rstrip("\n"))

    def json(self, value: Mapping[str, Any], *, one_line: bool = False) -> None:
        """Print a JSON document; ``one_line`` for a stream of them."""
        utf8 = (self._stdout.encoding or "").lower().replace("-", "") == "utf8"
        indent = None if one_line else 2
        self._write(json.dumps(value, ensure_ascii=not utf8, indent=indent))

    def problem(self, error: StepwellError) -> int:
        """Print an error with its hint; answers its exit status."""
        if self.wants_json:
            from stepwell.looks.representation import problem_json

            self.json(problem_json(error))
        else:
            note(error.message)
            if error.hint:
                note(f"hint: {error.hint}", indented=True)
        return exit_status_of(error)

    @contextmanager
    def display(self) -> Iterator[Display]:
        """A display on the terminal; what others print meanwhile appears above it."""
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        live = Live(
            console=Console(file=self._stdout, highlight=False, soft_wrap=False),
            auto_refresh=False,
            transient=True,
        )

        class OnTerminal:
            def show(_self, page: Page) -> None:  # noqa: N805 - `self` is the Output
                text = Text("\n").join(map(Text.from_ansi, self._painted(page)))
                text.no_wrap, text.overflow = True, "ellipsis"
                live.update(text, refresh=True)

        with live:
            yield OnTerminal()

    def _painted(self, page: Page) -> list[str]:
        if not self.is_terminal or os.environ.get("NO_COLOR"):
            return [text for _, text in page.lines]
        return [
            f"\x1b[{style}m{text}\x1b[0m" if style else _COLOURED.sub(_paint, text)
            for style, text in page.lines
        ]

    def _write(self, text: str) -> None:
        """Print; a reader that has gone, as in ``| head``, is no error and ends no job."""
        if self.reader_has_gone:
            return
        try:
            print(text, file=self._stdout, flush=True)
        except BrokenPipeError:
            self.reader_has_gone = True
            # Python flushes stdout once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stdout.fileno())


def note(text: str, *, indented: bool = False) -> None:
    """One line on stderr: a refusal, a hint, a notice."""
    try:
        print(("  " if indented else "") + one_line(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        return


def end_at_once(text: str) -> None:
    """End the process from within a signal handler; nothing is waited for or cleaned up."""
    if sys.__stdout__ is not None and sys.__stdout__.isatty():
        text = f"{_SHOW_CURSOR}\n{text}"
    os.write(2, f"{text}\n".encode(errors="replace"))
    os._exit(ENDED_AT_ONCE)


def write_as_possible() -> None:
    """What the terminal's encoding cannot show is escaped instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _paint(found: re.Match[str]) -> str:
    return f"\x1b[{_COLOURS[found.group()]}m{found.group()}\x1b[0m"


def _width(text: str) -> int:
    """The columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def _padded(text: str, width: int, *, to_the_right: bool = False) -> str:
    spaces = " " * (width - _width(text))
    return spaces + text if to_the_right else text + spaces
