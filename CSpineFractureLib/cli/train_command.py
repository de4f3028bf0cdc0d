"""``cspine train``: fit the networks of the source documents, or those that the program ships."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.cli.seeds import MOST_SEED
from CSpineFractureLib.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from CSpineFractureLib.findings.study_result import ModelInfo

app = command_group(help="Train networks. The same command goes on where an earlier one was broken off.")
SYSTEMS = {
    "000-slice-classifier": "Does a slice show a fracture? CNN of document 000, ResNet50, DenseNet121.",
    "001-radiograph": "Normal, fracture or dislocation on a radiograph? AlexNet, GoogLeNet, both.",
    "002-segmentation": "Segments C1-C7 in axial slices with a U-Net, as in document 002.",
    "002-segmentation-3d": "Segments C1-C7 with a 3D ResNet, document 002's comparison.",
    "002-vertebra-crop": "Boxes of C1-C7 with YOLOv5, by which document 002 crops vertebrae.",
    "002-vertebra-fracture": "Is a vertebra broken? CrackNet with an LSTM over its slices, document 002.",
    "column-locator": "Finds and names the cervical column in sagittal slices; ships with the program.",
    "level-regressor": "Tells at which level of the neck a block lies; ships with the program.",
    "000-vertebra-detector": "Boxes of C1-C7 with YOLOv8 and YOLOv5, as in document 000.",
    "003-vertebra-detector": "Boxes of C1-C7 with YOLOv5, as in document 003.",
    "004-level-presence": "Which of C1-C7 does a slice show? GCViT with metadata, and seven baselines.",
    "004-fracture-detector": "Boxes of fractures with YOLOv8 and YOLOv5, as in document 004.",
}


def train_system(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder of studies.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUNS", help="Folder for images and runs.")],
    source: Annotated[
        str, typer.Option(help="phantom, rsna or corrections; for radiographs: phantom or radiographs.")
    ] = "phantom",
    model: Annotated[
        list[str] | None, typer.Option(help="Which of its networks; may be repeated; all: every one of them.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The small recipe for a CPU.")] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe, such as training.epochs=20; repeatable."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file of your own, like those in Resources/Systems.")
    ] = None,
    start: Annotated[
        str, typer.Option(metavar="FILE", help="Weights to start from (.safetensors, .pt, .pth), or: shipped.")
    ] = "",
    search: Annotated[
        int, typer.Option(min=0, metavar="TRIALS", help="Detectors: random search over the recipe first.")
    ] = 0,
    search_epochs: Annotated[int, typer.Option(min=1, help="Epochs of each trial of the search.")] = 10,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    gpus: Annotated[int, typer.Option(min=1, help="How many GPUs to use.")] = 1,
    precision: Annotated[str, typer.Option(help="32, 16-mixed or bf16-mixed.")] = "32",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read pictures.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
) -> None:
    """Make the images, train, measure on the validation studies; RUNS/SYSTEM/MODEL holds all of it."""
    from CSpineFractureLib.datasets.sources import check_source
    from CSpineFractureLib.training.fit_options import FitOptions
    from CSpineFractureLib.training.systems import load_system, parse_overrides

    chosen = str(recipe or context.info_name)
    system = load_system(chosen, quick, parse_overrides(change or []))
    if system.task != "radiograph":
        check_source(source)
    models = list(system.models) if model == ["all"] else model or [system.default_model]
    options = FitOptions(device, gpus, precision, workers)
    if start not in ("", "shipped") and not Path(start).is_file():
        message = f"--start {start} does not exist: name a file of weights, or 'shipped'."
        raise UserError(message)

    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.models.device import choose_device
    from CSpineFractureLib.training.run_steps import Order, check_models, prepare, search_first, train_model

    choose_device(device)
    order = Order(system, output, source, data, seed, start)
    check_models(order, [*models, *([system.default_model] if search else [])])
    with shown_progress("auto", sys.stdout) as show:
        prepare(order, show)
        if search:
            order = search_first(order, search, search_epochs, options, show)
        for one in models:
            run, metrics = train_model(order, one, options, lambda event, one=one: show(_named(event, one)))
            shown = (f"{key} {figure.value:.3f}" for key, figure in metrics.figures.items() if figure.value is not None)
            kind = "synthetic validation studies" if metrics.data.synthetic else "validation studies"
            typer.echo(f"{one}: {', '.join(shown)} ({kind})")
            typer.echo(str(run.weights))


def _named(event: dict, model: str) -> dict:
    """An event of one of several models."""
    return {**event, "stage": f"{model} {event['stage']}", "message": f"{model}: {event['message']}"}


for _system, _text in SYSTEMS.items():
    app.command(_system, help=_text)(train_system)


@app.command("two-stage")
def two_stage(
    data: Annotated[Path, typer.Option(help="Folder of studies, such as those of 'cspine phantom --plan wide'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder for weights and report.")],
    source: Annotated[str, typer.Option(help="phantom, rsna or corrections.")] = "phantom",
    fracture_data: Annotated[
        Path | None,
        typer.Option(help="Studies for both fracture networks, such as those of --plan focused; default: --data."),
    ] = None,
    sound: Annotated[
        Path | None,
        typer.Option(help="Further studies without fractures for both fracture networks: cspine dataset sound."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    fine_tune: Annotated[
        bool,
        typer.Option(
            "--fine-tune", help="Go on from the weights of this computer instead of from chance, with fewer steps."
        ),
    ] = False,
    effort: Annotated[float, typer.Option(min=0.0001, help="Scales all step counts; 1 is the whole recipe.")] = 1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0,
) -> None:
    """The networks that the program ships; writes one safetensors file each and training.json."""
    for folder, maker in (
        (data, "phantom --plan wide"),
        (fracture_data, "phantom --plan focused"),
        (sound, "dataset sound"),
    ):
        if folder is not None and not folder.is_dir():
            message = f"{folder} does not exist: name a folder of studies, such as made by 'cspine {maker}'."
            raise UserError(message)
    from CSpineFractureLib.cli.progress import shown_progress
    from CSpineFractureLib.datasets.sources import read_source
    from CSpineFractureLib.models.device import choose_device
    from CSpineFractureLib.training.bank import load_records, load_studies, sound_only
    from CSpineFractureLib.training.entries import entry_of
    from CSpineFractureLib.training.two_stage import TASKS, TwoStagePlan, train_two_stage

    chosen, tasks = choose_device(device), tuple(task or TASKS)
    known = _known(tasks if fine_tune else ("vertebra-detector",) if tasks == ("fracture-detector",) else ())
    lacking = next((one for one in tasks if fine_tune and one in TASKS and one not in known), None)
    if lacking:
        message = f"This computer has no sound weights of the {lacking} to go on from: leave --fine-tune out."
        raise UserError(message)
    with shown_progress("auto", sys.stdout) as show:

        def reading(done: int, total: int) -> None:
            show({"stage": "load", "done": done, "total": total, "message": "Reading the studies"})

        def studies_of(folder: Path) -> list:
            if source == "phantom":
                return load_studies(folder, reading)
            return load_records(read_source(source, folder), reading)

        is_needed = "vertebra-detector" in tasks or not fracture_data  # studies may fill the memory
        studies = studies_of(data) if is_needed else []
        for_fractures = studies_of(fracture_data) if fracture_data else studies
        healthy = load_records(sound_only(read_source("corrections", sound), sound), reading) if sound else []
        files = train_two_stage(
            studies,
            output,
            (TwoStagePlan.further if fine_tune else TwoStagePlan)(tasks=tasks, effort=effort, seed=seed),
            chosen,
            lambda name, done, total, loss: show(
                {"stage": name, "done": done, "total": total, "message": f"{name}, loss {loss:.2f}"}
            ),
            [*for_fractures, *healthy],
            {name: network for name, (network, _) in known.items()},
            {
                name: entry_of(name, source, len(healthy), known[name][1] if fine_tune else None)
                for name in tasks
                if name in TASKS
            },
        )
    for path in files.values():
        typer.echo(str(path))


def _known(tasks: tuple[str, ...]) -> dict[str, tuple[nn.Module, ModelInfo]]:
    """The networks of this computer for some tasks, to start from, and what they are; without those that it lacks."""
    from CSpineFractureLib.models.store import WeightsStore

    found = {}
    for task in tasks:
        with contextlib.suppress(UserError):
            found[task] = WeightsStore().load_for_training(task, "two-stage")
    return found
