"""`cachemesh doctor`, on real pools: faults are found and explained, and the exit code is 5."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cachemesh.cli import main as cli
from cachemesh.local import LocalStack
from cachemesh.local.doctor.check import Check
from cachemesh.local.doctor.pool import examine_pool
from tests.support.cli_processes import Run, check_states
from tests.support.waiting import until

Look = Callable[[], list[Check]]


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(shards=2, replicas=2, dashboard=False) as started:
        yield started


@pytest.fixture
def look(stack: LocalStack) -> Look:
    """Runs the doctor's checks of the pool, without those of the machine."""
    return lambda: list(examine_pool(None, None, stack.info["env"]))


def replicas_of(stack: LocalStack, shard: int) -> list[str]:
    """Return the addresses of a shard's replicas."""
    found: list[str] = stack.info["shards"][shard]["replicas"]
    return found


def connect(address: str) -> redis.Redis:
    host, port = address.split(":")
    return redis.Redis(host=host, port=int(port), decode_responses=True)


def ailing(look: Look, state: str) -> dict[str, Check]:
    return {check.name: check for check in look() if check.state == state}


def well(look: Look) -> bool:
    return all(check.state == "ok" for check in look())


def test_a_pool_that_is_well(stack: LocalStack, look: Look) -> None:
    until(lambda: well(look))
    names = [check.name.split()[0] for check in look()]
    assert names.count("sentinel") == 3
    assert names.count("master") == 2
    assert names.count("replica") == 4


def test_a_token_file_that_others_may_read(stack: LocalStack, look: Look) -> None:
    until(lambda: well(look))
    file = Path(stack.info["token_file"])
    file.chmod(0o640)
    try:
        (check,) = ailing(look, "warn").values()
        assert check.name == "token file"
        assert "0640" in check.detail
        assert check.next_step == f"chmod 600 {file}"
    finally:
        file.chmod(0o600)


