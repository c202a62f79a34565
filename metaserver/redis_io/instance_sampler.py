"""INFO of a pool's instances, and their counters of a few seconds ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping

import redis

from metaserver.domain.status import InstanceSample
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.late_answers import LateAnswers
from metaserver.redis_io.reply_parsers import parse_info

RATE_WINDOW = 5.0
"""Seconds over which operations per second and the hit ratio are averaged."""

COUNTERS = ("run_id", "total_commands_processed", "keyspace_hits", "keyspace_misses")
"""The fields of INFO that rates are computed from; no others are kept of earlier samples."""

CUT_WITHIN = 0.5
"""A connection that is cut within so many seconds is opened again, and asked once more."""


class InstanceSampler:
    """Connections to the instances of a pool, and their earlier samples."""

    def __init__(self, config: Config, networks: AllowedNetworks) -> None:
        self._config = config
        self.networks = networks
        self._connections: dict[str, BoundedConnection] = {}
        self._history: dict[str, deque[InstanceSample]] = {}
        self._late: LateAnswers[tuple[float, dict[str, str]]] = LateAnswers()

    def sample(self, addresses: set[str]) -> dict[str, InstanceSample]:
        """Return a sample of every address, all asked at once; one that hangs delays it once."""
        connections, samples = {address: self._connection(address) for address in addresses}, {}
        answers = self._late.ask_all(connections, _info, within=self._config.instance_timeout)
        for address, answer in answers.items():
            if isinstance(answer, redis.RedisError):
                self._drop(address)
                samples[address] = InstanceSample(
                    address, time.monotonic(), error=reason_of(answer)
                )
            else:
                at, info = answer
                samples[address] = InstanceSample(address, at, info)
                self._remember(samples[address])
        return samples

    def earlier(self, samples: Mapping[str, InstanceSample]) -> dict[str, InstanceSample]:
        """Return for each address its oldest sample of the last RATE_WINDOW seconds, if any."""
        return {at: history[0] for at in samples if (history := self._history.get(at))}

    def keep_only(self, addresses: Collection[str]) -> None:
        """Disconnect from all other instances: a hostile master may name new replicas each time."""
        self._late.keep_only(addresses)
        for address in self._connections.keys() - set(addresses):
            self._drop(address)

    def close(self) -> None:
        """Close every connection."""
        self.keep_only(())
        self._late.close()

    def _connection(self, address: str) -> BoundedConnection:
        connection = self._connections.get(address)
        if connection is None:
            config = self._config
            connection = BoundedConnection(
                address, self.networks, config.redis_auth, config.instance_timeout
            )
            self._connections[address] = connection
        return connection

    def _drop(self, address: str) -> None:
        self._history.pop(address, None)
        if address in self._late:  # somebody asks over its connection
            return
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection.close()

    def _remember(self, sample: InstanceSample) -> None:
        history = self._history.setdefault(sample.address, deque())
        counters = {name: sample.info[name] for name in COUNTERS if name in sample.info}
        history.append(InstanceSample(sample.address, sample.at, counters))
        while len(history) > 2 and sample.at - history[1].at >= RATE_WINDOW:
            history.popleft()


def _info(connection: BoundedConnection) -> tuple[float, dict[str, str]]:
    """Return INFO and when it came; ask again if the connection is cut meanwhile.

    Sentinel cuts every connection of an instance that it makes a master or a replica. An instance
    that `ask_all` cut off, as it took all its time, is not asked again.
    """
    began = time.monotonic()
    try:
        reply = connection.call("INFO")
    except redis.ConnectionError as error:
        if type(error) is not redis.ConnectionError or time.monotonic() - began > CUT_WITHIN:
            raise
        reply = connection.call("INFO")
    info = parse_info(reply)
    return time.monotonic(), info
