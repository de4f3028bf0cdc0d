"""``cspine evaluate``: measure the profiles on data with known answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from CSpineFractureLib.cli import calibration_command, evaluate_real_command
from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.cli.report_file import check_place, write_report
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.metrics_file import Figure

if TYPE_CHECKING:
    from CSpineFractureLib.training.paper_tables import Table

app = command_group(help="Measure how well a profile does on data with known answers.")


@app.callback(invoke_without_command=True)
def _group(
    context: typer.Context,
    paper: Annotated[
        str | None, typer.Option(help="Print the tables of a paper beside our figures: 000, 001, 002, 003, 004.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="Which table of the paper; default: all.")] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder of the runs that 'cspine train' made.")] = None,
    set_name: Annotated[str, typer.Option("--set", help="The set that ours were measured on.")] = "val",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Markdown file or folder for the tables (JSON beside them).")
    ] = None,
) -> None:
    """Measure how well a profile does on data with known answers, and compare with the source papers."""
    if context.invoked_subcommand is not None:
        if any((paper, table, runs, output)) or set_name != "val":
            message = f"--paper and its options do not go with 'evaluate {context.invoked_subcommand}': leave one out."
            raise UserError(message)
        return
    if paper is None:
        if any((table, runs, output)) or set_name != "val":
            message = "Which paper? Add --paper 000, 001, 002, 003 or 004."
            raise UserError(message)
        typer.echo(context.get_help())
        return
    from CSpineFractureLib.training.paper_tables import paper_tables
    from CSpineFractureLib.training.table_text import write_tables

    tables = paper_tables(paper, table, runs, set_name)
    for one in tables:
        _print_table(one)
    for path in write_tables(tables, output) if output else ():
        typer.echo(str(path))


@app.command("run")
def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by 'cspine train'.")],
    set_name: Annotated[str, typer.Option("--set", help="Name of the set: val, or one of your choice.")] = "val",
    data: Annotated[Path | None, typer.Option(help="Studies of that set, on which nothing was trained.")] = None,
    source: Annotated[str, typer.Option(help="phantom, rsna or corrections.")] = "phantom",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Measure a trained run: figures with 95 % intervals and by stratum, and plots, written into its folder."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.models.device import choose_device
    from CSpineFractureLib.training.measure_run import check_set_name, measure_run
    from CSpineFractureLib.training.metrics_file import metrics_path
    from CSpineFractureLib.training.run_folder import read_run
    from CSpineFractureLib.training.run_steps import measure, measure_on

    if data is not None and set_name == "val":
        message = "Studies of another set need a name: add --set, such as --set benchmark-v1."
        raise UserError(message)
    check_set_name(set_name)
    opened = read_run(folder)
    looked = opened.predictions(set_name).is_file() or opened.detections(set_name).is_file()
    if not looked and not opened.weights.is_file():
        message = f"'{folder}' holds no trained network yet: go on with 'cspine train {opened.setup.system.name}'."
        raise UserError(message)
    if data is None and not looked and set_name != "val" and not opened.images_of(set_name).is_dir():
        message = f"'{folder}' knows no set '{set_name}': add --data with its studies."
        raise UserError(message)
    if data is not None or not looked:
        choose_device(device)  # says early what is wrong with it
    with shown_progress("auto", sys.stdout) as show:
        if data is None:
            metrics = measure_run(folder, set_name) if looked else measure(opened, set_name, device, show)
        else:
            metrics = measure_on(opened, set_name, source, data, device, show)
    data = metrics.data
    recipe = ", quick recipe" if metrics.quick else ""
    typer.echo(f"{metrics.system}, {metrics.model}{recipe}")
    typer.echo(f"Set {metrics.set} ({data.source}): {data.studies} studies, {data.images} images")
    for stratum, figures in {"all": metrics.figures, **metrics.strata}.items():
        shown = (f"{name} {_shown(figure)}" for name, figure in figures.items() if figure.value is not None)
        typer.echo(f"{stratum}: {', '.join(shown)}")
    typer.echo(str(metrics_path(folder, set_name)))


app.command("levels")(evaluate_real_command.levels)
app.command("stress")(evaluate_real_command.stress)
app.command("pairs")(evaluate_real_command.pairs)
app.command("calibration")(calibration_command.calibration)


@app.command("fractures")
def fractures(
    data: Annotated[Path, typer.Option(help="Folder of studies made by 'cspine phantom'.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the report (JSON).")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Probability from which a level counts; default: the profile's.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Which system analyses the studies.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    submission: Annotated[
        Path | None, typer.Option(help="File for the probabilities in the layout of RSNA-2022 (CSV).")
    ] = None,
) -> None:
    """Fractures found on synthetic CT: levels, studies and boxes, with 95 % intervals and by stratum."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.findings.result_rows import DEFAULT_LEVEL_THRESHOLD, LEVEL_THRESHOLD
    from CSpineFractureLib.phantom.files import CT_FILE
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.fracture_hits import compare_fractures, fracture_summary, studies_below
    from CSpineFractureLib.training.rsna_score import write_submission

    check_place(output)
    folders, engine, reports = studies_below(data), Engine(device=device), []
    with shown_progress("auto", sys.stdout) as show:
        for n, folder in enumerate(folders):
            show({"stage": "fractures", "done": n, "total": len(folders), "message": "Looking for fractures"})
            given = {} if threshold is None else {"fracture": threshold}
            _, study = engine.run_study(folder / CT_FILE, profile, thresholds=given)
            report = compare_fractures(folder, study.result)
            reports.append(report)
            typer.echo(
                f"{folder.name}: found {', '.join(report.found) or '-'}, overlooked "
                f"{', '.join(report.overlooked) or '-'}, false boxes {report.false_boxes}"
            )
    total = fracture_summary(reports, study.result.thresholds.get(LEVEL_THRESHOLD, DEFAULT_LEVEL_THRESHOLD))
    typer.echo(f"All (synthetic): {_line_of(total)}")
    for stratum, part in total["strata"].items():
        typer.echo(f"{stratum} (synthetic): {_line_of(part)}")
    write_report(total, output)
    if submission:
        write_submission(submission, {report.study: report.case.submission() for report in reports})


