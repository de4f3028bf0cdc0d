"""``cspine train``: fit the networks of a profile."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def train(
    profile: Annotated[str, typer.Argument(help="What to train: two-stage.")],
    data: Annotated[Path, typer.Option(help="Folder of studies made by 'cspine phantom --varied'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder for weights and report.")],
    task: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    effort: Annotated[float, typer.Option(min=0.0001, help="Scales all step counts; 1 is the shipped recipe.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train from synthetic studies; writes one safetensors file per network and training.json."""
    if profile != "two-stage":
        message = f"Training of profile '{profile}' is not available in this version; use two-stage."
        raise UserError(message)
    if not data.is_dir():
        message = f"{data} does not exist: name a folder of studies made by 'cspine phantom --varied'."
        raise UserError(message)
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.models.device import choose_device
    from CSpineFractureLib.training.bank import load_studies
    from CSpineFractureLib.training.two_stage import TASKS, TwoStagePlan, train_two_stage

    chosen = choose_device(device)
    with shown_progress("auto", sys.stdout) as show:
        studies = load_studies(
            data,
            lambda done, total: show({"stage": "load", "done": done, "total": total, "message": "Reading the studies"}),
        )
        files = train_two_stage(
            studies,
            output,
            TwoStagePlan(tasks=tuple(task or TASKS), effort=effort, seed=seed),
            chosen,
            lambda name, done, total, loss: show(
                {"stage": name, "done": done, "total": total, "message": f"{name}, loss {loss:.2f}"}
            ),
        )
    for path in files.values():
        typer.echo(str(path))
