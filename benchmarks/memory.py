"""Memory above idle: what a piece of work needs beside a process that is warm and does nothing.

The peak since the process began says nothing of the work: importing modules may have needed more.
So the kernel is told to forget it when the process is idle.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # man 5 proc, clear_refs


class AboveIdle:
    """Made when the process is idle; ``bytes`` is the highest that it had since, above that."""

    def __init__(self) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # What is free already is no idle memory.
        _CLEAR.write_text(_FORGET_PEAK)
        self._idle = _kilobytes("VmRSS")

    @property
    def bytes(self) -> int:
        """Resident memory at its highest, less what it was when idle."""
        return (_kilobytes("VmHWM") - self._idle) * 1024


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise LookupError(name)
