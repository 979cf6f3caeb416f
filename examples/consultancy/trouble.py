"""Makes trouble in the data, to see what becomes of a job; run one before, so that there is data.

python trouble.py day 2025-09-03    nobody knows whether it is a working day: the day fails
python trouble.py user 2025-09-03   somebody has worked 25 hours on it: the day is partial
python trouble.py mend              all is well again
"""

import argparse
import sqlite3
import sys
from contextlib import closing
from datetime import date
from pathlib import Path

from consultancy.generate import is_workday

DATABASE = Path(__file__).resolve().parent / "consultancy.db"
HOURS_25 = 25 * 60


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["day", "user", "mend"])
    parser.add_argument("day", nargs="?", type=date.fromisoformat, default=date(2025, 9, 3))
    given = parser.parse_args()
    if not DATABASE.exists():
        sys.exit("there is no data yet: run a job first")
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        if given.what == "mend":
            print(mend(connection))
        else:
            print({"day": break_day, "user": break_user}[given.what](connection, given.day))


def break_day(connection: sqlite3.Connection, day: date) -> str:
    connection.execute("UPDATE calendar SET is_workday = NULL WHERE day = ?", [day.isoformat()])
    return f"nobody knows whether {day} is a working day"


def break_user(connection: sqlite3.Connection, day: date) -> str:
    entry = connection.execute(
        "SELECT w.day, w.user_id, w.contract_consultant_id, u.uuid, u.name"
        " FROM work_entry w JOIN app_user u ON u.id = w.user_id WHERE w.day = ? LIMIT 1",
        [day.isoformat()],
    ).fetchone()
    if entry is None:
        return f"nobody has worked on {day}"
    connection.execute(
        "UPDATE work_entry SET minutes = minutes + ?"
        " WHERE day = ? AND user_id = ? AND contract_consultant_id = ?",
        [HOURS_25, *entry[:3]],
    )
    return f"{entry[4]} ({entry[3]}) has worked 25 hours more on {day}"


def mend(connection: sqlite3.Connection) -> str:
    unknown = connection.execute("SELECT day FROM calendar WHERE is_workday IS NULL").fetchall()
    connection.executemany(
        "UPDATE calendar SET is_workday = ? WHERE day = ?",
        [(is_workday(date.fromisoformat(day)), day) for (day,) in unknown],
    )
    changed = connection.execute(
        "UPDATE work_entry SET minutes = minutes % ? WHERE minutes >= ?", [HOURS_25, HOURS_25]
    ).rowcount
    return f"mended: {len(unknown)} days of the calendar, {changed} notes of work"


if __name__ == "__main__":
    main()
