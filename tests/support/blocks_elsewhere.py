"""Shell blocks of the docs that test_commands_of_docs.py does not run: what does, or why none."""

from __future__ import annotations

from tests.support.shell_blocks import ShellBlock

_TOUR = "tests/integration/docs/test_tour_of_readme.py"
_RUNBOOKS = "tests/integration/docs/test_commands_of_runbooks.py"
_MACHINES = "needs three machines with systemd: scripts/three-machines runs it"
_ONE_MACHINE = (
    "steps of docs/production.md, which scripts/three-machines runs, for a single machine"
)
_BY_HAND = "takes minutes of a machine that does nothing else: run by hand for the page's figures"
_WATCH = (
    "a move of a test is over before it is watched: tests/integration/cli/test_cli_migration.py"
)
_WEBHOOK = "it serves until it is ended: tests/integration/metaserver/test_event_webhook.py"
_DOCKER = "needs a Docker engine: tests/integration/deploy/test_compose_servers.py has its servers"
_CLUSTER = "needs a cluster: tests/unit/deploy/test_kubernetes_manifests.py checks them by schema"
_RELEASE = "publishes a release: done by hand, once for each"

# Page -> why, or page -> beginning of a block's first line -> why.
ELSEWHERE: dict[str, str | dict[str, str]] = {
    "README.md": _TOUR,
    "docs/benchmarks.md": {
        "scripts/bench ": "minutes: tests/integration/repo/test_benchmarks.py has two rounds",
        "scripts/bench-failover": "takes minutes: tests/chaos/test_bench.py has one case",
        "python -m benchmarks.fan_out": _BY_HAND,
        "python -m benchmarks.hot_path": _BY_HAND,
    },
    "docs/cli.md": {"cachemesh migration watch": _WATCH},
    "docs/monitoring.md": {"cachemesh-metaserver": _WEBHOOK},
    "docs/production.md": _MACHINES,
    "docs/releasing.md": _RELEASE,
    "docs/resizing.md": {
        "cachemesh shard add cache-3 10.0.0.4:6379 --keys": _WATCH,
        "cachemesh migration mark-lost": "tests/integration/migration/test_a_shard_is_lost.py",
    },
    "docs/runbooks.md": _RUNBOOKS,
    "deploy/compose/README.md": _DOCKER,
    "deploy/kubernetes/README.md": _CLUSTER,
    "deploy/nginx/README.md": "tests/integration/deploy/test_nginx_site.py",
    "deploy/prometheus/README.md": "tests/unit/deploy/test_alert_rules.py",
    "deploy/redis/README.md": {"cd deploy/redis": _ONE_MACHINE, "sed -i": _MACHINES},
    "deploy/systemd/README.md": _ONE_MACHINE,
}


def elsewhere(block: ShellBlock) -> str | None:
    """Return where a block is run, or why it is not; None for those that are run here."""
    entry = ELSEWHERE.get(block.page)
    if entry is None or isinstance(entry, str):
        return entry
    reasons = [why for first, why in entry.items() if block.first.startswith(first)]
    return reasons[0] if reasons else None
