"""The commands of ``cspine``. A new command is a function in a file of its own and one line here."""

from __future__ import annotations

from typing import Annotated

import typer

from CSpineFractureLib import __version__
from CSpineFractureLib.cli import (
    bench_command,
    dataset_command,
    evaluate_command,
    export_command,
    models_command,
    phantom_command,
    report_command,
    run_command,
    train_command,
    worker_command,
)
from CSpineFractureLib.cli.command_group import command_group

app = command_group(
    name="cspine",
    help="Fractures of the cervical spine in CT: found, boxed and explained. Research use only.",
)
app.command("run")(run_command.run)
app.command("worker")(worker_command.worker)
app.command("phantom")(phantom_command.phantom)
app.add_typer(train_command.app, name="train")
app.command("export-dicom")(export_command.export_dicom)
app.command("report")(report_command.report)
app.command("bench")(bench_command.bench)
app.add_typer(models_command.app, name="models")
app.add_typer(evaluate_command.app, name="evaluate")
app.add_typer(dataset_command.app, name="dataset")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cspine {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where a fault arose (may stand anywhere).")] = False,
) -> None:
    """``--debug`` is acted upon by ``failures``, before this is called."""
