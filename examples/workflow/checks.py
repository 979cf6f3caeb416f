"""Is it true? The items' own evidence, read without Stepwell: plain SQL, and the book's files."""

import itertools
import sqlite3
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMITS = {"writer": 2, "reviewer": 1, "publisher": 1}


class Wrong(Exception):
    """Something that was promised does not hold."""


def check_done_once(database, wanted):
    """Each wanted item has one row in the table ``done``, and one execution that is COMPLETED."""
    done = [row[0] for row in ask(database, "SELECT item FROM done ORDER BY item")]
    if done != sorted(wanted):
        raise Wrong(f"done are {len(done)} items, wanted {len(wanted)}: {diff(done, wanted)}")
    twice = ask(
        database,
        "SELECT job_instance_id FROM batch_job_execution WHERE status = 'COMPLETED'"
        " GROUP BY job_instance_id HAVING COUNT(*) > 1",
    )
    if twice:
        raise Wrong(f"instances {twice} were COMPLETED twice")


def check_apart(database, files_of):
    """No two items that touch one file were at work at the same time."""
    at_work = ask(database, "SELECT item, agent, began, ended FROM done ORDER BY began")
    for number, (item, _, _, ended) in enumerate(at_work):
        for other, _, began, _ in itertools.islice(at_work, number + 1, None):
            if began >= ended:
                break
            both = shared(files_of[item], files_of[other])
            if both:
                raise Wrong(f"{item} and {other} were at work on {both} at the same time")
    return len(at_work)


def check_limits(database):
    """No agent ever had more items than it can take; the most that each had."""
    most = {}
    for agent, limit in LIMITS.items():
        moments = []
        for began, ended in ask(database, f"SELECT began, ended FROM done WHERE agent = '{agent}'"):
            moments += [(began, 1), (ended, -1)]
        now = most[agent] = 0
        for _, change in sorted(moments):
            now += change
            most[agent] = max(most[agent], now)
        if most[agent] > limit:
            raise Wrong(f"{most[agent]} items of the {agent} at a time, {limit} are allowed")
    return most


def check_files(book, files_of, done):
    """Each item has signed each of its files once; a lost write would miss a signature."""
    for item in done:
        for file in files_of[item]:
            if "*" not in file and signatures(book / file)[item] != 1:
                raise Wrong(f"{item} has signed {file} {signatures(book / file)[item]} times")


def signatures(path):
    return Counter(path.read_text("utf-8").split()) if path.exists() else Counter()


def shared(one, other):
    """The first two that are one file; here a pattern only ever meets a plain name."""
    for a, b in itertools.product(one, other):
        if a == b or fnmatch(a, b) or fnmatch(b, a):
            return a
    return None


def diff(found, wanted):
    missing, more = set(wanted) - set(found), set(found) - set(wanted)
    return f"missing {sorted(missing)[:5]}, too many {sorted(more)[:5]}"


def ask(database, query):
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
