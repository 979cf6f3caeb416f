"""Scenario E: five recalculations from job files, and what they wrote, computed again in SQL."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from tests.examples.consultancy_sql import BI_DAY, BUDGET, CONTRACT_DAY
from tests.examples.runs import COMMAND_TIMEOUT_S, ROOT, copy_of, ends, rows, start, stepwell

JOBS = ROOT / "examples" / "consultancy" / "jobs"
ADA = "38fddae2-51b1-534d-a6b2-af3e45429543"  # The first of `python users.py`, with id 1.
ALMA = "f2df1cc3-bdc3-5421-9e19-92238f0c23f7"  # The second.
OF_ADA, OF_ALMA = f"userUuid={ADA}", f"userUuid={ALMA}"
WEEK = ("startDate=2025-09-01", "endDate=2025-09-05")
ALL_DAYS = ("startDate=2023-01-01", "endDate=2025-12-31")

FAILED, USAGE, PARTIAL, STOPPED, CONFLICT = 1, 2, 3, 3, 4
TRACKING = (
    "SELECT status, result, completed_subtasks, total_subtasks, progress_percent"
    " FROM batch_job_execution_tracking ORDER BY execution_id"
)
ATTEMPTS = (
    "SELECT s.job_execution_id, p.partition_name, a.result FROM batch_partition_execution a"
    " JOIN batch_step_execution s USING (step_execution_id)"
    " JOIN batch_partition p ON p.plan_id = a.plan_id AND p.partition_number = a.partition_number"
    " ORDER BY 1, 2"
)
HEARD = "SELECT day, job_execution_id, outcome FROM recalculated_day ORDER BY 1"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The example as it comes: no database."""
    return copy_of("consultancy", tmp_path)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its data, nothing calculated, nothing of Stepwell; to be copied."""
    folder = copy_of("consultancy", tmp_path_factory.mktemp("filled"))
    with closing(sqlite3.connect(folder / "consultancy.db")) as connection, connection:
        for migration in sorted((folder / "migrations").glob("*.sql")):
            connection.executescript(migration.read_text(encoding="utf-8"))
        for table, table_rows in vars(part("generate").make_data()).items():
            markers = ", ".join("?" * len(table_rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({markers})", table_rows)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """The example with its data, for one test."""
    return Path(shutil.copytree(filled, tmp_path / "consultancy"))


# --- five jobs, their values --------------------------------------------------------------------


def test_each_job_works_on_an_untouched_clone(clone: Path) -> None:
    """Goal: "an example's jobs make their data when their tables are empty"."""
    database = clone / "consultancy.db"
    for name, parameters, subtasks in [
        ("bi-date-update", WEEK, 5),
        ("contract-consultant-forward-recalc", WEEK, 5),
        ("user-salary-forward-recalc", (OF_ADA, *WEEK), 5),
        ("user-status-forward-recalc", (OF_ADA, *WEEK), 5),
        ("budget-aggregation", WEEK, 3),  # Its steps: it never partitions.
    ]:
        stepwell(clone, "run", name, *parameters)

        assert [("COMPLETED", "COMPLETED", subtasks, subtasks, 100)] == rows(database, TRACKING)
        assert [("GENERATED",)] == rows(
            database, "SELECT exit_code FROM batch_step_execution WHERE step_name = 'generate'"
        )
        for file in clone.glob("consultancy.db*"):
            file.unlink()


def test_every_value_equals_its_recomputation_in_sql(folder: Path) -> None:
    """Method: a range with a month's end and the raises of April; budgets of all three years."""
    days = ("2025-03-25", "2025-04-08")
    stepwell(folder, "run", "bi-date-update", f"startDate={days[0]}", f"endDate={days[1]}")
    stepwell(folder, "run", "budget-aggregation", *ALL_DAYS)

    assert 2_500 < len(equal_users(folder, *days))
    assert 1_500 < len(equal_contracts(folder, *days))
    assert 3_000 < len(equal_budgets(folder))
    assert [("COMPLETED", "COMPLETED", 15, 15, 100), ("COMPLETED", "COMPLETED", 3, 3, 100)] == rows(
        folder / "consultancy.db", TRACKING
    )


