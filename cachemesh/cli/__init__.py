"""The `cachemesh` command: `main.py` joins what each file offers for one noun."""

import importlib.util
import sys

_missing = [name for name in ("click", "rich", "yaml") if importlib.util.find_spec(name) is None]
if _missing:
    sys.exit(
        f"error: cachemesh: the command needs {', '.join(_missing)}, which is not installed\n"
        "next: pip install 'cachemesh[cli]'"
    )
