"""``cspine phantom``: synthetic cervical CT with exact truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def phantom(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the studies; made if absent.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many studies.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first study; the next ones follow.")] = 0,
    fracture: Annotated[
        list[str] | None,
        typer.Option(metavar="LEVEL[:TYPE]", help="A fracture, such as C5:burst; may be repeated. Default: by chance."),
    ] = None,
    normal: Annotated[bool, typer.Option("--normal", help="No fractures at all.")] = False,
    spacing: Annotated[tuple[float, float, float] | None, typer.Option(help="Voxel size along i, j, k in mm.")] = None,
    varied: Annotated[bool, typer.Option("--varied", help="Vary field of view and noise, for training.")] = False,
    focused: Annotated[bool, typer.Option("--focused", help="The column alone in fine voxels, to train on.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to use.")] = 1,
) -> None:
    """Make synthetic CT studies: ct.nii.gz, vertebrae.nii.gz, fractures.nii.gz and truth.json in a folder each."""
    from dataclasses import replace

    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.phantom.files import make_studies
    from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
    from CSpineFractureLib.phantom.varied import focused_plan, varied_plan

    if normal and fracture:
        message = "--normal and --fracture exclude each other; give one of them."
        raise UserError(message)
    if varied and focused:
        message = "--varied and --focused exclude each other; give one of them."
        raise UserError(message)
    if spacing is not None and not all(0.2 <= s <= 6 for s in spacing):
        message = f"--spacing {spacing}: voxel sizes must lie between 0.2 and 6 mm."
        raise UserError(message)
    chosen = () if normal else (parse_fractures(fracture) if fracture else None)

    def plan_of(number: int) -> StudyPlan:
        plan = varied_plan(number) if varied else focused_plan(number) if focused else StudyPlan()
        if chosen is not None:
            plan = replace(plan, fractures=chosen)
        return plan if spacing is None else replace(plan, spacing_mm=spacing)

    with shown_progress("auto", sys.stdout) as show:
        folders = make_studies(
            output,
            list(range(seed, seed + n)),
            plan_of,
            jobs,
            lambda done, total: show(
                {"stage": "phantom", "done": done, "total": total, "message": "Making synthetic CT"}
            ),
        )
    for folder in folders:
        typer.echo(str(folder / "ct.nii.gz"))
