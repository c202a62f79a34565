"""The contract of the API.

operations        every operation in one table
schemas           all schemas by name, of these parts:
request_schemas   request bodies
change_schemas    replies to changes
reply_schemas     other replies
history_schemas   the reply with the history of a pool
schema_parts      their building blocks and common fields
openapi_document  the OpenAPI document
validation        requests checked against the schemas
"""

from metaserver.api.contract.openapi_document import openapi
from metaserver.api.contract.operation import Operation
from metaserver.api.contract.operations import BY_ID, OPERATIONS
from metaserver.api.contract.schema_parts import KEY_HEADER
from metaserver.api.contract.validation import check_body, check_key, check_query

__all__ = [
    "BY_ID",
    "KEY_HEADER",
    "OPERATIONS",
    "Operation",
    "check_body",
    "check_key",
    "check_query",
    "openapi",
]
