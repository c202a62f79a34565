"""What each metaserver publishes about its clients, and what all of that says together.

    report of A --\\
    report of B ---+-- known_clients() --> each client once --> laggards(), convergence()
    own report ---/

A client may have called several metaservers. It acts on the newest version that any of them knows
of, since its versions only rise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any, TypeAlias

LISTED = 5_000  # clients that a report names; of the others it tells how many act on which version
DETAILED = 500  # clients of which a report tells more than their version

ClientKey: TypeAlias = "tuple[str, str]"  # id of the token, id of the client


@dataclass(frozen=True, slots=True)
class KnownClient:
    """A client of a pool, as a metaserver knows it.

    Attributes:
        token: the id of the token that it calls with.
        client: its id.
        version: the version that it has acknowledged; 0 for none, or for one that no store has.
        live: whether its lease may still run.
        address: the IP address of its last watch call.
        sdk: name and version of its library.
        host, process, app: where it runs: host name, process id, and the app's own name for it.
        seen: when it was heard last, in seconds since the epoch.
        metaserver: the `process_identity()` of the process that it watches.
        stats: its statistics as JSON text; not published.
        settings: the settings of the pool that it overrides, in words; None: none.
    """

    token: str
    client: str
    version: int
    live: bool = True
    address: str | None = None
    sdk: str | None = None
    host: str | None = None
    process: int | None = None
    app: str | None = None
    seen: float | None = None
    metaserver: str = ""
    stats: str | None = None
    settings: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def key(self) -> ClientKey:
        """The client among those of all tokens."""
        return self.token, self.client


@dataclass(frozen=True, slots=True)
class Laggard:
    """A client that has not acknowledged a version; or several of which only the number is known.

    Attributes:
        client: its id, as in the names of its connections; None if it is not known.
        version: the version that it acts on.
        lease_over: whether its lease is over: it may be gone, frozen or cut off.
        known: more about it, where there is more.
        count: for how many clients this stands: 1 if `client` is known.
    """

    client: str | None
    version: int
    lease_over: bool
    known: KnownClient | None = None
    count: int = 1


@dataclass(frozen=True)
class ClientReport:
    """What one metaserver knows of the clients of one pool.

    Attributes:
        clients: those that are named.
        others: version -> number of live clients that are not named.
        left: those that have said, within the last lease, that they follow no more.
    """

    clients: tuple[KnownClient, ...] = ()
    others: Mapping[int, int] = field(default_factory=dict)
    left: frozenset[ClientKey] = frozenset()

    @classmethod
    def of(
        cls, clients: Iterable[KnownClient], left: Iterable[ClientKey], listed: int = LISTED
    ) -> ClientReport:
        """Return the report of these clients, which names the live ones furthest behind first.

        Args:
            listed: how many clients it names at most.
        """
        ordered = sorted(clients, key=attrgetter("version"))
        ordered = [each for each in ordered if each.live] + [e for e in ordered if not e.live]
        rest = [each.version for each in ordered[listed:] if each.live]
        return cls(tuple(ordered[:listed]), dict(Counter(rest)), frozenset(left))

    def to_json(self) -> dict[str, Any]:
        """Return the report as it is published."""
        rows: list[list[Any]] = []
        for at, each in enumerate(self.clients):
            row: list[Any] = [each.token, each.client, each.version, int(each.live)]
            if at < DETAILED:
                row += [each.address, each.sdk, each.host, each.process, each.app, each.seen]
                row += [] if each.settings is None else [dict(each.settings)]
            rows.append(row)
        return {
            "clients": rows,
            "others": {str(version): count for version, count in self.others.items()},
            "left": [list(key) for key in sorted(self.left)],
        }

    @classmethod
    def from_json(cls, published: Any, metaserver: str) -> ClientReport:
        """Return a published report; one that nobody can read stands for a client at version 0."""
        try:
            return cls(
                tuple(
                    KnownClient(
                        str(token),
                        str(client),
                        int(version),
                        bool(live),
                        metaserver=metaserver,
                        **_details(details),
                    )
                    for token, client, version, live, *details in published["clients"]
                ),
                {int(version): int(count) for version, count in published["others"].items()},
                frozenset((str(token), str(client)) for token, client in published["left"]),
            )
        except (TypeError, ValueError, KeyError, AttributeError):
            return cls(others={0: 1})

    def without_leases(self) -> ClientReport:
        """Return the report once every lease in it is over."""
        gone = tuple(replace(each, live=False) for each in self.clients)
        return replace(self, clients=gone, others={})


def count_live(published: Any) -> int:
    """Return how many clients of a published report are live; 0 of one that nobody can read."""
    try:
        named = sum(
            bool(live) for _token, _client, _version, live, *_details in published["clients"]
        )
        return named + sum(int(count) for count in published["others"].values())
    except (TypeError, ValueError, KeyError, AttributeError):
        return 0


def _details(row: Sequence[Any]) -> dict[str, Any]:
    if not row:
        return {}
    address, sdk, host, process, app, seen, *more = row
    own = {str(name): str(value) for name, value in more[0].items()} if more else None
    return {
        "address": _text(address),
        "sdk": _text(sdk),
        "host": _text(host),
        "process": None if process is None else int(process),
        "app": _text(app),
        "seen": _number(seen),
        "settings": own,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def known_clients(reports: Sequence[ClientReport]) -> list[KnownClient]:
    """Return every client that a report names, once, those heard last at the end."""
    left = {key for report in reports for key in report.left}
    known: dict[ClientKey, KnownClient] = {}
    for report in reports:
        for each in report.clients:
            key = each.token, each.client
            if key in left:
                continue
            other = known.get(key)
            known[key] = each if other is None else _merged(each, other)
    return sorted(known.values(), key=lambda each: each.seen or 0.0)


def _merged(one: KnownClient, other: KnownClient) -> KnownClient:
    newer, older = (one, other) if (one.seen or 0.0) >= (other.seen or 0.0) else (other, one)
    if older.live and not newer.live:
        newer = older
    version = max(one.version, other.version)
    return replace(newer, version=version, live=one.live or other.live)


def laggards(reports: Sequence[ClientReport], version: int) -> list[Laggard]:
    """Return the clients that have not acknowledged `version` or a later one.

    Those of which the reports tell no more than their number come last.
    """
    found = [
        Laggard(each.client, each.version, not each.live, each)
        for each in known_clients(reports)
        if each.version < version
    ]
    unnamed: Counter[int] = Counter()
    for report in reports:
        unnamed.update({v: n for v, n in report.others.items() if v < version})
    return found + [Laggard(None, v, False, count=n) for v, n in sorted(unnamed.items())]


def convergence(reports: Sequence[ClientReport], version: int, most: int) -> dict[str, Any]:
    """Return how far the clients of a pool are, as docs/api.md shows it but for the laggards.

    Args:
        version: of the pool.
        most: how many laggards to name.
    """
    live = Counter(each.version for each in known_clients(reports) if each.live)
    for report in reports:
        live.update(report.others)
    behind = laggards(reports, version)
    named = [each.known for each in behind if each.known is not None]
    return {
        "version": version,
        "converged": not any(count for v, count in live.items() if v < version),
        "clients": sum(live.values()),
        "acknowledged": sum(count for v, count in live.items() if v >= version),
        "versions": [{"version": v, "clients": live[v]} for v in sorted(live, reverse=True)],
        "lagging": sum(each.count for each in behind if not each.lease_over),
        "lease_over": sum(each.count for each in behind if each.lease_over),
        "laggards": sorted(named, key=lambda client: not client.live)[:most],
    }


@dataclass(frozen=True)
class AcknowledgedIds:
    """The ids of the clients that have acknowledged a version; `in` tells of one.

    Attributes:
        named: those that reports name.
        late: those that reports name, and that have not acknowledged.
        unnamed: there are more clients than are named, all of which may be live.
    """

    named: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()
    unnamed: bool = False

    def __contains__(self, client: object) -> bool:
        """Return whether the client has acknowledged; one that nobody knows has not."""
        return client in self.named or (self.unnamed and client not in self.late)


def acknowledged_ids(reports: Sequence[ClientReport], version: int) -> AcknowledgedIds:
    """Return the ids of the clients that have acknowledged a version or a later one."""
    known = known_clients(reports)
    late = frozenset(each.client for each in known if each.version < version)
    named = frozenset(each.client for each in known if each.version >= version)
    return AcknowledgedIds(named - late, late, any(report.others for report in reports))
