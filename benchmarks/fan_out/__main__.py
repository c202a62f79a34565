"""The command line of the fan-out benchmark: ``python -m benchmarks.fan_out --help``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fan_out.fleet import SHARDS
from benchmarks.fan_out.prober import Probe, Prober
from cachemesh.discovery.metaserver import MetaserverClient
from cachemesh.local import LocalStack

_SETTLE = 1.0  # seconds after the last client was told, in which it watches again
_PATIENCE = 120.0


@dataclass(frozen=True)
class Round:
    """The figures of one change, in seconds and MiB.

    Attributes:
        first, last: from the change's request to the first and the last client told.
        api: the other calls of the API until a second after that.
        cpu: of the metaserver, until a second after that.
        rss: of the metaserver.
    """

    first: float
    last: float
    api: list[Probe]
    cpu: float
    rss: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, the API's as quantiles."""
        return {
            "first_s": round(self.first, 4),
            "last_s": round(self.last, 4),
            **self._quantiles("api", [each.took for each in self.api]),
            **self._quantiles("read", [each.read for each in self.api]),
            **self._quantiles("cpu", [each.cpu for each in self.api]),
            "api_calls": len(self.api),
            "cpu_s": round(self.cpu, 3),
            "rss_mib": round(self.rss, 1),
        }

    @staticmethod
    def _quantiles(name: str, values: list[float]) -> dict[str, float]:
        return {
            f"{name}_p50_s": round(_quantile(values, 0.5), 4),
            f"{name}_p99_s": round(_quantile(values, 0.99), 4),
        }


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _process_of(port: str) -> int:
    """Return the id of the process that serves: gunicorn's worker, a child of the metaserver."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f":{port}\0" in (entry / "cmdline").read_text():
                children = (entry / "task" / entry.name / "children").read_text().split()
                if children and "metaserver" in (entry / "cmdline").read_text():
                    return int(children[0])
        except OSError:
            continue
    raise SystemExit(f"no metaserver's worker on port {port}")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def _fleet(
    stack: LocalStack, version: int, clients: int, options: Sequence[str]
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.fan_out.fleet", stack.info["metaservers"][0]]
    command += ["cache", str(version), str(clients), *options]
    fleet = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CACHEMESH_TOKEN": stack.token},
    )
    try:
        yield fleet
    finally:
        fleet.communicate("end\n", timeout=_PATIENCE)


def _line(fleet: subprocess.Popen[str]) -> dict[str, float]:
    assert fleet.stdout is not None
    text = fleet.stdout.readline()
    if not text:
        raise SystemExit("the fleet broke off")
    found: dict[str, float] = json.loads(text)
    return found


def _held(api: MetaserverClient) -> int:
    return len(api.request("GET", "/v1/pools/cache/clients", timeout=_PATIENCE)["clients"])


def measure(clients: int, rounds: int, options: Sequence[str]) -> Iterator[Round]:
    """Yield the figures of one change after the other, with so many clients.

    Args:
        options: of the fleet.
    """
    with LocalStack(shards=SHARDS, replicas=0, sentinels=1, dashboard=False) as stack:
        address = stack.info["metaservers"][0]
        pid = _process_of(address.rpartition(":")[2])
        api = MetaserverClient([address], stack.token, timeout=_PATIENCE)
        version = api.request("GET", "/v1/pools/cache")["version"]
        with _fleet(stack, version, clients, options) as fleet:
            _line(fleet)
            while _held(api) < clients:
                time.sleep(0.1)
            time.sleep(_SETTLE)
            with Prober(address, stack.token, "/v1/pools", pid) as prober:
                for number in range(rounds):
                    time.sleep(_SETTLE)
                    spent, began = _cpu(pid), time.monotonic()
                    settings = {"settings": {"command_timeout": 1 + number}}
                    api.request("PATCH", "/v1/pools/cache/settings", settings)
                    told = _line(fleet)
                    time.sleep(_SETTLE)
                    end = time.monotonic()
                    prober.settle(end)
                    probes = prober.within(began, end)
                    yield Round(
                        told["first"] - began,
                        told["last"] - began,
                        probes,
                        _cpu(pid) - spent,
                        _rss(pid),
                    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fan_out",
        description="Change a pool that a fleet of clients watches, and time who is told when.",
    )
    add = parser.add_argument
    add("--clients", type=int, default=3000, help="of the fleet (default: 3000)")
    add("--rounds", type=int, default=7, help="changes, one after the other (default: 7)")
    add("--reconnect", action="store_true", help="each call on a connection of its own")
    add("--reports", action="store_true", help="each call with a report of quality, as an app's")
    options = parser.parse_args()
    fleet = [f"--{name}" for name in ("reconnect", "reports") if vars(options)[name]]
    for each in measure(options.clients, options.rounds, fleet):
        sys.stdout.write(json.dumps(each.to_dict()) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
