"""``cspine dataset``: studies to training images, and what is wrong in a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.cli.seeds import MOST_SEED
from CSpineFractureLib.errors import UserError

app = command_group(help="Make training images of studies, and check data sets.")
SOURCES = {
    "rsna": "Training images from RSNA-2022 as the competition ships it.",
    "phantom": "Training images from synthetic studies made by 'cspine phantom'.",
    "corrections": "Training images from studies that were reviewed and exported.",
}
TARGETS = ("yolo", "png", "coco")


def convert(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="Folder of the studies.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the images; absent or empty.")],
    to: Annotated[str, typer.Option("--to", help="yolo, coco, or png (class folders or a table).")],
    classes: Annotated[
        str | None,
        typer.Option(help="vertebrae, fracture or both. Default: fracture for png, else vertebrae."),
    ] = None,
    window: Annotated[
        str, typer.Option(help="CENTRE/WIDTH in HU, three (bone windows as R, G, B), or minmax (of each slice).")
    ] = "500/2000",
    split: Annotated[str, typer.Option(help="80:20, 70:20:10, 70:15:15 or 5-fold, by patient.")] = "80:20",
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="For the split and for the slices that are drawn.")
    ] = 0,
    negatives: Annotated[
        float | None,
        typer.Option(min=0, metavar="RATIO", help="Slices without a box per slice with one. Default: 1 of fractures."),
    ] = None,
    added: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Instead: so many fracture-free slices in all.")
    ] = None,
    most_per_study: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N slices with boxes of each study, drawn.")
    ] = None,
    least_pixels: Annotated[int, typer.Option(min=1, help="Smaller parts of a vertebra in a slice get no box.")] = 1,
    image_format: Annotated[str, typer.Option("--format", help="png or jpeg.")] = "png",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N studies that fit.")] = None,
    by_slice: Annotated[
        bool,
        typer.Option("--by-slice", help="Split slices, not patients: leaks, as in one paper; only to reproduce it."),
    ] = False,
    unannotated_as_negative: Annotated[
        bool,
        typer.Option(
            "--unannotated-as-negative",
            help="Take all slices of fractured studies without boxes as negative: wrong, only to reproduce a paper.",
        ),
    ] = False,
) -> None:
    """Studies to training images."""
    if to not in TARGETS:
        message = f"--to {to} is not known; give one of {', '.join(TARGETS)}."
        raise UserError(message)
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.datasets.coco import write_coco
    from CSpineFractureLib.datasets.slice_folders import write_slice_folders
    from CSpineFractureLib.datasets.sources import read_source
    from CSpineFractureLib.datasets.splits import shares_of, split_records
    from CSpineFractureLib.datasets.study_images import ImageOptions, usable
    from CSpineFractureLib.datasets.yolo import write_yolo

    shares_of(split)
    options = ImageOptions(
        classes=classes or ("fracture" if to == "png" else "vertebrae"),
        window=window,
        image_format=image_format,
        negatives=negatives,
        added=added,
        least_pixels=least_pixels,
        seed=seed,
        unannotated_as_negative=unannotated_as_negative,
        slice_ratios=split if by_slice else None,
        most_per_study=most_per_study,
    )
    records = read_source(str(context.info_name), source)
    able = sorted((record for record in records if usable(record, options)), key=lambda record: record.id)[:limit]
    if not able:
        needed = "a vertebra mask" if options.classes == "vertebrae" else "what is needed known of its slices"
        message = f"None of the {len(records)} studies in '{source}' has {needed}; choose other studies or --classes."
        raise UserError(message)
    if not by_slice:
        able = split_records(able, split, seed)
    write = {"yolo": write_yolo, "png": write_slice_folders, "coco": write_coco}[to]
    with shown_progress("auto", sys.stdout) as show:
        images = write(
            able,
            output,
            options,
            lambda done, total: show({"stage": "images", "done": done, "total": total, "message": "Making images"}),
        )
    for name in sorted({image.split for image in images}):
        own = [image for image in images if image.split == name]
        boxed = sum(bool(image.boxes) for image in own)
        studies = len({image.study for image in own})
        typer.echo(f"{name}: {len(own)} images of {studies} studies, {boxed} with boxes, {len(own) - boxed} without")
    if by_slice:
        typer.echo("Split by slice: one patient lies in several splits, so scores on these images are too good.")


for _source, _text in SOURCES.items():
    app.command(_source, help=_text)(convert)


@app.command("located")
def located(
    scans: Annotated[list[Path], typer.Argument(help="Real CT: files, or folders of NIfTI files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the volumes; absent.")],
    marks: Annotated[Path | None, typer.Option(help="Folder of level marks (*.json), which go before names.")] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="CSV of what to use (file, use, shift), after a look at the contact sheets."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Real CT named by the column locator itself, to train it further (data.more of its recipe)."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.training.level_hits import read_marks
    from CSpineFractureLib.training.located_columns import locator_context, read_verdicts, write_located_columns

    files = _files(scans)
    marked = [read_marks(path) for path in sorted(marks.glob("*.json"))] if marks else []
    if marks and not marked:
        message = f"'{marks}' holds no level marks (*.json): name the folder that holds them, or leave --marks out."
        raise UserError(message)
    judged = read_verdicts(verdicts) if verdicts else None
    with shown_progress("auto", sys.stdout) as show:
        names = write_located_columns(
            files,
            output,
            locator_context(device),
            {Path(one.file).name: one for one in marked},
            judged,
            lambda done, total: show({"stage": "locate", "done": done, "total": total, "message": "Locating"}),
        )
    typer.echo(f"{len(names)} of {len(files)} scans in '{output}'; look at its sheets and judge them in a CSV.")


@app.command("sound")
def sound(
    scans: Annotated[list[Path], typer.Argument(help="Real CT without fractures: files, or folders of NIfTI files.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the studies; absent.")],
    verdicts: Annotated[
        Path | None, typer.Option(help="CSV (file, use, shift): scans with 'no' are left out, such as those kept out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Real CT without fractures as reviewed studies, for the fracture networks (train two-stage --sound)."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.training.located_columns import locator_context, read_verdicts
    from CSpineFractureLib.training.sound_studies import write_sound_studies

    judged = read_verdicts(verdicts) if verdicts else {}
    files = [file for file in _files(scans) if file.name not in judged or judged[file.name].use]
    if not files:
        message = f"'{verdicts}' leaves out every scan: give other scans or verdicts."
        raise UserError(message)
    with shown_progress("auto", sys.stdout) as show:
        names = write_sound_studies(
            files,
            output,
            locator_context(device),
            lambda done, total: show({"stage": "sound", "done": done, "total": total, "message": "Finding levels"}),
        )
    typer.echo(f"{len(names)} of {len(files)} scans in '{output}'.")


@app.command("broken")
def broken(
    studies: Annotated[
        list[Path],
        typer.Argument(
            help="Sound CT: folders with ct.nii.gz and vertebrae.nii.gz (cspine phantom --normal), or above."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the blocks; absent.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Broken blocks of each study.")] = 6,
    whole: Annotated[int, typer.Option(min=0, help="Blocks of each study that stay whole.")] = 4,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
) -> None:
    """Blocks around single vertebrae of sound CT, some broken, for the 3D fracture network (train two-stage)."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.datasets.broken_crops import write_broken_crops
    from CSpineFractureLib.phantom.files import CT_FILE, LABEL_FILE

    folders = sorted({path.parent for top in studies for path in [top / LABEL_FILE, *top.glob(f"*/{LABEL_FILE}")]})
    folders = [folder for folder in folders if (folder / LABEL_FILE).is_file() and (folder / CT_FILE).is_file()]
    if not folders:
        message = f"No folder below '{studies[0]}' holds {CT_FILE} and {LABEL_FILE}: make some with 'cspine phantom'."
        raise UserError(message)
    with shown_progress("auto", sys.stdout) as show:
        count = write_broken_crops(
            folders,
            output,
            n,
            whole,
            seed,
            lambda done, total: show(
                {"stage": "broken", "done": done, "total": total, "message": "Breaking vertebrae"}
            ),
        )
    typer.echo(f"{count} blocks of {len(folders)} studies in '{output}'.")


