"""The ``two-stage`` profile executed as document 000 does it: what ``cspine bench --baseline`` measures against.

Each slice is written to a PNG and read back, classified alone, detected alone by ultralytics' own ``predict`` at 512
pixels, and explained alone by pytorch-grad-cam (Yaseen et al., IEEE Access 2024, sections III-B to III-D).

Weights, thresholds and the rules after the networks are those of the profile, so that findings can be compared. What
differs from the document, for the shipped networks know other pictures than whole slices of 512 pixels:

* The detectors' pictures (1 mm pixels, or crops) lie in the upper left corner of 512 x 512 pixels, the rest is 0:
  ``predict`` at 512 then changes no pixel size. The classifier's pictures are its 224 x 224 crops.
* Only suspicious slices are explained, as in the profile; explaining all would slow this execution further.
* Slices that look suspicious are looked at again as in the profile (see ``classify``), each look alone.
* Slices that the profile leaves out (between its steps, beyond the column) are classified and detected all the same,
  after the others, and the answers are dropped. They have a time of their own (``left-out slices``).
* The column-locator, which the document does not have, looks at one sagittal slice at a time, without PNG.

So its networks see other pictures than the profile's: rounded to 8 bits, and padded, which changes what a convolution
makes of their edges. Findings are therefore also compared with ``same_pictures``: PNG of 16 bits, at their own size.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_output import StudyOutput
from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_training_parts
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline import two_stage
from CSpineFractureLib.pipeline.axial import CROP_PIXELS, detector_images, detector_input
from CSpineFractureLib.pipeline.blanks import without_blanks
from CSpineFractureLib.pipeline.classify import CLASSIFIER, FRACTURES
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.find_levels import DETECTOR
from CSpineFractureLib.pipeline.slice_images import WholeSlices, slice_input
from CSpineFractureLib.pipeline.upright import run_upright
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.read import read_volume

PROFILE = "two-stage"
LEFT_OUT = "left-out slices"
PREDICT_SIZE = 512
SHALLOW, DEEP = 255, 65535
"""The brightest pixel of a PNG with 8 or 16 bits."""
LEAST_SCORE = 0.10
"""Of a box that ``predict`` keeps: the profile's own threshold of vertebra boxes."""


@dataclass(frozen=True)
class NaiveRun:
    """Findings of one naive execution and its seconds by stage; ``left-out slices`` is the last of them."""

    output: StudyOutput
    seconds: dict[str, float]


class NaiveEngine:
    """Runs studies naively; the networks stay loaded from one study to the next.

    Parameters
    ----------
    store
        Where weights come from.
    device
        A torch device as a string.
    same_pictures
        The networks see the pictures of the profile: of its sizes, and rounded to 16 bits in place of 8. Slices that
        the profile leaves out are left out then.
    """

    def __init__(self, store: WeightsStore, device: str = "cpu", same_pictures: bool = False) -> None:
        self._store, self._device, self._same_pictures = store, device, same_pictures
        self._loaded: dict[str, tuple[nn.Module, ModelInfo]] = {}
        self._pictures = Path()

    def warm_up(self) -> None:
        """Load the networks and show each one picture, so that no timed run pays for it. Raises as ``run`` does."""
        with tempfile.TemporaryDirectory(prefix="cspine-naive-") as folder:
            self._pictures = Path(folder)
            for task in (DETECTOR, CLASSIFIER, FRACTURES):
                try:
                    entry = self._find(task)
                except UserError:
                    if task == FRACTURES:  # which the profile can do without
                        continue
                    raise
                seen = slice_input(entry)
                size = seen.size if isinstance(seen, WholeSlices) else CROP_PIXELS
                network, _ = self._load(task)  # outside inference mode, or its weights could never take gradients
                with torch.inference_mode():
                    network(torch.zeros(1, seen.channels, size, size, device=self._device))

    def run(self, source: str | Path) -> NaiveRun:
        """Read and analyse one CT. Raises ``UserError`` as the engine does, also when weights are missing."""
        with tempfile.TemporaryDirectory(prefix="cspine-naive-") as folder:
            self._pictures = Path(folder)
            context = _OneByOne(device=self._device, profile=PROFILE)
            context.use_models(self._load, self._find)
            with context.stage("read"):
                volume = read_volume(source)
            with context.stage("models"):
                networks = {task: context.load(task)[0] for task in (DETECTOR, CLASSIFIER)}
            for network in networks.values():
                network.looked_at = 0
            start = time.perf_counter()
            output = run_upright(two_stage.run, without_blanks(volume), context)
            taken = time.perf_counter() - start
            seconds = dict(context.timings_s)
            seconds["other"] = max(0.0, taken - sum(seconds.values()) + seconds["read"] + seconds["models"])
            start = time.perf_counter()
            if not self._same_pictures:
                _look_at_the_rest(CanonicalView.of(volume), networks, context)
            seconds[LEFT_OUT] = time.perf_counter() - start
        return NaiveRun(output, seconds)

    def _find(self, task: str) -> ModelEntry:
        return self._store.find(task, PROFILE)

    def _load(self, task: str) -> tuple[nn.Module, ModelInfo]:
        if task not in self._loaded:
            network, info = self._store.load(self._find(task), self._device)
            if task in (DETECTOR, FRACTURES):
                network = PredictedByUltralytics(network, self._picture, self._same_pictures)
            elif task == CLASSIFIER:
                network = ClassifiedFromFiles(network, self._picture, DEEP if self._same_pictures else SHALLOW)
            self._loaded[task] = network, info
        return self._loaded[task]

    def _picture(self, task: str, number: int) -> Path:
        return self._pictures / f"{task}-{number:05d}.png"