def test_a_dead_replica(
    stack: LocalStack,
    look: Look,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    until(lambda: well(look))
    address = replicas_of(stack, 0)[0]
    process = stack.process(address)
    process.kill()
    try:
        (check,) = ailing(look, "fail").values()
        assert check.name == f"replica cache-0 {address}"
        assert "refused" in check.detail
        assert check.next_step and check.next_step.endswith("SENTINEL RESET cache-0")
        for name, value in stack.info["env"].items():
            monkeypatch.setenv(name, value)
        assert cli.run(["doctor", "-o", "json"]) == 5
        captured = capsys.readouterr()
        report = json.loads(captured.out)
        assert not report["healthy"]
        assert f"failed: {check.name}" in captured.err
    finally:
        process.restart()
    until(lambda: well(look))


def test_a_replica_whose_link_is_down(stack: LocalStack, look: Look) -> None:
    until(lambda: well(look))
    address = replicas_of(stack, 0)[0]
    with connect(address) as replica:
        replica.config_set("masteruser", "nobody")
        replica.config_set("masterauth", "wrong")
        try:
            replica.client_kill_filter(_type="master")
            until(lambda: f"replica cache-0 {address}" in ailing(look, "fail"))
            check = ailing(look, "fail")[f"replica cache-0 {address}"]
            assert "link to the master is down" in check.detail
            assert check.next_step and "masterauth" in check.next_step
        finally:
            replica.config_set("masteruser", "")
            replica.config_set("masterauth", "")
    until(lambda: well(look))


def test_a_replica_that_follows_somebody_else_or_nobody(stack: LocalStack, look: Look) -> None:
    until(lambda: well(look))
    address, other = replicas_of(stack, 0)[0], stack.info["shards"][1]["master"]
    name = f"replica cache-0 {address}"
    with connect(address) as replica:
        for host, port, said in (
            ("NO", "ONE", "its role is master"),
            (*other.split(":"), f"it follows {other}"),
        ):
            # Sentinel corrects this after a while, which does not matter here.
            def seen(host: str = host, port: str = port, said: str = said) -> bool:
                replica.execute_command("REPLICAOF", host, port)
                check = ailing(look, "fail").get(name)
                return check is not None and said in check.detail

            until(seen)
        host, port = stack.info["shards"][0]["master"].split(":")
        replica.execute_command("REPLICAOF", host, port)
    until(lambda: well(look))


def test_no_replica_may_be_promoted(stack: LocalStack) -> None:
    """Without a metaserver, which would find that too."""
    url = f"cachemesh+sentinel://{','.join(stack.info['sentinels'])}/cache"

    def look() -> list[Check]:
        return list(examine_pool(url, None, {}))

    until(lambda: well(look))
    addresses = replicas_of(stack, 1)
    try:
        for address in addresses:
            with connect(address) as replica:
                replica.config_set("replica-priority", 0)
        until(lambda: "shard cache-1" in ailing(look, "warn"))
        assert "replica-priority is 0" in ailing(look, "warn")["shard cache-1"].detail
    finally:
        for address in addresses:
            with connect(address) as replica:
                replica.config_set("replica-priority", 100)
    until(lambda: well(look))


def test_a_shard_without_replicas() -> None:
    with LocalStack(shards=1, replicas=0, sentinels=1, metaservers=0) as stack:
        checks = list(examine_pool(None, None, stack.info["env"]))
        (check,) = [check for check in checks if check.state != "ok"]
        assert (check.name, check.state) == ("shard cache-0", "warn")
        assert "no replica" in check.detail
        assert (
            check.next_step and stack.info["shards"][0]["master"].split(":")[1] in check.next_step
        )


def test_a_shard_that_is_dead_and_a_dead_sentinel() -> None:
    """No Sentinel is to forget the replica now: there is nobody else to take over."""
    with LocalStack(shards=1, replicas=1, sentinels=2, metaservers=0) as stack:
        master, sentinel = stack.info["shards"][0]["master"], stack.info["sentinels"][0]
        (replica,) = replicas_of(stack, 0)
        for dead in (sentinel, replica, master):
            stack.process(dead).kill()
        left = f"sentinel {stack.info['sentinels'][1]}"

        def seen() -> dict[str, Check] | None:
            checks = {c.name: c for c in examine_pool(None, None, stack.info["env"])}
            return checks if "NOQUORUM" in checks[left].detail else None

        checks = until(seen)
        assert checks[f"master cache-0 {master}"].state == "fail"
        assert checks[f"sentinel {sentinel}"].state == checks[left].state == "fail"
        step = checks[f"replica cache-0 {replica}"].next_step
        assert step and "RESET" not in step and "it may be the one to take over" in step


def test_doctor_finds_this_machine_fit(run: Run) -> None:
    found = check_states(run("doctor", "-o", "json"))
    for name in ("python", "redis-server", "sentinel mode", "state directory", "redis-py"):
        assert found[name] == "ok"
    assert found["pool"] == "warn"


def test_doctor_names_what_ails_a_pool(run: Run) -> None:
    with LocalStack(shards=1, sentinels=2, metaservers=0) as stack:
        env = stack.info["env"]
        dead = stack.info["sentinels"][1]
        assert "fail" not in check_states(run("doctor", "-o", "json", **env)).values()
        stack.process(dead).kill()
        done = run("doctor", **env)
        assert done.returncode == 5
        assert f"fail  sentinel {dead}: " in done.stdout
        (summary,) = done.stderr.splitlines()
        assert summary.startswith("failed: ") and f"sentinel {dead}" in summary


def test_doctor_cannot_reach_a_metaserver(run: Run) -> None:
    found = check_states(run("doctor", "-o", "json", CACHEMESH_URL="cachemesh://127.0.0.1:1/cache"))
    assert found["metaserver 127.0.0.1:1"] == "fail"
    found = check_states(run("doctor", "-o", "json", CACHEMESH_URL="redis://127.0.0.1:1/cache"))
    assert found["pool URL"] == "fail"
