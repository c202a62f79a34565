"""Which work waits until clients act on a version of the pool's document, and for whom it waits.

A sweep waits for the live clients that act on a version before its own, for they may still write by
the placement of then. A migration waits for those that have not acknowledged the document which
prepares it, and names in words those for whose sake it has stepped back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dashboard.upstream import Json

_ALL_NAMED = 5_000  # up to so many clients a metaserver names all of its own: see docs/api.md


@dataclass(frozen=True)
class ClientWait:
    """Work that waits for clients.

    Attributes:
        what: the work, as the subject of a sentence.
        version: that the clients have to act on.
        clients: ids of those that are known, furthest behind first.
        unnamed: how many more there are at most, of which only the number is known.
        why: what it is about, and what the metaserver says of it, or "".
    """

    what: str
    version: int
    clients: tuple[str, ...]
    unnamed: int = 0
    why: str = ""


def waits_by_client(waits: Sequence[ClientWait]) -> Mapping[str, Sequence[str]]:
    """Return the work that waits for each client, by the client's id."""
    found = defaultdict[str, list[str]](list)
    for wait in waits:
        for client in wait.clients:
            found[client].append(wait.what)
    return found


def waits_for_clients(
    status: Json, convergence: Json, clients: Sequence[Json]
) -> tuple[ClientWait, ...]:
    """Return all work that waits for clients; the migration comes first.

    Args:
        status, convergence: of the pool.
        clients: the live ones.
    """
    return (*_of_resize(status, convergence, clients), *_of_sweeps(status, convergence, clients))


def _of_resize(status: Json, convergence: Json, clients: Sequence[Json]) -> Iterator[ClientWait]:
    resize = status.get("resize")
    if resize is None:
        return
    version, told = int(convergence["version"]), str(resize["detail"])
    if resize["state"] == "preparing":
        late, unnamed = _behind(version, convergence, clients)
        told = ""  # it names some of those that are named here
    else:
        known = {str(each["client"]) for each in (*clients, *convergence["laggards"])}
        late, unnamed = named_in(told, known), 0
    if late or unnamed:
        why = "; ".join(each for each in (str(resize["summary"]), told) if each)
        yield ClientWait("The migration", version, late, unnamed, why)


def _of_sweeps(status: Json, convergence: Json, clients: Sequence[Json]) -> Iterator[ClientWait]:
    for sweep in status.get("sweeps") or ():
        if sweep["state"] == "waiting":
            # A metaserver of an earlier release does not tell the version of a sweep.
            version = int(sweep.get("version", convergence["version"]))
            late, unnamed = _behind(version, convergence, clients)
            if late or unnamed:
                yield ClientWait(f"The sweep of {sweep['shard']}", version, late, unnamed)


def _behind(
    version: int, convergence: Json, clients: Sequence[Json]
) -> tuple[tuple[str, ...], int]:
    """Return the ids of the live clients on an earlier version, and how many more there are."""
    late = [each for each in clients if each["version"] < version]
    late.sort(key=lambda client: int(client["version"]))
    number = sum(each["clients"] for each in convergence["versions"] if each["version"] < version)
    more = min(number - len(late), unnamed_clients(convergence, clients))
    return tuple(str(each["client"]) for each in late), max(0, more)


def unnamed_clients(convergence: Json, clients: Sequence[Json]) -> int:
    """Return of how many live clients nothing but the version is known."""
    if len(clients) < _ALL_NAMED:
        return 0  # a difference is of clients that came or left between two questions
    return max(0, int(convergence["clients"]) - len(clients))


def named_in(words: str, ids: Collection[str]) -> tuple[str, ...]:
    """Return those ids that stand in a sentence, in its order."""
    found = re.findall(r"[^\s,:;()]+", words)
    return tuple(dict.fromkeys(each for each in found if each in ids))
