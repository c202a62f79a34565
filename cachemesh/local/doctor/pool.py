"""Checks a running pool: URL, metaservers, token and document, and then its shards."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from cachemesh.core.errors import (
    CacheMeshError,
    MetaserverError,
    MetaserverUnavailableError,
)
from cachemesh.core.names import parse_address
from cachemesh.core.plurals import counted
from cachemesh.discovery.survey import ask_each
from cachemesh.discovery.url import parse_url
from cachemesh.local.doctor.check import Check, fail, failed, ok, warn
from cachemesh.local.doctor.configuration import METASERVERS
from cachemesh.local.doctor.shards import examine_shards
from cachemesh.local.probes import answers_ready

_READY_WITHIN = 5.0  # seconds a metaserver has to say whether it is ready
_LOADED_WITHIN = 30.0  # seconds to get the document from one of several metaservers or Sentinels


def examine_pool(
    url: str | None, token_file: str | None, environ: Mapping[str, str]
) -> Iterator[Check]:
    """Yield every check of the pool that a client on this machine would use; no check raises.

    Args:
        url: the pool's URL; None: CACHEMESH_URL.
        token_file: the file with the metaserver's token; None: as the environment says.
        environ: the environment.
    """
    if not (url or environ.get("CACHEMESH_URL")):
        yield warn("pool", "CACHEMESH_URL is not set", "`cachemesh up` prints one to export")
        return
    try:
        options = {} if token_file is None else {"token_file": token_file}
        metaserver = (url or environ["CACHEMESH_URL"]).partition("://")[0] in METASERVERS
        mesh = parse_url(url, options if metaserver else {}, environ)
    except CacheMeshError as error:
        yield failed("pool URL", error, "see: cachemesh up --help")
        return
    yield ok("pool URL", mesh.shown)
    if mesh.scheme in METASERVERS:
        tls = mesh.metaserver_tls
        jobs = {at: partial(answers_ready, parse_address(at), tls) for at in mesh.addresses}
        for address, answer in ask_each(jobs, _READY_WITHIN).items():
            yield _check_metaserver(address, answer)
    document = ask_each({"document": mesh.read_document}, _LOADED_WITHIN)["document"]
    if isinstance(document, Exception):
        yield _not_loaded(document)
        return
    if mesh.scheme in METASERVERS:
        yield ok("token", "accepted")
        yield from _check_token_file(token_file or environ.get("CACHEMESH_TOKEN_FILE"))
    names = document.placement.names
    shards = counted(len(names), "shard")
    yield ok("pool", f"{document.pool!r} at version {document.version}, {shards}")
    yield from examine_shards(mesh, document, alone=mesh.scheme not in METASERVERS)


def _check_metaserver(address: str, missing: str | Exception | None) -> Check:
    name = f"metaserver {address}"
    if missing is not None:
        return fail(name, str(missing), "is it running, and is the address in CACHEMESH_URL right?")
    return ok(name, "ready")


def _check_token_file(name: str | None) -> Iterator[Check]:
    """Check that other users of this machine cannot read the token, if it is in a file."""
    if name is None:
        return
    try:
        mode = Path(name).expanduser().stat().st_mode & 0o777
    except OSError:
        return  # it has been accepted: the file was replaced, or is gone since
    if mode & 0o077:
        detail = f"other users of this machine may read {name}: its mode is {mode:04o}"
        yield warn("token file", detail, f"chmod 600 {shlex.quote(name)}")


def _not_loaded(error: Exception) -> Check:
    if isinstance(error, MetaserverError) and error.status in (401, 403):
        name, step = "token", "set CACHEMESH_TOKEN_FILE to the file with the metaserver's token"
    elif isinstance(error, MetaserverUnavailableError):
        name, step = "pool", "start a metaserver"
    else:
        name, step = "pool", "see: cachemesh pool list"
    return failed(name, error, step)
