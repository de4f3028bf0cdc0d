"""``cspine evaluate``: measure the profiles on data with known answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.errors import UserError

app = command_group(help="Measure how well a profile does on data with known answers.")


@app.callback()
def _group() -> None:
    """Measure how well a profile does on data with known answers."""


@app.command("levels")
def levels(
    data: Annotated[Path, typer.Option(help="Folder with the volumes and 'levels/*.json' marks.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the report (JSON).")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only volumes whose name holds this; may be repeated.")] = None,
    profile: Annotated[str, typer.Option(help="Which system analyses the studies.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Level hits on CT with marked levels: hit, confused and invented levels, errors in mm, fracture alarms."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.level_hits import compare, read_marks, summary

    marks = [read_marks(path) for path in sorted((data / "levels").glob("*.json"))]
    marks = [m for m in marks if not only or any(word in m.file for word in only)]
    if not marks:
        message = f"{data}: holds no marks (levels/*.json) that fit; name the folder that holds 'levels'."
        raise UserError(message)
    engine, reports = Engine(device=device), []
    with shown_progress("auto", sys.stdout) as show:
        for n, mark in enumerate(marks):
            show({"stage": "levels", "done": n, "total": len(marks), "message": "Finding levels"})
            volume, study = engine.run_study(data / mark.file, profile)
            report = compare(mark, study.result, volume)
            reports.append(report)
            typer.echo(
                f"{mark.file}: hit {len(report.hit)}/{report.marked}, confused {','.join(report.confused) or '-'}, "
                f"missed {','.join(report.missed) or '-'}, invented {','.join(report.invented) or '-'}, "
                f"alarms {report.alarms}"
            )
    total = summary(reports)
    error = total["median_abs_error_s_mm"]
    typer.echo(
        f"All: hit {total['hit_rate']:.1%} of {total['marked']} levels, confused {total['confusion_rate']:.1%}, "
        f"invented {total['invented']}, median S error {'-' if error is None else f'{error:.1f} mm'}, "
        f"alarms {total['alarms_per_volume']:.2f} per volume"
    )
    _write_report(total, output)


@app.command("fractures")
def fractures(
    data: Annotated[Path, typer.Option(help="Folder of studies made by 'cspine phantom'.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the report (JSON).")] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability from which a level counts.")] = 0.6,
    profile: Annotated[str, typer.Option(help="Which system analyses the studies.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Fractures found on synthetic CT: sensitivity, specificity, areas under the ROC curve, false boxes."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.phantom.files import CT_FILE
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.fracture_hits import compare_fractures, fracture_summary, studies_below

    folders, engine, reports = studies_below(data), Engine(device=device), []
    with shown_progress("auto", sys.stdout) as show:
        for n, folder in enumerate(folders):
            show({"stage": "fractures", "done": n, "total": len(folders), "message": "Looking for fractures"})
            _, study = engine.run_study(folder / CT_FILE, profile, thresholds={"fracture": threshold})
            report = compare_fractures(folder, study.result)
            reports.append(report)
            typer.echo(
                f"{folder.name}: found {', '.join(report.found) or '-'}, overlooked "
                f"{', '.join(report.overlooked) or '-'}, false boxes {report.false_boxes}"
            )
    total = fracture_summary(reports, threshold)
    shown = {key: "-" if value is None else value for key, value in total.items() if key != "per_study"}
    figures = (f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items())
    typer.echo(f"All (synthetic): {', '.join(figures)}")
    _write_report(total, output)


def _write_report(report: dict, output: Path | None) -> None:
    if output is None:
        return
    try:
        output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    except OSError as error:
        message = f"{output}: cannot be written ({error.strerror}); choose another place with --output."
        raise UserError(message) from error
