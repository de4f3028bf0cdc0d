"""``cspine run``: one study from file to findings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_result import StudyResult

RADIOGRAPH = "radiograph"


def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="DICOM folder or .zip, NIfTI, NRRD or MHA file; or a radiograph.",
        ),
    ],
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
    """Find vertebrae and suspected fractures in one cervical CT, or classify one radiograph (--profile radiograph)."""
    from CSpineFractureLib.pipeline.output_folder import check_output_folder
    from CSpineFractureLib.pipeline.profiles import get_profile, runnable_profile
    from CSpineFractureLib.pipeline.stdout_guard import stdout_for_us_alone
    from CSpineFractureLib.volume.radiograph_image import is_single_picture

    # What needs neither input nor models is checked first.
    if events not in ("auto", "json"):
        message = f"--events {events!r} is not known: use auto or json."
        raise UserError(message)
    if get_profile(profile).name == RADIOGRAPH:
        choices = {"--series": series, "--exact": exact, "--threshold": threshold, "--cam-pictures": cam_pictures}
        _run_radiograph(source, output, device, parsed_models(model or []), overwrite, events, choices)
        return
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
    if Path(source).is_file() and is_single_picture(source):
        message = f"{source} is a 2D picture, not a CT: for a radiograph of the neck use --profile radiograph."
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


def _run_radiograph(
    source: str,
    output: Path,
    device: str,
    models: dict[str, str],
    overwrite: bool,
    events: str,
    choices: dict[str, object],
) -> None:
    """``run`` with the profile ``radiograph``; ``choices`` are options that it cannot follow."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.output_folder import check_output_folder
    from CSpineFractureLib.pipeline.radiograph import TASK, analyse_radiograph, write_radiograph
    from CSpineFractureLib.pipeline.stdout_guard import stdout_for_us_alone

    for name, value in choices.items():
        if value:
            message = f"{name} does not go with --profile {RADIOGRAPH}: leave it out."
            raise UserError(message)
    for task in models:
        if task != TASK:
            message = f"Profile {RADIOGRAPH} has no network for the task {task!r}: its one task is {TASK}."
            raise UserError(message)
    checked_device(device)
    check_output_folder(output, overwrite)
    with stdout_for_us_alone() as stdout:
        with shown_progress(events, stdout) as show:
            found = analyse_radiograph(source, device=device, model=models.get(TASK), on_event=show)
            show({"stage": "write", "done": 0, "total": 1, "message": "Writing the files"})
            paths = write_radiograph(found, output, overwrite)
            show({"stage": "write", "done": 1, "total": 1, "message": "Writing the files"})
        if events == "json":
            last = {"stage": "done", "done": 1, "total": 1, "message": "", "files": [str(path) for path in paths]}
            print(json.dumps(last, ensure_ascii=False), file=stdout, flush=True)
        else:
            print_radiograph(found.result, paths, stdout)


def print_radiograph(result: StudyResult, paths: Sequence[Path], stream: TextIO) -> None:
    """Print class and confidence in one line, the warnings and the files written."""
    found = result.radiograph
    chances = ", ".join(f"{name} {chance:.3f}" for name, chance in found.probabilities.items())
    synthetic = any("synthetic" in model.trained_on.lower() for model in result.models)
    trained = "; trained on synthetic radiographs" if synthetic else ""
    print(
        f"{found.kind}, confidence {found.probabilities[found.kind]:.3f} ({chances}){trained}; research use only: not "
        f"a medical device, never validated on patients.",
        file=stream,
    )
    for notice in result.warnings:
        print(f"Warning: {notice.message}", file=stream)
    print("Files written:", *(f"  {path}" for path in paths), sep="\n", file=stream, flush=True)


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
