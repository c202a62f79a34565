"""Merges INFO of several shards into one text that redis-py parses. No I/O.

In sections of counts (memory, clients, stats, CPU, commands, keyspace) numbers are added up; of
ratios, percentages and states the highest is taken. In other sections a value on which all shards
agree is kept; otherwise times give the earliest, other numbers the highest, a status the one that
is not ok, and the section Server gives the first shard's value.

Source of the names: redis.io/docs/latest/commands/info.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

_COUNTING = {
    *("clients", "memory", "stats", "cpu", "commandstats", "errorstats", "latencystats"),
    *("keyspace", "keysizes"),
}
_HIGHEST = re.compile(
    r".*(_ratio|_perc|_running|_threads_active)|client_recent_max_.*|current_.*|latest_.*"
    r"|p[0-9.]+|total_system_memory|pubsub_patterns"
)
_ADDED_ELSEWHERE = re.compile(r"rdb_changes_since_last_save|.*_saves|aof_rewrites|connected_slaves")
_LOWEST = re.compile(r"uptime_in_.*|rdb_last_save_time")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_UNITS = "BKMGTP"

Sections = dict[str, dict[str, list[str]]]


def info_of_all(replies: Sequence[Any], _: Sequence[Any]) -> Any:
    """one INFO: counts added up, ratios and states the highest, times the earliest"""
    if isinstance(replies[0], bytes):
        texts = [reply.decode("utf-8", "surrogateescape") for reply in replies]
        return _merged(texts).encode("utf-8", "surrogateescape")
    return _merged(replies)


def _merged(texts: Sequence[str]) -> str:
    lines = []
    for section, fields in _sections(texts).items():
        lines.append(f"# {section}")
        values = {name: _value(section.lower(), name, each) for name, each in fields.items()}
        for name, value in values.items():
            size = values.get(name.removesuffix("_human"), "") if name.endswith("_human") else ""
            lines.append(f"{name}:{_human(int(size)) if size.isdigit() else value}")
        lines.append("")
    return "\r\n".join(lines)


def _sections(texts: Sequence[str]) -> Sections:
    """Return section -> field -> the field's values on the shards that have it."""
    sections: Sections = {}
    for text in texts:
        fields: dict[str, list[str]] = {}
        for line in text.splitlines():
            if line.startswith("# "):
                fields = sections.setdefault(line[2:], {})
            elif ":" in line:
                # Every module has a line that begins with "module:".
                name, _, value = (
                    line.rpartition(":") if line[:7] == "module:" else line.partition(":")
                )
                fields.setdefault(name, []).append(value)
    return sections


def _value(section: str, name: str, values: list[str]) -> str:
    if "=" in values[0] and section in _COUNTING:
        return _composite(section, values)
    numbers = all(map(_NUMBER.fullmatch, values))
    if section in _COUNTING:
        if numbers:
            return _of(max if _HIGHEST.fullmatch(name) else sum, values)
        return max(values) if name.endswith("_perc") else values[0]
    if numbers and _ADDED_ELSEWHERE.fullmatch(name):
        return _of(sum, values)
    if len(set(values)) == 1:
        return values[0]
    if name.endswith("_status"):
        return next(value for value in values if value != "ok")
    if not numbers or (section == "server" and not _LOWEST.fullmatch(name)):
        return values[0]
    return _of(min if _LOWEST.fullmatch(name) else max, values)


def _of(function: Any, values: Sequence[str]) -> str:
    if any("." in value for value in values):
        digits = max(len(value.partition(".")[2]) for value in values)
        return f"{function(map(float, values)):.{digits}f}"
    return str(function(map(int, values)))


def _composite(section: str, values: Sequence[str]) -> str:
    """Merge fields such as ``calls=3,usec=12,usec_per_call=4.00`` or ``keys=5,avg_ttl=9``."""
    parts = [dict(item.partition("=")[::2] for item in value.split(",")) for value in values]
    merged: dict[str, str] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        merged[name] = _value(section, name, [part[name] for part in parts if name in part])
    calls = int(merged.get("calls", "0"))
    if calls and "usec_per_call" in merged:
        merged["usec_per_call"] = f"{int(merged['usec']) / calls:.2f}"
    expires = int(merged.get("expires", "0"))
    if expires and "avg_ttl" in merged:
        ttl = sum(int(part["avg_ttl"]) * int(part["expires"]) for part in parts)
        merged["avg_ttl"] = str(ttl // expires)
    return ",".join(f"{name}={value}" for name, value in merged.items())


def _human(size: int) -> str:
    """Return a number of bytes as Redis writes it: 512B, 967.09K, 1.10M."""
    power = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size}B" if power == 0 else f"{size / 1024**power:.2f}{_UNITS[power]}"
