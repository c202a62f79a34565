"""The `cachemesh` command.

main                          joins the commands; context: their options, and the pool in question
pool*, shard*, migration*, key*, event, token, client, sentinel, metaserver   one noun each
*_tables                      how a noun is shown
stack*, doctor, replay        commands without a noun: up, down, status, doctor, replay
change                        plans a change, asks, and makes it; errors: exit codes and next steps
apply                         makes the change of a plan that was kept
output, tables, escapes       what is printed; param_types: kinds of arguments
"""

import importlib.util
import sys

_missing = [name for name in ("click", "rich", "yaml") if importlib.util.find_spec(name) is None]
if _missing:
    sys.exit(
        f"error: cachemesh: the command needs {', '.join(_missing)}, which is not installed\n"
        "next: pip install 'cachemesh[cli]'"
    )
