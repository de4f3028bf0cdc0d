"""``cspine run``: one study from file to findings."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def run(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="DICOM folder or .zip, NIfTI, NRRD or MHA file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if absent.")],
    profile: Annotated[str, typer.Option(help="Which system analyses the study.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda (or cuda:N) or mps.")] = "auto",
    series: Annotated[str | None, typer.Option(help="SeriesInstanceUID, to choose the series yourself.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="No speed-ups that may change a result.")] = False,
    render: Annotated[bool, typer.Option("--render/--no-render", help="Render pictures of the views.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write beside other files in the folder.")] = False,
    events: Annotated[str, typer.Option(help="auto, or json: events as JSON lines on stdout.")] = "auto",
    threshold: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Change a threshold; may be repeated.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK=NAME", help="Use this network (see 'cspine models list'); may be repeated."),
    ] = None,
    cam_pictures: Annotated[
        bool, typer.Option("--cam-pictures", help="Also write suspicious slices beside their Grad-CAM (gradcam/).")
    ] = False,
) -> None:
    """Find vertebrae and suspected fractures in one cervical CT."""
    from CSpineFractureLib.pipeline.output_folder import check_output_folder
    from CSpineFractureLib.pipeline.profiles import runnable_profile
    from CSpineFractureLib.pipeline.stdout_guard import stdout_for_us_alone

    # What needs neither input nor models is checked first.
    if events not in ("auto", "json"):
        message = f"--events {events!r} is not known: use auto or json."
        raise UserError(message)
    chosen = runnable_profile(profile)
    if cam_pictures and not chosen.explains:
        message = f"Profile {chosen.name} makes no Grad-CAM: leave out --cam-pictures, or use --profile two-stage."
        raise UserError(message)
    checked_device(device)
    thresholds = parsed_thresholds(threshold or [])
    models = parsed_models(model or [])
    chosen.check_tasks(models)
    check_output_folder(output, overwrite)
    if not Path(source).exists():
        message = f"{source} does not exist: name a DICOM folder or .zip, or a NIfTI, NRRD or MHA file."
        raise UserError(message)

    from CSpineFractureLib.cli.findings_table import print_findings
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.pipeline.outputs import write_outputs

    with stdout_for_us_alone() as stdout:
        with shown_progress(events, stdout) as show:
            engine = Engine(device=device)
            if device not in ("auto", "cpu"):
                engine.check_device()
            volume, study = engine.run_study(
                source, profile, series=series, thresholds=thresholds, exact=exact, models=models, on_event=show
            )
            show({"stage": "write", "done": 0, "total": 1, "message": "Writing the files"})
            paths = write_outputs(volume, study, output, render=render, overwrite=overwrite, cam_pictures=cam_pictures)
            show({"stage": "write", "done": 1, "total": 1, "message": "Writing the files"})
        if events == "json":
            last = {"stage": "done", "done": 1, "total": 1, "message": "", "files": [str(path) for path in paths]}
            print(json.dumps(last, ensure_ascii=False), file=stdout, flush=True)
        else:
            print_findings(study.result, paths, stdout)


def checked_device(device: str) -> str:
    """``device`` as given, if it has one of the known forms. Raises ``UserError``; torch is not imported."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        message = f"--device {device!r} is not known: use auto, cpu, cuda or mps."
        raise UserError(message)
    return device


def parsed_thresholds(texts: list[str]) -> dict[str, float]:
    """``["name=0.5", ...]`` as a dictionary. Raises ``UserError`` for anything else."""
    thresholds = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            thresholds[name] = float(value)
        except ValueError:
            thresholds[name] = math.nan
        if not name or not math.isfinite(thresholds[name]):
            message = f"--threshold {text!r} is not understood: write it as NAME=NUMBER, such as fracture=0.4."
            raise UserError(message)
    return thresholds


def parsed_models(texts: list[str]) -> dict[str, str]:
    """``["task=name", ...]`` as a dictionary. Raises ``UserError`` for anything else, and for a task named twice."""
    models: dict[str, str] = {}
    for text in texts:
        task, _, name = text.partition("=")
        if not task or not name or task in models:
            message = (
                f"--model {text!r} is not understood: write it as TASK=NAME, once per task, with a name from 'cspine"
                " models list'."
            )
            raise UserError(message)
        models[task] = name
    return models
