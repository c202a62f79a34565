"""The metrics of the URLs that events are posted to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from metaserver.api.metrics import Measurement
from metaserver.webhooks.figures import WebhookFigures


def of_webhooks(webhooks: Iterable[WebhookFigures]) -> Iterator[Measurement]:
    """Yield what was counted for each URL; what is now only on the process that leads."""
    for each in webhooks:
        labels = {"webhook": each.name}
        yield Measurement("cachemesh_webhook_taken_events_total", each.taken, labels)
        yield Measurement("cachemesh_webhook_failed_posts_total", each.failed, labels)
        yield Measurement("cachemesh_webhook_skipped_events_total", each.skipped, labels)
        if each.leads:
            yield Measurement("cachemesh_webhook_waiting_events", each.waiting, labels)
            yield Measurement("cachemesh_webhook_failing", each.failing, labels)
