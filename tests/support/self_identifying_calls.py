"""Every way to send a command, each with replies that name the call they answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.both_clients import Caller
from tests.support.movable_pool import MovablePool

Way = Callable[[Caller, Any, tuple[str, str], int], bool]
"""The client, a client or view to use, a key of each shard, a number of this call's own -> whether
the replies are this call's."""

_TELL = "return ARGV[1]"


def _value(number: int) -> bytes:
    return b"v%d" % number


def _set_get(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    use, (key, _) = call.drive(mesh), keys
    return use.set(key, _value(number)) is True and use.get(key) == _value(number)


def _swapped(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    use, (key, _) = call.drive(mesh), keys
    use.set(key, _value(number))
    return bool(use.execute_command("getset", key, "w") == _value(number))


def _many(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    use, (one, other) = call.drive(mesh), keys
    use.mset({one: _value(number), other: number})
    return bool(use.mget(other, one) == [b"%d" % number, _value(number)])


def _keyless(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    return bool(call.drive(mesh).execute_command("ECHO", _value(number)) == _value(number))


def _of_all(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    sha, other = call.drive(mesh).script_load(f"return {number}"), "f" * 40
    return bool(call.drive(mesh).script_exists(other, sha) == [False, True])


def _script(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    return bool(call.drive(mesh).eval(_TELL, 1, keys[0], _value(number)) == _value(number))


def _blocking(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    # A queue for each call: Redis may still give an element to a connection that was just closed,
    # such as that of an interrupted call.
    use, queue = call.drive(mesh), f"{{{keys[0]}}}queue:{number}"
    use.delete(queue)
    use.rpush(queue, _value(number))
    return bool(use.blpop([queue], timeout=60) == (queue.encode(), _value(number)))


def _piped(
    transaction: bool | None, call: Caller, mesh: Any, keys: tuple[str, str], number: int
) -> bool:
    pipe = mesh.pipeline(transaction=transaction)
    for key in keys[: 1 if transaction else 2]:
        pipe.set(key, _value(number)).get(key).eval(_TELL, 1, key, number)
    told = [True, _value(number), b"%d" % number]
    return bool(call.drive(pipe).execute() == told * (1 if transaction else 2))


def _watching(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> bool:
    pipe, (key, _) = call.drive(mesh.pipeline()), keys
    try:
        pipe.watch(key)
        told = pipe.eval(_TELL, 1, key, number)
        pipe.it.multi()
        pipe.it.set(key, _value(number)).get(key)
        return bool((told, pipe.execute()) == (b"%d" % number, [True, _value(number)]))
    finally:
        pipe.reset()


WAYS: dict[str, Way] = {
    "SET and GET": _set_get,
    "in lower case": _swapped,
    "MSET and MGET": _many,
    "without a key": _keyless,
    "to all shards": _of_all,
    "a script": _script,
    "a blocking command": _blocking,
    "a pipeline": partial(_piped, False),
    "a MULTI for each shard": partial(_piped, None),
    "a transaction": partial(_piped, True),
    "WATCH and MULTI": _watching,
}


def keys_of(site: MovablePool) -> tuple[str, str]:
    """Return a key of each shard."""
    return site.keys("cache-0")[0], site.keys("cache-1")[0]


def wrong(call: Caller, mesh: Any, keys: tuple[str, str], number: int) -> list[str]:
    """Return the ways whose reply was not that of its own call."""
    return [name for name, way in WAYS.items() if not way(call, mesh, keys, number)]
