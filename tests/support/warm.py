"""A warm interpreter that forks one child for each command: the console script without its imports.

A command of the command line spends most of its half second on imports. The child is a process of
its own all the same: it has its folder, environment, files, signals and exit status, and runs the
console script as ``__main__``.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from stepwell.database.sqlite_driver import prefer_newer_sqlite

SCRIPT = Path(sys.executable).with_name("stepwell")

# What a person's shell has; what this machine sets for its own builds would change the speed.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("STEPWELL_", "PYTEST_"))
    and name not in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
}


@functools.cache
def warm_program() -> WarmProgram:
    """The one of this process."""
    program = WarmProgram(SCRIPT, ENVIRONMENT)
    atexit.register(program.close)
    return program


class WarmProgram:
    """The client's side: one warm interpreter, one command at a time."""

    def __init__(self, script: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm", str(script)],
            cwd=Path(__file__).resolve().parents[2],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def call(
        self,
        words: tuple[str, ...],
        cwd: Path,
        environment: dict[str, str],
        timeout_s: float,
        *,
        is_mixed: bool = False,
    ) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of the command; ``is_mixed``: both in stdout."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        (out, out_path), (err, err_path) = _pipe(), _pipe()
        question = {
            "words": words,
            "cwd": str(cwd),
            "environment": environment,
            "out": out_path,
            "err": out_path if is_mixed else err_path,
        }
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            answered, _, _ = select.select([self._process.stdout], [], [], timeout_s)
            assert answered, f"`stepwell {' '.join(words)}` has not ended after {timeout_s} s"
            code = json.loads(self._process.stdout.readline())
            return code, _text_of(out), _text_of(err)
        finally:
            os.close(out)
            os.close(err)

    def close(self) -> None:
        """End it, and the command that may still run."""
        self._process.kill()
        self._process.communicate()


def _pipe() -> tuple[int, str]:
    """A file without a name, and where another process finds it."""
    descriptor = os.memfd_create("output")
    return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"


def _text_of(descriptor: int) -> str:
    with open(descriptor, encoding="utf-8", closefd=False) as file:
        file.seek(0)
        return file.read()


def main() -> None:
    """Serve until standard input ends."""
    script = sys.argv[1]
    sys.path[0] = str(Path(script).parent)
    prefer_newer_sqlite()  # As the command line does, before anything imports ``sqlite3``.
    importlib.import_module("stepwell.cli.main")
    for line in sys.stdin.buffer:
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(readable)
            _run(script, writable, **json.loads(line))
        os.close(writable)
        with os.fdopen(readable, encoding="utf-8") as pipe:
            modules = pipe.read()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
        for module in modules.splitlines():
            importlib.import_module(module)  # The next child finds it loaded.


def _run(
    script: str,
    writable: int,
    words: list[str],
    cwd: str,
    environment: dict[str, str],
    out: str,
    err: str,
) -> None:
    """Run the console script in this child, and end as an interpreter ends."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(cwd)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, out, 1), (2, err, 1)):
        file = os.open(path, flags | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = _standard(0, "r"), _standard(1, "w")
    sys.stderr = _standard(2, "w", errors="backslashreplace", buffering=1)
    sys.argv = [script, *words]
    known = set(sys.modules)
    code = _exit_status(script)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(writable, "\n".join(_ours(set(sys.modules) - known)).encode())
    os._exit(code)


def _standard(number: int, mode: str, **options: Any) -> Any:
    """As an interpreter opens it at its start."""
    return open(number, mode, encoding="utf-8", closefd=False, **options)


def _exit_status(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(error.code + "\n")
            return 1
        return error.code or 0
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _ours(modules: set[str]) -> list[str]:
    """Those of Stepwell and of libraries, not a folder's own."""
    folders = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2] / "src"))

    def is_ours(module: Any) -> bool:
        spec = getattr(module, "__spec__", None)
        return str(getattr(spec, "origin", None)).startswith(folders)

    return sorted(name for name in modules if is_ours(sys.modules[name]))


if __name__ == "__main__":
    main()
