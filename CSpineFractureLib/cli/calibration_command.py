"""``cspine evaluate calibration``: fit the map from scores to probabilities on studies with known fractures."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from CSpineFractureLib.cli.report_file import check_place
from CSpineFractureLib.errors import UserError


def calibration(
    data: Annotated[Path, typer.Option(help="Folder of studies made by 'cspine phantom', none of the benchmark.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the calibration, such as calibration-two-stage.json.")
    ],
    profile: Annotated[str, typer.Option(help="Which system analyses the studies.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.99, show_default="the profile's own", help="Score that becomes 0.5."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many studies, spread evenly over the folder.")] = 200,
) -> None:
    """Fit probabilities to the scores of levels and studies (synthetic CT) and tell how well calibrated both are.

    The file counts once it lies as calibration-PROFILE.json beside the manifest of the networks.
    """
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.phantom.benchmark import STUDY_SEEDS
    from CSpineFractureLib.phantom.files import CT_FILE
    from CSpineFractureLib.pipeline.calibrated import SWITCH, Calibration, write_calibration
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.calibration_fit import (
        check_scores,
        error_figures,
        fit_map,
        level_scores,
        study_scores,
    )
    from CSpineFractureLib.training.fracture_hits import compare_fractures, studies_below

    check_place(output)
    scored = _scored(profile)
    options = "" if profile == "default" else f" --profile {profile}"
    options += "" if threshold is None else f" --threshold {threshold}"
    threshold = scored.threshold if threshold is None else threshold
    folders = _spread(studies_below(data), limit)
    if any(folder.name in {f"phantom_{seed:06d}" for seed in STUDY_SEEDS} for folder in folders):
        message = f"'{data}' holds studies of the benchmark, which measure the calibration: fit it on other phantoms."
        raise UserError(message)
    engine, cases, result = Engine(device=device), [], None
    with shown_progress("auto", sys.stdout) as show:
        for n, folder in enumerate(folders):
            show({"stage": "calibration", "done": n, "total": len(folders), "message": "Scoring studies"})
            _, study = engine.run_study(folder / CT_FILE, profile, thresholds={SWITCH: 0.0})
            result = study.result
            cases.append(compare_fractures(folder, result).case)
            typer.echo(f"{folder.name}: {', '.join(f'{k} {p:.3f}' for k, p in cases[-1].probabilities.items())}")
    check_scores(cases)
    parts = {"level": level_scores(cases), "study": study_scores(cases)}
    maps = {name: fit_map(scores, threshold) for name, scores in parts.items()}
    figures = {name: error_figures(scores, threshold) for name, scores in parts.items()}
    found = Calibration(
        profile=result.profile,
        threshold=threshold,
        models={one.task: one.sha256 for one in result.models if one.task in scored.tasks},
        level=_slopes(maps["level"]),
        study=_slopes(maps["study"]),
        fitted_on={
            "command": f"cspine evaluate calibration --data {data.name} --limit {limit}{options}",
            "date": datetime.now(timezone.utc).date().isoformat(),
            "data": "synthetic CT of this project (cspine phantom)",
            "studies": [folder.name for folder in folders],
        },
        figures=figures,
    )
    write_calibration(found, output)
    for name, one in figures.items():
        slopes = maps[name]
        typer.echo(
            f"{name} (synthetic): {one['fractured']} fractured, {one['sound']} sound; expected calibration error "
            f"{one['ece_before']:.3f} before, {one['ece_after_cross_fitted']:.3f} after (5-fold cross-fitted); slopes "
            f"{slopes.below:.2f} below and {slopes.above:.2f} above the threshold {threshold}, which becomes 0.5"
        )
    typer.echo(str(output))


class Scored(NamedTuple):
    """The networks whose scores are fitted, and the score from which on a level counts as fractured."""

    tasks: tuple[str, ...]
    threshold: float


def _scored(profile: str) -> Scored:
    """Raises UserError for a profile without scores of vertebrae."""
    from CSpineFractureLib.pipeline import classify, two_stage, vertebra_fractures
    from CSpineFractureLib.pipeline.profiles import runnable_profile

    known = {
        "two-stage": Scored(two_stage.SCORING, classify.FRACTURE),
        "unet-cracknet": Scored((vertebra_fractures.VERTEBRA_FRACTURE,), vertebra_fractures.FRACTURE),
    }
    name = runnable_profile(profile).name
    if name not in known:
        message = f"Profile {name} gives no fracture scores of vertebrae to calibrate: use one of {', '.join(known)}."
        raise UserError(message)
    return known[name]


def _spread(folders: list[Path], limit: int) -> list[Path]:
    """At most ``limit`` folders at even steps."""
    if len(folders) <= limit:
        return folders
    return [folders[n * len(folders) // limit] for n in range(limit)]


def _slopes(found) -> dict[str, float]:
    return {"below": found.below, "above": found.above}
