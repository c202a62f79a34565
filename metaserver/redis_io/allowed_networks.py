"""The networks that the metaserver may connect to, so that no caller can have it probe others.

`AllowedNetworks.connect` is the only place of the metaserver that opens a connection, so every
address is checked. tests/unit/metaserver/redis_io/test_only_allowed_networks_connect.py holds this.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from typing import TypeAlias

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address, parse_address

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class InstanceRejected(CacheMeshError):
    """An instance cannot become a shard's master.

    Attributes:
        address: as it was given.
        reason: unreachable, timeout, not-redis, tls, auth, not-master, in-use, not-empty or
            address-not-allowed.
        detail: the finding in words.
        next_step: what the operator can do.
    """

    def __init__(self, address: str, reason: str, detail: str, next_step: str) -> None:
        super().__init__(f"{detail}; {next_step}")
        self.address = address
        self.reason = reason
        self.detail = detail
        self.next_step = next_step


_LOOK_UPS = 4
"""Host names that one `AllowedNetworks` looks up at once; more have to wait.

A resolver that does not answer holds a thread far longer than any caller waits, and instances may
name any number of hosts.
"""


class AllowedNetworks:
    """The networks in which instances and Sentinels may live; opens connections to these.

    Args:
        networks: in CIDR notation.

    Raises:
        ValueError: a text is no network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)
        self._look_ups = threading.BoundedSemaphore(_LOOK_UPS)

    def __repr__(self) -> str:
        return f"AllowedNetworks({[str(network) for network in self._networks]})"

    def apart(self) -> AllowedNetworks:
        """Return the same networks, with look-ups of host names that wait for no others."""
        return AllowedNetworks([str(network) for network in self._networks])

    def check(self, address: str, *, timeout: float = 2.0) -> str:
        """Return the address to connect to, with the host as an IP address.

        A host name is allowed if all its IP addresses are.

        Args:
            timeout: seconds that the look-up of a host name may take.

        Raises:
            InstanceRejected: address-not-allowed, unreachable (no such host) or timeout.
            InvalidDocumentError: the address is not host:port.
        """
        found, port = self._checked(address, timeout)
        return str(Address(str(found[0]), port))

    def connect(self, address: str, *, timeout: float) -> socket.socket:
        """Open a TCP connection within `timeout` seconds, all look-ups included.

        A host name is looked up once; the connection goes to one of the IP addresses that were
        checked, never to the name.

        Raises:
            InstanceRejected, InvalidDocumentError: as `check`.
            TimeoutError, OSError: the address is allowed, and cannot be reached.
        """
        end = time.monotonic() + timeout
        found, port = self._checked(address, timeout)
        failure = OSError(f"{address} has no address")
        for ip in found:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no connection to {address} within {timeout:g} s")
            try:
                return _open(ip, port, left)
            except OSError as error:
                failure = error
        raise failure

    def contains(self, ip: _Ip) -> bool:
        """Return whether the address lies in a network; ::ffff:a.b.c.d counts as a.b.c.d."""
        return any(_unmapped(ip) in network for network in self._networks)

    def _checked(self, address: str, timeout: float) -> tuple[list[_Ip], int]:
        """Return every IP address of the host, each of them allowed, and the port."""
        host, port = parse_address(address)
        found = self._ips(address, host, timeout)
        outside = [str(ip) for ip in found if not self.contains(ip)]
        if outside:
            shown = "" if outside == [host] else f" ({', '.join(outside)})"
            networks = ", ".join(str(network) for network in self._networks) or "none"
            raise InstanceRejected(
                address,
                "address-not-allowed",
                f"{address}{shown} lies outside the allowed networks: {networks}",
                "use an address inside them, or start the metaserver with --allow-network",
            )
        return found, port

    def _ips(self, address: str, host: str, timeout: float) -> list[_Ip]:
        """Return every IP address of a host, IPv4 first, on which redis-server surely listens."""
        try:
            return [_unmapped(ipaddress.ip_address(host))]
        except ValueError:
            pass  # a name, or a number in a form that the resolver knows
        end = time.monotonic() + timeout
        try:
            if not self._look_ups.acquire(timeout=timeout):
                raise FutureTimeoutError
            asked: Future[list[_Ip]] = Future()
            threading.Thread(target=self._look_up, args=(host, asked), daemon=True).start()
            found = asked.result(timeout=max(0.0, end - time.monotonic()))
        except FutureTimeoutError as error:
            raise InstanceRejected(
                address,
                "timeout",
                f"The name {host} was not resolved within {timeout:g} s",
                "check the name server, or use the IP address",
            ) from error
        except (OSError, UnicodeError) as error:
            raise InstanceRejected(
                address,
                "unreachable",
                f"The name {host} cannot be resolved: {error}",
                "check the name, or use the IP address",
            ) from error
        return sorted(dict.fromkeys(found), key=lambda ip: ip.version)

    def _look_up(self, host: str, asked: Future[list[_Ip]]) -> None:
        # The resolver has time-outs of its own, far longer; its thread is left to run into them.
        try:
            answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = [_unmapped(ipaddress.ip_address(where[0])) for *_, where in answers]
        except (OSError, UnicodeError) as error:
            asked.set_exception(error)
        else:
            asked.set_result(found)
        finally:
            self._look_ups.release()


def _unmapped(ip: _Ip) -> _Ip:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _open(ip: _Ip, port: int, timeout: float) -> socket.socket:
    with ExitStack() as unless_connected:
        sock = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6)
        unless_connected.enter_context(sock)
        sock.settimeout(timeout)
        sock.connect((str(ip), port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unless_connected.pop_all()
    return sock