@app.command("segments")
def segments(
    data: Annotated[Path, typer.Option(help="Folder of studies with vertebra masks.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the report (JSON).")] = None,
    source: Annotated[str, typer.Option(help="phantom, rsna or corrections.")] = "phantom",
    profile: Annotated[str, typer.Option(help="Which system analyses the studies.")] = "default",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Dice and surface distance of the segments by level, with 95 % intervals and by stratum."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.datasets.sources import read_source
    from CSpineFractureLib.pipeline.engine import Engine
    from CSpineFractureLib.training.segment_report import evaluate_segments

    check_place(output)
    records = read_source(source, data)
    with shown_progress("auto", sys.stdout) as show:
        report = evaluate_segments(records, Engine(device=device), profile, show)
    mark = " (synthetic)" if source == "phantom" else ""
    for name, part in {"all": report, **report["strata"]}.items():
        shown = {
            key: Figure(value, *part["intervals"].get(key, (None, None))) for key, value in part["figures"].items()
        }
        texts = ", ".join(f"{key} {_shown(figure)}" for key, figure in shown.items() if figure.value is not None)
        typer.echo(f"{name}{mark}: {part['studies']} studies, {texts}")
    write_report(report, output)


@app.command("readers")
def readers(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a radiograph network.")],
    answers: Annotated[list[Path], typer.Option(help="CSV with columns file,answer; one per reader.")],
    set_name: Annotated[str, typer.Option("--set", help="Which set the readers saw.")] = "val",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Markdown file for the table.")] = None,
) -> None:
    """The network beside readers on the same radiographs, as table 2 of document 001."""
    from CSpineFractureLib.findings.atomic_file import write_text_atomically
    from CSpineFractureLib.training.radiograph_readers import model_report, reader_report, reader_table
    from CSpineFractureLib.training.run_folder import read_run

    run = read_run(run_folder)
    network = model_report(run.predictions(set_name), run.setup.model)
    table = reader_table(network, [reader_report(path, network.truth) for path in answers], run.setup.synthetic)
    typer.echo(table)
    if output:
        try:
            write_text_atomically(table + "\n", output)
        except OSError as error:
            message = f"'{output}' cannot be written ({error.strerror or error}): choose another file."
            raise UserError(message) from error


@app.command("vertebra-boxes")
def vertebra_boxes(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of 002-vertebra-fracture.")],
    detections: Annotated[Path, typer.Option(help="detections-<set>.json of a fracture detector.")],
    set_name: Annotated[str, typer.Option("--set", help="Which set the detector looked at.")] = "val",
) -> None:
    """A fracture detector as a classifier of vertebrae, for table II of document 002 (row YOLOv5)."""
    from CSpineFractureLib.training.run_folder import read_run
    from CSpineFractureLib.training.vertebra_report import BOXES, measure_boxes

    run = read_run(run_folder)
    metrics = measure_boxes(run, set_name, detections)
    typer.echo(", ".join(f"{name} {_shown(metrics.figures[name])}" for name in ("accuracy", "loss", "auc")))
    typer.echo(f"Written to '{run.path.parent / BOXES}'.")


def _line_of(part: dict) -> str:
    """The figures of a summary in one line, with their intervals."""
    shown = []
    for key, value in part.items():
        low, high = part["intervals"].get(key, (None, None))
        if value is None or isinstance(value, float):
            shown.append(f"{key} {_shown(Figure(value, low, high))}")
        elif key in ("studies", "levels", "fractures"):
            shown.append(f"{key} {value}")
    return ", ".join(shown)


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    digits = 0 if float(figure.value).is_integer() and figure.value > 1 else 3
    return f"{figure.value:.{digits}f}" + ("" if figure.low is None else f" ({figure.low:.3f}–{figure.high:.3f})")


def _print_table(table: Table) -> None:
    """A joined table on the terminal."""
    from rich.console import Console
    from rich.table import Table as Grid

    from CSpineFractureLib.training.table_text import block_text, note_numbers

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(f"Paper {table.document}, table {table.table}: {table.title}")
    for block in (table.printed, table.measured):
        headings, rows = block_text(table, block, separator="\n")
        grid = Grid(title=block.title, title_justify="left")
        for column, heading in zip(block.columns, headings, strict=True):
            text = column.key in ("name", "recipe", "data", "stratum")
            grid.add_column(heading, justify="left" if text else "right", overflow="fold")
        for row in rows:
            grid.add_row(*row)
        console.print(grid)
    for name, command in table.trained.items():
        console.print(f"Trained: {name}: {command}", soft_wrap=True)
    for name, command in table.missing.items():
        console.print(f"Not measured yet: {name}: {command}", soft_wrap=True)
    for name, number in note_numbers(table).items():
        console.print(f"[{number}] {table.footnotes[name]}", soft_wrap=True)
    console.print()
