"""Rights of the metaserver's user, renamed commands, and who may log in.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metaserver.domain.diagnosis.facts import InstanceFacts, PoolFacts
from metaserver.domain.diagnosis.finding import Finding, redis_cli
from metaserver.domain.diagnosis.settings import listens_beyond_loopback, says_no

FOR_WORK: Mapping[str, tuple[str, ...]] = {
    "planned failovers": (
        *("+multi", "+discard", "+role", "+replicaof", "+client|pause", "+client|unpause"),
        *("+config|get", "+config|set", "+config|rewrite"),
    ),
    "failovers by Sentinel, which logs in as this user": (
        *("+exec", "+slaveof", "+publish", "+subscribe", "+script|kill", "+client|setname"),
        *("+client|kill", "&*"),
    ),
    "moving keys": (
        *("+select", "+scan", "+exists", "+get", "+set", "+del", "+unlink", "+time", "+migrate"),
        *("+restore", "+wait", "+client|list", "+client|kill", "+type", "+memory|usage", "+eval"),
        *("+watch", "+unwatch", "~*"),
    ),
    "its status": ("+ping", "+info"),
}
"""What a metaserver does -> the ACL rights without which that fails."""

AT_SENTINELS: tuple[str, ...] = ("+sentinel", "+publish", "+info", "+ping")


def lacking_rights(pool: PoolFacts) -> Iterator[Finding]:
    """Find rights that the metaserver's user lacks at instances."""
    for each in pool.answering:
        if each.lacking:
            rights = " ".join(each.lacking)
            yield Finding(
                "rights-missing",
                "error",
                each.shard,
                each.address,
                f"user {pool.user} lacks {rights}",
                f"what is refused, at the moment at which it is needed: {_fails(each.lacking)}",
                _granting(each, pool.user, tuple(each.lacking)),
            )


def _granting(at: InstanceFacts, user: str, rights: tuple[str, ...]) -> str:
    """Return how to grant rights to a user for good; a users file is changed by hand.

    ACL SAVE would replace the passwords in it by their digests.
    """
    step, file = redis_cli(at.address, "ACL", "SETUSER", user, *rights), at.settings.get("aclfile")
    if file:
        load = redis_cli(at.address, "ACL", "LOAD")
        return f"on its machine add {' '.join(rights)} to the end of user {user} in {file}; {load}"
    if file is None:  # CONFIG GET is refused
        return f"{step}; and the same in its aclfile, or without one CONFIG REWRITE"
    return f"{step}; then CONFIG REWRITE"


def _fails(lacking: Mapping[str, str]) -> str:
    return "; ".join(
        work for work, rights in FOR_WORK.items() if any(right in lacking for right in rights)
    )


def lacking_rights_at_sentinels(pool: PoolFacts) -> Iterator[Finding]:
    """Find rights that the metaserver's user lacks at Sentinels."""
    for each in pool.awake:
        if each.lacking:
            rights = " ".join(each.lacking)
            rules = (*AT_SENTINELS, "allchannels")
            step = redis_cli(each.address, "ACL", "SETUSER", pool.sentinel_user, *rules)
            yield Finding(
                "sentinel-rights-missing",
                "error",
                None,
                each.address,
                f"user {pool.sentinel_user} lacks {rights}",
                "shards cannot be added, removed or repaired there, and planned failovers fail",
                f"{step}; and the same in its aclfile, or without one SENTINEL FLUSHCONFIG",
            )


def renamed_commands(pool: PoolFacts) -> Iterator[Finding]:
    """Find commands that a server does not know by their names."""
    for each in pool.answering:
        if each.unknown:
            yield Finding(
                "command-renamed",
                "error",
                each.shard,
                each.address,
                f"{', '.join(each.unknown)}: unknown command (rename-command)",
                "Sentinel and metaservers send these by their names: failovers, planned or not, or "
                "the moving of keys fail where they are needed",
                "delete the rename-command lines from its redis.conf, start it again, and let ACL "
                "users keep others from these commands",
            )


def open_to_anybody(pool: PoolFacts) -> Iterator[Finding]:
    """Find servers that obey anybody who reaches them from another machine."""
    for each in pool.answering:
        if each.anybody and listens_beyond_loopback(each):
            off = says_no(each, "protected-mode")
            yield Finding(
                "open-to-anybody",
                "warning",
                each.shard,
                each.address,
                f"no password, bind {each.settings.get('bind') or '*'}, protected-mode "
                f"{'no' if off else 'yes'}",
                "whoever reaches this port reads, changes and deletes every key, and with CONFIG "
                "SET writes files of the machine",
                "give every program a user (deploy/redis/README.md), and then: "
                f"{redis_cli(each.address, 'ACL', 'SETUSER', 'default', 'off')}; until then let "
                "nobody but apps, Sentinels and metaservers reach it",
            )


def token_file(pool: PoolFacts) -> Iterator[Finding]:
    """Find a metaserver's token file that others may read."""
    mode = pool.token_file_mode
    if mode is not None and mode & 0o077:
        yield Finding(
            "token-file-readable",
            "warning",
            None,
            None,
            f"{pool.token_file} has the mode {mode & 0o777:04o} on the metaserver's machine",
            "other users of that machine may read the admin's token, and with it change or delete "
            "every pool",
            f"chmod 600 {pool.token_file}; cachemesh token rotate gives the token another text",
        )
