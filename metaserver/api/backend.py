"""What the views of the API work with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cachemesh.core.errors import PoolNotFoundError
from cachemesh.core.pool.document import PoolDocument
from metaserver.api.call_limits import CallLimits
from metaserver.api.metrics import Counters
from metaserver.api.refusals import RefusalLog
from metaserver.domain.errors import RequestRefused
from metaserver.loops.monitor import Monitor
from metaserver.loops.resized_clients import ResizeBells
from metaserver.service.context import ServiceContext
from metaserver.service.tokens import Tokens
from metaserver.store import CallId, Election, Leader, Store
from metaserver.store.history_file import HistoryFile
from metaserver.watch.change_hub import ChangeHub
from metaserver.watch.client_registry import ClientRegistry
from metaserver.watch.quality_board import QualityBoard
from metaserver.webhooks.figures import WebhookFigures


@dataclass(frozen=True)
class Backend:
    """The parts of one process that requests share."""

    store: Store
    context: ServiceContext
    tokens: Tokens
    clients: ClientRegistry
    hub: ChangeHub
    quality: QualityBoard
    monitor: Monitor
    history: HistoryFile
    election: Election
    counters: Counters
    call_limits: CallLimits
    resize_bells: ResizeBells
    refusals: RefusalLog
    webhooks: tuple[WebhookFigures, ...] = ()
    calls_under_way: dict[CallId, object] = field(default_factory=dict)

    @property
    def leads(self) -> bool:
        """Whether this process leads.

        Raises:
            StorageError: the store cannot be read.
        """
        leader = self.election.leader()
        return leader is not None and leader.owner == self.context.owner

    def own_term(self) -> Leader:
        """Return the term in which this process leads.

        Raises:
            RequestRefused: not-leader; tells who leads.
            StorageError: the store cannot be read.
        """
        found = self.election.leader()
        if found is not None and found.owner == self.context.owner:
            return found
        why = "No metaserver leads now"
        if found is not None:
            at = [each.address for each in self.store.metaservers() if each.owner == found.owner]
            why = f"{at[0] if at else 'Another process'} leads, in term {found.epoch}"
        raise RequestRefused(
            "not-leader",
            why,
            "any metaserver serves reads and changes, but the history of pools only the one that "
            "leads; see GET /v1/metaservers",
        )

    def pools(self) -> Iterator[tuple[PoolDocument, dict[str, Any]]]:
        """Yield every pool with its status, without pools that are deleted meanwhile.

        Raises:
            StorageError: the store cannot be read.
        """
        self.monitor.begin_all_that_age()
        for document in self.store.documents():
            try:
                status = self.monitor.status(document.pool)
            except PoolNotFoundError:
                continue
            yield document, status
