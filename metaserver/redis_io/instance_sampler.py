"""Asking the instances of a pool for INFO, and keeping what they said a few seconds ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Mapping

import redis

from metaserver.domain.status import Sample
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import Link, ask_all, reason_of
from metaserver.redis_io.reply_parsers import parse_info

RATE_WINDOW = 5.0
"""Seconds over which operations per second and the hit ratio are averaged."""

COUNTERS = ("run_id", "total_commands_processed", "keyspace_hits", "keyspace_misses")
"""The fields of INFO that rates come from, which is all that is kept of earlier samples."""

AT_ONCE = 0.5
"""Seconds within which a connection that is cut is opened again, and asked once more."""


class Instances:
    """Connections to instances, and what they last said."""

    def __init__(self, config: Config, networks: AllowedNetworks) -> None:
        self._config = config
        self.networks = networks
        self._links: dict[str, Link] = {}
        self._history: dict[str, deque[Sample]] = {}

    def sample(self, addresses: set[str]) -> dict[str, Sample]:
        """INFO of every address, all at once."""
        links, samples = {address: self._link(address) for address in addresses}, {}
        answers = ask_all(links, _info, within=self._config.instance_timeout)
        for address, answer in answers.items():
            if isinstance(answer, redis.RedisError):
                self._drop(address)
                samples[address] = Sample(address, time.monotonic(), error=reason_of(answer))
            else:
                at, info = answer
                samples[address] = Sample(address, at, info)
                self._remember(samples[address])
        return samples

    def earlier(self, samples: Mapping[str, Sample]) -> dict[str, Sample]:
        """For each address the oldest sample of the last RATE_WINDOW seconds."""
        found = {}
        for address in samples:
            history = self._history.get(address)
            if history:
                found[address] = history[0]
        return found

    def keep_only(self, addresses: Collection[str]) -> None:
        """Let go of every other instance: a hostile master may name new replicas each time."""
        for address in self._links.keys() - set(addresses):
            self._drop(address)

    def close(self) -> None:
        """Close every connection."""
        self.keep_only(())

    def _link(self, address: str) -> Link:
        link = self._links.get(address)
        if link is None:
            config = self._config
            link = Link(address, self.networks, config.redis_auth, config.instance_timeout)
            self._links[address] = link
        return link

    def _drop(self, address: str) -> None:
        link = self._links.pop(address, None)
        if link is not None:
            link.close()
        self._history.pop(address, None)

    def _remember(self, sample: Sample) -> None:
        history = self._history.setdefault(sample.address, deque())
        counters = {name: sample.info[name] for name in COUNTERS if name in sample.info}
        history.append(Sample(sample.address, sample.at, counters))
        while len(history) > 2 and sample.at - history[1].at >= RATE_WINDOW:
            history.popleft()


def _info(link: Link) -> tuple[float, dict[str, str]]:
    """INFO and when it came, asked again if the connection is cut in the midst.

    Sentinel cuts every connection of an instance that it makes a master or a replica. `ask_all`
    cuts one that took all its time, which is not asked again.
    """
    began = time.monotonic()
    try:
        reply = link.call("INFO")
    except redis.ConnectionError as error:
        if type(error) is not redis.ConnectionError or time.monotonic() - began > AT_ONCE:
            raise
        reply = link.call("INFO")
    info = parse_info(reply)
    return time.monotonic(), info
