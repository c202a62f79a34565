"""Runs the demo for `scripts/demo`: ``python -m cachemesh_command.demo``."""

from cachemesh_command import run

if __name__ == "__main__":
    run("cachemesh.demo.__main__")