def test_a_forward_recalculation_mends_what_was_noted_late(folder: Path) -> None:
    """Goal: each forward job writes its own values, of its own user, and no others.

    Method: a leave, a raise and the end of a contract, noted behind the days' first calculation.
    """
    week = ("2025-09-01", "2025-09-05")
    stepwell(folder, "run", "bi-date-update", *WEEK)
    change(folder, "INSERT INTO user_status VALUES (2, '2025-09-03', 'UNPAID_LEAVE', 2220)")
    change(folder, "INSERT INTO salary VALUES (2, '2025-09-02', 999900)")
    change(
        folder,
        "UPDATE contract_consultant SET valid_to = '2025-09-03'"
        " WHERE user_id = 2 AND '2025-09-04' BETWEEN valid_from AND valid_to",
    )
    before, late = calculated(folder, "bi_day"), expected(folder, BI_DAY, *week)

    stepwell(folder, "run", "user-salary-forward-recalc", OF_ALMA, *WEEK)
    after_salary = calculated(folder, "bi_day")
    stepwell(folder, "run", "user-status-forward-recalc", OF_ALMA, *WEEK)
    stepwell(folder, "run", "contract-consultant-forward-recalc", OF_ALMA, *WEEK)

    changed = {(row[0], row[1]) for row in set(before) ^ set(late)}
    assert {(f"2025-09-0{day}", 2) for day in (2, 3, 4, 5)} == changed
    assert [row[:4] for row in before] == [row[:4] for row in after_salary]
    assert [row[4:] for row in late] == [row[4:] for row in after_salary]
    equal_users(folder, *week)
    equal_contracts(folder, *week)


def test_without_an_end_a_recalculation_goes_forward_to_the_last_day(folder: Path) -> None:
    database = folder / "consultancy.db"
    stepwell(folder, "run", "user-salary-forward-recalc", OF_ADA, "start_date=2025-12-20")
    stepwell(folder, "run", "user-status-forward-recalc", OF_ADA, "start_date=2025-12-20")

    assert [("COMPLETED", "COMPLETED", 12, 12, 100)] * 2 == rows(database, TRACKING)
    ada = [row[:5] for row in expected(folder, BI_DAY, "2025-12-20", "2025-12-31") if row[1] == 1]
    assert ada == [row[:5] for row in calculated(folder, "bi_day")]


# --- what fails ---------------------------------------------------------------------------------


def test_a_day_that_fails_is_run_again_alone_and_a_partial_day_is_kept(folder: Path) -> None:
    """Goal: FAILED and PARTIAL with errors and traces, a restart that runs just the failed day."""
    database = folder / "consultancy.db"
    healthy = expected(folder, BI_DAY, "2025-09-01", "2025-09-05")
    trouble(folder, "day", "2025-09-03")
    trouble(folder, "user", "2025-09-04")

    printed = ends(folder, FAILED, "run", "bi-date-update", *WEEK)

    assert "1 of 5 partitions failed" in printed
    first = [
        (1, "2025-09-01", "SUCCESS"),
        (1, "2025-09-02", "SUCCESS"),
        (1, "2025-09-03", "FAILURE"),
        (1, "2025-09-04", "PARTIAL"),
        (1, "2025-09-05", "SUCCESS"),
    ]
    assert first == rows(database, ATTEMPTS)
    assert [(day, number, outcome) for number, day, outcome in first] == rows(database, HEARD)
    assert [("the calendar does not say whether 2025-09-03 is a working day",)] == rows(
        database, "SELECT failed FROM recalculated_day WHERE outcome = 'FAILURE'"
    )
    failed, partial = errors_of(database)
    assert ("2025-09-03", "LookupError") == (failed["key"], failed["type"])
    assert "in process\n" in failed["trace"]
    assert ("ValueError", True) == (partial["type"], "25" in partial["message"])
    assert "in worked\n" in partial["trace"]
    # The partial day has the rows of everybody else.
    missing = [row[0] for row in healthy if row not in calculated(folder, "bi_day")]
    assert (1, {"2025-09-03", "2025-09-04"}) == (missing.count("2025-09-04"), set(missing))

    trouble(folder, "mend")
    ends(folder, PARTIAL, "restart", "1")

    assert [*first, (2, "2025-09-03", "SUCCESS")] == rows(database, ATTEMPTS)
    assert ("2025-09-03", 2, "SUCCESS") in rows(database, HEARD)
    assert [("FAILED", "FAILED", 5, 5, 100), ("COMPLETED", "PARTIAL", 5, 5, 100)] == rows(
        database, TRACKING
    )

    stepwell(folder, "run", "bi-date-update", *WEEK)

    assert healthy == equal_users(folder, "2025-09-01", "2025-09-05")
    assert ("COMPLETED", "COMPLETED", 5, 5, 100) == rows(database, TRACKING)[-1]


