"""For all tests: the package's own pytest plugin, and no process left behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest

from cachemesh.local.leaks import await_none, processes_marked

# An installed package is a plugin by its entry point already; pytest refuses to load it twice.
if not any(found.name == "cachemesh" for found in entry_points(group="pytest11")):
    pytest_plugins = ["cachemesh.local.pytest_plugin"]


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> Iterator[None]:
    """Fail the run if a process that the tests started is alive at its end.

    Children inherit the mark in their environment, whatever their parent does.
    """
    mark = f"CMTEST_RUN={uuid.uuid4().hex}"
    name, _, value = mark.partition("=")
    os.environ[name] = value
    yield
    del os.environ[name]
    left = await_none(lambda: processes_marked(mark), timeout=5.0)
    assert not left, f"processes started by the tests are still alive: {left}"
