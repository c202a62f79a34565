"""Turns: a greenlet with much to do lets the others run now and then."""

from __future__ import annotations

import gevent


def let_others_run() -> None:
    """Return after the other greenlets had a turn, and the sockets that can be read or written.

    After `gevent.sleep(0)`, sockets are looked at only once in 50 turns (CALLBACK_CHECK_COUNT of
    gevent's loop). An idle watcher of high priority is called whenever they have been looked at.
    """
    gevent.idle(1)