def test_a_restart_of_a_jakarta_batch_job_gets_its_parameters_again(folder: Path) -> None:
    """Goal: S10, S156: nothing is remembered; and only the failed day runs again."""
    database = folder / "consultancy.db"
    parameters = (OF_ADA, *WEEK)
    trouble(folder, "day", "2025-09-02")
    ends(folder, FAILED, "run", "user-salary-forward-recalc", *parameters)
    trouble(folder, "mend")

    assert "'start_date': it is missing" in ends(folder, CONFLICT, "restart", "1")
    stepwell(folder, "restart", "1", *parameters)

    assert [(2, "2025-09-02", "SUCCESS")] == rows(database, ATTEMPTS)[-1:]
    assert ("COMPLETED", "COMPLETED", 5, 5, 100) == rows(database, TRACKING)[-1]


def test_a_contract_without_a_rate_makes_partial_days_and_is_left_out_of_the_budget(
    folder: Path,
) -> None:
    """Goal: what fails is named, in a partition and in a chunk; the rest is right."""
    database = folder / "consultancy.db"
    of_contract = expected(folder, CONTRACT_DAY, "2025-09-01", "2025-09-05")
    broken = of_contract[0][2]
    change(folder, f"UPDATE contract_consultant SET hourly_cents = NULL WHERE id = {broken}")

    ends(folder, PARTIAL, "run", "contract-consultant-forward-recalc", *WEEK)
    stepwell(folder, "run", "budget-aggregation", *WEEK)

    assert [row[2:] for row in of_contract if row[2] != broken] == [
        row[1:2] + row[3:] for row in calculated(folder, "contract_consultant_day")
    ]
    assert {f"contract_consultant {broken}"} == {error["key"] for error in errors_of(database)}
    assert [("process", "ValueError")] == rows(database, "SELECT phase, error_type FROM batch_skip")
    assert [] == rows(
        database, f"SELECT * FROM budget_month WHERE contract_consultant_id = {broken}"
    )


def test_a_placeholder_is_answered_with_the_parameter_and_real_ids(folder: Path) -> None:
    """Goal: copied from a page, `USER_UUID_HERE` leads to an answer, from XML and YAML alike."""
    placeholder = "userUuid=USER_UUID_HERE"
    told = (
        ends(folder, USAGE, "run", "user-salary-forward-recalc", placeholder, *WEEK),
        ends(folder, USAGE, "run", "contract-consultant-forward-recalc", placeholder, *WEEK),
        ends(folder, USAGE, "run", "user-status-forward-recalc", placeholder, *WEEK),
    )
    for text in told:
        assert "userUuid must be the uuid of a user" in text
        assert ADA in text
        assert "users.py" in text
        assert "USER_UUID_HERE" in text
        assert "value error" not in text.lower().replace("valueerror", "")
    assert f"{ADA} Ada Ahlgren\n" == script(folder, "users.py", "ada", "ahlgren")
    assert [] == list(folder.glob("*.db")) or [] == rows(folder / "consultancy.db", TRACKING)

    unknown = "userUuid=00000000-0000-0000-0000-000000000000"
    printed = ends(folder, FAILED, "run", "user-status-forward-recalc", unknown, *WEEK)
    assert "userUuid must be the uuid of a user" in printed


@pytest.mark.parametrize(
    ("days", "told"),
    [
        (("startDate=2025-09-05", "endDate=2025-09-01"), "endDate must not lie before startDate"),
        (("startDate=2025-09-05",), "'end_date': it is missing"),
        (("startDate=soon", "endDate=2025-09-01"), "'start_date'"),
    ],
)
def test_days_that_cannot_be_are_refused_before_anything_is_recorded(
    days: tuple[str, ...], told: str, clone: Path
) -> None:
    assert told in ends(clone, USAGE, "run", "bi-date-update", *days)
    assert [] == list(clone.glob("*.db")) or [] == rows(clone / "consultancy.db", TRACKING)


# --- runs beside each other, runs that are cut --------------------------------------------------


def test_while_it_runs_progress_is_exact_and_a_second_start_is_refused(folder: Path) -> None:
    """Goal: S161, S184. Method: all days of three years, looked at as fast as possible."""
    database = folder / "consultancy.db"
    seen: list[tuple[int, int]] = []
    running = start(folder, "run", "bi-date-update", *ALL_DAYS)
    try:
        while not seen or seen[-1][0] < 20:
            assert running.poll() is None, running.communicate()
            seen += looks(database)
        second = start(folder, "run", "bi-date-update", *ALL_DAYS)
        while second.poll() is None:
            seen += looks(database)
        printed, _ = second.communicate()
    finally:
        running.terminate()
        printed_of_first, _ = running.communicate(timeout=COMMAND_TIMEOUT_S)

    assert (4, True) == (second.returncode, "execution 1" in printed), printed
    assert STOPPED == running.returncode, printed_of_first
    assert {1_096} == {total for _, total in seen}
    completed = [done for done, _ in seen]
    assert sorted(completed) == completed
    assert 1 == len(rows(database, TRACKING))


