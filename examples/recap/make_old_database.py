"""Make a database as the older program has left it, with every contradiction that it could make.

python make_old_database.py old.db
"""

import sqlite3
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
AT = "2025-11-02T04:00:00Z"
STAGES = ["fetch", "preprocess", "dedup", "genre", "select", "evidence", "dispatch", "persist"]

# Id, status, last stage, the stages whose state is saved, and whether the outputs are there.
JOBS = [
    ("old-1", "completed", "persist", 8, True),  # sound
    ("old-2", "pending", "persist", 8, True),  # the status was never written
    ("old-3", "pending", "persist", 8, False),  # nor were the outputs
    ("old-4", "pending", "persist", 8, True),
    ("old-5", "pending", None, 0, False),  # sound: it waits
    ("old-6", "running", "dedup", 4, False),  # the state of genre was saved, the job was not
    ("old-7", "pending", None, 8, True),  # all was saved but the job
    ("old-8", "failed", "select", 5, False),  # sound
]
GONE = ("old-9", 3)  # its stages are there, the job is not


def main(path):
    if Path(path).exists():
        sys.exit(f"{path} is there already")
    connection = sqlite3.connect(path)
    connection.executescript((HERE / "migrations/001_recap.sql").read_text(encoding="utf-8"))
    connection.executemany(
        "INSERT INTO recap_jobs VALUES (?, ?, ?, 'system', ?)",
        [(key, status, stage, AT) for key, status, stage, _, _ in JOBS],
    )
    saved = [(key, count) for key, _, _, count, _ in JOBS] + [GONE]
    connection.executemany(
        "INSERT INTO recap_stage_state VALUES (?, ?, '{}', ?)",
        [(key, stage, AT) for key, count in saved for stage in STAGES[:count]],
    )
    connection.executemany(
        "INSERT INTO recap_outputs VALUES (?, 'science', 'A lake', 'It is gone.')",
        [(key,) for key, *_, has_outputs in JOBS if has_outputs],
    )
    connection.commit()
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
