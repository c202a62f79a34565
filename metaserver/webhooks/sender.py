"""The loop that posts events to one URL: in their order, each again and again until it is taken.

What was taken is noted in the store after each event, so that another leader goes on there. At
worst an event is posted twice: where its process died, or its term ended, between the two.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from cachemesh.core.plurals import counted
from metaserver.domain.audit_log import Event
from metaserver.domain.webhook import body_of, headers_of, retry_delay, skipped_before
from metaserver.store import StorageError, Store
from metaserver.webhooks.endpoint import Endpoint, NotTakenError
from metaserver.webhooks.figures import WebhookFigures
from metaserver.webhooks.target import WebhookTarget

_LOOK_EVERY = 0.5  # seconds between two looks for new events
_AT_ONCE = 100  # events that are read together

log = logging.getLogger("metaserver")


class WebhookSender:
    """Posts what the audit log gains to one URL.

    Args:
        secret: signs each POST; None: none is signed.
        figures: what is counted is written there.
        epoch_clock: returns seconds since the epoch, which each POST tells.
        jitter: returns a number from 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        target: WebhookTarget,
        endpoint: Endpoint,
        secret: str | None,
        figures: WebhookFigures,
        *,
        epoch_clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._key = target.key
        self._name = target.name
        self._endpoint = endpoint
        self._secret = secret
        self._figures = figures
        self._epoch_clock = epoch_clock
        self._jitter = jitter
        self._failures = 0  # in a row
        self._told = ""  # why the last attempt failed, as the log has it

    def run(self, stop: threading.Event) -> None:
        """Post events until `stop` is set."""
        self._figures.leads = True
        try:
            while not stop.is_set():
                stop.wait(self._look(stop))
        finally:
            self._figures.leads = False

    def _look(self, stop: threading.Event) -> float:
        """Post what is new, and return the seconds until the next look."""
        try:
            self._post_new(stop)
        except NotTakenError as error:
            self._note_failure(str(error))
            return retry_delay(self._failures, self._jitter())
        except StorageError as error:
            self._tell(str(error))
        return _LOOK_EVERY

    def _post_new(self, stop: threading.Event) -> None:
        """Post what is new.

        Raises:
            NotTakenError: an event was not taken.
            StorageError: where to go on cannot be read, or not be noted.
        """
        newest, position = self._store.newest_event_id(), self._store.webhook_position(self._key)
        if position is None or position > newest:  # the latter: in an older copy of the store
            position = self._begin_after(newest)
        events = self._store.next_events(position, limit=_AT_ONCE)
        self._figures.waiting = max(0, newest - events[0].id + 1) if events else 0
        if events:
            self._store.check_writable()  # else the same one would be posted again and again
        for event in events:
            if stop.is_set():
                return
            skipped = skipped_before(event, position)
            self._post(event, skipped)
            self._store.keep_webhook_position(self._key, event.id)
            self._note_success(event, skipped)
            position = event.id

    def _begin_after(self, newest: int) -> int:
        """Begin with what comes next, and return the id of the event before that."""
        self._store.keep_webhook_position(self._key, newest)
        log.info("events to %s: those after event %d", self._name, newest)
        return newest

    def _post(self, event: Event, skipped: int) -> None:
        body = body_of(event, skipped)
        headers = headers_of(event.id, body, int(self._epoch_clock()), self._secret)
        self._endpoint.post(body, headers)

    def _note_success(self, event: Event, skipped: int) -> None:
        if skipped:
            gone = counted(skipped, "event")
            log.warning("events to %s: %s before %d are deleted", self._name, gone, event.id)
        if self._told:
            log.info("events to %s: taken again", self._name)
        figures = self._figures
        figures.taken += 1
        figures.skipped += skipped
        figures.waiting = max(0, figures.waiting - 1)
        figures.failing, self._failures, self._told = False, 0, ""

    def _note_failure(self, reason: str) -> None:
        self._failures += 1
        self._figures.failed += 1
        self._figures.failing = True
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        """Log why events are not taken, unless that was told last."""
        if reason != self._told:
            log.warning("events to %s are not taken: %s; they are tried again", self._name, reason)
        self._told = reason
