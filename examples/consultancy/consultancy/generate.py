"""The consultancy's data: 200 people, 2023 to 2025. Invented, and the same on each machine.

People are hired, get raises, go on leave, change their hours and leave; they are on contracts with
pauses between them, sometimes on two at once, and note most of the days that they worked.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import NAMESPACE_URL, uuid5

from stepwell import StepContext

USERS = 200
FIRST, LAST = date(2023, 1, 1), date(2025, 12, 31)
SEED = 20230101
ANY_USER = "SELECT id FROM app_user LIMIT 1"


def _words(text: str) -> list[str]:
    return text.split()


FIRST_NAMES = _words(
    "Ada Alma Anton Asta Birk Carl Dagny Ebba Elias Emil Erik Esther Freja Frida Greta Gustav Hanna"
    " Holger Ida Inger Jens Johan Karla Kasper Lea Liv Ludvig Magnus Maja Nora Olga Oskar Otto"
    " Ragnhild Runa Signe Sofus Thea Viggo Ylva"
)
LAST_NAMES = _words(
    "Ahlgren Berg Bjerre Dahl Eklund Falk Fog Friis Gram Hald Holm Juhl Kjær Krogh Lind Lund Munk"
    " Nygaard Odgaard Palm Quist Rask Ravn Skov Sten Storm Toft Vang Westergaard Ørsted"
)
CLIENTS = _words(
    "Bank Brewery Bus Canal Cement City Dairy Energy Ferry Foundry Harbour Hospital Insurance"
    " Library Metro Museum Pension Post Rail School Shipyard Steel Tax Telecom Theatre University"
    " Water Wind"
)
TITLES = (
    "Architecture",
    "Data platform",
    "Integration",
    "Migration",
    "New front end",
    "Operations",
)

HOLIDAYS = {
    *(date.fromisoformat(day) for day in ("2023-04-07", "2023-04-10", "2024-03-29", "2024-04-01")),
    *(date.fromisoformat(day) for day in ("2025-04-18", "2025-04-21")),
    *(date(year, 1, 1) for year in (2023, 2024, 2025)),
    *(date(year, 12, day) for year in (2023, 2024, 2025) for day in (24, 25, 26, 31)),
}
WEEKS = (2220, 2220, 2220, 2220, 2220, 1800, 1500)  # minutes: 37, 30 and 25 hours


@dataclass
class Data:
    """Rows by table, in the order in which they can be inserted."""

    app_user: list[tuple] = field(default_factory=list)
    user_status: list[tuple] = field(default_factory=list)
    salary: list[tuple] = field(default_factory=list)
    contract: list[tuple] = field(default_factory=list)
    contract_consultant: list[tuple] = field(default_factory=list)
    work_entry: list[tuple] = field(default_factory=list)
    calendar: list[tuple] = field(default_factory=list)


def generate(step: StepContext) -> str:
    """The batchlet: fill the tables, all in one transaction, unless somebody has."""
    if step.query(ANY_USER):
        return "ALREADY THERE"
    data = make_data()
    with step.transaction() as connection:
        if connection.execute(ANY_USER).fetchone() is not None:
            return "ALREADY THERE"  # Another job's first run was faster.
        for table, rows in vars(data).items():
            markers = ", ".join(f":v{number}" for number in range(len(rows[0])))
            connection.executemany(f"INSERT INTO {table} VALUES ({markers})", rows)
    return "GENERATED"


def make_data() -> Data:
    """All rows."""
    dice = random.Random(SEED)
    data = Data()
    data.calendar += [(day.isoformat(), int(is_workday(day))) for day in days(FIRST, LAST)]
    data.contract += [
        (number, f"{CLIENTS[number % len(CLIENTS)]} {dice.choice('NESW')}", dice.choice(TITLES))
        for number in range(1, 121)
    ]
    for user_id, (uuid, name) in enumerate(users(), start=1):
        data.app_user.append((user_id, uuid, name))
        statuses = _statuses(dice)
        data.user_status += [(user_id, day.isoformat(), *rest) for day, *rest in statuses]
        data.salary += [
            (user_id, day.isoformat(), cents) for day, cents in _salaries(statuses[0][0], dice)
        ]
        _add_contracts(data, user_id, statuses, dice)
    return data


def users() -> list[tuple[str, str]]:
    """Uuid and name of each; without dice, so that a message can show them at once."""
    names = [
        f"{FIRST_NAMES[number % 40]} {LAST_NAMES[(number // 40 * 7 + number) % 30]}"
        for number in range(USERS)
    ]
    return [(str(uuid5(NAMESPACE_URL, f"consultancy/{name}")), name) for name in names]


def is_workday(day: date) -> bool:
    return day.weekday() < 5 and day not in HOLIDAYS


def days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _statuses(dice: random.Random) -> list[tuple[date, str, int]]:
    """From the first day in the firm on; most people were there before the first year."""
    if dice.random() < 0.6:
        hired = FIRST - timedelta(days=dice.randrange(30, 1500))
    else:
        hired = FIRST + timedelta(days=dice.randrange(0, 900))
    week = dice.choice(WEEKS)
    found = [(hired, "ACTIVE", week)]
    now = max(hired, FIRST)
    while (now := now + timedelta(days=dice.randrange(120, 900))) < LAST:
        what = dice.choice(["HOURS", "PAID_LEAVE", "UNPAID_LEAVE", "TERMINATED"])
        if what == "HOURS":
            week = dice.choice([week for week in sorted(set(WEEKS)) if week != found[-1][2]])
            found.append((now, "ACTIVE", week))
            continue
        found.append((now, what, week))
        if what == "TERMINATED":
            break
        now += timedelta(days=dice.randrange(30, 200))
        found.append((now, "ACTIVE", week))
    return found


def _salaries(hired: date, dice: random.Random) -> Iterator[tuple[date, int]]:
    """A first one, and a raise each April."""
    cents = dice.randrange(3_800, 8_500) * 100
    yield hired, cents
    for year in range(FIRST.year, LAST.year + 1):
        if date(year, 4, 1) > hired + timedelta(days=180):
            cents += cents * dice.randrange(10, 60) // 1_000
            yield date(year, 4, 1), cents


def _add_contracts(
    data: Data, user_id: int, statuses: list[tuple[date, str, int]], dice: random.Random
) -> None:
    """One contract behind the other, with pauses; one in four has a second one beside it."""
    now = max(statuses[0][0], FIRST)
    last = statuses[-1][0] if statuses[-1][1] == "TERMINATED" else LAST
    while now < last:
        end = min(now + timedelta(days=dice.randrange(40, 300)), last)
        weeks = (1200, 900) if dice.random() < 0.25 else (dice.choice(WEEKS),)
        for week in weeks:
            row_id = len(data.contract_consultant) + 1
            cents = dice.randrange(90, 190) * 100
            data.contract_consultant.append(
                (
                    *(row_id, dice.randrange(1, 121), user_id),
                    *(now.isoformat(), end.isoformat(), week, cents),
                )
            )
            data.work_entry += [
                (day.isoformat(), user_id, row_id, minutes)
                for day, minutes in _work(now, end, week, statuses, dice)
            ]
        now = end + timedelta(days=dice.randrange(1, 45))


def _work(
    first: date, last: date, week: int, statuses: list[tuple[date, str, int]], dice: random.Random
) -> Iterator[tuple[date, int]]:
    """Most working days, about a fifth of the week each, in quarters of an hour."""
    changes = iter([*statuses[1:], (date.max, "", 0)])
    status, (change, following, _) = statuses[0][1], next(changes)
    for day in days(first, last):
        while day >= change:
            status, (change, following, _) = following, next(changes)
        wants = 0.93 if is_workday(day) else 0.01
        if status == "ACTIVE" and dice.random() < wants:
            yield day, max(15, (week // 5 + dice.randrange(-60, 75, 15)) // 15 * 15)
