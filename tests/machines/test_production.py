"""docs/production.md, typed from top to bottom on three machines, one of which burns."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.support.python_blocks import ROOT
from tests.support.shell_blocks import fails_at_once, shell_blocks
from tests.support.systemd_machine import SystemdMachine, make_network
from tests.support.waiting import AT_MOST, until

BLOCKS = list(shell_blocks(ROOT / "docs" / "production.md"))
# Blocks that are not typed, by the beginning of the first line.
NOT_HERE = {
    "echo vm.overcommit_memory=1": "a container has no kernel of its own to set",
}
UNHEALTHY = 5
FROM_A_CLONE = "'/root/cachemesh[cli,server,zookeeper]'"


@dataclass
class Site:
    """Three machines, and an operator with a clone.

    Attributes:
        typed: the lines of docs/production.md at which blocks begin that were typed.
    """

    machines: list[SystemdMachine]
    clone: Path
    programs: Path
    typed: set[int] = field(default_factory=set)

    def block(self, part: str) -> str:
        """Return the text of the block that has this part, and note that it is typed."""
        (found,) = [each for each in BLOCKS if part in each.typed[0].command]
        self.typed.add(found.line)
        return found.typed[0].command

    def on(self, machine: SystemdMachine, text: str) -> str:
        """Type something on a machine, as its own number wants it; return what came out."""
        text = re.sub(r"^N=1\b", f"N={machine.number}", text, flags=re.MULTILINE)
        text = text.replace("'cachemesh[cli,server,zookeeper]'", FROM_A_CLONE)
        return machine.run(f"N={machine.number}\n{text}")

    def operator(self, text: str, place: str = "secrets", *, unwell: bool = False) -> str:
        """Type something as an operator, in a directory of the clone; return what came out.

        Args:
            unwell: whether the pool may be unhealthy meanwhile.
        """
        write_programs(self.programs, self.machines)
        done = subprocess.run(
            ["bash", "-c", f"{fails_at_once(unwell)}\n{text}"],
            cwd=self.clone / place,
            env={
                "PATH": f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(self.clone.parent),
                "LANG": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=AT_MOST,
            check=False,
        )
        assert done.returncode in (0, *([UNHEALTHY] if unwell else [])), (
            f"{text}\n{done.returncode}: {done.stdout}"
        )
        return done.stdout

    def rest(self) -> None:
        """Wait until the operator's `pool status` says that all is well."""
        asked = "cachemesh pool status > /dev/null && echo healthy"
        until(lambda: "healthy" in self.operator(asked, unwell=True))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    make_network()
    place = tmp_path_factory.mktemp("site")
    wheels = Path(os.environ["CACHEMESH_MACHINES"])
    machines = [SystemdMachine(n, place / f"m{n}", wheels) for n in (1, 2, 3)]
    clone = place / "operator" / "cachemesh"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    try:
        for machine in machines:
            machine.start()
        yield Site(machines, clone, place / "programs")
    finally:
        for machine in machines:
            machine.stop()


def write_programs(place: Path, machines: list[SystemdMachine]) -> None:
    """Make an `ssh` and an `scp` that reach the machines without a server for it."""
    place.mkdir(exist_ok=True)
    cases = "".join(
        f"root@{each.address}) first={each.first} root={each.root} ;;\n" for each in machines
    )
    choose = f'case $1 in\n{cases}*) echo "no machine $1" >&2; exit 255 ;;\nesac\n'
    for name, text in (("ssh", _SSH), ("scp", _SCP)):
        program = place / name
        program.write_text(f"#!/bin/sh\n{text.replace('CHOOSE', choose)}")
        program.chmod(0o755)


_SSH = """CHOOSE
shift
exec nsenter --target="$first" --mount --uts --ipc --net --pid -- env -i HOME=/root \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -c "cd; $*"
"""
_SCP = """options=
while :; do case $1 in -*) options=$1; shift ;; *) break ;; esac; done
from=$1 to=$2
place() {
    case $1 in
    root@*:*)
        path=${1#*:}
        set -- "${1%%:*}"
        CHOOSE
        case $path in /*) echo "$root$path" ;; *) echo "$root/root/$path" ;; esac ;;
    *) echo "$1" ;;
    esac
}
exec cp -r "$(place "$from")" "$(place "$to")"
"""


APT_REDIS, ZOO, VENV, META = "redis-sentinel\nsystemctl", "zoo.cfg", "venv", "metaserver.env"


def serves(site: Site, machine: SystemdMachine) -> bool:
    """Return whether the machine's master has its role, and its replica follows one."""
    said = site.on(machine, site.block("info replication"))
    return said.count("role:") == 2 and "master_link_status:up" in said


def modes(site: Site) -> list[str]:
    """Return what the ZooKeeper servers say that they are."""
    asked = site.block("/dev/tcp/10.0.0.$N/2181") + " || true"  # alone it says nothing
    return [site.on(machine, asked).strip() for machine in site.machines]


