"""A resize whose new shard is registered no more, and one with a client that cannot be fenced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cachemesh.core.placement import Shard
from cachemesh.core.pool.document import PoolDocument
from metaserver.domain.errors import RequestRefused
from metaserver.domain.planning import ChangePlan, plan_add
from metaserver.domain.resize_move import turned_back
from metaserver.domain.resize_steps import ATTEMPTS
from metaserver.store import Store
from tests.support.resize_run import MASTERS, Run
from tests.support.service_context import context_of
from tests.support.store_records import added, create, event, intent


@pytest.fixture
def store(sqlite_store: Store) -> Store:
    return sqlite_store


def adding(before: PoolDocument) -> ChangePlan:
    return replace(plan_add(before, Shard("c"), "10.0.0.3:6379"), strategy="move")


def test_no_resize_begins_once_repair_undoes_the_registration_of_its_shard(store: Store) -> None:
    """The process stood still between SENTINEL MONITOR and the document; it goes on."""
    plan = adding(create(store))
    registered = added(store, intent())
    assert store.claim_intent(registered.id), "by repair, which has the Sentinels forget the shard"
    with pytest.raises(RequestRefused):
        context_of(store).begin_resize(plan, event(), MASTERS, [registered.id])


def test_a_resize_whose_new_shard_is_registered_no_more_can_be_given_up(store: Store) -> None:
    run = Run(store)
    registered = added(store, intent())
    run.begin(adding(create(store)), registered.id)
    assert not store.claim_intent(registered.id), "by repair"
    assert store.finish_intent(registered.id), "by whatever else"
    run.go(lambda: "give the resize up" in run.resize.reason)
    run.ask(turned_back(run.document, run.resize))
    run.go()
    assert (run.state, run.names) == ("stable", ("a", "b"))


def test_no_keys_move_while_a_client_cannot_be_fenced_off_a_shard_that_answers(
    store: Store,
) -> None:
    """It is cut off from the metaservers, serves on, and would write keys where they have left."""
    run = Run(store)
    run.clients.versions, run.clients.expired = {"cut off": 1}, {"cut off"}
    run.shards.connected = {"cut off"}
    run.shards.unfenced = {"b": "OOM command not allowed when used memory > 'maxmemory'."}
    run.begin(adding(create(store)), added(store, intent()).id)
    run.go(lambda: run.state == f"paused {ATTEMPTS + 1}" or run.resize.state == "moving")
    assert run.resize.state == "paused"


def test_shards_are_looked_at_once_more_where_a_client_acknowledges_only_after_the_look(
    store: Store,
) -> None:
    """The answer to a look comes after all that had been sent before the last acknowledgement."""
    run = Run(store)
    run.clients.versions = {"slow": 1}
    shards: Any = run.shards
    look = shards.look

    def acknowledged_then(*arguments: Any) -> Any:
        seen = look(*arguments)
        run.clients.versions = {"slow": 99}
        return seen

    shards.look = acknowledged_then
    run.begin(adding(create(store)), added(store, intent()).id)
    run.go(lambda: run.resize.state == "moving")
    assert run.shards.done.count("look") == 2
