"""Whether anything is at the address of an instance that an operator takes for gone.

An instance that answers, with whatever error, has its data. So has one that accepts connections and
does not answer: once it goes on, it carries out what it was asked for before.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Collection

import redis

from cachemesh.core.errors import CacheMeshError
from metaserver.process.config import Config
from metaserver.redis_io.allowed_networks import AllowedNetworks, InstanceRejected
from metaserver.redis_io.bounded_connection import BoundedConnection, ask_all, reason_of

ANSWERS = "answers"
HANGS = "accepts connections, and does not answer"


class PresenceCheck:
    """Tells at which addresses something is."""

    def __init__(self, config: Config, networks: AllowedNetworks) -> None:
        self._networks = networks
        self._auth = config.redis_auth
        self._timeout = config.instance_timeout

    def at(self, addresses: Collection[str]) -> dict[str, str]:
        """Return each address at which something may be -> what is known of it.

        Nothing is there if it cannot be connected to, or closes the connection without a reply.
        All are asked at once.
        """
        auth, timeout = self._auth, self._timeout
        asked = {each: BoundedConnection(each, self._networks, auth, timeout) for each in addresses}
        found = ask_all(asked, self._presence, within=3 * timeout)
        for connection in asked.values():
            connection.close()
        there = {
            address: HANGS if isinstance(each, redis.RedisError) else each
            for address, each in found.items()
        }
        return {address: each for address, each in there.items() if each is not None}

    def _presence(self, connection: BoundedConnection) -> str | None:
        try:
            connection.call("PING")
        except redis.TimeoutError:
            return HANGS if self._accepts(connection.address) else None
        except redis.ConnectionError as error:
            if type(error) is not redis.ConnectionError:
                return ANSWERS  # such as with LOADING or NOAUTH
            return None if _is_of_nobody(error) else f"cannot be asked ({reason_of(error)})"
        except redis.RedisError:
            return ANSWERS
        return ANSWERS

    def _accepts(self, address: str) -> bool:
        """Return whether a server, even one that is frozen, has a connection accepted."""
        with contextlib.suppress(OSError, CacheMeshError):
            self._networks.connect(address, timeout=self._timeout).close()
            return True
        return False


def _is_of_nobody(error: redis.ConnectionError) -> bool:
    """Return whether a failure tells that nothing is at an address, and not that nobody may ask."""
    cause = error.__cause__
    if isinstance(cause, InstanceRejected):
        return cause.reason != "address-not-allowed"
    return not isinstance(cause, OSError) or cause.errno not in (errno.EMFILE, errno.ENFILE)
