"""A client of a pool that acknowledges nothing and keeps a connection, as a frozen process does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cachemesh.core.connection_names import full_name
from tests.support.metaserver_process import Api
from tests.support.plain_redis import direct


@contextmanager
def lagging_client(admin: Api, pool: str, master: str, name: str = "frozen") -> Iterator[None]:
    """Have such a client, connected to a master.

    Args:
        pool: its path.
        name: the client's id.
    """
    with direct(master) as connection:
        connection.client_setname(full_name(name))
        body = {"client": name, "version": admin("GET", pool).json["version"], "wait": 0}
        admin("POST", f"{pool}/watch", body)
        try:
            yield
        finally:
            admin("DELETE", f"{pool}/clients/{name}")
