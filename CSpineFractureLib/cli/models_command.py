"""``cspine models``: the weights on this computer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from CSpineFractureLib.models.manifest import ModelEntry

app = command_group(help="The networks' weights on this computer: list, verify, install, remove.")


@app.command("list")
def list_models() -> None:
    """List the networks whose weights are on this computer, and what they were trained on."""
    from rich.console import Console
    from rich.table import Table

    from CSpineFractureLib.models.store import WeightsStore

    store = WeightsStore()
    entries = store.list()
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    if entries:
        table = Table()
        for title in ("Name", "Version", "Task", "Profiles", "Size", "Licence", "From", "Trained on"):
            table.add_column(title, overflow="fold")
        for entry in entries:
            came = "program" if entry.bundled else "user"
            size = f"{entry.size / 2**20:.1f} MiB"
            task = f"{entry.task} (whole slices)" if entry.image == "slice" else entry.task
            row = (entry.name, entry.version, task, ", ".join(entry.profiles), size, entry.licence, came)
            table.add_row(*row, entry.info.trained_on)
        console.print(table)
    else:
        console.print("There are no weights on this computer.")
    console.print(f"Your own weights lie in {store.user}", soft_wrap=True)


@app.command("verify")
def verify(
    name: Annotated[str | None, typer.Argument(help="One network; all of them without a name.")] = None,
) -> None:
    """Compare the weights files with the size and SHA-256 of their manifest."""
    from CSpineFractureLib.models.store import WeightsStore

    store = WeightsStore()
    faults = []
    for entry in _entries(store.list(), name):
        try:
            store.verify(entry)
        except UserError as fault:
            faults.append(str(fault))
            typer.echo(f"FAULT  {entry.name}")
        else:
            typer.echo(f"ok     {entry.name}")
    if faults:
        raise UserError(" ".join(faults))


@app.command("install")
def install(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="A .safetensors file made by 'cspine train'.")],
) -> None:
    """Copy weights into your own folder; they go before those of the program."""
    from CSpineFractureLib.models.store import WeightsStore

    entry = WeightsStore().install(weights)
    typer.echo(f"Installed {entry.name} {entry.version} ({entry.task}) as {entry.path}")


@app.command("remove")
def remove(name: Annotated[str, typer.Argument(help="A network that you installed.")]) -> None:
    """Delete weights that you installed; those of the program stay."""
    from CSpineFractureLib.models.store import WeightsStore

    entry = WeightsStore().remove(name)
    typer.echo(f"Removed {entry.name} {entry.version}")


@app.command("delta")
def delta(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Made by 'cspine train ... --fine-tune'.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .safetensors file to write.")],
) -> None:
    """Keep only what a further training changed, two bits of each weight: a seventh of the size, to ship it."""
    from CSpineFractureLib.models.store import WeightsStore

    base = WeightsStore().save_delta(weights, output)
    typer.echo(f"{output}: {output.stat().st_size} bytes, changes of {base.name} {base.version} ({base.file})")


def _entries(entries: list[ModelEntry], name: str | None) -> list[ModelEntry]:
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if name is not None and not chosen:
        message = f"Model {name!r} is not on this computer: see 'cspine models list'."
        raise UserError(message)
    return chosen