def test_a_killed_aggregation_goes_on_behind_its_last_chunk(folder: Path) -> None:
    """Goal: the reader's checkpoint, month and contract. Method: SIGKILL in the fourth chunk."""
    killed_by = ("stepwell.items.sql_writer", "SqlWriter.write", 4)
    stepwell(folder, "run", "budget-aggregation", *ALL_DAYS, killed_by=killed_by)
    assert 750 == len(calculated(folder, "budget_month"))

    stepwell(folder, "recover")
    stepwell(folder, "restart", "1")

    count = len(equal_budgets(folder))
    assert [(1, 750), (2, count - 750)] == rows(
        folder / "consultancy.db",
        "SELECT job_execution_id, write_count FROM batch_step_execution"
        " WHERE step_name = 'aggregate'",
    )


# --- the files, swapping a step -----------------------------------------------------------------


def test_the_files_are_without_fault_or_warning(folder: Path) -> None:
    assert {f"jobs/{file.name}": [] for file in JOBS.iterdir()} == checked(folder)


def test_a_step_is_swapped_and_swapped_back_by_its_file_alone(folder: Path) -> None:
    """Goal: the rollback of docs/guides/swapping-a-step.md, with no change to the database."""
    database = folder / "consultancy.db"
    file = folder / "jobs" / "user-salary-forward-recalc.xml"
    enhanced = file.read_text(encoding="utf-8")
    run = ("run", "user-salary-forward-recalc", OF_ADA)
    other_days = ("startDate=2025-09-06", "endDate=2025-09-09")
    stepwell(folder, *run, *WEEK)
    schema, heard = rows(database, SCHEMA), rows(database, HEARD)

    file.write_text(original_of(enhanced), encoding="utf-8")
    warned = checked(folder)[f"jobs/{file.name}"]
    stepwell(folder, *run, *other_days)
    trouble(folder, "day", "2025-09-07")
    ends(folder, FAILED, *run, *other_days)
    trouble(folder, "mend")

    assert ["use userSalaryDayRecalcBatchletEnhanced, which returns its result"] == warned
    assert heard == rows(database, HEARD)  # Without an analyzer nobody hears of the days.
    assert [(5, 5), (4, 4), (4, 4)] == [row[2:4] for row in rows(database, TRACKING)]

    file.write_text(enhanced, encoding="utf-8")
    assert not any(checked(folder).values())
    stepwell(folder, "restart", "3", OF_ADA, *other_days)

    assert [(4, "2025-09-07", "SUCCESS")] == rows(database, ATTEMPTS)[-1:]
    assert [*heard, ("2025-09-07", 4, "SUCCESS")] == rows(database, HEARD)
    assert schema == rows(database, SCHEMA)
    ada = [row for row in expected(folder, BI_DAY, "2025-09-01", "2025-09-09") if row[1] == 1]
    assert [row[4] for row in ada] == [row[4] for row in calculated(folder, "bi_day")]


def original_of(enhanced: str) -> str:
    """The file with the original step: collector and analyzer go, they expect its result."""
    original = enhanced.replace(
        "userSalaryDayRecalcBatchletEnhanced", "userSalaryDayRecalcBatchlet"
    )
    return re.sub(r" *<(collector|analyzer).*?</\1>\n", "", original, flags=re.DOTALL)


@pytest.mark.parametrize(
    "name", ["biDateUpdate", "contractConsultantDayRecalc", "userStatusDayRecalc"]
)
def test_each_original_names_its_replacement(name: str) -> None:
    artifacts = package().artifacts
    original = artifacts[f"{name}Batchlet"]

    assert f"use {name}BatchletEnhanced" in original.__deprecated__
    assert not hasattr(artifacts[f"{name}BatchletEnhanced"], "__deprecated__")


# --- data and calculation -----------------------------------------------------------------------


def test_the_data_is_the_same_each_time() -> None:
    generate = part("generate")
    data = generate.make_data()

    assert data == generate.make_data()
    assert (200, 1_096) == (len(data.app_user), len(data.calendar))
    assert (1, ADA, "Ada Ahlgren") == data.app_user[0]
    assert 100_000 < len(data.work_entry)


