"""Placement: the pure function from a key to the name of the shard that owns it.

strategy  for                            rule
slots     new pools                      CRC16 as Redis Cluster, 16,384 slots, a table
ketama    pools shared with twemproxy    its ring: 160 MD5 points a server, scaled by weight
modula    pools shared with twemproxy    its hash value modulo the weights
jedis     pools shared with Jedis 3      ShardedJedis's ring: 160 points a weight

- `base`: the interface. `slots`, `twemproxy`, `jedis`: the strategies.
- `hash_based`, `ring`, `hash_functions`, `slot_allocation`: what strategies are made of.
- `keys`: a key's bytes, hash tag and slot. `route_table`: from a key to its shard's target.
- `diff`: the keys that a change of placement moves.
"""

from cachemesh.core.placement.base import MAX_SHARDS, MAX_WEIGHT, Overlap, Placement, Shard
from cachemesh.core.placement.diff import Move, Moves, moves
from cachemesh.core.placement.jedis import JedisPlacement
from cachemesh.core.placement.slots import SlotsPlacement
from cachemesh.core.placement.twemproxy import KetamaPlacement, ModulaPlacement

__all__ = [
    "MAX_SHARDS",
    "MAX_WEIGHT",
    "JedisPlacement",
    "KetamaPlacement",
    "ModulaPlacement",
    "Move",
    "Moves",
    "Overlap",
    "Placement",
    "Shard",
    "SlotsPlacement",
    "moves",
]
