"""The connections in a reply to CLIENT LIST, by app."""

from __future__ import annotations

import pytest

from metaserver.redis_io.open_connections import LARGE_OUTPUT, OpenConnections, parse_connections
from metaserver.redis_io.reply_parsers import NotRedisError


def line(number: int, name: str = "", **fields: object) -> str:
    """Return a line as Redis 7 writes it, with other values for some of its fields."""
    usual: dict[str, object] = {
        "id": number,
        "addr": f"10.0.0.9:{number}",
        "laddr": "10.0.0.1:6379",
        "name": name,
        "age": 100,
        "idle": number,
        "flags": "N",
        "sub": 0,
        "psub": 0,
        "ssub": 0,
        "obl": 0,
        "oll": 0,
        "omem": 0,
        "cmd": "get",
        "user": "app",
        "lib-name": "",
    }
    return " ".join(f"{key}={value}" for key, value in (usual | fields).items())


def parsed(*lines: str, limit: int = 20) -> OpenConnections:
    return parse_connections("\n".join([*lines, ""]).encode(), limit)


def test_those_of_an_app_are_one_group_whichever_of_its_clients_has_opened_them() -> None:
    found = parsed(
        line(3, "cachemesh:0123456789ab:shop", omem=30),
        line(7, "cachemesh:cdef01234567:shop", addr="10.0.0.8:7", user="web", obl=10),
        line(5, "cachemesh:0123456789ab:shop", flags="b", cmd="blpop"),
        line(4, "cachemesh:0123456789ab"),
        line(6, "cachemesh:0123456789ab:shop", flags="P", sub=2, psub=1),
    )
    assert found.count == 5
    shop, unnamed = found.groups
    assert shop.to_dict() == {
        "owner": "app",
        "name": "shop",
        "connections": 4,
        "clients": 2,
        "hosts": 2,
        "users": ["app", "web"],
        "idle_seconds": 7,
        "output_bytes": 40,
        "blocked": 1,
        "subscribed": 1,
    }
    assert (unnamed.owner, unnamed.name, unnamed.connections) == ("app", "", 1)


def test_everybody_else_is_told_apart() -> None:
    found = parsed(
        *(line(1, "cachemesh-term:17"), line(2, "cachemesh-term:18")),
        *(line(3, "sentinel-0123-cmd"), line(4, "sentinel-4567-pubsub", flags="P", sub=1)),
        *(line(5, flags="S"), line(6, flags="M")),
        *(line(7, "reports", **{"lib-name": "jedis"}), line(8, **{"lib-name": "redis-py"})),
        line(9),
    )
    assert [(each.owner, each.name, each.connections) for each in found.groups] == [
        *(("metaserver", "", 2), ("sentinel", "", 2), ("master", "", 1)),
        *(("other", "", 1), ("other", "redis-py", 1), ("other", "reports", 1)),
        ("replica", "", 1),
    ]


def test_the_longest_idle_and_the_largest_output_come_first() -> None:
    large = LARGE_OUTPUT
    found = parsed(
        line(1, idle=5, omem=large - 1),
        line(2, "cachemesh:0123456789ab:shop", idle=900, omem=large, age=1000),
        line(3, idle=70, obl=1, omem=large),
        line(4, "sentinel-0123-cmd", idle=9999),
        limit=2,
    )
    assert [each.id for each in found.idle] == [2, 3]
    assert [each.id for each in found.large_output] == [3, 2]
    assert found.idle[0].to_dict() == {
        "id": 2,
        "owner": "app",
        "name": "shop",
        "client": "0123456789ab",
        "address": "10.0.0.9:2",
        "user": "app",
        "command": "get",
        "age_seconds": 1000,
        "idle_seconds": 900,
        "output_bytes": large,
        "blocked": False,
        "subscribed": 0,
    }


def test_what_a_hostile_instance_tells_is_bounded_and_printable() -> None:
    names = [f"n{number}" for number in range(150)]
    found = parsed(
        *(line(number, name) for number, name in enumerate(names, 1)),
        line(900, "\x1b[31m" + "x" * 5000, idle="-4", omem="9" * 30, age="many", cmd="y" * 999),
        *("", "no number", "id=x idle=9"),
    )
    assert (found.count, len(found.groups), found.groups_left_out) == (151, 100, 51)
    (odd,) = parsed(line(9, "\x1b" + "x" * 5000)).idle
    assert (odd.name[:2], len(odd.name)) == ("\ufffdx", 100)
    (odd,) = parsed(line(900, idle="-4", omem="9" * 30, age="many", cmd="y" * 999)).idle
    assert (odd.idle_seconds, odd.output_bytes, odd.age_seconds) == (0, 0, 0)
    assert len(odd.command) == 100
    (bare,) = parsed("id=11").idle
    assert (bare.owner, bare.address, bare.idle_seconds) == ("other", "", 0)


@pytest.mark.parametrize("reply", [None, 7, [b"id=1"]])
def test_what_is_no_list_of_connections(reply: object) -> None:
    with pytest.raises(NotRedisError):
        parse_connections(reply, 20)
