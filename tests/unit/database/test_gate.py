"""The writer gate: turns of threads, turns of processes, and a name for whoever holds it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from threading import Barrier, Thread
from threading import enumerate as enumerate_threads

import pytest

from stepwell.database.connect import Database, open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.gate import Turn
from stepwell.errors import DatabaseBusy
from tests.unit.database.conftest import make_item_table
from tests.unit.database.statements import ADD, ALL, line_of, program, row, tell

on_linux = pytest.mark.skipif(
    not Path("/proc/locks").exists(), reason="the system does not tell who waits"
)

HOLDER = """
import sys
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
with open_database(sys.argv[1], options=DatabaseOptions(owner="the night run")) as database:
    with database.write() as transaction:
        transaction.connection.execute("INSERT INTO item (id, name) VALUES (1, 'held')")
        print("inside", flush=True)
        sys.stdin.readline()
    print("left", flush=True)
"""


WAITER = """
import sys
from stepwell.database.connect import open_database
with open_database(sys.argv[1]) as database:
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with database.write() as transaction:
            sql = "INSERT INTO item (id, name) SELECT 10 + count(*), 'x' FROM item"
            transaction.connection.execute(sql)
            answer = transaction.connection.execute("SELECT count(*) FROM item").fetchone()[0]
    except KeyboardInterrupt:
        answer = "interrupted"
    print(answer, flush=True)
