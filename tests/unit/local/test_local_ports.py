"""Free ports, and the holder of a taken one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local.ports import HOST, Ports, holder_of, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    listener = socket.create_server((HOST, 0))
    port: int = listener.getsockname()[1]
    yield port
    listener.close()


def test_ports_are_free_and_never_given_twice() -> None:
    ports = Ports()
    given = [ports.take() for _ in range(50)]
    assert len(set(given)) == 50
    assert all(is_free(port) for port in given)


def test_a_listened_on_port_is_not_free_and_its_holder_is_named(taken: int) -> None:
    assert not is_free(taken)
    holder = holder_of(taken)
    assert holder is not None
    assert f"(pid {os.getpid()})" in str(holder)


def test_claiming_a_taken_port_names_port_holder_and_option(taken: int) -> None:
    with pytest.raises(LocalStackError) as caught:
        Ports().claim(taken, "metaserver", "--port")
    message = str(caught.value)
    assert f"port {taken} for the metaserver is already taken by" in message
    assert f"(pid {os.getpid()})" in message
    assert "--port" in message


def test_a_port_can_be_claimed_once() -> None:
    ports = Ports()
    port = Ports().take()
    ports.claim(port, "metaserver", "--port")
    with pytest.raises(LocalStackError, match="--dashboard-port"):
        ports.claim(port, "dashboard", "--dashboard-port")


def test_no_port_asked_for_is_no_claim() -> None:
    Ports().claim(None, "dashboard", "--dashboard-port")


def test_nobody_holds_a_free_port() -> None:
    assert holder_of(Ports().take()) is None
