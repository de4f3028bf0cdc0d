"""The profile ``radiograph`` (document 001): a class for one radiograph, and what the network looked at.

A radiograph is no CT, so it does not go through ``Engine.run_study``: this module is its short way from file to files,
with the same context, weights store, result and output folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import numpy as np

from CSpineFractureLib import __version__
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import write_result
from CSpineFractureLib.findings.study_result import RadiographFinding, StudyFinding, StudyResult, VolumeInfo
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.pipeline.context import Event, RunContext
from CSpineFractureLib.pipeline.output_folder import all_or_nothing
from CSpineFractureLib.volume.radiograph_check import radiograph_notice
from CSpineFractureLib.volume.radiograph_image import RadiographImage, read_radiograph

if TYPE_CHECKING:
    from CSpineFractureLib.models.manifest import ModelEntry
    from CSpineFractureLib.models.store import WeightsStore

PROFILE = TASK = "radiograph"
CLASSES = ("normal", "fracture", "dislocation")
RULE = "radiograph: one class for the whole picture, softmax over normal, fracture and dislocation"
FILES = ("result.json", "saliency.png", "saliency.nrrd")


@dataclass
class RadiographOutput:
    """What one radiograph gives.

    ``image`` is what was read. ``saliency`` is the gradient map and ``cam`` the Grad-CAM of the class, both float32
    ``[j, i]`` 0..1 on its pixels, scaled by the probability of the class.
    """

    result: StudyResult
    image: RadiographImage
    saliency: np.ndarray
    cam: np.ndarray


def analyse_radiograph(
    source: str | Path,
    *,
    store: WeightsStore | None = None,
    device: str = "auto",
    model: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    is_cancelled: Callable[[], bool] | None = None,
) -> RadiographOutput:
    """Read and classify one radiograph.

    ``model`` names a network of the weights store in place of the newest. The weights are looked for before the
    radiograph is read. Raises ``UserError`` for what the user can put right (no weights, a bad file, a CT) and
    ``Cancelled`` when ``is_cancelled`` answered yes.
    """
    from CSpineFractureLib.models.device import choose_device  # imported late: torch
    from CSpineFractureLib.models.store import WeightsStore as Store

    store = store or Store()
    entry = _entry(store, model)
    context = RunContext(profile=PROFILE, on_event=on_event, is_cancelled=is_cancelled)
    with context.stage("read", message="Reading the radiograph"):
        image = read_radiograph(source)
    with context.stage("models", message="Loading the model"):
        context.device = str(choose_device(device))
        context.use_models(lambda task: store.load(entry, context.device), lambda task: entry)
        context.load(TASK)
    return run_radiograph(image, context)


def run_radiograph(image: RadiographImage, context: RunContext) -> RadiographOutput:
    """Classify a radiograph with the network of the context's task ``radiograph``, and explain its class."""
    import torch  # imported late

    from CSpineFractureLib.explain.grad_cam import slice_grad_cam
    from CSpineFractureLib.explain.saliency import input_saliency
    from CSpineFractureLib.models.radiograph_input import onto_radiograph, radiograph_picture

    network, _info = context.load(TASK)
    size = int(context.entry(TASK).input["size"][0])
    picture = torch.from_numpy(radiograph_picture(image.pixels, size))[None, None]

    def look(batch: Any, where: str) -> torch.Tensor:
        with torch.inference_mode():
            return torch.softmax(network.to(where)(picture.to(where)).float(), 1).cpu()

    with context.stage("classify", message="Classifying the radiograph"):
        chances = context.run_batches("classify", look, [0], 1, "Classifying the radiograph")[0].numpy()
        best = int(chances.argmax())
    with context.stage("explain", message="Making the saliency map"):
        where = next(network.parameters()).device
        height, width = image.pixels.shape
        saliency = input_saliency(network, picture[0].to(where), best)
        cam = slice_grad_cam(network, picture.to(where), best)[0]
        maps = [float(chances[best]) * onto_radiograph(one, height, width) for one in (saliency, cam)]
    finding = RadiographFinding(CLASSES[best], {name: float(p) for name, p in zip(CLASSES, chances, strict=True)})
    return RadiographOutput(_result(image, finding, context), image, *maps)


def write_radiograph(output: RadiographOutput, folder: str | Path, overwrite: bool = False) -> list[Path]:
    """Write ``FILES`` into ``folder``, all or nothing; returns their paths.

    ``saliency.png`` shows the radiograph beside both maps, ``saliency.nrrd`` holds the gradient map, float32, on the
    grid of the result. There is no ``findings.csv``: a radiograph has no findings by level. Raises ``UserError`` when
    the folder cannot be written or holds other files.
    """
    import SimpleITK as sitk

    from CSpineFractureLib.explain.saliency import write_saliency_picture

    found, pixel = output.result.radiograph, output.image.pixel_mm or 1.0
    chance = found.probabilities[found.kind]
    title = f"{found.kind}, confidence {chance:.2f}. Maps are scaled by it. Research use only."
    maps = {"Saliency": output.saliency, "Grad-CAM": output.cam}
    with all_or_nothing(folder, overwrite) as temporary:
        write_saliency_picture(temporary / "saliency.png", output.image.pixels, maps, title)
        volume = sitk.GetImageFromArray(output.saliency[None])
        volume.SetSpacing((pixel, pixel, 1.0))
        sitk.WriteImage(volume, str(temporary / "saliency.nrrd"), True)
        write_result(output.result, temporary / "result.json")
    return [Path(folder) / name for name in FILES]


def run(volume: Any, context: RunContext) -> NoReturn:
    """What the engine calls for this profile with a CT: refuses it. Raises ``UserError``."""
    message = "Profile radiograph takes one radiograph, not a CT: use --profile default for this study."
    raise UserError(message)


def _entry(store: WeightsStore, model: str | None) -> ModelEntry:
    if model is None and not any(entry.task == TASK for entry in store.list()):
        message = (
            "There are no weights for the radiograph on this computer: train them with 'cspine train 001-radiograph' "
            "or install them with 'cspine models install FILE'."
        )
        raise UserError(message)
    return store.find(TASK, PROFILE, model)


def _result(image: RadiographImage, finding: RadiographFinding, context: RunContext) -> StudyResult:
    """The result; its volume is the picture as one slice, i to the right and j down, as Slicer places pictures."""
    height, width = image.pixels.shape
    pixel = image.pixel_mm or 1.0
    warnings = list(image.notices)
    if notice := radiograph_notice(image):
        warnings.append(notice)
    if image.pixel_mm is None:
        message = "The file does not tell the size of its pixels: 1 mm stands in the result, so measure nothing there."
        warnings.append(Notice("no-pixel-size", message))
    return StudyResult(
        id=str(uuid4()),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        software_version=__version__,
        status="complete",
        volume=VolumeInfo(
            shape_kji=[1, height, width],
            spacing_mm=[pixel, pixel, 1.0],
            ijk_to_ras=np.diag([-pixel, -pixel, 1.0, 1.0]).tolist(),
            grid="resampled" if image.resampled else "native",
        ),
        profile=PROFILE,
        device=str(context.device),
        study=StudyFinding(None, RULE),
        warnings=[*warnings, *context.notices],
        models=context.models,
        timings_s=dict(context.timings_s),
        radiograph=finding,
    )
