"""``cspine evaluate levels``, ``stress`` and ``pairs``: measure a profile on real CT."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from CSpineFractureLib.cli.report_file import check_place, write_report
from CSpineFractureLib.cli.seeds import MOST_SEED
from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from CSpineFractureLib.training.level_hits import LevelReport
    from CSpineFractureLib.training.stress_report import StressCopy

Data = Annotated[Path, typer.Option(help="Folder with the volumes and 'levels/*.json' marks.")]
Report = Annotated[Path | None, typer.Option("--output", "-o", help="File for the report (JSON).")]
Only = Annotated[list[str] | None, typer.Option(help="Only volumes whose name holds this; may be repeated.")]
ProfileName = Annotated[str, typer.Option(help="Which system analyses the studies.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
NoGate = Annotated[bool, typer.Option("--no-gate", help="Look for fractures however coarse the voxels are.")]


def levels(
    data: Data,
    output: Report = None,
    only: Only = None,
    held_out: Annotated[
        Path | None, typer.Option(help="CSV of verdicts: its files with 'no' were kept out, and are summed up apart.")
    ] = None,
    no_gate: NoGate = False,
    sheet: Annotated[
        Path | None, typer.Option(help="File for a contact sheet (PNG): found levels and marks on each volume.")
    ] = None,
    profile: ProfileName = "default",
    device: Device = "auto",
) -> None:
    """Level hits on CT with marked levels: hit, confused and invented levels, errors in mm, fracture alarms."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.level_hits import NO_GATE, check_no_gate, compare, read_all_marks, summary

    check_place(output, sheet)
    marks, kept_out = read_all_marks(data, only), _kept_out(held_out)
    engine, reports, tiles = Engine(device=device), [], []
    with shown_progress("auto", sys.stdout) as show:
        for n, mark in enumerate(marks):
            show({"stage": "levels", "done": n, "total": len(marks), "message": "Finding levels"})
            volume, study = engine.run_study(data / mark.file, profile, thresholds=NO_GATE if no_gate else None)
            if no_gate:
                check_no_gate(study.result, volume)
            report = compare(mark, study.result, volume)
            reports.append(report)
            if sheet:
                from CSpineFractureLib.training.level_sheet import level_tile

                tiles.append(level_tile(mark, volume, study, report))
            typer.echo(f"{mark.file}: {_levels_line(report)}, alarms {report.alarms}")
    total = summary(reports)
    parts = {"All": total}
    if held_out:
        apart = [report for report in reports if Path(report.file).name in kept_out]
        parts["Kept out"] = summary(apart)
        parts["Others"] = summary([report for report in reports if report not in apart])
    for name, part in parts.items():
        if part["volumes"]:
            typer.echo(f"{name}: {_total_line(part, no_gate)}")
    write_report({"resolution_gate": not no_gate, **total, "parts": {k: parts[k] for k in parts if k != "All"}}, output)
    if sheet:
        from CSpineFractureLib.training.level_sheet import draw_sheet

        draw_sheet(tiles, sheet)


def stress(
    data: Data,
    output: Report = None,
    only: Only = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(help="Only these changes, or those that begin so (crop, flip, slices); may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the random crops, orders and noise.")] = 0,
    copies: Annotated[
        int, typer.Option(min=1, help="How many copies of each random change, with the next seeds each.")
    ] = 1,
    profile: ProfileName = "default",
    device: Device = "auto",
) -> None:
    """Level hits on changed copies of marked CT: crops, stored axes, slices of 1-5 mm, noise and tilt.

    Crops leave what lies around some of the marks; noise of 25 and 50 HU (SD) is added; the head is tilted by 15
    degrees. The report is written anew after every volume.
    """
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.level_hits import LevelReport, read_all_marks
    from CSpineFractureLib.training.stress_changes import chosen_kinds
    from CSpineFractureLib.training.stress_report import LEVELS_ONLY, stress_summary, stress_volume

    check_place(output)
    chosen, marks, engine = chosen_kinds(kinds), read_all_marks(data, only), Engine(device=device)
    unchanged: list[LevelReport] = []
    found: list[StressCopy] = []

    def run(given):
        volume, study = engine.run_study(given, profile, thresholds=LEVELS_ONLY)
        return volume, study.result

    total: dict = {}
    with shown_progress("auto", sys.stdout) as show:
        for n, mark in enumerate(marks):
            show({"stage": "stress", "done": n, "total": len(marks), "message": "Finding levels in changed copies"})
            for one in stress_volume(mark, data / mark.file, run, chosen, seed, copies):
                if isinstance(one, LevelReport):
                    unchanged.append(one)
                    typer.echo(f"{mark.file}, unchanged: {_levels_line(one)}")
                else:
                    found.append(one)
                    silent = f", shifted silently {','.join(one.silent)}" if one.silent else ""
                    typer.echo(f"{mark.file}, {one.kind}: {_levels_line(one.report)}{silent}")
            total = stress_summary(unchanged, found, seed)
            write_report(total, output)
    typer.echo(f"Unchanged: hit {total['unchanged']['hit_rate']:.1%} of {total['unchanged']['marked']} levels")
    for kind, part in total["kinds"].items():
        typer.echo(
            f"{kind}: hit {part['hit_rate']:.1%} of {part['marked']} levels in {part['volumes']} copies "
            f"({part['change_points']:+.1f} points), confused {part['confused']}, invented {part['invented']}, "
            f"silent shifts {part['silent_shifts']}"
        )


