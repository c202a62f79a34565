"""Which addresses the metaserver may connect to, so that it cannot be made to probe others."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeAlias

from cachemesh.core.errors import CacheMeshError
from cachemesh.core.names import Address, parse_address

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


class InstanceRejected(CacheMeshError):
    """An instance cannot become a shard's master.

    Attributes:
        address: the address as it was given.
        reason: unreachable, timeout, not-redis, auth, not-master, in-use, not-empty or
            address-not-allowed.
        detail: what was found.
        next_step: what to do about it.
    """

    def __init__(self, address: str, reason: str, detail: str, next_step: str) -> None:
        super().__init__(f"{detail}; {next_step}")
        self.address = address
        self.reason = reason
        self.detail = detail
        self.next_step = next_step


class AllowedNetworks:
    """The networks (CIDR) in which instances and Sentinels may live.

    Raises ValueError for what is not a network.
    """

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def __repr__(self) -> str:
        return f"AllowedNetworks({[str(network) for network in self._networks]})"

    def check(self, address: str, *, timeout: float = 2.0) -> str:
        """Return the address to connect to: the host as an IP address, looked up just once.

        A host name is allowed if every address it stands for is. The look-up takes at most
        `timeout` seconds.

        Raises:
            InstanceRejected: address-not-allowed, unreachable (no such host) or timeout.
            InvalidDocumentError: not host:port.
        """
        host, port = parse_address(address)
        found = _look_up(address, host, timeout)
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
        return str(Address(str(found[0]), port))

    def contains(self, ip: _Ip) -> bool:
        """True if the address lies in one of the networks; ::ffff:a.b.c.d counts as a.b.c.d."""
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return any((mapped or ip) in network for network in self._networks)


def _look_up(address: str, host: str, timeout: float) -> list[_Ip]:
    """Every IP address of a host; IPv4 first, on which redis-server surely listens."""
    # The resolver has time-outs of its own, far longer; its thread is left to run into them.
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look-up")
    try:
        asked = pool.submit(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        answers = asked.result(timeout=timeout)
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
    finally:
        pool.shutdown(wait=False)
    found: list[_Ip] = []
    for *_, where in answers:
        ip = ipaddress.ip_address(where[0])
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        if (mapped or ip) not in found:
            found.append(mapped or ip)
    return sorted(found, key=lambda ip: ip.version)
