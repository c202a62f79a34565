"""A client that has only the rights at Sentinel that Redis documents as needed.

Source: redis.io, "High availability with Redis Sentinel", section "Sentinel Access Control List
authentication": the profile of a Sentinel-restricted user.
"""

from __future__ import annotations

import redis

from benchmarks.failover import faults
from benchmarks.failover.cases.base import BLOCKING, Case, CaseResult, CaseSettings, seconds
from benchmarks.failover.contenders import AsyncContender, Contender
from benchmarks.failover.load import APP_ERRORS
from benchmarks.failover.site import Site, ask, site
from benchmarks.failover.trial import trial

_USER, _PASSWORD = "sentinel-user", "user-password"
_FOLLOWED = 5.0  # seconds until writes go to the new master, else it does not work
_RULES = (
    "-@all +auth +client|getname +client|id +client|setname +command +hello +ping +role "
    "+sentinel|get-master-addr-by-name +sentinel|master +sentinel|myid +sentinel|replicas "
    "+sentinel|sentinels"
)


class LeastRights(Case):
    """The client must find masters and follow a failover with these rights."""

    name = "acl"
    what = "documented least-privilege ACL on Sentinel, through a SIGKILL"
    bar = "works"
    contenders = BLOCKING

    def run(self, contender: Contender | AsyncContender, settings: CaseSettings) -> CaseResult:
        assert isinstance(contender, Contender)
        with site(1) as here:
            shard = here.shards[0]
            restrict(here)
            options = as_restricted(contender.ours)
            client = contender.connect(here, **options)
            try:
                client.call(shard, "SET", "probe", "1")
            except APP_ERRORS as error:
                return CaseResult(_short(error), False, {"error": str(error)})
            finally:
                client.close()
            outcome = trial(
                contender,
                here,
                lambda: faults.kill_master(here, shard),
                min(settings.seconds, 10.0),
                [settings.writers],
                options,
            )
        gap = outcome.gaps[shard]
        return CaseResult(f"works, gap {seconds(gap)}", gap <= _FOLLOWED, vars(outcome))


def restrict(here: Site) -> None:
    """Create the documented user on every Sentinel."""
    for sentinel in here.stack.info["sentinels"]:
        ask(sentinel, "ACL", "SETUSER", _USER, "ON", f">{_PASSWORD}", *_RULES.split())


def as_restricted(ours: bool) -> dict[str, object]:
    """Return the options of a client that logs in at Sentinel as this user."""
    if ours:
        return {"sentinel_username": _USER, "sentinel_password": _PASSWORD}
    return {"sentinel_kwargs": {"username": _USER, "password": _PASSWORD}}


def _short(error: Exception) -> str:
    if isinstance(error, redis.exceptions.NoPermissionError) or "no permissions" in str(error):
        return "NOPERM"
    return type(error).__name__
