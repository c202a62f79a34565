"""What other processes have to hear of a client, and a watch call that comes after its end."""

from __future__ import annotations

from metaserver.watch.client_table import ClientTable
from tests.support.clock import Clock

LEASE = 30.0


def table(clock: Clock) -> ClientTable:
    return ClientTable(LEASE, per_token=10, owner="here:1:1", clock=clock)


def test_each_version_that_a_client_acknowledges_is_a_change() -> None:
    clients = table(Clock())
    assert clients.watch_began("cache", "a", 4, "10.0.0.1")
    seen = clients.changes
    assert not clients.watch_began("cache", "a", 4, "10.0.0.1")
    assert clients.changes == seen, "nobody has to hear of a call that says nothing new"
    assert not clients.watch_began("cache", "a", 5, "10.0.0.1")
    assert clients.changes == seen + 1


def test_a_late_watch_call_does_not_bring_back_a_client_that_has_left() -> None:
    clock = Clock()
    clients = table(clock)
    clients.watch_began("cache", "a", 4, "10.0.0.1")
    clients.leave("cache", "a")
    assert not clients.watch_began("cache", "a", 4, "10.0.0.1")
    assert clients.live("cache") == []
    assert clients.left("cache") == [("", "a")]
    clock.now = LEASE + 1.0
    assert clients.watch_began("cache", "a", 4, "10.0.0.1"), "it has come again"
    assert [each.client for each in clients.live("cache")] == ["a"]
