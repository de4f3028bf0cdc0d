"""``cspine models``: the weights on this computer."""

from __future__ import annotations

from CSpineFractureLib.cli.command_group import command_group

app = command_group(help="The networks' weights on this computer: list, verify, install, remove.")


@app.command("list")
def list_models() -> None:
    """List the networks of the manifest and whether their weights are here."""
