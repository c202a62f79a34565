"""The contexts of an operator's machine: names for deployments, each with its URL and token file.

They are in a YAML file that only its owner can read, `contexts.yaml` in the directory of
CACHEMESH_CONFIG_DIR, or in `cachemesh` of the user's configuration directory (XDG_CONFIG_HOME).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml

from cachemesh.cli.private_file import replacing
from cachemesh.core.errors import ConfigurationError
from cachemesh.core.names import check_name
from cachemesh.discovery.url import require_scheme

_FILE = "contexts.yaml"
_SECRETS = ("token", "zookeeper_auth")  # and passwords of all kinds


@dataclass(frozen=True)
class Deployment:
    """Where a context leads.

    Attributes:
        url: as in CACHEMESH_URL.
        token_file: with the metaserver's token; None: the environment's.
    """

    url: str
    token_file: str | None = None


@dataclass(frozen=True)
class Contexts:
    """All contexts, and the one in use."""

    current: str | None = None
    deployments: Mapping[str, Deployment] = field(default_factory=dict)

    def find(self, name: str | None) -> Deployment | None:
        """Return the deployment of a context; of the one in use if ``name`` is None.

        Raises:
            ConfigurationError: there is no context of this name.
        """
        name = self.current if name is None else name
        if name is None:
            return None
        if name not in self.deployments:
            raise ConfigurationError(
                f"there is no context {name!r:.80}; see: cachemesh context list"
            )
        return self.deployments[name]

    def with_context(self, name: str, deployment: Deployment) -> Contexts:
        """Return the contexts with another one, or with another content of it.

        Raises:
            InvalidDocumentError: the name is not valid.
            ConfigurationError: the URL has a secret in it, or is none of a pool.
        """
        check_name("context", name)
        require_scheme(deployment.url)
        _require_no_secret(deployment.url)
        return replace(self, deployments={**self.deployments, name: deployment})

    def without(self, name: str) -> Contexts:
        """Return the contexts without one; it is no longer in use."""
        left = {key: value for key, value in self.deployments.items() if key != name}
        return Contexts(None if self.current == name else self.current, left)


def context_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the file.

    Raises:
        ConfigurationError: nobody knows the user's home, as in a container whose user has no name.
    """
    if given := environ.get("CACHEMESH_CONFIG_DIR"):
        return Path(given) / _FILE
    if given := environ.get("XDG_CONFIG_HOME"):
        return Path(given) / "cachemesh" / _FILE
    try:
        home = Path(environ.get("HOME") or "~").expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            "contexts: this user has no home directory; set CACHEMESH_URL, or CACHEMESH_CONFIG_DIR"
        ) from error
    return home / ".config" / "cachemesh" / _FILE


def read_contexts(path: Path) -> Contexts:
    """Read the file; without one, there is no context.

    Raises:
        ConfigurationError: it cannot be read, or is of another form.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Contexts()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no YAML"
        raise _bad(path, str(reason)) from error
    try:
        return _parsed(content)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise _bad(path, "it is not of the form that `cachemesh context set` writes") from error


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Write the file, for its owner alone; an earlier one is replaced once it is complete.

    Raises:
        OSError: it cannot be written.
    """
    content = {
        "current": contexts.current,
        "contexts": {
            name: {"url": each.url, "token_file": each.token_file}
            for name, each in contexts.deployments.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(path) as file:
        yaml.safe_dump(content, file, sort_keys=False)


def _parsed(content: Any) -> Contexts:
    current, given = content["current"], content["contexts"]
    if not isinstance(current, str | None):
        raise TypeError("current")
    deployments = {}
    for name, each in given.items():
        url, token_file = each["url"], each["token_file"]
        if not (isinstance(name, str) and isinstance(url, str)):
            raise TypeError("url")
        if not isinstance(token_file, str | None):
            raise TypeError("token_file")
        deployments[name] = Deployment(url, token_file)
    return Contexts(current, deployments)


def _require_no_secret(url: str) -> None:
    base, _, query = url.replace("#", "?", 1).partition("?")
    given = parse_qsl(query.replace("?", "&"))
    if "@" in base or any(_is_secret(name.lower()) for name, _ in given):
        raise ConfigurationError(
            "the URL has a password or token in it; put the token into a file that only you can "
            "read, and name it by --token-file"
        )


def _is_secret(option: str) -> bool:
    return option in _SECRETS or ("password" in option and not option.endswith("_file"))


def _bad(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"contexts in {path}: {reason}; mend or remove the file")
