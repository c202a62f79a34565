"""One instance of a shard, as a planned failover needs it."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from cachemesh.core.names import Address, parse_address
from metaserver.link import Link, RedisAuth
from metaserver.replies import NotRedisError, parse_role, text, whole

FENCE = "min-replicas-to-write"
PRIORITY = "replica-priority"


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

    `target` is the address to connect to.
    """

    def __init__(self, address: str, target: str, auth: RedisAuth, timeout: float) -> None:
        self.address = address
        self.link = Link(target, auth, timeout)

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
        return text(reply[1])

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

    def forbidden(self) -> str | None:
        """What of all this its ACL would not let us do to a master, in its words; else None.

        None also from a server before Redis 7, which has no ACL DRYRUN, or one that does not
        let us ask.
        """
        try:
            user = text(self.link.call("ACL", "WHOAMI"))
            replies = self.link.call_all(
                [
                    ("ACL", "DRYRUN", user, "CLIENT", "PAUSE", 1, "WRITE"),
                    ("ACL", "DRYRUN", user, "CLIENT", "UNPAUSE"),
                    ("ACL", "DRYRUN", user, "CONFIG", "SET", FENCE, 1),
                    ("ACL", "DRYRUN", user, "REPLICAOF", "NO", "ONE"),
                ]
            )
        except redis.ResponseError:
            return None
        said = [text(reply) for reply in replies if isinstance(reply, bytes)]
        return next((words for words in said if words != "OK"), None)


def _attached(item: object) -> tuple[str, int]:
    if not isinstance(item, list) or len(item) != 3:
        raise NotRedisError("ROLE of a master lists something else than replicas")
    return str(Address(text(item[0]), whole(item[1]))), whole(item[2])
