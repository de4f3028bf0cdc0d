"""``cspine phantom``: synthetic cervical CT and radiographs with exact truth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.cli.seeds import MOST_SEED
from CSpineFractureLib.errors import UserError

FORMATS = ("nifti", "dicom", "rsna", "radiograph")


def phantom(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the studies; made if absent.")],
    n: Annotated[int | None, typer.Option("--n", min=1, help="How many studies.", show_default="1")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the first study; the next ones follow.")] = 0,
    fracture: Annotated[
        list[str] | None,
        typer.Option(metavar="LEVEL[:TYPE]", help="A fracture, such as C5:burst; may be repeated. Default: by chance."),
    ] = None,
    normal: Annotated[bool, typer.Option("--normal", help="No fractures at all.")] = False,
    mimic: Annotated[
        list[str] | None,
        typer.Option(metavar="LEVEL:KIND", help="What only looks like a fracture, such as C6:osteophyte; repeatable."),
    ] = None,
    plan: Annotated[
        str,
        typer.Option(
            help="Field of view and voxels: standard, wide, focused, neck (to train on), scans (as scans come) or "
            "benchmark-v1 (its own seeds)."
        ),
    ] = "standard",
    spacing: Annotated[tuple[float, float, float] | None, typer.Option(help="Voxel size along i, j, k in mm.")] = None,
    randomise: Annotated[bool, typer.Option("--randomise", help="Tissues and scanners beyond reality.")] = False,
    layout: Annotated[str, typer.Option("--format", help="nifti, dicom, rsna (as shipped) or radiograph.")] = "nifti",
    tilt: Annotated[float, typer.Option(min=-30, max=30, help="Gantry tilt in degrees, with --format dicom.")] = 0.0,
    insert_into: Annotated[Path | None, typer.Option(help="Break the vertebrae of this real CT instead.")] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="That CT's vertebrae: vertebrae.seg.nrrd of a run, or a NIfTI mask with 1-7 = C1-C7."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes to use.")] = 1,
) -> None:
    """Make synthetic CT studies: ct.nii.gz, vertebrae.nii.gz, fractures.nii.gz and truth.json in a folder each.

    Finished studies are not made again. The same seed gives the same bytes on any number of jobs.
    """
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.phantom.benchmark import NAME, STUDY_SEEDS
    from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures, parse_mimics
    from CSpineFractureLib.phantom.varied import PLANS

    _check(normal, fracture, layout, plan, (*PLANS, NAME), spacing, tilt, insert_into, mask)
    chosen = () if normal else (parse_fractures(fracture) if fracture else None)
    mimics = parse_mimics(mimic) if mimic else None
    seeds = list(range(seed, seed + (n or 1)))
    if plan == NAME:
        if fracture or normal or mimic or spacing or randomise or seed:
            message = f"--plan {NAME} is fixed by its seeds; leave out the options that change its studies."
            raise UserError(message)
        from CSpineFractureLib.phantom.benchmark import RADIOGRAPH_SEEDS, benchmark_plan

        seeds = list(RADIOGRAPH_SEEDS if layout == "radiograph" else STUDY_SEEDS)[:n]
    plan_for = benchmark_plan if plan == NAME else PLANS[plan]

    def plan_of(number: int) -> StudyPlan:
        made = plan_for(number)
        if chosen is not None:
            made = replace(made, fractures=chosen)
        if mimics is not None:
            made = replace(made, mimics=mimics)
        made = replace(made, randomise=made.randomise or randomise)
        return made if spacing is None else replace(made, spacing_mm=spacing)

    with shown_progress("auto", sys.stdout) as show:

        def on_progress(done: int, total: int) -> None:
            show({"stage": "phantom", "done": done, "total": total, "message": "Making synthetic studies"})

        if insert_into is not None:
            from CSpineFractureLib.datasets.inserted import make_inserted

            made = make_inserted(insert_into, mask, output, seeds, chosen, on_progress)
        else:
            made = _makers(tilt)[layout](output, seeds, plan_of, jobs, on_progress)
    for path in made:
        typer.echo(str(path / "ct.nii.gz" if (path / "ct.nii.gz").exists() else path))


def _makers(tilt: float) -> dict[str, Callable]:
    """What makes the studies of each format: ``(root, seeds, plan_of, jobs, on_progress) -> paths``."""

    def nifti(*given):
        from CSpineFractureLib.phantom.files import make_studies

        return make_studies(*given)

    def dicom(*given):
        from CSpineFractureLib.datasets.rsna_write import make_dicom_studies

        return make_dicom_studies(*given, tilt_of=lambda seed: tilt)

    def rsna(*given):
        from CSpineFractureLib.datasets.rsna_write import make_rsna_tree

        return make_rsna_tree(*given)

    def radiograph(root, seeds, plan_of, jobs, on_progress):
        from CSpineFractureLib.phantom.radiograph_files import make_radiographs

        return make_radiographs(root, seeds, jobs, on_progress)

    return {"nifti": nifti, "dicom": dicom, "rsna": rsna, "radiograph": radiograph}


def _check(normal, fracture, layout, plan, plans, spacing, tilt, insert_into, mask) -> None:
    """Refuse options that do not go together."""
    message = None
    if normal and fracture:
        message = "--normal and --fracture exclude each other; give one of them."
    elif layout not in FORMATS:
        message = f"--format {layout} is not known; use one of {', '.join(FORMATS)}."
    elif plan not in plans:
        message = f"--plan {plan} is not known; use one of {', '.join(plans)}."
    elif spacing is not None and not all(0.2 <= s <= 6 for s in spacing):
        message = f"--spacing {spacing}: voxel sizes must lie between 0.2 and 6 mm."
    elif tilt and layout != "dicom":
        message = "--tilt needs --format dicom: NIfTI files cannot hold tilted slices."
    elif (insert_into is None) != (mask is None):
        message = "--insert-into needs --mask, and --mask needs --insert-into: the CT and the mask of its vertebrae."
    elif insert_into is not None and (normal or layout != "nifti"):
        message = "--insert-into breaks vertebrae and writes NIfTI; leave out --normal and --format."
    if message:
        raise UserError(message)
