"""Writes the files in `forecasts/`. The weather is invented; the same files come out each time.

    python make_forecasts.py

Each file is one day's run, issued at 06:00 UTC, with 48 hours ahead for three stations: so the
second file says something newer about the last 24 hours of the first. Temperature follows the sun
and the station's climate, the rest is dice. A line of each kind of fault is put in on purpose.
"""

import csv
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "forecasts"
FIRST = datetime(2026, 3, 1, 6, tzinfo=UTC)
DAYS = 3
HOURS = 48
COLUMNS = [
    *("station", "valid_at", "issued_at", "temperature_c", "precipitation_mm"),
    *("wind_m_s", "wind_from_deg", "cloud_percent"),
]
# Mean, daily swing, hours that solar noon lies behind 12:00 UTC, how windy, how cloudy.
STATIONS = {
    "cape-town": (20.0, 4.5, -1.2, 6.0, 0.3),
    "kyoto": (8.0, 5.0, -9.0, 2.5, 0.5),
    "reykjavik": (1.5, 1.5, 1.5, 7.5, 0.8),
}
# File, line, and what stands there instead.
FAULTS = {
    (0, 30): lambda line: [*line[:3], "n/a", *line[4:]],  # no number
    (0, 101): lambda line: line[:5],  # the line was cut
    (1, 60): lambda line: [*line[:3], "999.0", *line[4:]],  # what a broken sensor says
    (2, 17): lambda line: [line[0], "2026-03-03 soon", *line[2:]],  # no time
    (2, 140): lambda line: [*line[:7], "104"],  # more than the whole sky
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    dice = random.Random(20260301)
    for number in range(DAYS):
        issued = FIRST + timedelta(days=number)
        with (FOLDER / f"{issued:%Y-%m-%d}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for position, line in enumerate(lines(issued, dice), start=2):
                writer.writerow(FAULTS.get((number, position), list)(line))


def lines(issued: datetime, dice: random.Random) -> list[list[object]]:
    found = []
    for station, (mean, swing, lag, windy, cloudy) in STATIONS.items():
        drift, wind, cloud = 0.0, windy, cloudy
        direction = dice.uniform(0, 360)
        for hour in range(HOURS):
            valid = issued + timedelta(hours=hour)
            drift += dice.gauss(0, 0.25)
            wind = max(0.0, wind + dice.gauss(0, 0.8) + (windy - wind) * 0.2)
            cloud = min(1.0, max(0.0, cloud + dice.gauss(0, 0.12) + (cloudy - cloud) * 0.1))
            direction = (direction + dice.gauss(0, 12)) % 360
            sun = math.cos((valid.hour - 14 - lag) / 24 * math.tau)  # warmest at 14:00
            rain = max(0.0, dice.gauss(-0.6, 1.0)) if cloud > 0.6 else 0.0
            found.append(
                [
                    station,
                    f"{valid:%Y-%m-%dT%H:%M:%SZ}",
                    f"{issued:%Y-%m-%dT%H:%M:%SZ}",
                    f"{mean + swing * sun + drift:.1f}",
                    f"{rain:.1f}",
                    f"{wind:.1f}",
                    "" if wind < 0.3 else round(direction) % 360,
                    round(100 * cloud),
                ]
            )
    return found


if __name__ == "__main__":
    main()
