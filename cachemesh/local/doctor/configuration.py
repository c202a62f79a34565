"""What is configured wrong in a pool, as a metaserver finds it: it reaches every server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cachemesh.core.errors import CacheMeshError, ConfigurationError, MetaserverError
from cachemesh.core.plurals import counted
from cachemesh.discovery.bearer_token import find_token
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.discovery.url import MeshUrl, parse_url
from cachemesh.discovery.url_options import query_options
from cachemesh.local.doctor.check import Check, failed, ok, warn

METASERVERS = ("cachemesh", "cachemeshs")
"""The schemes of URLs that name metaservers."""

_NAME = "configuration"
_TIMEOUT = 30.0  # seconds: a metaserver asks all servers, and each may hang
_SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Configuration:
    """What a metaserver has found, in the words of its API.

    Attributes:
        check: whether it could be asked.
        findings: objects with "rule", "severity", "shard", "at", "configured", "impact" and
            "next_step".
        not_checked: objects with "at", "reason" and "rules".
    """

    check: Check
    findings: tuple[Mapping[str, Any], ...] = ()
    not_checked: tuple[Mapping[str, Any], ...] = ()

    @property
    def errors(self) -> list[str]:
        """The names of the rules that have found an error, each once."""
        return list(dict.fromkeys(f["rule"] for f in self.findings if f["severity"] == "error"))


def read_configuration(
    url: str | None, token_file: str | None, environ: Mapping[str, str]
) -> Configuration | None:
    """Ask a metaserver what is configured wrong in the pool.

    Args:
        url: the pool's URL; None: CACHEMESH_URL.
        token_file: the file with the metaserver's token; None: as the environment says.
        environ: the environment.

    Returns:
        What it has found; None if no pool is named, or its URL is not valid.
    """
    url = url or environ.get("CACHEMESH_URL")
    if not url:
        return None
    try:
        if url.partition("://")[0] not in METASERVERS:
            step = "cachemesh-metaserver --observe URL reads it: see docs/api.md, Observer"
            return Configuration(warn(_NAME, "not checked: the URL names no metaserver", step))
        mesh = parse_url(url, {} if token_file is None else {"token_file": token_file}, environ)
        client = _client(mesh, url, token_file, environ)
        told = client.request("GET", f"/v1/pools/{quote(mesh.pool, safe='')}/findings")
    except ConfigurationError:
        return None  # the check of the URL says it
    except MetaserverError as error:
        return Configuration(_refused(error))
    except CacheMeshError as error:
        return Configuration(failed(_NAME, error, "start a metaserver"))
    return _told(told)


def _client(
    mesh: MeshUrl, url: str, token_file: str | None, environ: Mapping[str, str]
) -> MetaserverClient:
    given = query_options(url.partition("?")[2])
    token = find_token(given.get("token"), token_file or given.get("token_file"), environ)
    secure = mesh.metaserver_tls is not None
    addresses = [f"https://{at}" if secure else at for at in mesh.addresses]
    return MetaserverClient(addresses, token, _TIMEOUT, mesh.metaserver_tls)


def _refused(error: MetaserverError) -> Check:
    if error.status == 403:
        return warn(_NAME, "not checked: the token is no admin's", "use one of role admin")
    if error.status == 404:
        return warn(_NAME, f"not checked: {error}", "see: cachemesh pool list; upgrade metaservers")
    return failed(_NAME, error, "see the metaserver's log")


def _told(told: Any) -> Configuration:
    findings = tuple(f for f in told["findings"] if f["severity"] in _SEVERITIES)
    not_checked = tuple(told["not_checked"])
    if not findings and not not_checked:
        return Configuration(ok(_NAME, "no rule finds anything"))
    said = ", ".join(
        counted(sum(found["severity"] == each for found in findings), each) for each in _SEVERITIES
    )
    return Configuration(ok(_NAME, f"{said}; see below"), findings, not_checked)
