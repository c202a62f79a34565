"""Each recorded key goes to the shard where the real twemproxy or Jedis placed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.placement import Placement
from cachemesh.core.placement.route_table import RouteTable

VECTORS = Path(__file__).parents[5] / "shared" / "vectors"


def vectors(name: str) -> list[dict[str, Any]]:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the vectors are not there: {path}")
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("name", "placements"), [("twemproxy.json", 28), ("jedis.json", 12)])
def test_keys_go_where_the_other_program_sent_them(name: str, placements: int) -> None:
    found = vectors(name)
    assert len(found) >= placements
    for vector in found:
        placement = Placement.from_dict(vector["placement"])
        route_table = RouteTable(placement, {shard: shard.upper() for shard in placement.names})
        assert len(vector["keys"]) >= 40
        chosen = [[key, placement.shard_for(key)] for key, _ in vector["keys"]]
        assert chosen == vector["keys"], placement
        assert [route_table.find(key.encode()) for key, _ in chosen] == [
            s.upper() for _, s in chosen
        ]
        assert placement.to_dict() == vector["placement"]
