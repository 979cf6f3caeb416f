"""Child processes that start in milliseconds: forked from a parent that has imported everything.

The parent is a process of its own with one thread, so that a fork copies no lock that somebody
holds; it has no database open, so that a child inherits no connection. It ends, and its children
with it, when the test's process does. POSIX only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from stepwell.testing.statements import KILLED, KillPoint

WAIT_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        exit_code: 0; 1 after an exception; ``KILLED`` at its kill point; minus the signal's number.
        result: What the function returned, as JSON carries it.
        error: The traceback of what it raised.
        statement_count: How many statements it executed; None when it was killed.
    """

    exit_code: int
    result: Any = None
    error: str | None = None
    statement_count: int | None = None

    @property
    def was_killed(self) -> bool:
        """Whether it ended at its kill point."""
        return self.exit_code == KILLED


class ChildStillRuns(Exception):
    """A child did not end in time."""


class ChildFailed(Exception):
    """A child raised an exception; its traceback is the message."""


class Child:
    """A running child process."""

    def __init__(self, parent: WarmParent, pid: int) -> None:
        self.pid = pid
        self._parent = parent

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP, SIGCONT or SIGKILL."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = WAIT_S) -> Ended:
        """Wait for its end.

        Raises:
            ChildStillRuns: it has not ended within ``timeout_s``.
        """
        answer = self._parent.ask({"wait": self.pid, "timeout_s": timeout_s})
        if answer is None:
            raise ChildStillRuns(f"child {self.pid} has not ended within {timeout_s:g} s")
        return Ended(**answer)

    def kill(self) -> Ended:
        """SIGKILL it and wait."""
        self.send(signal.SIGKILL)
        return self.wait()


class WarmParent:
    """Forks children that call functions named by import path, with JSON arguments.

    >>> with WarmParent(["tests.night"]) as parent:
    ...     undisturbed = parent.run("tests.night:run", url=url)
    ...     for point in kill_points(undisturbed.statement_count):
    ...         killed = parent.run("tests.night:run", url=copy_of(url), kill_at=point)

    Args:
        modules: Imported before the first fork, so that no child has to.
    """

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this same Python, and the test's modules
            [sys.executable, "-m", "stepwell.testing.fork_server", json.dumps(sys.path), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests; the children go when they are gone.
        )

    def warm_up(self, function: str, /, **arguments: Any) -> None:
        """Call ``module:function`` in the parent itself, so that its children find all caches full.

        It may open a database only of its own, and closes it.

        Raises:
            ChildFailed: it raised an exception, or left a thread.
        """
        left = self.ask({"warm_up": function, "arguments": arguments})
        if left is not None:
            raise ChildFailed(left)

    def start(
        self, function: str, /, *, kill_at: KillPoint | None = None, **arguments: Any
    ) -> Child:
        """Fork a child that calls ``module:function`` with ``arguments``."""
        pid = self.ask({"call": function, "kill_at": kill_at, "arguments": arguments})
        return Child(self, int(pid))

    def run(self, function: str, /, *, kill_at: KillPoint | None = None, **arguments: Any) -> Ended:
        """Fork a child and wait for its end.

        Raises:
            ChildFailed: it raised an exception.
        """
        ended = self.start(function, kill_at=kill_at, **arguments).wait()
        if ended.error is not None:
            raise ChildFailed(ended.error)
        return ended

    def ask(self, question: dict[str, Any]) -> Any:
        """One question to the parent, one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ChildFailed("the warm parent has ended; its error is on stderr")
        return json.loads(line)

    def close(self) -> None:
        """End the parent and what still runs of its children."""
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
