"""Asking instances for INFO, and keeping what they said a few seconds ago."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import redis

from cachemesh.core.errors import InvalidDocumentError
from metaserver.config import Config
from metaserver.link import Link, ask_all, reason_of
from metaserver.networks import AllowedNetworks, InstanceRejected
from metaserver.replies import parse_info
from metaserver.status import Sample

RATE_WINDOW = 5.0
"""Seconds over which operations per second and the hit ratio are averaged."""


class Instances:
    """Connections to instances, and what they last said."""

    def __init__(self, config: Config, networks: AllowedNetworks) -> None:
        self._config = config
        self._networks = networks
        self._links: dict[str, Link] = {}
        self._history: dict[str, deque[Sample]] = {}

    def sample(self, addresses: set[str]) -> dict[str, Sample]:
        """INFO of every address, all at once."""
        links, samples = {}, {}
        for address in addresses:
            try:
                links[address] = self._link(address)
            except (InstanceRejected, InvalidDocumentError) as error:
                samples[address] = Sample(address, time.monotonic(), error=str(error))
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

    def prune(self) -> None:
        """Let go of instances that nobody asked about for a minute."""
        now = time.monotonic()
        for address in [a for a, h in self._history.items() if now - h[-1].at > 60.0]:
            self._drop(address)

    def _link(self, address: str) -> Link:
        link = self._links.get(address)
        if link is None:
            # An instance names its replicas itself: they get the password only if allowed.
            target = self._networks.check(address, timeout=self._config.instance_timeout)
            link = Link(target, self._config.redis_auth, self._config.instance_timeout)
            self._links[address] = link
        return link

    def _drop(self, address: str) -> None:
        link = self._links.pop(address, None)
        if link is not None:
            link.close()
        self._history.pop(address, None)

    def _remember(self, sample: Sample) -> None:
        history = self._history.setdefault(sample.address, deque())
        history.append(sample)
        while len(history) > 2 and sample.at - history[1].at >= RATE_WINDOW:
            history.popleft()


def _info(link: Link) -> tuple[float, dict[str, str]]:
    info = parse_info(link.call("INFO"))
    return time.monotonic(), info
