"""Free ports, and the holder of a taken one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from cachemesh.core.errors import LocalStackError
from cachemesh.local.ports import (
    HOST,
    VARIABLE,
    Ports,
    chosen_ports,
    holder_of,
    is_free,
    usual_ports,
)
from tests.support.own_ports import own_ports


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


def test_ports_are_those_that_the_user_has_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Ports().take()
    monkeypatch.setenv(VARIABLE, f"{first}-{first}")
    ports = Ports()
    assert ports.take() == first
    with pytest.raises(LocalStackError, match="name more"):
        ports.take()


@pytest.mark.parametrize(
    "text", ["20000", "20999-20000", "0-5", "1-65536", "a-b", "1-2-3", "1-" + 5000 * "9"]
)
def test_what_names_no_ports_is_refused(text: str) -> None:
    with pytest.raises(LocalStackError, match="20000-20999"):
        chosen_ports({VARIABLE: text})


def test_files_that_run_side_by_side_share_no_port() -> None:
    parts = [
        chosen_ports(
            {
                VARIABLE: own_ports(
                    {"PYTEST_XDIST_WORKER": f"gw{n}", "PYTEST_XDIST_WORKER_COUNT": "6"},
                    usual_ports(),
                )
            }
        )
        for n in range(6)
    ]
    given = [port for part in parts if part is not None for port in part]
    assert len(given) == len(set(given)) > 0.9 * len(usual_ports())


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
