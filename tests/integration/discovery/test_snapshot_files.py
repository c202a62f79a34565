"""Snapshot files: shared by processes, whole after any SIGKILL, and refused if of no use."""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cachemesh.core.errors import MetaserverUnavailableError, SnapshotError
from cachemesh.core.names import Address
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.core.pool.topology import Topology
from cachemesh.discovery.snapshot import SnapshotFile, read_snapshot, snapshot_directory
from cachemesh.discovery.url import parse_url
from tests.support import rogue_server
from tests.support.sentinels import following
from tests.support.waiting import AT_MOST, until

ROUNDS = int(os.environ.get("SNAPSHOT_KILLS", "10"))
URL = "cachemesh://127.0.0.1:1/cache"


def topology(version: int, shards: int = 200) -> Topology:
    """Return a topology whose text is of some length."""
    names = [f"cache-{number}" for number in range(shards)]
    document = PoolDocument("cache", version, SlotsPlacement.even(list(map(Shard, names))))
    return Topology(document, {name: Address("127.0.0.1", 6379) for name in names})


def file_in(directory: Path) -> SnapshotFile:
    """Return the snapshot file that clients of `URL` have in a directory."""
    file = parse_url(URL, {"snapshot_dir": str(directory)}).snapshot
    assert file is not None
    return file


def test_only_the_user_may_read_it_and_no_option_is_in_it(tmp_path: Path) -> None:
    options = {"snapshot_dir": str(tmp_path / "a" / "b"), "token": "t0p", "password": "hunter2"}
    file = parse_url(URL, options).snapshot
    assert file is not None
    file.store(topology(1), 0.0)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.directory.stat().st_mode) == 0o700
    assert [each.name for each in file.directory.iterdir()] == [file.path.name]
    text = file.path.read_text()
    assert "t0p" not in text
    assert "hunter2" not in text


def test_where_it_is() -> None:
    assert snapshot_directory(None, {"XDG_STATE_HOME": "/s"}) == Path("/s/cachemesh")
    home = Path.home() / ".local/state/cachemesh"
    assert snapshot_directory(None, {"XDG_STATE_HOME": "relative"}) == home
    assert snapshot_directory(None, {"CACHEMESH_SNAPSHOT_DIR": "/x"}) == Path("/x")
    assert snapshot_directory("/y", {"CACHEMESH_SNAPSHOT_DIR": "off"}) == Path("/y")
    assert snapshot_directory("off", {}) is None
    several = "cachemesh://b:1,a:2/cache?snapshot_dir=/x"
    same, other = (
        parse_url("cachemesh://a:2,b:1/cache?snapshot_dir=/x", {}),
        parse_url("cachemesh://a:2,b:1/cachet?snapshot_dir=/x", {}),
    )
    assert parse_url(several, {}).snapshot == same.snapshot != other.snapshot


def writer(file: SnapshotFile, version: int) -> int:
    """Fork a process that stores one version after the other until it is killed; return its pid.

    The call returns after the first one is stored.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(int(AT_MOST))
        try:
            for number in itertools.count(version + 1):
                file.store(topology(number), 0.0)
                if number == version + 1:
                    os.write(writing, b".")
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.read(1), "the writer has failed"
    return pid


def test_the_file_is_whole_after_every_sigkill(tmp_path: Path) -> None:
    """Two processes write without pause, and are killed at random moments."""
    file, version, draw = file_in(tmp_path), 0, random.Random(7)
    for _ in range(ROUNDS):
        writers = [writer(file, version) for _ in range(2)]
        time.sleep(draw.uniform(0, 0.02))  # the moment of the kill is what is drawn
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        stored = file.read()
        assert stored is not None
        assert stored.topology == topology(stored.version)
        assert stored.version > version
        version = stored.version
    file.store(topology(version + 1), 0.0)
    assert [each.name for each in tmp_path.iterdir()] == [file.path.name], "no litter"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def writable_by_others(path: Path) -> None:
    path.chmod(0o666)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def huge(path: Path) -> None:
    os.truncate(path, 1 << 30)  # a hole


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_deployment(path: Path) -> None:
    other = parse_url("cachemesh://else/cache", {"snapshot_dir": str(path.parent)}).snapshot
    assert other is not None
    other.store(topology(1), 0.0)
    other.path.replace(path)


def from_the_future(path: Path) -> None:
    path.unlink()
    file_in(path.parent).store(topology(1), -86_400.0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncated, "cut off"),
        (empty, "cut off"),
        (writable_by_others, "other users may write"),
        (a_directory, "directory"),
        (a_pipe, "not a regular file"),
        (huge, "larger than"),
        (of_another_deployment, "of cachemesh://else:7700/cache, not of"),
        (from_the_future, "from the future"),
    ],
)
def test_one_of_no_use_is_told_and_the_error_is_as_without(
    spoil: Callable[[Path], None], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = file_in(tmp_path)
    file.store(topology(1), 0.0)
    spoil(file.path)
    with (
        caplog.at_level(logging.ERROR, "cachemesh"),
        following(URL, snapshot_dir=str(tmp_path)) as member,
        pytest.raises(MetaserverUnavailableError, match="No metaserver answers"),
    ):
        member.topology()
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(file.path) in message
    assert reason in message
    assert "remove it" in message


def test_it_is_written_anew_in_place_of_a_damaged_one(tmp_path: Path) -> None:
    file = file_in(tmp_path)
    file.store(topology(3), 0.0)
    truncated(file.path)
    with pytest.raises(SnapshotError):
        read_snapshot(file.path)
    file.store(topology(2), 0.0)
    assert read_snapshot(file.path).version == 2


def test_a_place_that_cannot_be_written_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    masters = {"cache-0": ("127.0.0.1", 1)}
    with rogue_server.Server(rogue_server.sentinel(masters)) as sentinel:
        url = f"cachemesh+sentinel://{sentinel}/cache?shards=cache-0"
        with following(url, snapshot_dir=str(tmp_path / "file" / "sub")) as member:
            assert member.topology().masters == masters
            until(lambda: "cannot be stored" in caplog.text)
    (record,) = [each for each in caplog.records if "stored" in each.getMessage()]
    assert str(tmp_path / "file" / "sub") in record.getMessage()
