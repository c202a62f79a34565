"""Settings for all tests: the pytest plugin of the package, and a check for stray processes."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest
from hypothesis import HealthCheck, settings

from cachemesh.local.ports import VARIABLE, usual_ports
from tests.support.own_ports import own_ports
from tests.support.process_cleanup import end_left
from tests.support.process_leaks import adopt_orphans, descendants

# An installed package is a plugin by its entry point already; pytest refuses to load it twice.
if not any(found.name == "cachemesh" for found in entry_points(group="pytest11")):
    pytest_plugins = ["cachemesh.local.pytest_plugin"]


# Hardly anything of what tests are collected from is garbage, and looking for it takes its time.
gc.disable()

# That a machine is slow is no finding of a property test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
# For more examples than the suite takes: pytest --hypothesis-profile thorough
settings.register_profile("thorough", settings.get_profile("any machine"), max_examples=20_000)

# For coverage, which slows pure Python down: pytest --cov --hypothesis-profile few
settings.register_profile(
    "few", settings.get_profile("any machine"), max_examples=5, derandomize=True
)

# In the background of a script SIGINT is ignored, and under nohup SIGHUP; what is started there
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Nor may a test start from what another one has left, or litter a home. Tests of snapshots name a
# directory of their own.
os.environ["CACHEMESH_SNAPSHOT_DIR"] = "off"
# Nor from what whoever runs them works with.
os.environ["CACHEMESH_CONFIG_DIR"] = "/nonexistent"

# Nor may files that run side by side take each other's ports.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ[VARIABLE] = own_ports(os.environ, usual_ports())


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Have garbage collected again, but for what was collected to be run."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail the run if a process that the tests started outlives them; kill the process."""
    adopt_orphans()
    before = set(descendants())
    yield
    left = end_left(lambda: [one for one in descendants() if one not in before])
    assert not left, f"processes started by the tests outlived them, until killed: {left}"
