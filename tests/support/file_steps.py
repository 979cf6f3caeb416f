"""End the process at a step that it takes with files: open, link, rename, remove, start a program.

Python itself tells of each before it happens (audit events, PEP 578), so the end before step n + 1
is the end after step n. Statements have kill points of their own, in ``stepwell.testing``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from stepwell.testing.statements import KILLED

_EVENTS = {
    "open",
    "os.rename",
    "os.link",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.chown",
    "shutil.copyfile",
    "sqlite3.connect",
    "subprocess.Popen",
}


class FileSteps:
    """Counts the steps of this process below a folder from now on; ends it before ``kill_at``.

    An audit hook stays until the process ends: only for a child that is made for it.
    """

    def __init__(self, folder: str, kill_at: int | None) -> None:
        self.count = 0
        self._folder = folder
        self._kill_at = kill_at
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not self._is_below(event, arguments):
            return
        self.count += 1
        if self.count == self._kill_at:
            os._exit(KILLED)

    def _is_below(self, event: str, arguments: tuple[Any, ...]) -> bool:
        return event == "subprocess.Popen" or any(
            self._folder in str(argument) for argument in arguments[:2]
        )
