"""The API keeps what its OpenAPI document says: schemathesis with all its checks.

SCHEMATHESIS_EXAMPLES=60 gives each operation so many random cases, after all cases that
schemathesis derives from the document (more than a thousand) and before sequences of calls; with an
admin token, a read token and none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.metaserver_process import ROOT, Api, environment
from tests.support.unreachable_pools import unreachable_pools

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES")
CALLERS = ["admin"] if EXAMPLES is None else ["admin", "reader", "nobody"]
AMOUNT = (
    ["--phases", "fuzzing", "-n", "1"]
    if EXAMPLES is None
    else ["--phases", "coverage,fuzzing,stateful", "-n", EXAMPLES]
)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A metaserver with two pools of which no instance and no Sentinel answers."""
    pools = {pool: [f"{pool}-0", f"{pool}-1"] for pool in ("cache", "other")}
    directory = tmp_path_factory.mktemp("schemathesis")
    with unreachable_pools(directory, pools, "--max-rate", "1000000") as api:
        yield api


@pytest.mark.timeout(600 if EXAMPLES is None else 7200)
@pytest.mark.parametrize("caller", CALLERS)
def test_all_checks(api: Api, tmp_path: Path, caller: str) -> None:
    token = {"admin": api.token, "nobody": None}.get(caller, "")
    if token == "":
        token = api.as_reader().token
    header = [] if token is None else ["-H", f"Authorization: Bearer {token}"]
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(ROOT / "tests/support/schemathesis.toml")),
        *("run", f"http://{api.address}/openapi.json", *header),
        *("--checks", "all", *AMOUNT, "--continue-on-failure", "--no-shrink"),
        *("--suppress-health-check", "all", "--request-timeout", "60"),
        *("--exclude-operation-id", "stream"),  # its reply has no end
    ]
    own = ",".join(each["id"] for each in api("GET", "/v1/tokens").json["tokens"])
    hooks = {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "OWN_TOKENS": own}
    env = {**environment(), **hooks}
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    output = run.stdout[-20_000:] + run.stderr[-5_000:]
    assert run.returncode == 0, output
    cases = re.search(r"(\d+) generated", run.stdout)
    assert cases is not None, output
    assert int(cases[1]) > 30, output
    tmp_path.with_name(f"schemathesis-{caller}.txt").write_text(run.stdout)
    if token is not None:
        assert Api(api.address, token)("GET", "/v1/pools").status == 200, "the token still works"
