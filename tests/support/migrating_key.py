"""A model of one key that moves: two shards with a replica each, and who pulls it, in any order.

Clients and the mover do what `cachemesh.core.migration.pull` says. One step is what one server does
at once. Whoever is not scheduled is frozen: between any two of its steps anything may happen. Each
shard may fail over to its replica, which has what was replicated; T may evict the key; MIGRATE may
answer IOERR and have copied nevertheless, at once or at any later moment; a puller may die; the
move may be turned back.

A late copy arrives until somebody cuts it off. Who gets the IOERR does so at once, by two requests
to T: the model takes it that no other pull of the key, from its beginning to the command at T, fits
in between. Without that, as where a puller dies just then, `outrun` shows what is left.

`World.truth` is what the pool has acknowledged. At every moment whoever asks T, and where T has
nothing S, must find it; so must every read. What a server had not replicated when it died may be
lost, as without a migration, but neither brought back by S nor lost by the move itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from cachemesh.core.migration.pull import Cut, Link, Pull, PullError
from cachemesh.core.names import Address
from tests.support.exploration import explore
from tests.support.migrating_world import (
    BUSY_KEY,
    FIRST,
    IO_ERROR,
    KEEPS,
    KEY,
    LISTED,
    OLDER,
    Actor,
    Server,
    World,
    arrived,
    expired,
    failed_over,
    owes_a_cut,
    read,
    unlinked,
    unlinked_late,
    with_server,
    without_fault,
)


@dataclass
class MigratingKey:
    """The steps that can happen; each flag is a mistake that the exploration has to find.

    Args:
        actors: the operations of each client; `pull` is the mover.
        faults: `fail over S`, `fail over T`, `evict`, `expire`, `io error`, `late copy`, `die`,
            `turn back`, `restart S`, `restart T` (from a file from before a move that was turned
            back).
        lagging: the replica of S has an older value at first.
    """

    actors: tuple[tuple[str, ...], ...]
    faults: tuple[str, ...] = ()
    lagging: bool = False
    no_wait_at_target: bool = False
    no_wait_at_source: bool = False
    no_wait_where_nothing_was_found: bool = False
    waits_without_a_look: bool = False
    unconfirmed: bool = False
    copies_through_the_client: bool = False
    writes_without_a_pull: bool = False
    reads_without_a_pull: bool = False
    reads_at_target_once: bool = False
    looks_before_it_reads: bool = False
    unlinks_before_an_overwrite: bool = False
    unlinks_after_an_overwrite: bool = False
    done_too_early: bool = False
    fences_one_side_alone: bool = False
    turns_back_without_a_fence: bool = False
    turns_back_without_a_look: bool = False
    leaves_late_copies: bool = False
    forgets_what_is_late: bool = False
    outrun: bool = False
    reached: set[str] = field(default_factory=set)

    def explore(self) -> list[World]:
        """Return the path to a wrong world, or an empty list."""
        first = World(tuple(Actor(each) for each in self.actors), self.faults)
        if self.lagging:
            first = first._replace(source=Server(FIRST, OLDER, ((FIRST, (OLDER,)),)))
        path, _ = explore(first, self._judged_steps, lambda world: world.wrong)
        return path

    def _judged_steps(self, world: World) -> Iterator[World]:
        return map(self._judged, self.steps(world))

    def steps(self, world: World) -> Iterator[World]:
        for number, actor in enumerate(world.actors):
            yield from self._acts(world, number, actor)
        for side in ("source", "target"):
            server: Server = getattr(world, side)
            if server.stream:
                (value, _), *rest = server.stream
                applied = server._replace(replica=value, stream=tuple(rest))
                yield with_server(world, side, applied)
        for fault in set(world.faults):
            yield from self._fails(without_fault(world, fault), fault)
        if world.late:
            yield unlinked_late(world)._replace(late=False)
        for copy in world.under_way:
            yield arrived(world, copy)

    def _judged(self, world: World) -> World:
        if world.wrong or world.found in world.true:
            return world
        return world._replace(wrong=f"{world.found} is found instead of {world.truth}")

    # What clients and the mover do.

    def _acts(self, world: World, number: int, actor: Actor) -> Iterator[World]:
        def now(world: World, **changes: Any) -> World:
            actors = list(world.actors)
            actors[number] = actor._replace(**changes)
            return world._replace(actors=tuple(actors))

        idle: dict[str, Any] = {"doing": None, "stage": "", "pull": None, "replies": None}
        if actor.doing is None:
            if actor.left:
                doing, *left = actor.left
                begun = {"doing": doing, "left": tuple(left)}
                done = world.done or (self.done_too_early and doing == "pull")
                yield now(world._replace(done=done), **begun, **self._begins(world, doing))
        elif actor.stage in ("first", "source", "seen"):
            yield self._reads(world, actor, now, idle)
        elif actor.stage == "last":
            if self.outrun or not any(map(owes_a_cut, world.actors)):
                yield now(self._runs(world, number, actor), **idle)
        elif actor.stage == "restore":  # a mistake: what the client read, maybe long ago
            if world.target.master is None:
                world = world._replace(target=world.target.write(FIRST, KEEPS))
            yield now(world, stage="pull", pull=self._pull())
        elif actor.stage == "unlink":  # a mistake: the way of an overwrite without a pull
            gone = world._replace(source=world.source.write(None, KEEPS))
            yield now(gone, **({"stage": "last"} if self.unlinks_before_an_overwrite else idle))
        else:
            yield from self._pulls(world, actor, now, idle)

    def _reads(self, world: World, actor: Actor, now: Any, idle: dict[str, Any]) -> World:
        """Read at T, and if it has nothing at S, and if that has nothing either at T once more."""
        done: World
        if actor.stage == "first" and world.target.master is None:
            done = now(world, stage="source")
        elif actor.stage == "first":
            done = now(read(world, world.target), **idle)
        elif actor.stage == "seen":  # a mistake: EXISTS came before the read
            done = now(read(world, world.source), **idle)
        elif world.source.master is None and not self.reads_at_target_once:
            done = now(world, stage="last")
        elif self.looks_before_it_reads:
            done = now(world, stage="seen")
        else:
            done = now(read(world, world.source), **idle)
        return done

    def _begins(self, world: World, doing: str) -> dict[str, Any]:
        if doing == "read" and not (world.done or self.reads_without_a_pull):
            return {"stage": "first"}
        if doing == "read":
            return {"stage": "last"}
        if doing != "pull" and (world.done or self.writes_without_a_pull):
            return {"stage": "last"}
        if doing == "write" and self.unlinks_before_an_overwrite:
            return {"stage": "unlink"}
        if doing == "write" and self.unlinks_after_an_overwrite:
            return {"stage": "last"}
        if self.copies_through_the_client and world.source.master is not None:
            return {"stage": "restore"}
        return {"stage": "pull", "pull": self._pull()}

    def _uncut(self, cut: Cut) -> Pull | Cut | None:
        try:
            return replace(cut, looks=99).answered([])
        except PullError:
            return self._pull()

    @cached_property
    def _link(self) -> Link:
        return Link(
            Address("t", 1),
            source_replicas=0 if self.no_wait_at_source else 1,
            target_replicas=0 if self.no_wait_at_target else 1,
            timeout_ms=1,
        )

    def _pull(self, late: bool = False) -> Pull:
        return Pull(self._link, (KEY,), late=late and not self.forgets_what_is_late)

    def _pulls(self, world: World, actor: Actor, now: Any, idle: dict[str, Any]) -> Iterator[World]:
        assert actor.pull is not None
        asked = actor.pull.ask()
        server: Server = getattr(world, asked.side)
        names = [_name(command) for command in asked.commands]
        waits = names[-1] == "WAIT"
        step = actor.pull.step if isinstance(actor.pull, Pull) else "cut"
        if self.waits_without_a_look and step == "gone" and actor.replies is None:
            yield now(world, replies=("NOKEY",), epoch=server.epoch)
            return
        if actor.replies is None:
            for after, replies in self._performed(world, names[:-2] if waits else names):
                epoch = getattr(after, asked.side).epoch
                yield now(after, replies=tuple(replies), epoch=epoch)
            return
        if actor.epoch != server.epoch:  # the connection is gone, and with it the replies
            late = actor.pull.late or actor.pull.copies
            yield now(world, pull=self._pull(late), replies=None)
            return
        needed = self._link.needed(asked.side) if waits else 0
        nothing = actor.replies == ("NOKEY",) and self.no_wait_where_nothing_was_found
        if needed and server.stream and not (nothing or self._skips_confirming(asked.side)):
            return  # WAIT goes on
        try:
            pull = actor.pull.answered([*actor.replies, *([0, needed] if waits else [])])
        except PullError:
            pull = self._pull()
        while isinstance(pull, Cut) and self.leaves_late_copies:
            pull = self._uncut(pull)
        if pull is not None:
            yield now(world, pull=pull, replies=None)
        elif actor.doing == "pull":
            swept = not actor.left and world.source.master is None
            yield now(world._replace(done=world.done or swept), **idle)
        else:
            yield now(world, stage="last", pull=None, replies=None)

    def _skips_confirming(self, side: str) -> bool:
        return self.unconfirmed and side == "target"

    def _performed(self, world: World, commands: list[str]) -> Iterator[tuple[World, list[Any]]]:
        """Perform the commands of a request but WAIT; the key is the only one in each."""
        if commands == ["EXISTS"]:
            yield world, [1 if self.unconfirmed else int(world.target.master is not None)]
        elif commands == ["UNLINK"]:
            yield unlinked(world), [1]
        elif commands[0].startswith("CLIENT"):
            yield self._cut(world, commands)
        else:
            assert commands == ["MIGRATE"], commands
            yield self._migrated(world)
            if "io error" in world.faults:
                less = without_fault(world, "io error")
                yield less, [IO_ERROR]
                yield self._migrated(less)[0], [IO_ERROR]
            if "late copy" in world.faults and world.source.master is not None:
                less, connection = without_fault(world, "late copy"), len(world.faults)
                copies = (*world.under_way, (connection, world.source.master))
                yield less._replace(under_way=copies), [IO_ERROR]

    def _cut(self, world: World, commands: list[str]) -> tuple[World, list[Any]]:
        replies: list[Any] = []
        for command in commands:
            if command == "CLIENT LIST TYPE normal":
                listed = [LISTED.format(connection) for connection, _ in world.under_way]
                replies.append("\n".join(listed).encode())
                continue
            ended = int(command.removeprefix("CLIENT KILL ID "))
            left = tuple(copy for copy in world.under_way if copy[0] != ended)
            self.reached.add("cut")
            world = world._replace(under_way=left)
            replies.append(1)
        return world, replies

    def _migrated(self, world: World) -> tuple[World, list[Any]]:
        value = world.source.master
        if value is None:
            return world, ["NOKEY"]
        if world.target.master is not None:
            self.reached.add("busy")
            return world, [BUSY_KEY]
        return world._replace(target=world.target.write(value, KEEPS)), ["OK"]

    def _runs(self, world: World, number: int, actor: Actor) -> World:
        if actor.doing == "read":
            return read(world, world.target)
        value = None if actor.doing == "delete" else 10 * (number + 1) + len(actor.left)
        target = world.target.write(value, world.true)
        return world._replace(target=target, truth=value, excused=())

    # What goes wrong.

    def _fails(self, world: World, fault: str) -> Iterator[World]:
        if fault == "fail over S":
            yield failed_over(world, "source")
        elif fault == "fail over T":
            yield failed_over(world, "target")
        elif fault == "evict" and world.target.master is not None:
            gone = world.target.write(None, world.true)
            truth = world.truth if world.source.master is not None else None
            # As nobody deleted it, S may bring it back until it has lost it for good.
            yield world._replace(target=gone, truth=truth, excused=world.true, evicted=True)
        elif fault == "expire" and FIRST in (world.source.master, world.target.master):
            yield expired(world)
        elif fault == "die":
            for number, actor in enumerate(world.actors):
                if actor.doing is not None:
                    actors = list(world.actors)
                    actors[number] = Actor(())
                    yield world._replace(actors=tuple(actors))
        elif fault == "turn back" and not world.done:
            yield from self._turned_back(world)
        elif fault == "restart S":
            again = Server(FIRST, FIRST, epoch=world.source.epoch + 1)
            yield world._replace(source=again, restarted=True)
        elif fault == "restart T" and world.back and world.target.master is None:
            # Had anything been written there since, it would be lost as without a migration.
            again = Server(FIRST, FIRST, epoch=world.target.epoch + 1)
            yield world._replace(target=again)

    def _turned_back(self, world: World) -> Iterator[World]:
        """S and T change their parts. Who has not acknowledged is fenced: its command is lost.

        Before, a source that was started again loses the key, if T and its replica have it.
        """
        self.reached.add("turned back")
        if world.restarted and not self.turns_back_without_a_look:
            if world.target.master is not None and world.target.stream:
                return  # WAIT goes on
            if world.target.master is not None:
                cleaned = Server(None, None, epoch=world.source.epoch)
                world = world._replace(source=cleaned)
        # From now on S gains the key, and nobody looks what it has when it is started again: that
        # wins. `restart T` shows what is left.
        left = tuple(fault for fault in world.faults if fault != "restart S")
        world = world._replace(faults=left, back=True)
        busy = any(actor.doing is not None for actor in world.actors)
        if busy and self.turns_back_without_a_fence:
            yield world._replace(source=world.target, target=world.source)
            return
        late = self.fences_one_side_alone and any(
            isinstance(actor.pull, Pull) and actor.pull.step == "remove" and actor.replies is None
            for actor in world.actors
        )
        actors = tuple(Actor(actor.left) for actor in world.actors)
        yield world._replace(source=world.target, target=world.source, actors=actors, late=late)


def _name(command: tuple[Any, ...]) -> str:
    return " ".join(map(str, command)) if command[0] == "CLIENT" else str(command[0])
