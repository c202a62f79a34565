"""An instance that takes part in a planned failover, and the commands that it gets."""

from __future__ import annotations

import redis

from cachemesh.core.names import parse_address
from cachemesh.core.reads.replication_status import RoleReply
from metaserver.process.config import RedisAuth
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.bounded_connection import BoundedConnection, reason_of
from metaserver.redis_io.reply_parsers import parse_role, word

FENCE = "min-replicas-to-write"
PRIORITY = "replica-priority"

# ACL right -> a command that needs it, with wrong arguments where possible: it must not run.
_RIGHTS: dict[str, tuple[str | int, ...]] = {
    "+role": ("ROLE",),
    "+replicaof": ("REPLICAOF", "host", "port"),
    "+client|pause": ("CLIENT", "PAUSE", "milliseconds", "WRITE"),
    "+client|unpause": ("CLIENT", "UNPAUSE"),
    "+config|get": ("CONFIG", "GET", FENCE),
    "+config|set": ("CONFIG", "SET", FENCE, -1),
    "+config|rewrite": ("CONFIG", "REWRITE"),
}


class ParticipantInstance:
    """An instance that takes part; each method raises `redis.RedisError`.

    Args:
        address: by which Sentinel knows the instance.
        target: the same with the host as an IP address, to connect to.
    """

    def __init__(
        self,
        address: str,
        target: str,
        networks: AllowedNetworks,
        auth: RedisAuth,
        timeout: float,
    ) -> None:
        self.address = address
        self.connection = BoundedConnection(
            target, networks, auth, timeout, certified=parse_address(address).host
        )

    def ask_role(self) -> RoleReply:
        """Return the instance's role and offset now."""
        return parse_role(self.connection.call("ROLE"))

    def pause(self, milliseconds: int) -> None:
        """Make all writes wait. Of two pauses, the one that ends later counts."""
        self.connection.call("CLIENT", "PAUSE", milliseconds, "WRITE")

    def pause_fenced(self, milliseconds: int, replicas: int) -> None:
        """Pause writes, and refuse them afterwards while fewer than `replicas` are attached."""
        for reply in self.connection.call_all(
            [
                ("CLIENT", "PAUSE", milliseconds, "WRITE"),
                ("CONFIG", "SET", FENCE, replicas),
            ]
        ):
            if isinstance(reply, redis.RedisError):
                raise reply

    def unpause(self) -> None:
        """Let writes go on."""
        self.connection.call("CLIENT", "UNPAUSE")

    def replicate(self, master: str) -> RoleReply:
        """Make the instance a replica of `master`, and return its role then."""
        host, port = parse_address(master)
        self.connection.call("REPLICAOF", host, port)
        return self.ask_role()

    def promote(self) -> None:
        """Make the instance a master."""
        self.connection.call("REPLICAOF", "NO", "ONE")

    def setting(self, name: str) -> str:
        """Return the value of a configuration parameter."""
        reply = self.connection.call("CONFIG", "GET", name)
        if not isinstance(reply, list) or len(reply) != 2:
            raise redis.ResponseError(f"it has no setting {name}")
        return word(reply[1])

    def set(self, name: str, value: str | int) -> None:
        """Set a configuration parameter, until the server ends unless `rewrite` follows."""
        self.connection.call("CONFIG", "SET", name, value)

    def rewrite(self) -> None:
        """Write the configuration to the server's file, if it has one."""
        try:
            self.connection.call("CONFIG", "REWRITE")
        except redis.ResponseError as error:
            if "without a config file" not in str(error):
                raise

    def forbidden(self) -> dict[str, str]:
        """Return the rights that the metaserver's user lacks, as ACL SETUSER spells them, and why.

        Within MULTI a denied command is refused when it is queued, and nothing runs without EXEC.
        Unlike ACL DRYRUN, this needs no right beyond those that Sentinel needs, and no Redis 7.
        Source: https://redis.io/docs/latest/develop/using-commands/transactions/.
        """
        try:
            self.connection.call("MULTI")
            replies = self.connection.call_all(list(_RIGHTS.values()))
        except redis.ResponseError as error:
            return {"+multi": reason_of(error)}
        finally:
            self.connection.close()  # which discards the queue
        return {
            right: reason_of(reply)
            for right, reply in zip(_RIGHTS, replies, strict=True)
            if isinstance(reply, redis.ResponseError)
        }