"""


def impatient(url: str) -> Database:
    return open_database(url, options=DatabaseOptions(gate_timeout_s=0.05))


@contextmanager
def waiters(url: str, count: int) -> Iterator[list[Popen[str]]]:
    """Programs that write one row each, once told, and print the how manyth it is."""
    with ExitStack() as programs:
        started = [programs.enter_context(program(WAITER, url)) for _ in range(count)]
        assert ["ready"] * count == [line_of(waiter) for waiter in started]
        yield started


def queue(database: Database, waiter: Popen[str]) -> None:
    """Have the program ask for the gate, and wait until it has its place in the queue."""
    asked = waiting(database)
    tell(waiter)
    until(lambda: waiting(database) > asked)


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(database: Database) -> int:
    """How many wait for a lock on the gate file, as the system knows it."""
    inode = os.fstat(database.dialect._file._gate_descriptor).st_ino
    lines = Path("/proc/locks").read_text().splitlines()
    return sum("->" in line and f":{inode} " in line for line in lines)


def in_threads(count: int, work: Callable[[int], None]) -> None:
    threads = [Thread(target=work, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def test_threads_get_their_turn_in_the_order_in_which_they_asked() -> None:
    turn, order = Turn(), list[int]()
    turn.acquire(1)
    threads = []
    for number in range(6):
        threads.append(
            Thread(target=lambda n=number: (turn.acquire(10), order.append(n), turn.release()))
        )
        threads[-1].start()
        while len(turn._waiting) <= number:
            time.sleep(0.001)
    turn.release()
    for thread in threads:
        thread.join(10)

    assert [0, 1, 2, 3, 4, 5] == order


def test_a_turn_is_never_had_by_two_and_never_lost() -> None:
    """Method: eight threads, some too impatient to wait; a counter that only a holder may touch."""
    turn, inside, had = Turn(), [0], [0] * 8
    barrier = Barrier(8)

    def work(number: int) -> None:
        barrier.wait()
        for _ in range(400):
            if turn.acquire(0.0001 if number % 2 else 10):
                inside[0] += 1
                assert 1 == inside[0]
                time.sleep(0)
                inside[0] -= 1
                had[number] += 1
                turn.release()

    in_threads(8, work)

    assert turn.acquire(0)
    assert [400] * 4 == had[::2]


def test_a_thread_that_writes_without_pause_leaves_the_others_their_turn(sqlite: Database) -> None:
    """Goal: law 4. Method: equal threads for the same time; each gets near its share.

    None begins before all are there: the first would write alone while the others are started.
    """
    turns, all_there = [0] * 4, Barrier(4)

    def work(number: int) -> None:
        all_there.wait()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            sqlite.run(lambda t: t.fetch_all(ALL))
            turns[number] += 1

    in_threads(4, work)

    assert min(turns) > max(turns) / 2


def test_whoever_waits_too_long_learns_who_holds_the_gate(
    sqlite: Database, sqlite_url: str
) -> None:
    with program(HOLDER, sqlite_url) as holder, impatient(sqlite_url) as database:
        assert "inside" == line_of(holder)
        with pytest.raises(DatabaseBusy) as caught:
            database.run(lambda t: t.execute(ADD, row(2)), what="add an item")
        tell(holder)
        assert "left" == line_of(holder)
        database.run(lambda t: t.execute(ADD, row(2)))

    assert str(caught.value) == (
        f"cannot add an item: the write lock of database '{database.path}' was not free"
        f" for 0.05 s, it is held by pid {holder.pid} (the night run)"
    )
    assert f"pid {holder.pid} (the night run)" == caught.value.fields["holder"]


def test_another_thread_is_named_too(sqlite: Database, sqlite_url: str) -> None:
    caught: list[DatabaseBusy] = []

    def wait_in_vain(_: int) -> None:
        with impatient(sqlite_url) as database:
            try:
                database.run(lambda t: None)
            except DatabaseBusy as error:
                caught.append(error)

    with sqlite.write():
        in_threads(1, wait_in_vain)

    assert "another thread of this process" == caught[0].fields["holder"]


def test_a_killed_holder_leaves_the_gate_at_once_and_its_work_undone(
    sqlite: Database, sqlite_url: str
) -> None:
    with program(HOLDER, sqlite_url) as holder:
        assert "inside" == line_of(holder)
        os.kill(holder.pid, signal.SIGKILL)
        started = time.monotonic()
        sqlite.run(lambda t: t.execute(ADD, row(1, "mine")))
        waited_s = time.monotonic() - started

    with sqlite.read() as reader:
        assert [(1, "mine", 0)] == reader.fetch_all(ALL)
    assert waited_s < 1


def test_a_stopped_holder_keeps_the_gate(sqlite: Database, sqlite_url: str) -> None:
    """Goal: S189. A stopped process is not dead; the error names it."""
    with program(HOLDER, sqlite_url) as holder, impatient(sqlite_url) as database:
        assert "inside" == line_of(holder)
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(DatabaseBusy, match=f"pid {holder.pid} "):
            database.run(lambda t: None)
        os.kill(holder.pid, signal.SIGCONT)
        tell(holder)
        assert "left" == line_of(holder)


@on_linux
def test_processes_get_their_turn_in_the_order_in_which_they_asked(
    sqlite: Database, sqlite_url: str
) -> None:
    with waiters(sqlite_url, 3) as asked:
        with sqlite.write():
            for waiter in asked:
                queue(sqlite, waiter)

        assert ["1", "2", "3"] == [line_of(waiter) for waiter in asked]


@on_linux
def test_a_process_that_is_stopped_while_it_waits_holds_nobody_up(
    sqlite: Database, sqlite_url: str
) -> None:
    with waiters(sqlite_url, 2) as (stopped, other):
        with sqlite.write():
            queue(sqlite, stopped)
            os.kill(stopped.pid, signal.SIGSTOP)
            until(lambda: not waiting(sqlite))  # It has lost its place.
            queue(sqlite, other)
        assert "1" == line_of(other)
        sqlite.run(lambda t: t.execute(ADD, row(7)))
        os.kill(stopped.pid, signal.SIGCONT)

        assert "3" == line_of(stopped)


def test_what_comes_when_nobody_wants_it_any_more_is_given_back(
    sqlite: Database, sqlite_url: str
) -> None:
    """Method: one waits in vain, then the holder leaves, and another process must get in."""
    with program(HOLDER, sqlite_url) as holder, impatient(sqlite_url) as database:
        assert "inside" == line_of(holder)
        for _ in range(3):
            with pytest.raises(DatabaseBusy):
                database.run(lambda t: None)
        tell(holder)
        assert "left" == line_of(holder)
        with waiters(sqlite_url, 1) as (waiter,):
            tell(waiter)
            assert "2" == line_of(waiter)
        database.run(lambda t: t.execute(ADD, row(9)))


def test_the_thread_that_waits_ends_with_the_last_user_of_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/item.db"
    with open_database(url) as database:
        make_item_table(database)
        with program(HOLDER, url) as holder:
            assert "inside" == line_of(holder)
            before = set(enumerate_threads())
            asked = Thread(target=lambda: database.run(lambda t: None))
            asked.start()
            until(lambda: len(set(enumerate_threads()) - before) == 2)
            (thread,) = set(enumerate_threads()) - before - {asked}
            tell(holder)
            asked.join(30)
        assert thread.is_alive()
    thread.join(30)

    assert not thread.is_alive()


def test_ctrl_c_ends_the_wait(sqlite: Database, sqlite_url: str) -> None:
    with program(HOLDER, sqlite_url) as holder:
        assert "inside" == line_of(holder)
        with program(WAITER, sqlite_url) as waiter:
            assert "ready" == line_of(waiter)
            queue(sqlite, waiter)
            os.kill(waiter.pid, signal.SIGINT)
            assert "interrupted" == line_of(waiter)
            tell(holder)
            assert "left" == line_of(holder)
            assert 0 == waiter.wait(30)


CROSSED = """
import sys
from threading import Thread
from stepwell.database.connect import open_database
mine, other = sys.argv[1:]
with open_database(mine) as held, open_database(other) as wanted:
    with held.write():
        print("inside", flush=True)
        thread = Thread(target=lambda: wanted.run(lambda t: None))
        thread.start()
        sys.stdin.readline()
    thread.join()
    print("through", flush=True)
