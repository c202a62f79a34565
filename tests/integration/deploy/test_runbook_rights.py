"""What the runbooks tell to type at servers is allowed to the user that they name."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.deployed_redis import deployed_redis
from tests.support.metaserver_process import ROOT
from tests.support.server_capabilities import needs_acl_dry_run

RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"redis-cli --user metaserver\s+-p\s+(6379|26379)\s+([^`\n]+(?:\n[^`\n]+)?)`")
LINE = re.compile(r"^ *redis-cli --user metaserver -p (6379|26379) (.+)$", re.MULTILINE)


def typed() -> set[tuple[str, tuple[str, ...]]]:
    """Return the commands of the runbooks, each with the port that it is typed at."""
    found = [*COMMAND.findall(RUNBOOKS), *LINE.findall(RUNBOOKS)]
    return {(port, tuple(shlex.split(command))) for port, command in found}


def test_the_user_may_do_all_that_runbooks_tell(tmp_path: Path) -> None:
    commands = typed()
    assert len(commands) >= 10
    with deployed_redis(tmp_path) as site:
        site.start_shard()
        site.start_sentinel()
        with site.client(site.instances[0]) as client:
            needs_acl_dry_run(client)
        ports = {"6379": site.instances[0], "26379": site.sentinels[0]}
        for port, words in sorted(commands):
            told = site.ask(ports[port], "ACL", "DRYRUN", "metaserver", *words)
            assert told == "OK", f"{shlex.join(words)}: {told}"