def _files(scans: list[Path]) -> list[Path]:
    """NIfTI files, those of folders included. Raises UserError where there are none."""
    files = [file for scan in scans for file in (sorted(scan.glob("*.nii*")) if scan.is_dir() else [scan])]
    if not files:
        message = f"'{scans[0]}' holds no NIfTI files: name files, or folders that hold .nii or .nii.gz."
        raise UserError(message)
    return files


@app.command("check")
def check(folder: Annotated[Path, typer.Argument(help="Folder of a data set of any kind.")]) -> None:
    """Say what is wrong in a data set, one sentence for each fault; exit code 1 where there is any."""
    from CSpineFractureLib.datasets.check import check_dataset

    faults = check_dataset(folder)
    for fault in faults:
        typer.echo(fault)
    if faults:
        typer.echo(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} found in '{folder}'.")
        raise typer.Exit(1)
    typer.echo(f"No faults found in '{folder}'.")


@app.command("giveaway")
def giveaway(
    folder: Annotated[Path, typer.Argument(help="Folder of studies with known fractures.")],
    source: Annotated[str, typer.Option("--source", help="phantom, rsna or corrections.")] = "phantom",
    limit: Annotated[float, typer.Option(help="Exit code 1 where an area under the curve reaches this.")] = 0.7,
) -> None:
    """Can brightness and plain texture of whole slices tell the fractures? They should not: near 0.5 is good."""
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.datasets.giveaway import giveaway as measure
    from CSpineFractureLib.datasets.sources import read_source

    with shown_progress("auto", sys.stdout) as show:
        found = measure(
            read_source(source, folder),
            on_progress=lambda done, total: show(
                {"stage": "giveaway", "done": done, "total": total, "message": "Measuring slices"}
            ),
        )
    typer.echo(f"Slices: AUC {found.slices_auc:.3f} ({found.fractured_slices} of {found.slices} show a fracture)")
    typer.echo(f"Studies: AUC {found.studies_auc:.3f} ({found.fractured_studies} of {found.studies} are fractured)")
    if max(found.slices_auc, found.studies_auc) >= limit:
        raise typer.Exit(1)