"""


@on_linux
def test_processes_whose_threads_wait_for_each_other_are_no_deadlock(
    sqlite: Database, sqlite_url: str, tmp_path: Path
) -> None:
    """Goal: the system refuses such a wait (EDEADLK): it knows processes only."""
    with open_database(f"sqlite:///{tmp_path}/other.db") as other:
        urls = (sqlite_url, f"sqlite:///{other.path}")
        with program(CROSSED, *urls) as one, program(CROSSED, *reversed(urls)) as another:
            assert ["inside", "inside"] == [line_of(one), line_of(another)]
            until(lambda: waiting(sqlite) + waiting(other) > 0)
            tell(one)
            tell(another)
            assert ["through", "through"] == [line_of(one), line_of(another)]


def test_a_program_that_does_not_know_the_gate_is_waited_for(
    sqlite: Database, sqlite_url: str
) -> None:
    other = sqlite3.connect(str(sqlite.path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with impatient(sqlite_url) as database:
        with pytest.raises(DatabaseBusy, match="a program other than Stepwell has held the write"):
            database.run(lambda t: t.execute(ADD, row(1)))
        waiting = Thread(target=lambda: sqlite.run(lambda t: t.execute(ADD, row(1))))
        waiting.start()
        other.execute("COMMIT")
        waiting.join(10)
    other.close()

    with sqlite.read() as reader:
        assert [(1, "x", 0)] == reader.fetch_all(ALL)


def test_the_gate_file_names_only_the_living(sqlite: Database, sqlite_url: str) -> None:
    with program(HOLDER, sqlite_url) as holder:
        assert "inside" == line_of(holder)
    with program(HOLDER, sqlite_url) as other:
        assert "inside" == line_of(other)
        names = os.pread(sqlite.dialect._file._gate_descriptor, 1000, 0).decode().splitlines()

    assert [f"pid {os.getpid()} (stepwell)", f"pid {other.pid} (the night run)"] == names
    assert holder.pid != other.pid
