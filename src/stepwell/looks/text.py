"""Values as people read them: times in local time with their zone, durations, counts, sizes."""

from __future__ import annotations

from datetime import datetime

from stepwell.logs import CONTROL, one_line

__all__ = [
    "between",
    "count",
    "duration",
    "how_many",
    "iso_utc",
    "lines",
    "local_time",
    "one_line",
    "rate",
    "seconds_between",
    "shorten",
    "size",
]

_LINES = {code: sign for code, sign in CONTROL.items() if code not in (9, 10)}


def lines(text: str) -> list[str]:
    """The lines of ``text`` without control characters."""
    return text.translate(_LINES).expandtabs(4).splitlines()


def shorten(text: str, characters_max: int) -> str:
    """One line of ``text``, with an ellipsis where it was cut."""
    text = one_line(text)
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def local_time(at: datetime | None) -> str:
    """``2026-11-20 21:04:05 CET``: local time with its zone; empty for None."""
    if at is None:
        return ""
    local = at.astimezone()
    # Where the system knows no name of the zone, the offset says as much.
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or local.strftime('%z')}"


def iso_utc(at: datetime | None) -> str | None:
    """``2026-11-20T20:04:05.123456Z``, for programs."""
    return None if at is None else at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def fine_duration(seconds: float) -> str:
    """``0.017 ms``, ``25.8 ms``, then as ``duration``: for what may take next to no time."""
    if seconds >= 1:
        return duration(seconds)
    milliseconds = 1000 * max(seconds, 0)
    return f"{milliseconds:.1f} ms" if milliseconds >= 1 else f"{milliseconds:.3f} ms"


def duration(seconds: float | None) -> str:
    """``0.41 s``, ``12.3 s``, ``4 min 12 s``, ``2 h 3 min``, ``3 d 4 h``; empty for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min {rest_s} s"


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def between(low_s: float, high_s: float) -> str:
    """``4 to 6 min``, ``1.5 to 2.5 h``, ``about 3 d``: an estimate, in one unit."""
    unit_s, name = next((u for u in _UNITS if high_s >= 2 * u[0]), _UNITS[-1])
    if high_s < 1:
        return "under 1 s"
    digits = 1 if unit_s >= 3_600 and high_s < 10 * unit_s else 0
    low, high = (f"{seconds / unit_s:.{digits}f}" for seconds in (low_s, high_s))
    return f"about {high} {name}" if low == high else f"{low} to {high} {name}"


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """How long something took; None when it has not begun or not ended."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start).total_seconds())


def count(number: int | float) -> str:
    """``336,776``; a fraction keeps two digits."""
    return f"{number:,.2f}" if isinstance(number, float) else f"{number:,}"


def how_many(number: int, noun: str) -> str:
    """``1 item``, ``3 items``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def rate(per_s: float | None) -> str:
    """``5,100/s``, ``3.2/s``, ``4.1/min``; empty for None."""
    if per_s is None:
        return ""
    if per_s >= 10:
        return f"{per_s:,.0f}/s"
    if per_s >= 1:
        return f"{per_s:.1f}/s"
    return f"{per_s * 60:.1f}/min"


def size(size_bytes: int) -> str:
    """``4,096 bytes``, ``1.2 MB``."""
    if size_bytes < 100_000:
        return f"{size_bytes:,} bytes"
    if size_bytes < 1_000_000_000:
        return f"{size_bytes / 1_000_000:,.1f} MB"
    return f"{size_bytes / 1_000_000_000:,.1f} GB"
