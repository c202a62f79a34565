"""The schemas of the OpenAPI document, by name."""

from __future__ import annotations

from metaserver.api.contract.change_schemas import CHANGE_REPLIES
from metaserver.api.contract.history_schemas import HISTORY_REPLIES
from metaserver.api.contract.reply_schemas import OTHER_REPLIES, POOL_REPLIES
from metaserver.api.contract.request_schemas import REQUESTS
from metaserver.api.contract.schema_parts import Schema

SCHEMAS: dict[str, Schema] = {
    **REQUESTS,
    **CHANGE_REPLIES,
    **POOL_REPLIES,
    **HISTORY_REPLIES,
    **OTHER_REPLIES,
}
