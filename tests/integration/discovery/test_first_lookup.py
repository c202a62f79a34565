"""First look-ups: slow Sentinels are asked again, and clients spread over the Sentinels."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from cachemesh.core.errors import SentinelUnavailableError
from tests.support import rogue_server
from tests.support.rogue_server import silent
from tests.support.sentinels import following, pool_file
from tests.support.waiting import until

MASTERS = {"cache-0": ("127.0.0.1", 1)}


def slow(seconds: float) -> rogue_server.Answer:
    """Return the answers of a Sentinel that takes ``seconds`` for each, as on a busy machine."""
    prompt = rogue_server.sentinel(MASTERS)

    def answer(words: rogue_server.Words) -> bytes | None:
        if words[0] == b"SENTINEL":
            time.sleep(seconds)  # the slowness itself
        return prompt(words)

    return answer


def urls(sentinel: object, directory: Path) -> list[str]:
    return [
        f"cachemesh+sentinel://{sentinel}/cache?shards=cache-0",
        pool_file(directory / "cache.json", [str(sentinel)], ["cache-0"]),
    ]


def test_a_slow_sentinel_gets_more_time(tmp_path: Path) -> None:
    with rogue_server.Server(slow(0.5)) as sentinel:
        for url in urls(sentinel, tmp_path):
            with following(url, sentinel_timeout=0.2, socket_timeout=60) as member:
                assert member.topology().masters == MASTERS


def test_retries_end_with_the_time_for_commands(tmp_path: Path) -> None:
    with silent() as sentinel:
        for url in urls(sentinel, tmp_path):
            with (
                following(url, sentinel_timeout=0.1, socket_timeout=0.5) as member,
                pytest.raises(SentinelUnavailableError, match="tim"),
            ):
                member.topology()
        assert sentinel.connections > 2, "each was asked again"


def test_one_that_is_not_there_is_not_waited_for(tmp_path: Path) -> None:
    with rogue_server.Server(lambda _: rogue_server.HANG_UP) as sentinel:
        for url in urls(sentinel, tmp_path):
            with (
                following(url, sentinel_timeout=0.1, socket_timeout=60) as member,
                pytest.raises(SentinelUnavailableError),
            ):
                member.topology()
        assert sentinel.connections == 2


def test_clients_poll_all_sentinels(tmp_path: Path) -> None:
    asked = [0, 0, 0]

    def counting(at: int) -> rogue_server.Answer:
        prompt = rogue_server.sentinel(MASTERS)

        def answer(words: rogue_server.Words) -> bytes | None:
            asked[at] += words[0] == b"SENTINEL"
            return prompt(words)

        return answer

    with ExitStack() as several:
        sentinels = [several.enter_context(rogue_server.Server(counting(at))) for at in range(3)]
        addresses = [str(sentinel) for sentinel in sentinels]
        url = pool_file(tmp_path / "cache.json", addresses, ["cache-0"], poll_interval=0.1)
        for number in range(30):  # followed apart, as by as many processes
            member = following(url, sentinel_timeout=5 + number / 100)
            several.enter_context(member).topology()
        until(lambda: all(asked))