def test_the_days_of_a_month_add_up_to_the_salary() -> None:
    calculate = part("calculate")
    for first, days in [(date(2024, 2, 1), 29), (date(2025, 2, 1), 28), (date(2025, 9, 1), 30)]:
        shares = [
            calculate.salary_cents(facts(calculate, first + timedelta(days=number)))
            for number in range(days)
        ]

        assert 572_201 == sum(shares)
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("status", "available", "salary"),
    [
        ("ACTIVE", 444, 19_073),
        ("PAID_LEAVE", 0, 19_073),
        ("UNPAID_LEAVE", 0, 0),
        ("TERMINATED", 0, 0),
    ],
)
def test_a_status_decides_minutes_and_salary(status: str, available: int, salary: int) -> None:
    calculate = part("calculate")
    known = facts(calculate, date(2025, 9, 1), status)

    assert available == calculate.available_minutes(known)
    assert salary == calculate.salary_cents(known)
    assert 0 == calculate.available_minutes(replace(known, is_workday=False))


def test_half_a_cent_is_rounded_up() -> None:
    amount = part("calculate").amount

    assert [0, 1, 1, 2] == [amount(minutes, 1) for minutes in (29, 30, 89, 90)]


def facts(calculate: ModuleType, day: date, status: str = "ACTIVE") -> object:
    since = date(2020, 1, 1)
    return calculate.Facts(
        day,
        is_workday=True,
        user_id=1,
        uuid=ADA,
        statuses=(
            calculate.Status(date(2019, 1, 1), "ACTIVE", 1500),
            calculate.Status(since, status, 2220),
        ),
        salaries=(
            calculate.Salary(since, 572_201),
            calculate.Salary(date(2019, 1, 1), 100_000),
        ),
    )


# --- how ----------------------------------------------------------------------------------------

SCHEMA = "SELECT name, sql FROM sqlite_master ORDER BY name"


def part(name: str) -> ModuleType:
    """A module of the example, from the checkout."""
    folder = str(ROOT / "examples" / "consultancy")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"consultancy.{name}")


def package() -> ModuleType:
    """What `stepwell.toml` names in `jobs`."""
    return importlib.import_module(str(part("generate").__package__))


def checked(folder: Path) -> dict[str, list[str]]:
    """The job files, all of which can start as `stepwell jobs check` says; hints of warnings."""
    files = json.loads(ends(folder, 0, "jobs", "check", "--json"))["files"]
    assert all(file["can_start"] for file in files)
    return {file["file"]: [fault["hint"] for fault in file["faults"]] for file in files}


def script(folder: Path, *arguments: str) -> str:
    """What a script of the example printed."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def trouble(folder: Path, *arguments: str) -> None:
    script(folder, "trouble.py", *arguments)


def change(folder: Path, sql: str) -> None:
    """Change the sources, as another program of the consultancy does."""
    with closing(sqlite3.connect(folder / "consultancy.db")) as connection, connection:
        assert connection.execute(sql).rowcount


def calculated(folder: Path, table: str) -> list[tuple[object, ...]]:
    return rows(folder / "consultancy.db", f"SELECT * FROM {table} ORDER BY 1, 2, 3")


def expected(folder: Path, query: str, first: str, last: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "consultancy.db")) as connection:
        return connection.execute(query, {"first": first, "last": last}).fetchall()


def equal_users(folder: Path, *days: str) -> list[tuple[object, ...]]:
    """`bi_day` holds these days and what SQL says of them, row for row; the rows."""
    found = calculated(folder, "bi_day")
    assert expected(folder, BI_DAY, *days) == found
    return found


def equal_contracts(folder: Path, *days: str) -> list[tuple[object, ...]]:
    found = rows(
        folder / "consultancy.db",
        "SELECT day, user_id, contract_consultant_id, planned_minutes, planned_cents"
        " FROM contract_consultant_day ORDER BY 1, 2, 3",
    )
    assert expected(folder, CONTRACT_DAY, *days) == found
    return found


def equal_budgets(folder: Path) -> list[tuple[object, ...]]:
    found = calculated(folder, "budget_month")
    assert expected(folder, BUDGET, "2023-01-01", "2025-12-31") == found
    return found


def errors_of(database: Path) -> list[dict[str, str]]:
    """The errors of failed and partial partitions, in their order."""
    stored = rows(
        database,
        "SELECT errors FROM batch_partition_execution WHERE errors IS NOT NULL"
        " ORDER BY partition_number",
    )
    return [error for (text,) in stored for error in json.loads(str(text))]


def looks(database: Path) -> list[tuple[int, int]]:
    """Completed and total of execution 1, once its plan is frozen."""
    try:
        return rows(
            database,
            "SELECT completed_subtasks, total_subtasks FROM batch_job_execution_tracking"
            " WHERE execution_id = 1 AND total_subtasks IS NOT NULL",
        )
    except sqlite3.OperationalError:  # Stepwell's tables are not there yet.
        return []
