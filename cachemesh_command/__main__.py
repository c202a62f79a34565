"""Runs the `cachemesh` command for ``python -m cachemesh_command``."""

from cachemesh_command import main

if __name__ == "__main__":
    main()
