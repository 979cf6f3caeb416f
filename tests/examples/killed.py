"""The command line, ended by SIGKILL at a call that can be counted: behind it, before its effect.

killed.py MODULE FUNCTION NUMBER ARGUMENTS…
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def killing(function: Callable[..., Any], number: int) -> Callable[..., Any]:
    """``function``, whose call number ``number`` is the last thing that this process does."""
    calls = itertools.count(1)

    def last(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return last


def main() -> None:
    from stepwell.cli.main import main as command_line

    module, function, number = sys.argv[1:4]
    sys.argv[1:] = sys.argv[4:]
    sys.path.insert(0, str(Path.cwd()))
    owner = importlib.import_module(module)
    *path, name = function.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, name, killing(getattr(owner, name), int(number)))
    command_line()


if __name__ == "__main__":
    main()
