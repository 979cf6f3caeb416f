"""What people see on a terminal: a display that moves, a cursor that comes back."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time

from tests.cli.program import SCRIPT, TIMEOUT_S, Folder

HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
CTRL_C = b"\x03"


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, folder: Folder, *words: str, **variables: str) -> None:
        self.seen = ""
        environment = {**folder.environment, **variables, "TERM": "xterm-256color"}
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.chdir(folder.path)
            os.execve(SCRIPT, [str(SCRIPT), *words], environment)
        size = struct.pack("HHHH", 30, 160, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def press(self, keys: bytes) -> None:
        os.write(self._terminal, keys)

    def until(self, text: str) -> None:
        """Read what is drawn until ``text`` is in it."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.seen and self._read(deadline):
            continue
        assert text in self.seen, f"{text!r} was not drawn: {self.seen}"

    def end(self) -> int:
        """Read to the end; answers the exit status."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read(deadline):
            continue
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> bool:
        ready = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))[0]
        assert ready, f"nothing more came: {self.seen}"
        try:
            part = os.read(self._terminal, 65536)
        except OSError:  # The other end is closed.
            return False
        self.seen += part.decode(errors="replace")
        return bool(part)


def test_a_run_is_drawn_in_place_and_summed_up(folder: Folder) -> None:
    terminal = Terminal(folder, "run", "shops", PAUSE_S="0.05")
    code = terminal.end()

    assert 3 == code
    assert terminal.seen.index(HIDDEN) < terminal.seen.rindex(SHOWN)
    assert "░" in terminal.seen
    assert "█" in terminal.seen
    assert "/s, " in terminal.seen
    summary = terminal.seen[terminal.seen.rindex(SHOWN) :]
    assert "40 of 40 partitions" in summary
    assert "\x1b[32mCOMPLETED\x1b[0m (\x1b[33mPARTIAL\x1b[0m)" in summary


def test_ctrl_c_twice_on_a_terminal_gives_the_cursor_back(folder: Folder) -> None:
    terminal = Terminal(folder, "run", "deaf", GATE=str(folder.path / "never"))
    terminal.until("wait")
    terminal.press(CTRL_C)
    terminal.until("stopping after the current chunk… (Ctrl-C again ends at once)")
    terminal.press(CTRL_C)

    assert 130 == terminal.end()
    assert "ended at once" in terminal.seen[terminal.seen.rindex(SHOWN) :]


def test_a_watch_is_drawn_in_place_until_ctrl_c(past: Folder) -> None:
    terminal = Terminal(past, "status", "--watch")
    terminal.until("Completed last")
    terminal.press(CTRL_C)

    assert 0 == terminal.end()
    assert "Completed last" in terminal.seen[terminal.seen.rindex(SHOWN) :]


def test_no_color_is_respected(past: Folder) -> None:
    terminal = Terminal(past, "status", NO_COLOR="1")

    assert 0 == terminal.end()
    assert "\x1b[" not in terminal.seen
    assert "Completed last" in terminal.seen
