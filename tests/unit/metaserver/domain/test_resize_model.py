"""Every run of a small model of a resize: clients, a leader that dies, lost messages, long pauses.

A client that is not scheduled is frozen: between any two of its steps anything may happen. It may
be cut off from the metaserver for good. The leader's decisions are those of `resize_steps`, at most
two attempts instead of ten. As soon as Q is stored, some client may act on it; so from then on no
command of a client may run at the shard that lost the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from cachemesh.core.placement import Shard, SlotsPlacement
from metaserver.domain import resize_steps
from metaserver.domain.resize import Resize
from metaserver.domain.resize_steps import (
    FenceOff,
    FenceOutcome,
    Finish,
    Knowledge,
    Laggards,
    Look,
    Prepare,
    StepBack,
    Wait,
    next_step,
)
from tests.support.exploration import explore

Q = SlotsPlacement.even([Shard("cache-0", 1), Shard("cache-1", 1)])
VERSIONS = 7  # a run ends there


@dataclass(frozen=True)
class Client:
    """A client of the pool, on one thread.

    Attributes:
        version: that it has applied.
        connection: to the shard that loses the key: none, named (in its handshake), or open;
            unnamed: in a handshake that asks for the marker first, by mistake.
        sends: it has decided, by P, to send a command to that shard.
        cut: no metaserver hears it, and it hears none.
        acknowledged: as the metaservers know; None if they know nothing of the client.
        lease: whether its lease runs, as the metaservers know.
    """

    version: int = 1
    connection: str = "open"
    sends: bool = False
    cut: bool = False
    acknowledged: int | None = 1
    lease: bool = True


@dataclass(frozen=True)
class World:
    """Everything at one moment.

    Attributes:
        history: the phase of each version from 1 on: P, H (prepare) or Q.
        attempt: of the newest version.
        marker: on the shard that loses the key.
        waited, strangers, marked, fence: what the leader has seen and done at this version.
        crashes: how often another leader has taken over, on a store restored from a backup.
        broken: a command ran at the shard after Q was stored.
    """

    clients: tuple[Client, ...]
    history: str = "P"
    attempt: int = 0
    marker: int = 0
    waited: bool = False
    strangers: tuple[int, ...] | None = None
    fence: str | None = None
    marked: bool = False
    crashes: int = 0
    broken: bool = False

    @property
    def version(self) -> int:
        return len(self.history)


@dataclass
class Model:
    """The steps that can happen; each flag is a mistake that the exploration has to find."""

    marker_after_kill: bool = False
    no_marker: bool = False
    no_kill: bool = False
    marker_read_before_name: bool = False
    acknowledges_in_flight: bool = False
    keeps_waiting_commands: bool = False
    ignores_markers: bool = False
    never_looks: bool = False
    clients: int = 1
    explored: set[World] = field(default_factory=set)

    def explore(self) -> list[World]:
        """Return the path to a broken world, or an empty list."""
        first = World(tuple(Client() for _ in range(self.clients)))
        path, self.explored = explore(
            first, self.steps, lambda world: world.broken, lambda world: world.version >= VERSIONS
        )
        return path

    def steps(self, world: World) -> Iterator[World]:
        for number, client in enumerate(world.clients):
            yield from self._client(world, number, client)
        yield from self._leader(world)
        if world.crashes == 0:
            forgotten = tuple(replace(each, acknowledged=None) for each in world.clients)
            yield replace(_unseen(world), clients=forgotten, crashes=1)

    def _client(self, world: World, number: int, client: Client) -> Iterator[World]:
        def now(**changes: object) -> World:
            clients = list(world.clients)
            clients[number] = replace(client, **changes)  # type: ignore[arg-type]
            return replace(world, clients=tuple(clients))

        phase = world.history[client.version - 1]
        if not client.cut:
            yield now(cut=True)
            if client.version < world.version:
                # A command that has no connection yet is routed again by the new version.
                sent = client.connection == "open" or self.keeps_waiting_commands
                there = client.connection if sent else "none"
                sends = client.sends and sent
                yield now(version=world.version, connection=there, sends=sends)
            drained = not client.sends or self.acknowledges_in_flight or phase != "H"
            if drained and (client.acknowledged != client.version or not client.lease):
                yield now(acknowledged=client.version, lease=True)
        if client.lease:
            yield now(lease=False)
        if phase == "P" and not client.sends:
            yield now(sends=True)
        if client.connection in ("named", "unnamed"):
            refused = world.marker > client.version and not self.marker_read_before_name
            yield now(connection="none", sends=False) if refused else now(connection="open")
        if client.sends and client.connection == "open":
            yield replace(now(sends=False), broken="Q" in world.history)
        if client.sends and client.connection == "none":
            # Whoever has to connect sees whether P still holds for this client.
            routed_again = phase != "P" and not self.keeps_waiting_commands
            early = self.marker_read_before_name and world.marker > client.version
            begun = "unnamed" if self.marker_read_before_name else "named"
            yield now(sends=False) if routed_again or early else now(connection=begun)

    def _leader(self, world: World) -> Iterator[World]:
        if world.attempt == 0:
            yield _stored(world, "H", attempt=1)
            return
        if world.history[-1] == "Q":
            return
        state = "preparing" if world.history[-1] == "H" else "paused"
        resize = Resize(1, state, Q, "", "", attempt=world.attempt)  # type: ignore[arg-type]
        step = next_step(resize, self._known(world))
        if isinstance(step, Wait):
            yield replace(world, waited=True)
        elif isinstance(step, Prepare):
            yield _stored(world, "H", attempt=world.attempt + 1)
        elif isinstance(step, StepBack):
            yield _stored(world, "P", attempt=world.attempt)
        elif isinstance(step, Look):
            marked = world.marker > 0 and not self.ignores_markers
            yield replace(world, strangers=self._connected(world), marked=marked)
        elif isinstance(step, FenceOff):
            yield from self._fence(world)
        elif isinstance(step, Finish):
            yield _stored(world, "Q", attempt=world.attempt)

    def _known(self, world: World) -> Knowledge:
        lag = {
            number: each
            for number, each in enumerate(world.clients)
            if each.acknowledged is not None and each.acknowledged < world.version
        }
        live = tuple(str(number) for number, each in lag.items() if each.lease)
        expired = tuple(str(number) for number, each in lag.items() if not each.lease)
        return Knowledge(
            99.0 if world.waited else 0.0,
            Laggards(live, expired),
            strangers=()
            if self.never_looks
            else None
            if world.strangers is None
            else tuple(map(str, world.strangers)),
            marked=world.marked,
            fence=FenceOutcome() if world.fence == "up" else None,
        )

    def _connected(self, world: World) -> tuple[int, ...]:
        return tuple(
            number
            for number, each in enumerate(world.clients)
            if each.connection in ("named", "open") and _lags(each, world)
        )

    def _fence(self, world: World) -> Iterator[World]:
        """Set the marker, then kill; each is a step of its own."""
        marked = replace(world, marker=0 if self.no_marker else world.version)
        clients = list(world.clients)
        for number in () if self.no_kill else self._connected(world):
            clients[number] = replace(clients[number], connection="none")
        killed = replace(world, clients=tuple(clients))
        order = [killed, marked] if self.marker_after_kill else [marked, killed]
        if world.fence is None:
            yield replace(order[0], fence="half")

        if world.fence == "half":
            yield replace(order[1], fence="up")


def _lags(client: Client, world: World) -> bool:
    return (client.acknowledged or 0) < world.version


def _stored(world: World, phase: str, *, attempt: int) -> World:
    history = world.history + phase
    return replace(_unseen(world), history=history, attempt=attempt)


def _unseen(world: World) -> World:
    """Return the world for a leader that has seen and done nothing at this version."""
    return replace(world, waited=False, strangers=None, marked=False, fence=None)


@pytest.fixture(autouse=True)
def _two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize_steps, "ATTEMPTS", 2)


def test_no_client_acts_on_the_former_placement_once_another_may_act_on_the_new_one() -> None:
    model = Model()
    assert not model.explore()
    phases = {world.history for world in model.explored}
    assert {"PHQ", "PHPHQ"} <= phases  # finished at once, and after stepping back
    assert any(world.marker and "Q" in world.history for world in model.explored)


@pytest.mark.parametrize(
    "mistake",
    [
        "marker_after_kill",
        "no_marker",
        "no_kill",
        "marker_read_before_name",
        "acknowledges_in_flight",
        "ignores_markers",
        "keeps_waiting_commands",
        "never_looks",
    ],
)
def test_the_model_finds_planted_mistakes(mistake: str) -> None:
    assert Model(**{mistake: True}).explore()  # type: ignore[arg-type]
