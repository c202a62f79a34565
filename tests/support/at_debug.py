"""Runs a module as a program whose every logger writes everything to stderr.

python -m tests.support.at_debug MODULE [ARGUMENTS]
"""

from __future__ import annotations

import logging
import runpy
import sys

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=1, format="%(name)s %(message)s")
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
