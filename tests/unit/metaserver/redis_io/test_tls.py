"""TLS to servers that answer late, wrongly, in pieces, or with a certificate for somebody else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from metaserver.process.config import RedisTls
from metaserver.redis_io.resp import SMALL, RespSocket
from metaserver.redis_io.tls import TlsError, TlsSocket, context_of

WITHIN = 0.3  # seconds that a call has; a test that hangs fails by pytest's own timeout


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> RedisTls:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return RedisTls(str(path))


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@contextmanager
def served(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Yield a socket whose other end a function serves on a thread."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with closing(theirs), suppress(OSError):
            serve(theirs)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ours
    finally:
        ours.close()
        thread.join()


def in_pieces(context: ssl.SSLContext, replies: bytes, size: int) -> Callable[..., None]:
    """Return a TLS server that sends its records in pieces of `size` bytes, and then no more."""

    def serve(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        def pump(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    flush()
                    data = sock.recv(65_536)
                    if not data:
                        raise ConnectionResetError from None
                    incoming.write(data)
                else:
                    flush()
                    return

        def flush() -> None:
            data = outgoing.read()
            for at in range(0, len(data), size):
                sock.sendall(data[at : at + size])

        pump(tls.do_handshake)
        pump(lambda: tls.read(1))
        pump(lambda: tls.write(replies))
        sock.recv(1)  # until the client leaves

    return serve


@pytest.mark.parametrize("size", [1, 1000])
def test_replies_in_pieces(authority: trustme.CA, trusting: RedisTls, size: int) -> None:
    text = b"x" * 40_000
    serve = in_pieces(server_context(authority, "127.0.0.1"), b"$40000\r\n%b\r\n" % text, size)
    with served(serve) as sock:
        opened = RespSocket(TlsSocket(sock, context_of(trusting), "127.0.0.1", 30.0))
        assert opened.ask([["PING"]], SMALL, 30.0) == [text]
        assert opened.is_fresh()
        opened.abort()
        assert not opened.is_fresh()


def test_an_unrequested_reply_is_noticed(authority: trustme.CA, trusting: RedisTls) -> None:
    context = server_context(authority, "127.0.0.1")
    with served(in_pieces(context, b"+PONG\r\n+MORE\r\n", 100)) as sock:
        opened = RespSocket(TlsSocket(sock, context_of(trusting), "127.0.0.1", 30.0))
        assert opened.ask([["PING"]], SMALL, 30.0) == [b"PONG"]
        assert not opened.is_fresh()


def trickle(first: bytes) -> Callable[[socket.socket], None]:
    """Return a server that sends these bytes, and then one each hundredth of a second."""

    def serve(sock: socket.socket) -> None:
        sock.sendall(first)
        sock.settimeout(0.01)
        while True:
            with suppress(TimeoutError):
                if not sock.recv(65_536):
                    return
            sock.sendall(b"\x00")

    return serve


def test_a_handshake_that_trickles_ends_in_time(trusting: RedisTls) -> None:
    # The header of a handshake record of 16 KiB, which would take minutes.
    with (
        served(trickle(b"\x16\x03\x03\x40\x00")) as sock,
        pytest.raises(TimeoutError),
    ):
        TlsSocket(sock, context_of(trusting), "127.0.0.1", WITHIN)


def test_a_record_that_trickles_ends_in_time(authority: trustme.CA, trusting: RedisTls) -> None:
    def serve(sock: socket.socket) -> None:
        with server_context(authority, "127.0.0.1").wrap_socket(sock, server_side=True) as tls:
            tls.recv(100)
            trickle(b"\x17\x03\x03\x40\x00")(socket.socket(fileno=tls.detach()))

    with served(serve) as sock:
        encrypted = TlsSocket(sock, context_of(trusting), "127.0.0.1", 30.0)
        encrypted.sendall(b"PING\r\n")
        encrypted.settimeout(WITHIN)
        with pytest.raises(TimeoutError):
            encrypted.recv(100)


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("other.test", "Hostname mismatch"),
        ("", "is no host name"),
        (".x", "is no host name"),
    ],
)
def test_a_certificate_for_another_host(
    authority: trustme.CA, trusting: RedisTls, host: str, reason: str
) -> None:
    context = server_context(authority, "cache.test", "10.0.0.1")
    with served(in_pieces(context, b"", 1000)) as sock, pytest.raises(TlsError, match=reason):
        TlsSocket(sock, context_of(trusting), host, 30.0)
    if not host:
        return
    with served(in_pieces(context, b"", 1000)) as sock, suppress(TlsError):
        lenient = context_of(replace(trusting, check_hostname=False))
        TlsSocket(sock, lenient, host, 30.0)
        assert host != ".x"


@pytest.mark.parametrize("host", ["cache.test", "10.0.0.1"])
def test_a_certificate_for_a_name_and_an_address(
    authority: trustme.CA, trusting: RedisTls, host: str
) -> None:
    context = server_context(authority, "cache.test", "10.0.0.1")
    with served(in_pieces(context, b"+OK\r\n", 1000)) as sock:
        opened = RespSocket(TlsSocket(sock, context_of(trusting), host, 30.0))
        assert opened.ask([["PING"]], SMALL, 30.0) == [b"OK"]


def test_a_certificate_of_an_unknown_authority(trusting: RedisTls) -> None:
    context = server_context(trustme.CA(), "127.0.0.1")
    with (
        served(in_pieces(context, b"", 1000)) as sock,
        pytest.raises(TlsError, match="certificate verify failed: "),
    ):
        TlsSocket(sock, context_of(trusting), "127.0.0.1", 30.0)


@pytest.mark.parametrize("said", [b"-ERR unknown command\r\n", b"HTTP/1.1 400 no\r\n\r\n", b""])
def test_no_tls(trusting: RedisTls, said: bytes) -> None:
    def serve(sock: socket.socket) -> None:
        sock.recv(10_000)
        sock.sendall(said)

    with served(serve) as sock, pytest.raises((TlsError, ConnectionError)) as caught:
        TlsSocket(sock, context_of(trusting), "127.0.0.1", 30.0)
    assert isinstance(caught.value, ConnectionError) or str(caught.value).startswith("TLS: ")


def test_a_renewed_file_is_read_again(authority: trustme.CA, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    trusting = RedisTls(str(path))
    first = context_of(trusting)
    assert context_of(trusting) is first
    authority.cert_pem.write_to_path(str(path))
    with served(in_pieces(server_context(authority, "h.test"), b"+OK\r\n", 99)) as sock:
        TlsSocket(sock, context_of(trusting), "h.test", 30.0)


def test_files_that_cannot_be_used(authority: trustme.CA, tmp_path: Path) -> None:
    cert, key, nothing = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "nothing"
    issued = authority.issue_cert("client.test")
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    nothing.touch()
    context_of(RedisTls(certfile=str(cert), keyfile=str(key)))
    for wrong in (
        RedisTls(str(tmp_path / "missing")),
        RedisTls(str(nothing)),
        RedisTls(certfile=str(cert)),
        RedisTls(certfile=str(cert), keyfile=str(cert)),
        RedisTls(certfile=str(nothing), keyfile=str(key)),
    ):
        with pytest.raises(TlsError, match="give PEM files that can be read") as caught:
            context_of(wrong)
        assert str(tmp_path) in str(caught.value)


def test_a_key_with_a_password(authority: trustme.CA, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    issued = authority.issue_cert("client.test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(str(cert))
    plain = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"pass-of-the-key"),
        )
    )
    files = RedisTls(certfile=str(cert), keyfile=str(key), password="pass-of-the-key")
    context_of(files)
    for password in (None, "", "another"):
        with pytest.raises(TlsError) as caught:
            context_of(replace(files, password=password))
        assert "another" not in str(caught.value)
    assert "pass-of-the-key" not in repr(files)
