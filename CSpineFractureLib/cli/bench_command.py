"""``cspine bench``: how long a run takes on this computer, and how near that is to the networks alone."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from CSpineFractureLib.errors import UserError

SLICES, SIZE = 300, 512
LEAST_SLICES, LEAST_SIZE = 16, 64


def bench(
    source: Annotated[Path | None, typer.Argument(metavar="[INPUT]", help="CT to analyse; default: synthetic.")] = None,
    profile: Annotated[str, typer.Option(help="Which system analyses the study.")] = "default",
    slices: Annotated[
        int | None, typer.Option(min=LEAST_SLICES, help=f"Of the synthetic CT; default {SLICES}.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=LEAST_SIZE, help=f"Pixels along its slices; default {SIZE}.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda (or cuda:N) or mps.")] = "auto",
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Also execute the profile naively, slice by slice over PNG files.")
    ] = False,
    repeat: Annotated[int, typer.Option(min=1, help="Timed repeats of each figure.")] = 3,
    queued: Annotated[int, typer.Option(min=0, help="Studies timed after each other; 0: none.")] = 3,
    write: Annotated[bool, typer.Option("--write/--no-write", help="Time writing and rendering too.")] = True,
    report: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write all figures as JSON; - for stdout.")
    ] = None,
) -> None:
    """Time a run by stage beside its networks alone, in one process: medians with the lowest and highest value."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.cli.run_command import checked_device
    from CSpineFractureLib.pipeline.stdout_guard import stdout_for_us_alone
    from CSpineFractureLib.training.bench_study import BenchPlan, measure_study

    plan = BenchPlan(profile, checked_device(device), repeat, queued, baseline, write)
    plan.check()
    if source is not None and (slices or size):
        message = "--slices and --size are those of the synthetic CT: leave them out, or leave out INPUT."
        raise UserError(message)
    if source is not None and not source.exists():
        message = f"{source} does not exist: name a DICOM folder or .zip, or a NIfTI, NRRD or MHA file."
        raise UserError(message)
    if report not in (None, "-"):
        _check_writable(Path(report))
    with (
        stdout_for_us_alone() as stdout,
        shown_progress("auto", stdout) as show,
        tempfile.TemporaryDirectory(prefix="cspine-bench-") as folder,
    ):

        def tell(text: str, done: int, total: int) -> None:
            show({"stage": text, "done": done, "total": total, "message": text})

        study = source
        if study is None:
            study = _synthetic(Path(folder), slices or SLICES, size or SIZE, tell)
        figures = {"input": "synthetic CT" if source is None else source.name, **measure_study(study, plan, tell)}
        if report == "-":
            print(json.dumps(figures, indent=1), file=stdout)
        else:
            print("\n".join(table(figures)), file=stdout)
    if report not in (None, "-"):
        _write(figures, Path(report))


def _synthetic(folder: Path, slices: int, size: int, tell: Any) -> Path:
    from CSpineFractureLib.training.bench_ct import write_bench_ct

    tell("Making the synthetic CT", 0, 1)
    try:
        return write_bench_ct(folder / "ct.nrrd", slices, size)
    except OSError as error:
        raise UserError(str(error)) from error


def table(figures: dict[str, Any]) -> list[str]:
    """The figures as lines of text: seconds and ratios, median, lowest and highest."""
    ranges = figures["ranges"]
    shape = " x ".join(map(str, figures["shape_kji"]))
    lines = [
        f"{figures['input']}, {shape} voxels, profile {figures['profile']}, device {figures['device']}",
        f"{'':<34} {'median':>9} {'lowest':>9} {'highest':>9}",
    ]

    def line(name: str, value: float | None, spread: list[float] | None = None) -> None:
        shown = [value, *(spread or [])]
        if value is not None:
            lines.append(f"{name:<34} " + " ".join(f"{one:9.3f}" for one in shown))

    def group(title: str, key: str) -> None:
        if figures.get(key):
            lines.append(title)
            for name, value in figures[key].items():
                line(f"  {name}", value, ranges[key][name])

    group("Run by stage (s)", "stages_s")
    line("Reading to findings (s)", figures["run_s"], ranges["run_s"])
    group("Networks alone (s)", "forward_s")
    line("All networks: the limit (s)", figures["limit_s"], ranges["limit_s"])
    line("Overhead (run / limit)", figures["overhead"], ranges.get("overhead"))
    group("Naive execution by stage (s)", "baseline_stages_s")
    line("Naive execution (s)", figures.get("baseline_s"), ranges.get("baseline_s"))
    line("Speed-up over it", figures["speedup_over_baseline"], ranges.get("speedup_over_baseline"))
    line("Speed-up, the same slices alone", figures.get("speedup_same_slices"), ranges.get("speedup_same_slices"))
    kinds = {"agreement_as_document": "Agreement with it", "agreement": "Agreement, the same pictures in both"}
    for key, title in kinds.items():
        agreed = figures.get(key)
        if agreed is None:
            continue
        lines.append(title)
        lines.append(f"{'  levels identical':<34} {'yes' if agreed['levels_identical'] else 'no':>9}")
        line("  least IoU of 3D boxes", agreed["least_box_iou"])
        line("  largest probability difference", agreed["largest_probability_difference"])
        lines.append(f"{'  probabilities compared':<34} {agreed['probabilities_compared']:>9}")
    group("CPU time of this process (s)", "cpu_s")
    line("  overhead in CPU time", figures.get("overhead_cpu"), ranges.get("overhead_cpu"))
    line("  speed-up in CPU time", figures.get("speedup_cpu"), ranges.get("speedup_cpu"))
    line("Writing (s)", figures["writing_s"])
    line("Rendering (s)", figures["rendering_s"])
    line("Studies per minute, queued", figures["studies_per_minute"])
    line("Peak memory to findings (GB)", figures["peak_rss_findings_gb"])
    line("Peak memory (GB)", figures["peak_rss_gb"])
    return lines


def _check_writable(path: Path) -> None:
    """Before minutes of measuring. Raises ``UserError``."""
    if path.is_dir() or not path.resolve().parent.is_dir() or not os.access(path.resolve().parent, os.W_OK):
        message = f"{path}: cannot be written; choose a file in an existing folder with --json."
        raise UserError(message)


def _write(figures: dict[str, Any], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"{path}: cannot be written ({error.strerror}); choose another place with --json."
        raise UserError(message) from error
