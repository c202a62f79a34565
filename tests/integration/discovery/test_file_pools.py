"""Pools in a file: each written change is applied, whenever the write happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cachemesh.core.errors import InvalidDocumentError, PoolNotFoundError
from cachemesh.core.placement import Shard, SlotsPlacement
from cachemesh.core.pool.document import PoolDocument
from cachemesh.discovery.file_source import FileSource
from cachemesh.discovery.wakeup import StopEvent
from tests.support import rogue_server
from tests.support.sentinels import following
from tests.support.waiting import until


def text_of(version: int, *shards: str, sentinels: tuple[str, ...] = ()) -> str:
    placement = SlotsPlacement.even([Shard(name) for name in shards or ("cache-0",)])
    return PoolDocument("cache", version, placement, sentinels=sentinels).to_json()


def replace(path: Path, text: str) -> None:
    """Replace a file in one step, as editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cache.json"
    path.write_text(text_of(1))
    return path


@pytest.fixture
def source(path: Path) -> FileSource:
    source = FileSource(str(path))
    assert source.load().version == 1
    return source


def waited(source: FileSource, version: int) -> int:
    document = source.wait(version, StopEvent())
    assert document is not None
    return document.version


def test_a_change_between_two_waits_is_found(path: Path, source: FileSource) -> None:
    replace(path, text_of(2))
    assert waited(source, 1) == 2
    assert waited(source, 1) == 2, "what came in between may have failed"
    path.write_text(text_of(3))
    assert waited(source, 2) == 3


def test_a_file_that_was_half_written_is_read_again(path: Path, source: FileSource) -> None:
    whole = text_of(2)
    path.write_text(whole[:40])
    with pytest.raises(InvalidDocumentError, match=r"cache\.json: .*not JSON: .* at line 1"):
        source.wait(1, StopEvent())
    path.write_text(whole)
    assert waited(source, 1) == 2


def test_a_file_that_was_away_is_read_again(path: Path, source: FileSource) -> None:
    path.unlink()
    with pytest.raises(PoolNotFoundError, match=r"cache\.json: No such file"):
        source.wait(1, StopEvent())
    path.write_text(text_of(2))
    assert waited(source, 1) == 2


def test_writes_within_a_tick_of_the_clock_are_all_found(path: Path, source: FileSource) -> None:
    for version in range(2, 9):
        path.write_text(text_of(version))
        assert waited(source, version - 1) == version
        path.write_text(text_of(version).replace('"cache"', '"catch"'))  # of the same length
        path.write_text(text_of(version + 1))
        assert waited(source, version) == version + 1


def test_an_older_version_is_not_applied_and_that_is_told_once(
    path: Path, source: FileSource, caplog: pytest.LogCaptureFixture
) -> None:
    replace(path, text_of(1, "other"))
    stop = StopEvent()
    stop.set()
    assert [source.wait(1, stop) for _ in range(3)] == [None] * 3
    (told,) = [record.getMessage() for record in caplog.records]
    assert "version 1 is not above 1; raise the version" in told


def test_a_file_of_another_pool_is_refused(path: Path, source: FileSource) -> None:
    replace(path, text_of(20).replace('"cache"', '"other"'))
    with pytest.raises(InvalidDocumentError, match="now describes pool 'other', before 'cache'"):
        source.wait(1, StopEvent())
    replace(path, text_of(2))
    assert waited(source, 1) == 2


def test_what_is_no_file_of_a_pool_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "deep").write_text('{"a":' * 100_000)
    (tmp_path / "big").write_bytes(b" " * (5 * 1024 * 1024))
    for name, error, why in (
        ("pipe", PoolNotFoundError, "not a regular file"),
        (".", PoolNotFoundError, "directory"),
        ("deep", InvalidDocumentError, "nested too deeply"),
        ("big", InvalidDocumentError, "larger than"),
    ):
        with pytest.raises(error, match=why):
            FileSource(str(tmp_path / name)).load()


def test_a_change_that_could_not_be_applied_is_tried_again(path: Path) -> None:
    masters = {"cache-0": ("127.0.0.1", 1), "cache-1": ("127.0.0.1", 2)}
    with rogue_server.Server(rogue_server.sentinel(masters)) as sentinel:
        path.write_text(text_of(1, sentinels=(str(sentinel),)))
        with following(f"cachemesh+file://{path}") as member:
            assert member.topology().document.version == 1
            good, asked = sentinel.answer, list[bytes]()

            def silent(words: rogue_server.Words) -> None:
                asked.append(words[-1])

            sentinel.answer = silent
            replace(path, text_of(2, "cache-0", "cache-1", sentinels=(str(sentinel),)))
            until(lambda: asked.count(b"cache-1") > 0)
            sentinel.answer = good
            until(lambda: member.topology().document.version == 2)
            assert member.topology().masters["cache-1"] == ("127.0.0.1", 2)
