"""``cspine train``: fit the networks of a profile."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def train(
    profile: Annotated[str, typer.Argument(help="What to train: two-stage.")],
    data: Annotated[Path, typer.Option(help="Folder of studies made by 'cspine phantom --plan wide'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder for weights and report.")],
    fracture_data: Annotated[
        Path | None,
        typer.Option(help="Studies of --plan focused, for both fracture networks; default: --data."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    fine_tune: Annotated[
        bool, typer.Option("--fine-tune", help="Go on from the weights of this computer instead of from chance.")
    ] = False,
    effort: Annotated[float, typer.Option(min=0.0001, help="Scales all step counts; 1 is the shipped recipe.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train from synthetic studies; writes one safetensors file per network and training.json."""
    if profile != "two-stage":
        message = f"Training of profile '{profile}' is not available in this version; use two-stage."
        raise UserError(message)
    for folder, option in ((data, "--plan wide"), (fracture_data, "--plan focused")):
        if folder is not None and not folder.is_dir():
            message = f"{folder} does not exist: name a folder of studies made by 'cspine phantom {option}'."
            raise UserError(message)
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.models.device import choose_device
    from CSpineFractureLib.training.bank import load_studies
    from CSpineFractureLib.training.two_stage import TASKS, TwoStagePlan, train_two_stage

    chosen, tasks = choose_device(device), tuple(task or TASKS)
    with shown_progress("auto", sys.stdout) as show:

        def reading(done: int, total: int) -> None:
            show({"stage": "load", "done": done, "total": total, "message": "Reading the studies"})

        studies = load_studies(data, reading)
        focused = load_studies(fracture_data, reading) if fracture_data else None
        files = train_two_stage(
            studies,
            output,
            TwoStagePlan(tasks=tasks, effort=effort, seed=seed),
            chosen,
            lambda name, done, total, loss: show(
                {"stage": name, "done": done, "total": total, "message": f"{name}, loss {loss:.2f}"}
            ),
            focused,
            _known(tasks if fine_tune else ("vertebra-detector",) if tasks == ("fracture-detector",) else ()),
        )
    for path in files.values():
        typer.echo(str(path))


def _known(tasks: tuple[str, ...]) -> dict[str, nn.Module]:
    """The networks of this computer for some tasks, to start from; without those that it lacks."""
    from CSpineFractureLib.models.store import WeightsStore

    found = {}
    for task in tasks:
        with contextlib.suppress(UserError):
            found[task] = WeightsStore().load_for_training(task)[0]
    return found
