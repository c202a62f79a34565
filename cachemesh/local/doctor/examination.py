"""All checks of `cachemesh doctor`: this machine first, then the pool."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cachemesh.local.doctor.check import Check
from cachemesh.local.doctor.machine import examine_machine
from cachemesh.local.doctor.pool import examine_pool


def examine(
    directory: Path,
    url: str | None = None,
    token_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Check]:
    """Yield every check's outcome, one after the other; no check raises.

    Args:
        directory: where `cachemesh up` would keep its state.
        url: the pool's URL; None: CACHEMESH_URL.
        token_file: the file with the metaserver's token; None: CACHEMESH_TOKEN_FILE or
            CACHEMESH_TOKEN.
        environ: the environment that has these variables; None: this process's.
    """
    environ = dict(os.environ if environ is None else environ)
    yield from examine_machine(directory, environ)
    yield from examine_pool(url, token_file, environ)
