"""What the preview of a change shows of the keys that will move."""

from __future__ import annotations

from typing import Any

from dashboard.planned_move import planned_move


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"estimate": value, "low": low, "high": high}


def plan(**changes: Any) -> dict[str, Any]:
    migration = {
        "keys": estimate(13_380, 13_195, 13_566),
        "bytes": None,
        "pairs": [
            {
                "source": "a",
                "target": "c",
                "keys": estimate(6_731, 6_600, 6_863),
                "bytes": estimate(1_468_006, 1_468_006, 1_468_006),
            }
        ],
        "sources": [
            {"shard": "a", "keys": 20_000, "looked_at": 10_000, "complete": False, "error": None}
        ],
        "big_key": 1 << 20,
        "big_keys": [
            {
                "key": "report\n" + 80 * "x",
                "bytes": 3 << 20,
                "type": "string",
                "source": "a",
                "target": "c",
                "blocks_seconds": 0.012,
            }
        ],
        "memory": [
            {
                "shard": "c",
                "used": 1 << 20,
                "after": estimate(2 << 20, 1 << 20, 3 << 20),
                "maxmemory": 2 << 20,
                "policy": "noeviction",
                "error": None,
            },
            {
                "shard": "d",
                "used": None,
                "after": None,
                "maxmemory": None,
                "policy": None,
                "error": "Connection refused",
            },
        ],
        "seconds": estimate(0.61, 0.6, 0.62),
        "rests_on": "",
        "feel": ["commands are held"],
    }
    return {
        "moved_slots": 2_730,
        "moves": [{"source": "a", "target": "c", "slots": 2_730, "share": 0.1666}],
        "migration": {**migration, **changes},
    }


def test_estimates_have_bounds_and_what_is_exact_or_unknown_has_none() -> None:
    found = planned_move(plan())
    assert found is not None
    assert (found.keys.text, found.keys.bounds) == ("13,380", "13,195 to 13,566")
    assert (found.bytes.text, found.bytes.bounds) == ("\N{EN DASH}", "")
    (pair,) = found.pairs
    assert (pair.amount, pair.bytes.text, pair.bytes.bounds) == ("2,730", "1.4 MiB", "")
    assert found.looked_at.startswith("10,000 of 20,000 keys were looked at; there may be more")


def test_where_placements_have_no_slots_parts_of_the_keys_are_told() -> None:
    found = planned_move({**plan(), "moved_slots": 0})
    assert found is not None
    assert (found.in_slots, found.pairs[0].amount) == (False, "16.7%")


def test_a_shard_that_may_need_more_than_it_has_stands_out() -> None:
    found = planned_move(plan())
    assert found is not None
    assert [(shard.shard, shard.full) for shard in found.memory] == [("c", True), ("d", False)]
    assert found.memory[1].most == "\N{EN DASH}", "nobody told it"


def test_a_key_is_shown_without_what_a_page_cannot_show() -> None:
    found = planned_move(plan())
    assert found is not None
    (key,) = found.big_keys
    assert key.key.startswith("report\N{REPLACEMENT CHARACTER}xxx") and len(key.key) == 61
    assert key.blocks == "12 ms"


def test_when_all_keys_were_looked_at_it_says_so() -> None:
    sources = [{"shard": "a", "keys": 5, "looked_at": 5, "complete": True, "error": None}]
    found = planned_move(plan(sources=sources))
    assert found is not None and found.looked_at.startswith("All 5 keys")


def test_a_shard_that_could_not_be_looked_at_is_named() -> None:
    sources = [
        {"shard": "a", "keys": 5, "looked_at": 5, "complete": True, "error": None},
        {"shard": "b", "keys": None, "looked_at": 0, "complete": False, "error": "refused"},
    ]
    found = planned_move(plan(sources=sources))
    assert found is not None and found.looked_at == "5 keys were looked at, none of b."


def test_a_change_that_moves_no_keys_has_none() -> None:
    assert planned_move({**plan(), "migration": None}) is None
    assert planned_move({"moved_slots": 0, "moves": []}) is None
