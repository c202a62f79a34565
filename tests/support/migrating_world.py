"""The world of a key that moves: two shards, who pulls it, and what is under way between them.

Everything is a named tuple: a model makes hundreds of thousands, and compares each with all others.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from cachemesh.core.migration.pull import Cut, Pull

Value: TypeAlias = "int | None"
KEY = b"key"
FIRST = 1  # the value of the key before the move
OLDER = 0  # the one before that
KEEPS: tuple[Value, ...] = ()  # of an entry of the replication stream that changes no truth


# Replies, one object each, so that equal worlds are equal.
LISTED = "id={} name= flags=N cmd=restore"
IO_ERROR = Exception("IOERR error or timeout reading to target instance")
BUSY_KEY = Exception("Target instance replied with error: BUSYKEY Target key name already exists.")


class Server(NamedTuple):
    """A shard as the model sees it.

    Attributes:
        master, replica: what they hold for the key.
        stream: what the replica has yet to apply: each time the value, and what was true before
            the write, or KEEPS.
        epoch: how often it has failed over.
    """

    master: Value
    replica: Value
    stream: tuple[tuple[Value, tuple[Value, ...]], ...] = ()
    epoch: int = 0

    def write(self, value: Value, before: tuple[Value, ...]) -> Server:
        return self._replace(master=value, stream=(*self.stream, (value, before)))


class Actor(NamedTuple):
    """A client, or the mover.

    Attributes:
        doing: read, write, delete or pull; None between two operations.
        stage: first (a read at T), source (a read at S), pull, or last (the command at T).
        pull: how far its pull is.
        replies: those of the present request, once all but WAIT have come.
        epoch: of the server that has been asked.
        left: the operations that it still makes.
    """

    left: tuple[str, ...]
    doing: str | None = None
    stage: str = ""
    pull: Pull | Cut | None = None
    replies: tuple[Any, ...] | None = None
    epoch: int = 0


class World(NamedTuple):
    """Everything at one moment.

    Attributes:
        source, target: S and T.
        truth: what was acknowledged last.
        excused: what may be read instead, as a server died with the write.
        actors: the clients and the mover.
        faults: those that may still happen, by name.
        evicted: T has evicted the key at least once.
        done: clients do not pull any more.
        restarted: S was started again from a file, and has the key as it was before the move.
        back: the move was turned back.
        late: a frozen client, fenced off one side alone, has yet to send an UNLINK to the other.
        under_way: copies that S has given up, and that T may get yet: the connection, the value.
        wrong: what is wrong, or "".
    """

    actors: tuple[Actor, ...]
    faults: tuple[str, ...]
    source: Server = Server(FIRST, FIRST)
    target: Server = Server(None, None)
    truth: Value = FIRST
    excused: tuple[Value, ...] = ()
    evicted: bool = False
    done: bool = False
    restarted: bool = False
    back: bool = False
    late: bool = False
    under_way: tuple[tuple[int, Value], ...] = ()
    wrong: str = ""

    @property
    def found(self) -> Value:
        """What somebody finds who asks T, and where T has nothing S."""
        if self.target.master is not None or self.done:
            return self.target.master
        return self.source.master

    @property
    def true(self) -> tuple[Value, ...]:
        """What may be found."""
        return tuple(dict.fromkeys((self.truth, *self.excused)))


def arrived(world: World, copy: tuple[int, Value]) -> World:
    """Have T get a copy late."""
    world = world._replace(under_way=tuple(each for each in world.under_way if each != copy))
    if world.target.master is not None:
        return world
    return world._replace(target=world.target.write(copy[1], KEEPS))


def owes_a_cut(actor: Actor) -> bool:
    """Return whether an actor has got an IOERR, and not yet cut off what may be under way."""
    got = actor.replies == (IO_ERROR,)
    return actor.pull is not None and (got or isinstance(actor.pull, Cut))


def with_server(world: World, side: str, server: Server) -> World:
    return world._replace(source=server) if side == "source" else world._replace(target=server)


def without_fault(world: World, fault: str) -> World:
    left = list(world.faults)
    left.remove(fault)
    return world._replace(faults=tuple(left))


def read(world: World, server: Server) -> World:
    value = server.master
    if value in world.true:
        return world
    return world._replace(wrong=f"{value} was read instead of {world.truth}")


def unlinked(world: World) -> World:
    if world.source.master is None:
        return world
    source = world.source.write(None, KEEPS)
    if world.evicted and world.target.master is None:  # as T evicted it, it may be gone, or not
        return world._replace(source=source, truth=None, excused=world.true)
    return world._replace(source=source)


def failed_over(world: World, side: str) -> World:
    server: Server = getattr(world, side)
    before = [value for _, each in server.stream for value in each]
    after = Server(server.replica, server.replica, epoch=server.epoch + 1)
    excused = tuple(dict.fromkeys((*world.excused, *before)))
    failed = with_server(world, side, after)._replace(excused=excused)
    return failed._replace(under_way=()) if side == "target" else failed


def expired(world: World) -> World:
    def without(server: Server) -> Server:
        stream = tuple((None if value == FIRST else value, then) for value, then in server.stream)
        master = None if server.master == FIRST else server.master
        replica = None if server.replica == FIRST else server.replica
        return server._replace(master=master, replica=replica, stream=stream)

    truth = None if world.truth == FIRST else world.truth
    excused = (*world.excused, None)
    return world._replace(
        source=without(world.source),
        target=without(world.target),
        truth=truth,
        excused=excused if FIRST in world.excused else world.excused,
    )


def unlinked_late(world: World) -> World:
    """Have the UNLINK of a client that was not fenced there run at the former source."""
    return world._replace(target=world.target.write(None, KEEPS))
