"""One instance of a shard, as a planned failover needs it."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from cachemesh.core.names import Address, parse_address
from metaserver.redis_io.allowed_networks import AllowedNetworks
from metaserver.redis_io.connection import Link, RedisAuth, reason_of
from metaserver.redis_io.reply_parsers import NotRedisError, parse_role, whole, word

FENCE = "min-replicas-to-write"
PRIORITY = "replica-priority"

# right -> a command that needs it. Where one can be wrong, so that it would fail if it ran, it is.
_RIGHTS: dict[str, tuple[str | int, ...]] = {
    "+role": ("ROLE",),
    "+replicaof": ("REPLICAOF", "host", "port"),
    "+client|pause": ("CLIENT", "PAUSE", "milliseconds", "WRITE"),
    "+client|unpause": ("CLIENT", "UNPAUSE"),
    "+config|get": ("CONFIG", "GET", FENCE),
    "+config|set": ("CONFIG", "SET", FENCE, -1),
    "+config|rewrite": ("CONFIG", "REWRITE"),
}


@dataclass(frozen=True)
class Standing:
    """What ROLE says, with offsets in bytes; `replicas` of a master: address -> offset."""

    role: str
    offset: int
    master: str | None
    link: str | None
    replicas: dict[str, int]

    @classmethod
    def of(cls, reply: object) -> Standing:
        """From the reply. Raises NotRedisError if it is not a reply to ROLE."""
        role = parse_role(reply)
        items = reply if isinstance(reply, list) else []
        if role.role == "replica" and len(items) > 4:
            return cls("replica", whole(items[4]), role.master, role.link, {})
        if role.role != "master" or len(items) < 3 or not isinstance(items[2], list):
            raise NotRedisError(f"ROLE says {role.role!r}")
        return cls("master", whole(items[1]), None, None, dict(map(_attached, items[2])))


class Instance:
    """An instance that Sentinel knows by `address`; each method raises `redis.RedisError`.

    `target` is the address to connect to, in the networks.
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
        self.link = Link(target, networks, auth, timeout)

    def standing(self) -> Standing:
        """Its role and offset now."""
        return Standing.of(self.link.call("ROLE"))

    def pause(self, milliseconds: int) -> None:
        """Have all writes wait; of two pauses the one that ends later counts."""
        self.link.call("CLIENT", "PAUSE", milliseconds, "WRITE")

    def pause_fenced(self, milliseconds: int, replicas: int) -> None:
        """Pause, and refuse writes afterwards while fewer replicas than these are attached."""
        for reply in self.link.call_all(
            [
                ("CLIENT", "PAUSE", milliseconds, "WRITE"),
                ("CONFIG", "SET", FENCE, replicas),
            ]
        ):
            if isinstance(reply, redis.RedisError):
                raise reply

    def unpause(self) -> None:
        """Let writes go on."""
        self.link.call("CLIENT", "UNPAUSE")

    def replicate(self, master: str) -> Standing:
        """Make it a replica of `master`; how it stands then."""
        host, port = parse_address(master)
        self.link.call("REPLICAOF", host, port)
        return self.standing()

    def promote(self) -> None:
        """Make it a master."""
        self.link.call("REPLICAOF", "NO", "ONE")

    def setting(self, name: str) -> str:
        """A value of its configuration."""
        reply = self.link.call("CONFIG", "GET", name)
        if not isinstance(reply, list) or len(reply) != 2:
            raise redis.ResponseError(f"it has no setting {name}")
        return word(reply[1])

    def set(self, name: str, value: str | int) -> None:
        """Change its configuration, until it ends or CONFIG REWRITE."""
        self.link.call("CONFIG", "SET", name, value)

    def rewrite(self) -> None:
        """Write the configuration to its file; nothing happens where it has none."""
        try:
            self.link.call("CONFIG", "REWRITE")
        except redis.ResponseError as error:
            if "without a config file" not in str(error):
                raise

    def forbidden(self) -> dict[str, str]:
        """The rights, as ACL SETUSER spells them, that its ACL denies us, and why; empty if none.

        Within MULTI a command is refused when it is queued, and nothing runs unless EXEC follows
        (https://redis.io/docs/latest/develop/using-commands/transactions/). That needs no right
        beyond those which Sentinel needs, unlike ACL DRYRUN, and no Redis 7.
        """
        try:
            self.link.call("MULTI")
            replies = self.link.call_all(list(_RIGHTS.values()))
        except redis.ResponseError as error:
            return {"+multi": reason_of(error)}
        finally:
            self.link.close()  # which throws away what was queued
        return {
            right: reason_of(reply)
            for right, reply in zip(_RIGHTS, replies, strict=True)
            if isinstance(reply, redis.ResponseError)
        }


def _attached(item: object) -> tuple[str, int]:
    if not isinstance(item, list) or len(item) != 3:
        raise NotRedisError("ROLE of a master lists something else than replicas")
    return str(Address(word(item[0]), whole(item[1]))), whole(item[2])