class _OneByOne(RunContext):
    """A run whose stages get one item at a time, whatever they ask for; ``items`` counts those of each stage."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.items: Counter[str] = Counter()

    def run_batches(
        self,
        stage: str,
        function: Callable[[Sequence[Any], str], Any],
        items: Sequence[Any],
        batch_size: int,
        message: str = "",
        side_by_side: bool = False,
    ) -> list[Any]:
        self.items[stage] += len(items)
        return super().run_batches(stage, function, items, 1, message)


class ClassifiedFromFiles(nn.Module):
    """A slice classifier whose pictures take the way over a PNG; each alone, unless gradients are wanted."""

    def __init__(self, network: nn.Module, picture: Callable[[str, int], Path], brightest: int) -> None:
        super().__init__()
        self.network, self.picture, self.brightest, self.looked_at = network, picture, brightest, 0
        self.eval()

    @property
    def last_conv(self) -> nn.Module:
        """The layer that Grad-CAM explains."""
        return self.network.last_conv

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, classes]`` of images ``[n, c, h, w]`` 0..1, which reach the network with the bits of a PNG."""
        read = []
        for image in images:
            path = self.picture("classify", self.looked_at)
            write_picture(image, path, self.brightest)
            read.append(read_picture(path, image.shape[0]).to(images.device))
            self.looked_at += not torch.is_grad_enabled()
        if torch.is_grad_enabled():
            return self.network(torch.stack(read))
        return torch.cat([self.network(image[None]) for image in read])


