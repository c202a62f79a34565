"""What /metrics has of a pool's document, of its sweeps, and of the libraries of its clients."""

from __future__ import annotations

from metaserver.api.metrics import METRICS
from metaserver.api.pool_metrics import MOST_SDKS, of_document, of_sdks, of_sweeps
from metaserver.domain.pool_pause import PoolPause, paused
from metaserver.domain.pool_state import Sweep, SweepState
from tests.support.store_records import document


def sweep(created: float, state: SweepState = "running") -> Sweep:
    return Sweep(1, "cache", "cache-0", None, 2, False, state, 0, "", created)


def values(sweeps: tuple[Sweep, ...]) -> dict[str, float]:
    found = {
        each.name.removeprefix("cachemesh_pool_"): each.value for each in of_sweeps("cache", sweeps)
    }
    assert {f"cachemesh_pool_{name}" for name in found} <= METRICS.keys()
    return found


def sdks(names: list[str | None]) -> dict[str, float]:
    return {each.labels["sdk"]: each.value for each in of_sdks("cache", names)}


def test_whether_a_pool_is_paused_is_told_in_any_case() -> None:
    of_names = {each.name: each.value for each in of_document(document())}
    assert of_names["cachemesh_pool_paused"] == 0
    (told,) = (
        each
        for each in of_document(paused(document(), PoolPause("token:ops", "now")))
        if each.name == "cachemesh_pool_paused"
    )
    assert (told.value, told.labels) == (1, {"pool": "cache"})


def test_the_oldest_sweep_tells_when_it_was_stored() -> None:
    assert values((sweep(200.0), sweep(100.5, "failed"), sweep(300.0))) == {
        "sweeps": 3,
        "failed_sweeps": 1,
        "oldest_sweep_start_time_seconds": 100.5,
    }


def test_without_a_sweep_none_is_the_oldest() -> None:
    assert values(()) == {"sweeps": 0, "failed_sweeps": 0}


def test_clients_are_counted_by_their_library() -> None:
    assert sdks(["cachemesh 0.1.0", "cachemesh 0.2.0", "cachemesh 0.1.0", None, ""]) == {
        "cachemesh 0.1.0": 2,
        "cachemesh 0.2.0": 1,
        "unknown": 2,
    }


def test_names_that_clients_make_up_do_not_become_time_series_without_end() -> None:
    names: list[str | None] = ["cachemesh 0.1.0"] * 5
    names += [f"mine {number} " + "x" * 1000 for number in range(1000)]
    found = sdks(names)
    assert len(found) == MOST_SDKS + 1
    assert sum(found.values()) == len(names)
    assert found["cachemesh 0.1.0"] == 5
    assert max(map(len, found)) <= 60
