"""Listening at an address that somebody else has, for good or for a moment."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from cachemesh.serving import bind


def test_an_address_that_somebody_has_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError) as refused:
        bind("127.0.0.1", other.getsockname()[1])
    assert refused.value.errno == errno.EADDRINUSE


def test_who_had_it_may_still_be_ending() -> None:
    other = socket.create_server(("127.0.0.1", 0))
    port = other.getsockname()[1]
    ending = threading.Timer(0.2, other.close)
    ending.start()
    with bind("127.0.0.1", port) as listener:
        assert listener.getsockname()[1] == port
    ending.join()
