"""``cspine bench``: how long the stages of a run take on this computer."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def bench(
    source: Annotated[Path | None, typer.Argument(metavar="[INPUT]", help="CT to analyse; default: synthetic.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Timed runs, after one to warm up.")] = 3,
    profile: Annotated[str, typer.Option(help="Which system analyses the study.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for all times (JSON).")] = None,
) -> None:
    """Time one study stage by stage: median, fastest and slowest of several runs, in seconds. Writes no results."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine

    if source is not None and not source.exists():
        message = f"{source} does not exist: name a DICOM folder or .zip, or a NIfTI, NRRD or MHA file."
        raise UserError(message)
    engine, runs = Engine(device=device), []
    with shown_progress("auto", sys.stdout) as show:
        study = source if source is not None else _synthetic()
        for number in range(repeat + 1):
            show({"stage": "bench", "done": number, "total": repeat + 1, "message": "Timing"})
            start = time.perf_counter()
            volume, found = engine.run_study(study, profile)
            runs.append({**found.result.timings_s, "total": time.perf_counter() - start})
    kind = "synthetic CT" if source is None else source.name
    typer.echo(f"{kind}, {volume.hu.shape[::-1]} voxels, profile {found.result.profile}, device {found.result.device}")
    typer.echo(f"{'stage':<10} {'median s':>9} {'fastest':>9} {'slowest':>9} {'first':>9}")
    for stage in runs[-1]:
        times = [run.get(stage, 0.0) for run in runs[1:]]
        figures = (statistics.median(times), min(times), max(times), runs[0].get(stage, 0.0))
        typer.echo(f"{stage:<10} " + " ".join(f"{figure:9.2f}" for figure in figures))
    if output is not None:
        try:
            output.write_text(
                json.dumps({"input": kind, "device": found.result.device, "runs": runs}), encoding="utf-8"
            )
        except OSError as error:
            message = f"{output}: cannot be written ({error.strerror}); choose another place with --output."
            raise UserError(message) from error


def _synthetic() -> object:
    from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
    from CSpineFractureLib.phantom.study import make_study
    from CSpineFractureLib.volume.ct_volume import CTVolume

    study = make_study(7, StudyPlan(fractures=parse_fractures(["C5:burst"])))
    return CTVolume(study.hu, study.ijk_to_ras)