class PredictedByUltralytics(nn.Module):
    """A YOLO network run by ultralytics' predictor on PNG files of 512 x 512 pixels, one at a time.

    With ``same_pictures`` the files have the pictures' own size (multiples of 32) and 16 bits, which ``predict`` cannot
    read itself.

    ``predict`` keeps only the best class of a box; what the network itself said (all classes) is caught on the way and
    handed on, since the profile names levels by all of them.
    """

    def __init__(self, network: nn.Module, picture: Callable[[str, int], Path], same_pictures: bool = False) -> None:
        super().__init__()
        self.network, self.picture, self.same_pictures, self.looked_at = network, picture, same_pictures, 0
        self._said: list[torch.Tensor] = []
        self._predictor: Any = None
        network.register_forward_hook(lambda module, inputs, said: self._said.append(said))
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Raw output ``[n, 4 + classes, anchors]`` for images ``[n, c, h, w]`` 0..1, at most 512 pixels wide or high.

        Boxes are in the pixels of ``images``.
        """
        answers = []
        for image in images:
            path = self.picture("detect", self.looked_at)
            if self.same_pictures:
                write_picture(image, path, DEEP)
                self._predict(read_picture(path, len(image))[None], path.parent, images.device)
            else:
                write_picture(_padded(image), path)
                self._predict(str(path), path.parent, images.device)
            said = self._said[-1]
            answers.append(said[0] if isinstance(said, (list, tuple)) else said)
            self._said.clear()
            self.looked_at += 1
        return torch.cat(answers)

    def _predict(self, source: str | torch.Tensor, folder: Path, device: torch.device) -> list[Any]:
        if self._predictor is None:
            overrides = {
                "task": "detect",
                "mode": "predict",
                "imgsz": PREDICT_SIZE,
                "conf": LEAST_SCORE,
                "device": str(device),
                "save": False,
                "verbose": False,
                "project": str(folder),
            }
            threads = torch.get_num_threads()
            self._predictor = _predictor_class()(overrides=overrides)
            self._predictor.setup_model(self.network, verbose=False)
            torch.set_num_threads(threads)  # ultralytics leaves one core idle, for this and all that follows
        found = self._predictor(source=source)
        return [result.boxes.data.cpu().numpy() for result in found]


def _padded(image: torch.Tensor) -> torch.Tensor:
    """The picture ``[c, h, w]`` in the upper left corner of at least 512 x 512 pixels."""
    channels, height, width = image.shape
    canvas = torch.zeros(channels, max(PREDICT_SIZE, height), max(PREDICT_SIZE, width))
    canvas[:, :height, :width] = image
    return canvas


def _predictor_class() -> type:
    ultralytics_training_parts()  # has imported the module that the next line takes the class from, quietly
    from ultralytics.models.yolo.detect import DetectionPredictor

    return DetectionPredictor


def _look_at_the_rest(view: CanonicalView, networks: dict[str, Any], context: _OneByOne) -> None:
    """Classify and detect as many slices as the profile left out, from the lowest up."""
    pictures = {
        (DETECTOR, "detect"): _detector_pictures(view, context),
        (CLASSIFIER, "classify"): _classifier_pictures(view, context),
    }
    with torch.inference_mode():
        for (task, stage), picture in pictures.items():
            network = networks[task]
            for k in range(max(0, len(view.hu) - context.items[stage]) if picture is not None else 0):
                network(torch.from_numpy(np.ascontiguousarray(picture(k)))[None].to(context.device))


def _detector_pictures(view: CanonicalView, context: RunContext) -> Callable[[int], np.ndarray] | None:
    """What gives the detector's picture of slice ``k``; ``None`` where the volume holds only air."""
    seen = slice_input(context.entry(DETECTOR))
    if isinstance(seen, WholeSlices):
        return lambda k: seen.picture(view, k)[0]
    images = detector_images(view)
    return None if images is None else lambda k: detector_input(images, k)


def _classifier_pictures(view: CanonicalView, context: RunContext) -> Callable[[int], np.ndarray]:
    """What gives the classifier's picture of slice ``k``; crops lie around the middle of the slice."""
    seen = slice_input(context.entry(CLASSIFIER))
    middle = ((view.hu.shape[2] - 1) / 2, (view.hu.shape[1] - 1) / 2)
    return lambda k: seen.picture(view, k, middle)[0]


def write_picture(image: torch.Tensor, path: Path, brightest: int = SHALLOW) -> None:
    """Write an image ``[c, h, w]`` 0..1, grey or R, G, B, as a PNG; ``brightest`` is ``SHALLOW`` (8 bits) or ``DEEP``.

    Raises ``OSError`` when it cannot.
    """
    pixels = (image.detach().cpu().numpy() * brightest).round().astype(np.uint8 if brightest == SHALLOW else np.uint16)
    pixels = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, 2)[:, :, ::-1])
    if not cv2.imwrite(str(path), pixels):
        message = f"{path}: cannot be written; free some space in the folder for temporary files."
        raise OSError(message)


def read_picture(path: Path, channels: int) -> torch.Tensor:
    """A PNG as float32 ``[c, h, w]`` 0..1, as ``write_picture`` took it (rounded to its bits)."""
    colours = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    pixels = cv2.imread(str(path), colours | cv2.IMREAD_ANYDEPTH)
    values = torch.from_numpy(pixels.astype(np.float32) / np.iinfo(pixels.dtype).max)
    return values[None] if channels == 1 else values.flip(2).movedim(2, 0).contiguous()
