"""`cachemesh metaserver`: the processes of the control plane, and which of them leads."""

from __future__ import annotations

import click

from cachemesh.cli.common_options import with_context
from cachemesh.cli.context import CommandContext
from cachemesh.cli.output import emit, say
from cachemesh.cli.tables import Column, moment, show, table
from cachemesh.cli.watchable import watchable


@click.group(no_args_is_help=False)
def metaserver() -> None:
    """Metaservers: the processes of the control plane."""


@metaserver.command("list")
@with_context
@watchable
def list_metaservers(context: CommandContext) -> None:
    """List the metaservers on one store, and which of them leads since when."""
    data = context.metaserver.request("GET", "/v1/metaservers")
    leader = data["leader"]
    rows = [
        [
            each["address"],
            moment(leader["since"]) if each["leads"] else "-",
            moment(each["since"]),
            each["owner"],
        ]
        for each in data["metaservers"]
    ]
    columns = ("address", "leads since", "runs since", Column("owner", rank=1, fit="middle"))
    emit(context.output, data, lambda: show(table(columns, rows), wide=context.wide))
    if leader is None:
        say("no metaserver leads now: nothing is swept, repaired or recorded")
