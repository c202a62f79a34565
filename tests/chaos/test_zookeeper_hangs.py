"""ZooKeeper does not answer a metaserver, which runs on gevent: calls end by their bound."""

from __future__ import annotations

import signal
import subprocess
import sys

from tests.support.metaserver_process import environment
from tests.support.zookeeper import Ensemble

CALLS = """
from gevent import monkey
monkey.patch_all()
import sys
from metaserver.process.config import ZookeeperOptions
from metaserver.store.zookeeper_session import NoAnswerError, ZookeeperSession
session = ZookeeperSession(ZookeeperOptions(sys.argv[1], "/hangs"), lambda: None)
print(session.call("exists", "/") is not None, flush=True)
sys.stdin.readline()
try:
    print("it answered", session.call("exists", "/", bound=0.2), flush=True)
except NoAnswerError as error:
    print(error, flush=True)
sys.stdin.readline()
print(session.call("exists", "/", bound=60) is not None, flush=True)
session.close()
"""


def test_a_call_ends_by_its_bound(ensemble: Ensemble) -> None:
    """gevent tells of a timeout by what is no Exception, and would end whole threads."""
    command = [sys.executable, "-c", CALLS, ensemble.hosts]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        for server in ensemble.servers:
            server.kill(signal.SIGSTOP)
        try:
            process.stdin.write("\n")
            process.stdin.flush()
            assert "no answer within 0.2 s" in process.stdout.readline()
        finally:
            for server in ensemble.servers:
                server.kill(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "True\n"
