"""Keys of all types whose values one worker knows: a reply is right, or it is told what is wrong.

Each kind is a small model: it makes calls on its own keys, in all the ways that apps call, and
knows what each has to reply. A call that failed may have run, or not; its keys then begin anew.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

Call: TypeAlias = "Callable[[Any], Any]"
"""A call on a client; its result is awaited if that is an asyncio one."""

Step: TypeAlias = "tuple[str, Call, Callable[[Any], object]]"
"""What is called, the call, and what takes its reply, or raises `WrongReplyError`."""

SHORT_TTL = 0.4  # seconds
_GRACE = 0.3  # seconds around a TTL in which a key may be there or not

_INCR = "return redis.call('INCR', KEYS[1])"
_BOTH = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])"


class WrongReplyError(AssertionError):
    """A reply is not what it has to be."""

    def __init__(self, kind: str, key: str, expected: object, found: object) -> None:
        super().__init__(f"{kind}: {key} is {found!r}, not {expected!r}")
        self.kind = kind


def _judged(key: str, expected: Any, found: Any) -> None:
    if found == expected:
        return
    if found in (None, 0, [], {}, b"") and expected not in (None, 0, [], {}, b""):
        kind = "lost"
    elif expected in (None, 0, [], {}, b""):
        kind = "back"
    else:
        kind = "wrong"
    raise WrongReplyError(kind, key, expected, found)


class Kind:
    """Keys of one type of one worker.

    Args:
        prefix: of its keys.
        count: how many keys.
        rnd: draws the calls.
    """

    def __init__(self, prefix: str, count: int, rnd: random.Random) -> None:
        self.keys = [f"{prefix}:{type(self).__name__.lower()}:{n}" for n in range(count)]
        self.rnd = rnd
        self.number = 0
        self.values: dict[str, Any] = {}

    def step(self) -> Step:
        """Return the next call."""
        name = self.rnd.choice(self.calls)
        self.number += 1
        step: Step = getattr(self, name)(self.rnd.choice(self.keys))
        return step

    @property
    def calls(self) -> list[str]:
        """The names of the methods that make a call on one key."""
        return [name for name in vars(type(self)) if name.startswith("do_")]

    def _deleted(self, name: str, key: str) -> Step:
        def took(reply: Any) -> None:
            _judged(key, int(key in self.values), reply)
            self.values.pop(key, None)

        return name, lambda c: c.delete(key), took

    def restart(self) -> Step:
        """Return the call with which all keys begin anew, as nobody knows whether one has run."""
        keys = self.keys
        return "restart", lambda client: client.delete(*keys), lambda _: self.forget()

    def forget(self) -> None:
        """Note that no key is there."""
        self.values.clear()


class Strings(Kind):
    """Strings that are set, appended to, deleted and read, one by one and many at once."""

    def _new(self, key: str) -> bytes:
        return f"{key}={self.number}".encode()

    def do_set(self, key: str) -> Step:
        value = self._new(key)
        return "set", lambda c: c.set(key, value), lambda _: self.values.update({key: value})

    def do_get(self, key: str) -> Step:
        return "get", lambda c: c.get(key), lambda r: _judged(key, self.values.get(key), r)

    def do_append(self, key: str) -> Step:
        value = self.values.get(key, b"")[-200:] + b"+"

        def took(reply: Any) -> None:
            whole = self.values.get(key, b"") + b"+"
            _judged(key, len(whole), reply)
            self.values[key] = whole

        if len(value) > 190:
            return self.do_set(key)
        return "append", lambda c: c.append(key, "+"), took

    def do_delete(self, key: str) -> Step:
        return self._deleted("delete", key)

    def do_mget(self, _: str) -> Step:
        keys = self.rnd.sample(self.keys, min(8, len(self.keys)))

        def took(reply: Any) -> None:
            for key, value in zip(keys, reply, strict=True):
                _judged(key, self.values.get(key), value)

        return "mget", lambda c: c.mget(keys), took

    def do_mset(self, _: str) -> Step:
        keys = self.rnd.sample(self.keys, min(5, len(self.keys)))
        pairs = {key: self._new(key) for key in keys}
        return "mset", lambda c: c.mset(pairs), lambda _: self.values.update(pairs)

    def do_delete_many(self, _: str) -> Step:
        keys = self.rnd.sample(self.keys, min(4, len(self.keys)))

        def took(reply: Any) -> None:
            _judged(",".join(keys), sum(key in self.values for key in keys), reply)
            for key in keys:
                self.values.pop(key, None)

        return "delete many", lambda c: c.unlink(*keys), took

    def do_pipeline(self, _: str) -> Step:
        keys = self.rnd.sample(self.keys, min(6, len(self.keys)))
        pairs = {key: self._new(key) for key in keys}

        def call(client: Any) -> Any:
            pipe = client.pipeline(transaction=False)
            for key, value in pairs.items():
                pipe.get(key).set(key, value)
            return pipe.execute()

        def took(reply: Any) -> None:
            for key, value in zip(pairs, reply[::2], strict=True):
                _judged(key, self.values.get(key), value)
            self.values.update(pairs)

        return "pipeline", call, took

    def do_transaction(self, key: str) -> Step:
        value, before = self._new(key), self.values.get(key)

        def call(client: Any) -> Any:
            return client.pipeline(transaction=True).get(key).set(key, value).get(key).execute()

        def took(reply: Any) -> None:
            _judged(key, before, reply[0])
            _judged(key, value, reply[2])
            self.values[key] = value

        return "transaction", call, took

    def do_watch(self, key: str) -> Step:
        value = self._new(key)

        def change(pipe: Any) -> None:
            pipe.multi()
            pipe.set(key, value)

        def took(_: Any) -> None:
            self.values[key] = value

        return "watch", lambda c: c.transaction(change, key), took

    def do_script(self, key: str) -> Step:
        value = self._new(key)

        def took(reply: Any) -> None:
            _judged(key, value, reply)
            self.values[key] = value

        return "script", lambda c: c.eval(_BOTH, 1, key, value), took


class Counters(Kind):
    """Counters: a reply tells whether an increment was lost, or ran twice."""

    def _took(self, key: str) -> Callable[[Any], None]:
        def took(reply: Any) -> None:
            _judged(key, self.values.get(key, 0) + 1, reply)
            self.values[key] = reply

        return took

    def do_incr(self, key: str) -> Step:
        return "incr", lambda c: c.incr(key), self._took(key)

    def do_script(self, key: str) -> Step:
        return "incr in a script", lambda c: c.eval(_INCR, 1, key), self._took(key)


class Hashes(Kind):
    """Hashes, field by field and whole."""

    def do_hset(self, key: str) -> Step:
        field, value = b"f%d" % self.rnd.randrange(6), b"%d" % self.number

        def took(reply: Any) -> None:
            fields = self.values.setdefault(key, {})
            _judged(key, int(field not in fields), reply)
            fields[field] = value

        return "hset", lambda c: c.hset(key, field, value), took

    def do_hgetall(self, key: str) -> Step:
        return (
            "hgetall",
            lambda c: c.hgetall(key),
            lambda r: _judged(key, self.values.get(key, {}), r),
        )

    def do_delete(self, key: str) -> Step:
        return self._deleted("delete a hash", key)


class Lists(Kind):
    """Lists as queues: each item comes out once, in order."""

    def __init__(self, prefix: str, count: int, rnd: random.Random) -> None:
        super().__init__(prefix, count, rnd)
        self.values = {key: deque[bytes]() for key in self.keys}

    def forget(self) -> None:
        for items in self.values.values():
            items.clear()

    def do_lpush(self, key: str) -> Step:
        item = b"%d" % self.number

        def took(reply: Any) -> None:
            self.values[key].append(item)
            _judged(key, len(self.values[key]), reply)

        if len(self.values[key]) > 20:
            return self.do_brpop(key)
        return "lpush", lambda c: c.lpush(key, item), took

    def do_rpop(self, key: str) -> Step:
        def took(reply: Any) -> None:
            items = self.values[key]
            _judged(key, items.popleft() if items else None, reply)

        return "rpop", lambda c: c.rpop(key), took

    def do_brpop(self, key: str) -> Step:
        if not self.values[key]:
            return self.do_lpush(key)
        expected = self.values[key][0]

        def took(reply: Any) -> None:
            _judged(key, [key.encode(), expected], None if reply is None else list(reply))
            self.values[key].popleft()

        return "brpop", lambda c: c.brpop([key], timeout=1), took

    def do_lrange(self, key: str) -> Step:
        return (
            "lrange",
            lambda c: c.lrange(key, 0, -1),
            lambda r: _judged(key, list(self.values[key])[::-1], r),
        )


class Sets(Kind):
    """Sets, sorted sets and streams that only grow, until they are deleted."""

    def _grown(self, key: str, member: bytes) -> Callable[[Any], None]:
        def took(reply: Any) -> None:
            members = self.values.setdefault(key, set())
            _judged(key, int(member not in members), reply)
            members.add(member)

        return took

    def do_zadd(self, key: str) -> Step:
        member = b"%d" % self.rnd.randrange(30)
        return "zadd", lambda c: c.zadd(key, {member: 1.5}), self._grown(key, member)

    def do_zrange(self, key: str) -> Step:
        expected = sorted(self.values.get(key, ()))
        return "zrange", lambda c: c.zrange(key, 0, -1), lambda r: _judged(key, expected, r)

    def do_delete(self, key: str) -> Step:
        return self._deleted("delete a sorted set", key)


class Streams(Kind):
    """Streams: an entry is there once."""

    def do_xadd(self, key: str) -> Step:
        if self.values.get(key, 0) > 30:
            return self.do_delete(key)

        def took(_: Any) -> None:
            self.values[key] = self.values.get(key, 0) + 1

        return "xadd", lambda c: c.xadd(key, {"n": self.number}), took

    def do_xlen(self, key: str) -> Step:
        return "xlen", lambda c: c.xlen(key), lambda r: _judged(key, self.values.get(key, 0), r)

    def do_delete(self, key: str) -> Step:
        return self._deleted("delete a stream", key)


class Expiring(Kind):
    """Keys that expire: not before their time, and they do not come back after it.

    The values are pairs: the value of the key, and when it is gone.
    """

    def do_set(self, key: str) -> Step:
        value, ttl = b"%d" % self.number, self.rnd.choice((SHORT_TTL, 3600.0))

        def took(_: Any) -> None:
            self.values[key] = value, time.monotonic() + ttl

        return "set px", lambda c: c.set(key, value, px=int(ttl * 1000)), took

    def do_get(self, key: str) -> Step:
        value, gone = self.values.get(key, (None, 0.0))
        asked = time.monotonic()

        def took(reply: Any) -> None:
            if time.monotonic() < gone - _GRACE:
                _judged(key, value, reply)
            elif asked > gone + _GRACE:
                _judged(key, None, reply)
            elif reply is not None:
                _judged(key, value, reply)

        return "get of one that expires", lambda c: c.get(key), took

    def do_expire(self, key: str) -> Step:
        value, gone = self.values.get(key, (None, 0.0))
        left = gone - time.monotonic()

        def took(reply: Any) -> None:
            if left > _GRACE and value is not None:
                _judged(key, 1, int(reply))
                self.values[key] = value, time.monotonic() + 3600.0
            elif reply and value is not None:
                self.values[key] = value, time.monotonic() + 3600.0

        return "expire", lambda c: c.expire(key, 3600), took


KINDS: tuple[type[Kind], ...] = (Strings, Counters, Hashes, Lists, Sets, Streams, Expiring)
