"""URLs that events are posted to: which are taken, and what of them is told."""

from __future__ import annotations

import pytest

from cachemesh.core.names import Address
from metaserver.webhooks.target import targets_of


@pytest.mark.parametrize(
    ("url", "name", "host", "path"),
    [
        ("https://h.example/a?b=c#d", "https://h.example:443", "h.example", "/a?b=c"),
        ("http://10.0.0.7", "http://10.0.0.7:80", "10.0.0.7", "/"),
        ("http://[::1]:8080/x", "http://[::1]:8080", "[::1]:8080", "/x"),
        ("HTTPS://H.example:9/%20", "https://h.example:9", "H.example:9", "/%20"),
    ],
)
def test_where_a_url_leads(url: str, name: str, host: str, path: str) -> None:
    (found,) = targets_of([url])
    assert (found.name, found.host, found.path) == (name, host, path)
    assert found.tls is url.lower().startswith("https")


def test_address_and_key() -> None:
    first, second = targets_of(["https://h.example/a", "https://h.example/b"])
    assert first.address == second.address == Address("h.example", 443)
    assert (first.name, second.name) == ("https://h.example:443", "https://h.example:443#2")
    assert first.key != second.key
    (alone,) = targets_of(["https://h.example/b"])
    assert alone.key == second.key, "the order of the options does not matter"
    assert "/a" not in repr(first)


@pytest.mark.parametrize(
    "urls",
    [
        ["ftp://h.example/s3cret"],
        ["h.example/s3cret"],
        ["https:///s3cret"],
        ["https://h.example:0x1/s3cret"],
        ["https://h.example:99999/s3cret"],
        ["https://h.example:0/s3cret"],
        ["https://[::1/s3cret"],
        ["https://me:s3cret@h.example/"],
        ["https://h.example/s3cret\r\nHost: other"],
        ["https://h.example/s3cret "],
        ["https://h.example/s3crét"],
        ["https://h.example/s3cret", "https://h.example/s3cret"],
        [""],
    ],
)
def test_what_is_refused_is_not_repeated(urls: list[str]) -> None:
    with pytest.raises(ValueError, match="URL 1") as refused:
        targets_of(urls)
    assert "s3cr" not in str(refused.value)