def variables_of_an_app(site: Site) -> str:
    """Return the exports of step 6, with the paths of the operator's files."""
    exports, _, _ = site.block("CACHEMESH_TOKEN_FILE=/etc/shop").partition("python3")
    return exports.replace("/etc/shop", str(site.clone / "secrets"))


def test_from_nothing_to_a_pool(site: Site) -> None:
    site.operator(site.block("mkdir secrets"), ".")
    site.operator(site.block("6380.conf\n  for file"))
    site.operator(site.block("scp -r secrets"), ".")
    for machine in site.machines:
        site.on(machine, site.block(APT_REDIS))
    for machine in site.machines:
        until(partial(serves, site, machine))
        site.on(machine, site.block(ZOO))
    until(lambda: sorted(modes(site)) == ["Mode: follower", "Mode: follower", "Mode: leader"])
    for machine in site.machines:
        for part in (VENV, META):
            site.on(machine, site.block(part))
    site.operator(site.block("/var/lib/cachemesh/admin.token"))
    site.operator(site.block("context set live"), unwell=True)
    site.rest()


def test_an_app_and_the_doctor(site: Site) -> None:
    site.operator(site.block("token create shop"))
    app = site.block("CACHEMESH_TOKEN_FILE=/etc/shop")
    said = site.operator(app.replace("/etc/shop", str(site.clone / "secrets")))
    assert "b'hello'" in said
    doctor = site.block("cachemesh doctor")
    operator = f"{variables_of_an_app(site)}export CACHEMESH_TOKEN_FILE=$PWD/admin.token\n"
    assert "error " not in site.operator(operator + doctor)


def test_a_dashboard(site: Site) -> None:
    first = site.machines[0]
    site.on(first, site.block("dashboard.env"))
    until(lambda: "Sign in" in first.run("curl -sSL http://127.0.0.1:7701/ || true"))


def test_backups_and_what_is_restored_from_them(site: Site) -> None:
    site.operator(site.block("token create backup"))
    assert ".backup" in site.on(site.machines[0], site.block("backup.env"))
    newest = site.machines[0].run("ls -t /var/lib/cachemesh-backup/*").split()[0]
    site.operator(f"scp root@10.0.0.1:{newest} cachemesh.backup")
    site.operator(site.block("store restore cachemesh.backup --dry-run"))
    said = site.operator("set -m\n" + site.block("mkdir try"))
    assert "cache-2" in said and "shop" in said


def test_renewed_certificates_and_another_password(site: Site) -> None:
    for machine in site.machines:
        site.on(machine, site.block("tls-key-file /etc/redis/tls/key.pem"))
        old = (site.clone / "secrets" / "app.password").read_text().strip()
        site.on(machine, f"old={old}; new={'1' * 64}\n{ANOTHER_PASSWORD}")
    (site.clone / "secrets" / "app.password").write_text("1" * 64)
    app = site.block("CACHEMESH_TOKEN_FILE=/etc/shop")
    assert "b'hello'" in site.operator(app.replace("/etc/shop", str(site.clone / "secrets")))


def test_another_shard(site: Site) -> None:
    site.operator(site.block("TLS_PORT/6381"), ".")
    site.operator(site.block("shard add cache-3"))
    site.rest()


def test_a_machine_burns(site: Site) -> None:
    keys = "{f'key:{number}': str(number) for number in range(1000)}"
    app = f"{variables_of_an_app(site)}python3 - <<END\nfrom cachemesh import CacheMesh\n"
    app += f"with CacheMesh.from_env() as cache:\n    keys = {keys}\n"
    site.operator(f"{app}    cache.mset(keys)\nEND")
    look = f"{app}    assert cache.mget(keys) == [v.encode() for v in keys.values()]\nEND"
    burnt = site.machines[0]
    burnt.stop()
    until(lambda: re.search(r"cache-0 .*10\.0\.0\.2:6380", site.operator(MASTERS, unwell=True)))
    site.operator(look)
    burnt.start()
    site.operator(site.block("scp -r secrets").replace("in 1 2 3", "in 1"), ".")
    redis = site.block(APT_REDIS)
    *before, last = redis.splitlines()
    site.on(burnt, "\n".join([*before, site.block('echo "replicaof 10.0.0.2 6380"'), last]))
    for part in ("/root/m/6381.conf", ZOO, VENV, META):
        site.on(burnt, site.block(part))
    site.rest()
    site.operator(look)


def test_every_block_was_typed(site: Site) -> None:
    left = [each for each in BLOCKS if each.line not in site.typed]
    assert [
        each.first for each in left if not any(each.first.startswith(f) for f in NOT_HERE)
    ] == []


MASTERS = "cachemesh shard list"
ANOTHER_PASSWORD = next(
    each.typed[0].command
    for each in shell_blocks(ROOT / "deploy" / "redis" / "README.md")
    if "acl load" in each.typed[0].command
)
