"""The options for URLs that events are posted to."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from metaserver.process.config import WebhookOptions
from metaserver.webhook_options import webhooks_of

URL = "https://h.example/s3cret"


def test_a_url_and_its_secret_may_be_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("HOOK", "http://other.example/")
    found = webhooks_of((f"file:{tmp_path / 'url'}", "env:HOOK"), tmp_path / "secret", None)
    assert found == WebhookOptions((URL, "http://other.example/"), "s3cret", None)
    assert "s3cret" not in repr(found)
    assert webhooks_of((), None, None) == WebhookOptions()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for urls, secret, ca, words in (
        ((), empty, None, "give --event-webhook too"),
        ((), None, empty, "give --event-webhook too"),
        ((URL,), empty, None, "is empty"),
        ((URL,), tmp_path / "gone", None, "No such file"),
        ((URL,), None, empty, "give PEM files"),
        ((URL, URL), None, None, "given twice"),
        (("env:NOT_THERE",), None, None, "NOT_THERE is not set"),
    ):
        with pytest.raises(click.UsageError, match=words) as refused:
            webhooks_of(urls, secret, ca)
        assert "s3cret" not in str(refused.value)