def pairs(
    data: Annotated[Path, typer.Option(help="Folder of real CT without fractures.")],
    output: Report = None,
    only: Only = None,
    types: Annotated[
        list[str] | None, typer.Option(help="Only these fracture types, such as burst; may be repeated.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pairs of each CT.")] = 3,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of levels, types and fractures.")] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability from which a level counts.", show_default="the profile's own"),
    ] = None,
    no_gate: NoGate = False,
    profile: ProfileName = "default",
    device: Device = "auto",
) -> None:
    """Pairs of the same real CT with and without a displaced synthetic fracture: found ones and false alarms.

    CT whose voxels are too coarse to show fractures is left out, unless --no-gate is given. Fractures are put into the
    vertebrae that the profile itself finds whole.
    """
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.level_hits import NO_GATE, check_no_gate, gate_of
    from CSpineFractureLib.training.pair_report import check_types, pair_scan, pair_summary, scans_below
    from CSpineFractureLib.volume import read_volume

    check_place(output)
    check_types(types or [])
    scans, engine = scans_below(data, only), Engine(device=device)
    thresholds = {**({} if threshold is None else {"fracture": threshold}), **(NO_GATE if no_gate else {})}

    def run(volume):
        study = engine.run_study(volume, profile, thresholds=thresholds)[1]
        if no_gate:
            check_no_gate(study.result, volume)
        return study

    passed, made, total = 0, [], {}
    with shown_progress("auto", sys.stdout) as show:
        for done, scan in enumerate(scans):
            show({"stage": "pairs", "done": done, "total": len(scans), "message": "Looking for inserted fractures"})
            try:
                volume = read_volume(scan)
            except UserError as error:
                typer.echo(f"Left out: {error}")
                continue
            fine = gate_of(volume) is True
            passed += fine
            if not fine and not no_gate:
                continue
            name = scan.relative_to(data).as_posix()
            pair = pair_scan(name, volume, run, types or (), n, seed)
            if pair is None:
                typer.echo(f"{name}: no level can be broken")
                continue
            made.append(pair)
            total = pair_summary(made, seed=seed)
            write_report({"resolution_gate": not no_gate, **total}, output)
            typer.echo(
                f"{name}: found {', '.join(pair.of(found=True)) or '-'}, overlooked "
                f"{', '.join(pair.of(found=False)) or '-'}, alarms without fracture {pair.alarms}, area under "
                f"the curve {_share(pair.level_auc)}"
            )
    if not made:
        message = (
            f"'{data}': {passed} of {len(scans)} CT pass the resolution gate, and no level in these could be broken; "
            "give finer CT of the whole neck" + ("." if no_gate else ", or add --no-gate to measure on coarse CT.")
        )
        raise UserError(message)
    typer.echo(
        f"All (synthetic fractures in real CT): {total['pairs']} pairs of {total['scans']} CT, "
        f"{passed} of {len(scans)} CT pass the resolution gate{' (switched off)' if no_gate else ''}, "
        f"threshold {total['threshold']:g}: box_sensitivity {_share(total['box_sensitivity'])}, level_sensitivity "
        f"{_share(total['level_sensitivity'])}, alarms on the untouched {total['alarms_untouched']:.2f} per CT, "
        f"marked without a fracture too {total['already_marked']}"
    )


def _kept_out(verdicts: Path | None) -> set[str]:
    """Names of the files of which a table of verdicts says no."""
    if verdicts is None:
        return set()
    from CSpineFractureLib.training.located_columns import read_verdicts

    judged = read_verdicts(verdicts)
    if not judged:
        message = f"'{verdicts}' is no table of verdicts: it needs the columns file, use (yes, no) and shift, and rows."
        raise UserError(message)
    return {name for name, verdict in judged.items() if not verdict.use}


def _levels_line(report: LevelReport) -> str:
    return (
        f"hit {len(report.hit)}/{report.marked}, confused {','.join(report.confused) or '-'}, "
        f"missed {','.join(report.missed) or '-'}, invented {','.join(report.invented) or '-'}"
    )


def _total_line(total: dict, no_gate: bool) -> str:
    error = total["median_abs_error_s_mm"]
    return (
        f"hit {total['hit_rate']:.1%} of {total['marked']} levels in {total['volumes']} volumes, confused "
        f"{total['confusion_rate']:.1%}, invented {total['invented']}, median S error "
        f"{'-' if error is None else f'{error:.1f} mm'}, alarms {total['alarms_per_volume']:.2f} per volume"
        f"{' (resolution gate off)' if no_gate else ''}, {total['assessable_share']:.0%} of volumes "
        "fine enough to show fractures"
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
