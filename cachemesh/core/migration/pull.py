"""A pull: keys leave the shard that loses them for the one that gains them, without I/O.

    copy     at the source:  MIGRATE ... COPY
    gone     at the source:  MIGRATE ... COPY; PUBLISH, WAIT; where it had none of the keys
    confirm  at the target:  EXISTS of all keys, of each where some are missing; PUBLISH, WAIT
    remove   at the source:  UNLINK of the keys that the target has; MIGRATE of the others;
                             PUBLISH, WAIT
    cut      at the target:  CLIENT LIST, CLIENT KILL; where a copy may be under way yet

It ends when the source has none of the keys, and neither have its replicas. Four rules hold at
every moment, whoever else pulls the same keys, and wherever a server or the puller dies:

- The source copies, never the puller: what it read could arrive after somebody deleted the key.
- A key leaves the source only once the target has been seen to have it, and the target's replicas
  too. So a target that fails over loses nothing that the source had.
- "The source has it not" counts only once the source's replicas have lost it as well. So a source
  that fails over brings nothing back. That holds too where somebody else removed the key.
- What the target has stays: MIGRATE without REPLACE. So it must hold none of the keys at first.

A MIGRATE that runs out of time leaves a copy behind that may arrive at any later moment, when the
key was deleted long ago. So who gets that answer cuts it off, before anything else
(`cachemesh.core.migration.late_copies`).

So until a pull has ended, a copy at the source is as good as one at the target, and once it has,
only the target is asked. A pull can be begun anew at any moment.

WAIT waits for what its own connection has written last: in Redis 8, for its last command that went
to the replicas. What is to be waited for was written by others, too. PUBLISH goes to the replicas
after all that was written before it, and changes no key; so it goes before each WAIT.

Sources: https://redis.io/docs/latest/commands/migrate/ and .../wait/; `tests/unit/core/migration`
explores every order of the steps of several pullers with crashes and failovers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from cachemesh.core.hidden_secrets import hide
from cachemesh.core.malformed_replies import reading_reply
from cachemesh.core.migration.late_copies import may_bring_copies
from cachemesh.core.names import Address

Side: TypeAlias = Literal["source", "target"]
Step: TypeAlias = Literal["copy", "gone", "confirm", "confirm each", "remove"]
Word: TypeAlias = "bytes | str | int"
Outcome: TypeAlias = Literal["copied", "no key", "busy"]

CHANNEL = "cachemesh:pull"
"""Nobody listens. A user who pulls needs the right to publish there."""

IDLE_MS = 100
"""Milliseconds that a source waits for a target, unless a key is known to take longer."""

LONGEST_IDLE_MS = 2500
"""Milliseconds that it waits at most for the sake of an app. Where that is not enough for a large
key, the leader has it moved; and Sentinels do not take the source for dead meanwhile."""

ROUNDS = 5
"""How often keys are copied that the target then turns out not to have."""

_LOOKS = 2  # for connections: those that wait to be accepted at the first one are there by then


class PullError(Exception):
    """A pull did not end. Every key is where it was, or at the target, or at both."""


class NotReplicatedError(PullError):
    """Too few replicas acknowledged in time.

    Attributes:
        side: whose replicas.
    """

    def __init__(self, side: Side, acknowledged: int, needed: int) -> None:
        super().__init__(f"{acknowledged} of {needed} replicas of the {side} acknowledged in time")
        self.side = side


class NoRoomError(PullError):
    """The target has no room for the keys, or evicts them at once."""


class TransferError(PullError):
    """Source and target lost each other; whether the target has the keys is not known."""


class NotReachedError(TransferError):
    """The source has no connection to the target."""


class SlowTransferError(TransferError):
    """The target has not answered in time: it hangs, or builds a large key. No copy is left."""


class TargetRefusedError(PullError):
    """The target refused the keys for a reason that does not go away by itself."""


@dataclass(frozen=True, slots=True)
class Link:
    """How keys get from a source to a target.

    Attributes:
        target: where the target's master listens, as the source reaches it.
        source_replicas, target_replicas: how many have to acknowledge; 0 where there are none.
        timeout_ms: milliseconds that WAIT may wait for replicas.
        idle_ms: milliseconds that MIGRATE may wait for the target without progress; the source
            serves nobody meanwhile.
        db: the database that has the keys, of both.
        login: user and password for the target; an empty user is the default one.
    """

    target: Address
    source_replicas: int
    target_replicas: int
    timeout_ms: int
    login: tuple[str, str] | None = field(default=None, repr=False)
    idle_ms: int = IDLE_MS
    db: int = 0

    def migrate(self, keys: Sequence[bytes]) -> tuple[Word, ...]:
        """Return the command with which the source copies keys to the target."""
        login: tuple[Word, ...] = ()
        if self.login is not None:
            user, password = self.login
            login = ("AUTH2", user, password) if user else ("AUTH", password)
        host, port = self.target
        options = ("COPY", *login, "KEYS", *keys)
        return ("MIGRATE", host, port, "", self.db, self.idle_ms, *options)

    def wait(self, side: Side) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
        """Return the commands that wait until the replicas of one side have all there was."""
        return ("PUBLISH", CHANNEL, ""), ("WAIT", self.needed(side), self.timeout_ms)

    def needed(self, side: Side) -> int:
        """Return how many replicas of a side have to acknowledge."""
        return self.source_replicas if side == "source" else self.target_replicas


@dataclass(frozen=True, slots=True)
class Ask:
    """Commands for the master of one side: one write on one connection, one reply for each."""

    side: Side
    commands: tuple[tuple[Word, ...], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pull:
    """How far a pull is.

    Attributes:
        link: from where to where.
        keys: that the source may still have; not empty.
        step: as drawn above. `gone` copies once more, as WAIT tells only of what was seen on its
            own connection: another master may have the keys. `confirm each` is `confirm` with one
            EXISTS for each key, as that of many tells only how many there are.
        found: of the keys, those that the target has.
        rounds: how often keys have been copied.
        late: a copy of an earlier pull may be under way yet: it is cut off after the first request.
    """

    link: Link
    keys: tuple[bytes, ...]
    step: Step = "copy"
    found: tuple[bytes, ...] = ()
    rounds: int = 1
    late: bool = False

    @property
    def copies(self) -> bool:
        """Whether keys are copied by what is sent next. Without replies a copy may be under way."""
        return self.step in ("copy", "gone") or (self.step == "remove" and bool(self._left()))

    def ask(self) -> Ask:
        """Return what to send next."""
        if self.step == "copy":
            return Ask("source", (self.link.migrate(self.keys),))
        if self.step == "confirm":
            return Ask("target", (("EXISTS", *self.keys), *self.link.wait("target")))
        if self.step == "confirm each":
            seen = [("EXISTS", key) for key in self.keys]
            return Ask("target", (*seen, *self.link.wait("target")))
        return Ask("source", (*self._of_source(), *self.link.wait("source")))

    def answered(self, replies: Sequence[Any], seconds: float = math.inf) -> Pull | Cut | None:
        """Return what follows the replies to `ask`; None at the end.

        Args:
            replies: one for each command; an error reply as an exception, not raised.
            seconds: that they took.

        Raises:
            PullError: it did not end, see the classes of it.
            redis.InvalidResponse: a reply that no Redis gives.
            Exception: the first error reply of an instance that did not do as asked.
        """
        with reading_reply():
            if self.copies and (self.late or self._leaves_a_copy(replies, seconds)):
                return Cut(replace(self, late=False), tuple(replies))
            return self.follow(replies)

    def _leaves_a_copy(self, replies: Sequence[Any], seconds: float) -> bool:
        """Return whether MIGRATE may have run out of time with a copy under way.

        Of many keys it tells the first refusal, though it ran out of time for a later one.
        """
        reply = replies[1 if self.step == "remove" else 0]
        if not isinstance(reply, Exception):
            return False
        if str(reply).startswith("IOERR"):
            return not _is_not_reached(reply)
        several = _TARGET_SAID in str(reply) and len(self._left()) > 1
        return several and 1000 * seconds > 0.9 * self.link.idle_ms

    def follow(self, replies: Sequence[Any]) -> Pull | None:
        """As `answered`, once no copy is under way."""
        if self.step == "copy":
            return self._copied(replies[0])
        *before, published, acknowledged = replies
        _raise_errors([published])
        if self.step == "confirm":
            return self._confirmed_all(before[0], acknowledged)
        if self.step == "confirm each":
            return self._confirmed_each(before, acknowledged)
        if self.step == "remove":
            _raise_errors(before[:1])
            self._check_replicated("source", acknowledged)
            left = self._left()
            if not left:
                return None
            again = replace(self, keys=left, found=(), rounds=self.rounds + 1)
            return again._copied(before[1])
        return self._gone(before[0], acknowledged)

    def _of_source(self) -> Sequence[tuple[Word, ...]]:
        if self.step == "gone":
            return [self.link.migrate(self.keys)]
        left = self._left()
        again = [self.link.migrate(left)] if left else []
        return [("UNLINK", *self.found), *again]

    def _left(self) -> tuple[bytes, ...]:
        found = set(self.found)
        return tuple(key for key in self.keys if key not in found)

    def _gone(self, reply: Any, acknowledged: Any) -> Pull | None:
        after = self._copied(reply)
        if after.step != "gone":
            return after
        self._check_replicated("source", acknowledged)
        return None

    def _copied(self, reply: Any) -> Pull:
        # Of many keys MIGRATE tells the first refusal alone. Which the target has nevertheless, it
        # is asked itself; the others are then copied without those, and tell what refuses them.
        return replace(self, step="gone" if self._outcome_of(reply) == "no key" else "confirm")

    def _outcome_of(self, reply: Any) -> Outcome:
        """Return what MIGRATE did. Its error may repeat login and values: these are taken out."""
        if isinstance(reply, Exception):
            hide(reply, None if self.link.login is None else self.link.login[1])
        return _outcome(reply)

    def _confirmed_all(self, count: Any, acknowledged: Any) -> Pull:
        _raise_errors([count])
        if 0 < count < len(self.keys):
            return replace(self, step="confirm each")
        return self._confirmed(self.keys if count else (), acknowledged)

    def _confirmed_each(self, seen: Sequence[Any], acknowledged: Any) -> Pull:
        _raise_errors(seen)
        found = tuple(key for key, count in zip(self.keys, seen, strict=True) if count)
        return self._confirmed(found, acknowledged)

    def _confirmed(self, found: tuple[bytes, ...], acknowledged: Any) -> Pull:
        if not found:
            if self.rounds >= ROUNDS:
                raise NoRoomError(f"the target did not keep the keys, {ROUNDS} times in a row")
            return replace(self, step="copy", rounds=self.rounds + 1)
        self._check_replicated("target", acknowledged)
        return replace(self, step="remove", found=found)

    def _check_replicated(self, side: Side, acknowledged: Any) -> None:
        _raise_errors([acknowledged])
        needed = self.link.needed(side)
        if acknowledged < needed:
            raise NotReplicatedError(side, acknowledged, needed)


@dataclass(frozen=True, slots=True)
class Cut:
    """How far the end of the connections is over which copies may be under way.

    Where the user may not list or end connections, they stay.

    Attributes:
        pull: goes on then; None: nothing does.
        replies: that it has got.
        ids: of the connections that are still to be ended.
        looks: how often connections have been listed.
    """

    pull: Pull | None = None
    replies: tuple[Any, ...] = field(default=(), repr=False)
    ids: tuple[int, ...] = ()
    looks: int = 0

    @property
    def late(self) -> bool:
        """A copy may be under way yet."""
        return True

    @property
    def copies(self) -> bool:
        """Nothing is copied by what is sent next."""
        return False

    def ask(self) -> Ask:
        """Return what to send next."""
        looks: list[tuple[Word, ...]] = [("CLIENT", "LIST", "TYPE", "normal")]
        ended: list[tuple[Word, ...]] = [("CLIENT", "KILL", "ID", each) for each in self.ids]
        return Ask("target", (*ended, *(looks if self.looks < _LOOKS else ())))

    def answered(self, replies: Sequence[Any], seconds: float = 0) -> Pull | Cut | None:
        """As `Pull.answered`."""
        refused = any(isinstance(reply, Exception) for reply in replies)
        with reading_reply():
            if not refused and self.looks < _LOOKS:
                ids = tuple(may_bring_copies(replies[-1]))
                if ids or self.looks + 1 < _LOOKS:
                    return replace(self, ids=ids, looks=self.looks + 1)
            return None if self.pull is None else self.pull.follow(self.replies)


def _outcome(reply: Any) -> Outcome:
    """Return what MIGRATE did.

    Raises:
        PullError: it failed for the sake of the target.
        Exception: the reply, where the source itself refused.
    """
    if not isinstance(reply, Exception):
        return "no key" if reply in ("NOKEY", b"NOKEY") else "copied"
    text = str(reply)
    if text.startswith("IOERR"):
        if _is_not_reached(reply):
            raise NotReachedError("the source did not reach the target in time") from reply
        raise SlowTransferError("the target did not answer the source in time") from reply
    _, told, refusal = text.partition(_TARGET_SAID)
    if not told:
        raise reply
    code = refusal.partition(" ")[0]
    if code == "BUSYKEY":
        return "busy"
    if code == "OOM":
        raise NoRoomError("the target has no room for the keys") from reply
    if code in _PASSES:
        raise TransferError(f"the target does not serve: {refusal}") from reply
    raise TargetRefusedError(f"the target refused: {refusal}") from reply


def _is_not_reached(reply: Exception) -> bool:
    return "connecting" in str(reply)


_TARGET_SAID = "Target instance replied with error: "
_PASSES = frozenset({"READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "BUSY"})


def _raise_errors(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
