"""Samples of an instance whose connection is cut meanwhile, as Sentinel cuts it."""

from __future__ import annotations

from pathlib import Path

from metaserver.redis_io.instance_sampler import InstanceSampler
from tests.support import metaserver_loops
from tests.support.metaserver_loops import NETWORKS
from tests.support.rogue_server import HANG_UP, Server, Words

INFO = b"redis_version:7.0.15\r\nrole:master\r\n"
REPLY = b"$%d\r\n%s\r\n" % (len(INFO), INFO)


class Cut:
    """An instance that cuts the connection at the first few INFO."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def answer(self, words: Words) -> bytes | None:
        if words[0].upper() != b"INFO":
            return b"+OK\r\n"
        self.asked += 1
        return HANG_UP if self.asked <= self.times else REPLY


def test_a_connection_that_was_cut_is_no_dead_instance(tmp_path: Path) -> None:
    instance = Cut(times=1)
    with Server(instance.answer) as server:
        sample = InstanceSampler(metaserver_loops.config(tmp_path), NETWORKS).sample({str(server)})[
            str(server)
        ]
    assert (sample.error, sample.info["role"]) == (None, "master")
    assert instance.asked == 2


def test_an_instance_that_cuts_every_connection_is_asked_no_third_time(tmp_path: Path) -> None:
    instance = Cut(times=100)
    with Server(instance.answer) as server:
        sample = InstanceSampler(metaserver_loops.config(tmp_path), NETWORKS).sample({str(server)})[
            str(server)
        ]
    assert sample.error is not None
    assert instance.asked == 2
