"""A run in the foreground: what is shown while it runs, and how it is stopped.

The job runs on a thread of the operator's; the main thread shows what is committed and waits for
signals. Nothing that is shown comes from anywhere but the database (law 3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from stepwell.cli.changes import Changes
from stepwell.cli.output import Output, end_at_once, note
from stepwell.cli.running import parameters_text, running_page, summary_page
from stepwell.cli.signals import StopSignals
from stepwell.clock import Clock
from stepwell.errors import DatabaseError, StepwellError
from stepwell.looks.reading import Look, Watch
from stepwell.looks.representation import look_json
from stepwell.looks.restarting import restart_in
from stepwell.node import Node
from stepwell.repository import browse

LOOK_S = 0.125  # Eight looks a second on a terminal.
PROGRESS_S = 5.0  # Between two lines of progress, elsewhere.

STOPPING = "stopping after the current chunk… (Ctrl-C again ends at once)"


class _Screen(Protocol):
    def show(self, look: Look, *, stopping: bool) -> None:
        """Show how far it is."""


class Foreground:
    """One execution that runs in this process, from its start to its summary."""

    def __init__(self, node: Node, output: Output, clock: Clock) -> None:
        self._node = node
        self._output = output
        self._clock = clock
        self._eyes = Watch(node.database, clock, restart=restart_in(node.settings))
        self._signals = StopSignals("ended at once; the next `stepwell run` recovers what ran")
        # What it has failed by: the record has the message alone, without hint and kind.
        self.error: StepwellError | None = None

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._signals.__exit__(kind, error, trace)

    def watch(self, execution_id: int) -> Look:
        """Show an execution that was just started until it has ended; the last look at it.

        Raises:
            LostOwnership, DatabaseError: its end could not be recorded by this process.
        """
        self._signals.farewell = (
            f"ended at once; the next `stepwell run` recovers execution {execution_id}"
        )
        deadline: float | None = None
        with self._screen(execution_id) as screen:
            ended = False
            while not ended:
                outcome = self._node.operator.wait(execution_id, LOOK_S)
                ended = outcome is not None
                if outcome is not None and isinstance(outcome.exception, StepwellError):
                    self.error = outcome.exception
                if self._signals.received and deadline is None:
                    deadline = self._clock.monotonic() + self._node.settings.shutdown_timeout_s
                    self._node.operator.request_shutdown(self._signals.received)
                if not ended and deadline is not None and self._clock.monotonic() > deadline:
                    self._give_up(execution_id)
                try:
                    look = self._eyes.look(execution_id)
                    screen.show(look, stopping=deadline is not None)
                except DatabaseError:
                    if ended:
                        raise  # The job itself goes on when a look at it fails.
        return look

    def print_summary(self, look: Look) -> None:
        """How it ended, what it did, and what to do next."""
        with self._node.database.read() as reader:
            skip_count = browse.count_skips(reader, look.execution_id)
        self._output.page(summary_page(look, skip_count=skip_count))

    def print_json(self, look: Look, extra: Mapping[str, Any]) -> None:
        """The same for programs."""
        with self._node.database.read() as reader:
            skip_count = browse.count_skips(reader, look.execution_id)
        self._output.json({**look_json(look), "skip_count": skip_count, **extra})

    def _give_up(self, execution_id: int) -> None:
        seconds = self._node.settings.shutdown_timeout_s
        end_at_once(
            f"execution {execution_id} has not stopped within shutdown_timeout_s = {seconds:g} s;"
            " it ends with this process, the next `stepwell run` recovers it"
        )

    @contextmanager
    def _screen(self, execution_id: int) -> Iterator[_Screen]:
        if self._output.wants_json:
            yield _Silent()
        elif self._output.is_terminal:
            with self._output.display() as display:
                yield _OnTerminal(display)
        else:
            yield _Plain(self._output)


class _Silent:
    """With ``--json``: nothing until the end."""

    def show(self, look: Look, *, stopping: bool) -> None:
        """Nothing."""


class _OnTerminal:
    """Drawn in place."""

    def __init__(self, display: Any) -> None:
        self._display = display

    def show(self, look: Look, *, stopping: bool) -> None:
        """The steps as they are."""
        self._display.show(running_page(look, [STOPPING] if stopping else []))


class _Plain:
    """A line when something changes."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._changes = Changes(progress_s=PROGRESS_S)
        self._has_begun = False
        self._told_stopping = False

    def show(self, look: Look, *, stopping: bool) -> None:
        """The lines that are new."""
        if not self._has_begun:
            self._has_begun = True
            execution = look.execution
            given = parameters_text(execution.parameters)
            self._output.line(
                f"execution {execution.execution_id} of job {execution.job_name!r} has begun"
                + (f": {given}" if given else "")
            )
        if stopping and not self._told_stopping:
            self._told_stopping = True
            note(STOPPING)
        for line in self._changes.of(look):
            self._output.line(line)
