"""Calls with an idempotency key: each changes something once, however often it is sent.

no call of this key       carried out; its answer is kept, if it has changed something
one that was answered     the same answer
one that is carried out   waited for
one whose process died    carried out again, or told what it has changed (`lost_answers`); the same
                          for one whose process could not hear from the store what became of it
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from flask import Response, current_app, g

from cachemesh.core.errors import CacheMeshError
from metaserver.api.backend import Backend
from metaserver.api.contract import KEY_HEADER, Operation
from metaserver.api.lost_answers import lost_answer
from metaserver.domain.errors import RequestRefused
from metaserver.process.identity import process_is_alive
from metaserver.store import CallId, RecordedCall, StorageError, UnsureError

_WAIT = 30.0  # seconds that a call waits for an earlier one with its key
_LOOK_EVERY = 0.05  # seconds
_MOST_KEPT = 64 * 1024  # characters of an answer; what a larger one said is made up anew
SECRET = ("NewToken", "RotatedToken")  # the schemas of answers that are not kept

log = logging.getLogger("metaserver")

CarryOut: TypeAlias = Callable[[Backend], Response]
"""Carries a call out, with the parts of the process that it is given."""


def digest_of(*parts: object) -> str:
    """Return a digest of the parts of a request, which are JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class KeyedCall:
    """A call of a changing operation that has an idempotency key.

    Attributes:
        request: the digest of the request.
    """

    backend: Backend
    operation: Operation
    id: CallId
    request: str

    def answer(self, carry_out: CarryOut) -> Response:
        """Return the answer to the call, which is carried out if it was not before.

        Raises:
            RequestRefused: idempotency-key-reused; call-in-progress: not answered in time;
                answer-lost: the change was made, but its answer cannot be given again.
        """
        end, turn, under_way = time.monotonic() + _WAIT, object(), self.backend.calls_under_way
        while under_way.setdefault(self.id, turn) is not turn:
            self._wait(end)
        try:
            return self._answer(carry_out, end)
        finally:
            del under_way[self.id]

    def _answer(self, carry_out: CarryOut, end: float) -> Response:
        """As `answer`, when no other call of this key is under way on this process."""
        store, owner = self.backend.store, self.backend.context.owner
        while True:
            found = store.begin_call(self.id, self.request, owner)
            if found is None:
                return self._carried_out(carry_out)
            if found.request != self.request:
                raise RequestRefused(
                    "idempotency-key-reused",
                    f"The {KEY_HEADER} {self.id.key!r} was sent with another request before",
                    "use another key for each request",
                )
            if found.status is not None and found.answer is not None:
                return self._again(found.status, found.answer)
            if found.status is not None or (found.changed and not self._attended(found)):
                g.outcome = "unchanged"
                return lost_answer(store, self.operation, found)
            if not self._attended(found) and store.take_call(self.id, owner, found.owner):
                return self._carried_out(carry_out)
            self._wait(end)

    def _wait(self, end: float) -> None:
        if time.monotonic() >= end or self.backend.context.stopping.wait(_LOOK_EVERY):
            raise RequestRefused(
                "call-in-progress",
                f"The first call with {KEY_HEADER} {self.id.key!r} is still being carried out",
                "send it again, with the same key, to hear what becomes of it",
            )

    def _attended(self, found: RecordedCall) -> bool:
        """Return whether another process is carrying the call out, as far as is known."""
        if found.owner == self.backend.context.owner:
            return False  # it has left the record behind: the store has told nothing more
        live = {each.owner for each in self.backend.store.metaservers()}
        return process_is_alive(found.owner, live)

    def _carried_out(self, carry_out: CarryOut) -> Response:
        """Carry the call out; keep its answer if something was changed."""
        backend = self.backend
        store = backend.store.calling(self.id, backend.context.owner)
        parts = replace(
            backend,
            store=store,
            context=replace(backend.context, store=store),
            tokens=backend.tokens.on(store),
        )
        reply: Response | None = None
        unsure = False
        try:
            try:
                reply = carry_out(parts)
            except UnsureError:
                unsure = True  # the next call with this key finds out
                raise
            except CacheMeshError as error:
                reply = current_app.make_response(current_app.handle_user_exception(error))
        finally:
            if not unsure:
                self._end(reply)
        return reply

    def _end(self, reply: Response | None) -> None:
        status, text = (500, None) if reply is None else (reply.status_code, reply.get_data(True))
        if self.operation.reply in SECRET or len(text or "") > _MOST_KEPT:
            text = None
        try:
            self.backend.store.end_call(self.id, self.backend.context.owner, status, text)
        except StorageError as error:
            log.error("keeping the answer to %s: %s", self.operation.id, error)

    def _again(self, status: int, text: str) -> Response:
        g.outcome = "unchanged"
        media = "application/json" if status < 400 else "application/problem+json"
        headers = {"Cache-Control": "no-store", "Idempotency-Replayed": "true"}
        reply = Response(text, status, headers, content_type=media)
        if status == 204:
            del reply.headers["Content-Type"]
        return reply
