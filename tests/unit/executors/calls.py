"""What the workers of ``test_processes.py`` call: found there by import path."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path


def who() -> int:
    return os.getpid()


def double(n: int, *, plus: int = 0) -> int:
    return 2 * n + plus


def fail(why: str) -> None:
    raise ValueError(why)


def die(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


def die_when_odd(n: int) -> int:
    return die(n) if n % 2 else n


def wait_for(place: str) -> int:
    """Says that it runs, then waits for the file ``place``."""
    Path(f"{place}.{os.getpid()}").touch()
    event = threading.Event()
    while not Path(place).exists():
        event.wait(0.005)
    return os.getpid()


def unpicklable() -> object:
    return threading.Lock()


def program() -> str:
    """The module that the worker has for the program that was started."""
    return str(getattr(sys.modules["__main__"], "__file__", None))
