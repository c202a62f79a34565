"""Placement: the pure function from a key to the name of the shard that owns it.

strategy  for                            rule
slots     new pools                      CRC16 as Redis Cluster, 16,384 slots, a table
ketama    pools shared with twemproxy    its ring: 160 MD5 points a server, scaled by weight
modula    pools shared with twemproxy    its hash value modulo the weights
jedis     pools shared with Jedis 3      ShardedJedis's ring: 160 points a weight
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
