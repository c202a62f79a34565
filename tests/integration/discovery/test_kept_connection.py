"""Watch calls one after the other go over one connection, also across a metaserver's restart."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from cachemesh.core.errors import MetaserverError
from cachemesh.discovery import metaserver
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.wakeup import StopEvent
from tests.support.metaserver_process import Metaserver


def test_the_connection_of_watch_calls_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[socket.socket] = []
    connect = metaserver._reached

    def counted(*args: Any) -> socket.socket:
        connected.append(connect(*args))
        return connected[-1]

    monkeypatch.setattr(metaserver, "_reached", counted)
    process = Metaserver(tmp_path)
    try:
        api = process.start()
        client = MetaserverClient([api.address], api.token)

        def watch(stop: StopEvent | None = None) -> None:
            body = {"client": "app", "version": 1, "wait": 0}
            with pytest.raises(MetaserverError, match="no pool"):
                client.request("POST", "/v1/pools/none/watch", body, stop=stop)

        watch()
        watch()
        assert len(connected) == 1
        client.request("GET", "/v1/pools")
        assert len(connected) == 2
        process.stop()
        process.start()
        watch()
        assert len(connected) == 3
        client.forget_connection()
        assert connected[-1].fileno() == -1
        watch_ends = StopEvent()
        watch(watch_ends)
        client.forget_connection()
        assert [sock.fileno() for sock in connected] == [-1] * 4
    finally:
        process.stop()
