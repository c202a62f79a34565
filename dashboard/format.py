"""Formats numbers, sizes and times for operators. The functions are also Jinja filters."""

from __future__ import annotations

from datetime import datetime, timezone

FILTERS = (
    *("number", "size", "percent", "rate", "latency"),
    *("ago", "lasting", "duration", "stamp", "clock", "day_clock", "parse_time", "sentence"),
)
UNKNOWN = "\N{EN DASH}"
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def number(value: float | None) -> str:
    """Format a number: 12,345; below 10 with one decimal, if the number is not whole."""
    if value is None:
        return UNKNOWN
    if value != int(value) and abs(value) < 10:
        return f"{value:.1f}"
    return f"{round(value):,}"


def size(value: float | None) -> str:
    """Format bytes in a binary unit, with at most four characters before it: 1.4 MiB, 1.0 GiB."""
    if value is None:
        return UNKNOWN
    scaled, unit = float(value), 0
    while scaled >= 1000 and unit < len(_SIZES) - 1:
        scaled, unit = scaled / 1024, unit + 1
    return f"{scaled:.0f} {_SIZES[unit]}" if unit == 0 else f"{scaled:.1f} {_SIZES[unit]}"


def percent(value: float | None, digits: int = 1) -> str:
    """Format a ratio (0 to 1) as a percentage; never round up to 100 or down to 0."""
    if value is None:
        return UNKNOWN
    shown = value * 100
    text = f"{shown:.{digits}f}"
    if shown < 100 and float(text) >= 100:
        text = f"{100 - 10**-digits:.{digits}f}"
    if shown > 0 and float(text) <= 0:
        return f"<{10**-digits:.{digits}f}%"
    return f"{text}%"


def rate(value: float) -> str:
    """Format a number per second: 1,204, 1.2, 0.03; what is not 0 is never shown as 0."""
    if value >= 10:
        return f"{round(value):,}"
    text = f"{value:.1f}" if value >= 1 else f"{value:.2f}"
    if float(text) == 0:
        return "<0.01" if value > 0 else "0"
    return text.rstrip("0").rstrip(".")


def latency(seconds: float | None) -> str:
    """Format a latency, which is known to an eighth: 0.21 ms, 1.4 ms, 140 ms, 1.4 s."""
    if seconds is None:
        return UNKNOWN
    value, unit = (seconds * 1000, "ms") if seconds < 0.9995 else (seconds, "s")
    return f"{value:.2g} {unit}" if value < 9.95 else f"{round(value):,} {unit}"


def parse_time(text: str) -> datetime | None:
    """Parse an RFC 3339 time into an aware datetime in UTC; return None if it is not one."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    return moment.astimezone(timezone.utc)


def ago(moment: datetime, now: datetime) -> str:
    """Format a past time: `now`, `12 s ago`, `5 min ago`, `3 h ago`, `2 d ago`.

    static/app.js formats times in the same way.
    """
    if (now - moment).total_seconds() < 2:
        return "now"
    return f"{lasting(moment, now)} ago"


def lasting(since: datetime, now: datetime) -> str:
    """Format how long something lasts: `0 s`, `12 s`, `5 min`, `3 h`, `2 d`; app.js does so too."""
    seconds = max(0, int((now - since).total_seconds()))
    for limit, step, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // step} {unit}"
    return f"{seconds // 86400} d"


def duration(seconds: float | None) -> str:
    """Format a duration: `45 s`, `12 min`, `3 h`, `9 d`."""
    if seconds is None:
        return UNKNOWN
    for limit, step, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds) // step} {unit}"
    return f"{int(seconds) // 86400} d"


def stamp(moment: datetime) -> str:
    """Format a time for the attribute of `<time datetime>`."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(moment: datetime) -> str:
    """Format the time of day in UTC, as in logs."""
    return moment.astimezone(timezone.utc).strftime("%H:%M:%S UTC")


def day_clock(moment: datetime) -> str:
    """Format day and time of day in UTC."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def sentence(text: str) -> str:
    """Format words as a sentence: with a capital, and one full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
