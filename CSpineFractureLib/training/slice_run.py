"""Training of the slice classifiers (document 000) and level-presence networks (document 004).

The functions of ``tasks``; ``fit`` goes on from the run's last checkpoint when it is called again.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import lightning
import torch
from torch.utils.data import default_collate

from CSpineFractureLib.datasets.labelled_image import LEVELS
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.batches import run_batches
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import fit_lightning, one_sentence, telling
from CSpineFractureLib.training.lightning_keep import BEST
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.measure_run import measure
from CSpineFractureLib.training.picture_augment import Augmentation
from CSpineFractureLib.training.run_folder import RunFolder
from CSpineFractureLib.training.run_images import make_images
from CSpineFractureLib.training.slice_export import check_network as check
from CSpineFractureLib.training.slice_export import export_weights, exported_network, new_network
from CSpineFractureLib.training.slice_pictures import SlicePictures
from CSpineFractureLib.training.slice_task import SliceTask
from CSpineFractureLib.training.teachable import TeachableCNN, plain, teachable

__all__ = ["check", "fit", "look", "make_images", "measure"]

START_PICTURES = 64
PREDICT_BATCH = 32


def picture_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The training and validation pictures of a run. Raises ``UserError`` as ``SlicePictures`` does."""
    setup, system = run.setup, run.setup.system
    augmentation, common = Augmentation.of(system.augmentation), (system.task, setup.size)
    training = SlicePictures(run.images, "train", *common, augmentation, setup.seed)
    validation = SlicePictures(run.images, "val", *common)
    batch = int(system.training["batch"])
    return EpochData(training, validation, batch, workers, watched=2 * batch)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """Train the network of a run, or go on with it, and export the weights of its best epoch.

    A run that has its weights is finished and left as it is. Writes ``checkpoints/``, ``logs/metrics.csv`` (a row per
    epoch), ``logs/tensorboard`` and the weights. Raises ``UserError`` where the images or starting weights do not
    serve, the checkpoints are of another network, or memory or disk space are short; ``KeyboardInterrupt`` goes
    through, and the last checkpoint stays.
    """
    if run.weights.is_file():
        return
    with one_sentence(run):
        data = picture_data(run, options.workers)
        data.read_all(telling(on_event, "pictures", "Reading the pictures"))
        lightning.seed_everything(run.setup.seed, workers=True, verbose=False)
        module = SliceTask(teachable(new_network(run.setup)), run.setup.system, run.setup.seed)
        if run.setup.start and isinstance(module.network, TeachableCNN):
            module.network.match_norms(_some_pictures(data.training))
        fit_lightning(run, module, data, options, on_event)
        export_weights(run, load_weights(plain(module.network), run.checkpoints / BEST, run.remedy))


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's exported network look at a set; returns the table ``predictions-<set>.csv``.

    Columns: file, study, k, split, strata, truth, probability; for levels file, study, k, strata, t_C1..t_C7,
    p_C1..p_C7. Raises ``UserError`` where weights or images are missing or damaged.
    """
    system = run.setup.system
    network = exported_network(run)
    split = "val" if set_name == "val" else "test"
    pictures = SlicePictures(run.images_of(set_name), split, system.task, run.setup.size)
    task = SliceTask(network, system).eval()

    @torch.inference_mode()
    def look(batch: Sequence[int], where: str) -> torch.Tensor:
        images, metadata, _truth = default_collate([pictures[index] for index in batch])
        return task.probabilities(task.to(where)(images.to(where), metadata.to(where))).cpu()

    tell = telling(on_event, "predict", f"Looking at the images of {set_name}")
    found = run_batches(look, range(len(pictures)), PREDICT_BATCH, choose_device(str(device)), tell)
    _write_predictions(run.predictions(set_name), pictures, found)
    return run.predictions(set_name)


def _some_pictures(pictures: SlicePictures) -> torch.Tensor:
    """``[n, 1, h, w]``, spread over the set."""
    step = max(1, len(pictures) // START_PICTURES)
    return torch.stack([pictures[index][0] for index in range(0, len(pictures), step)][:START_PICTURES])


def _write_predictions(path: Path, pictures: SlicePictures, found: list[torch.Tensor]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    binary = pictures.targets.ndim == 1
    if binary:
        table.writerow(["file", "study", "k", "split", "strata", "truth", "probability"])
    else:
        table.writerow(["file", "study", "k", "strata", *(f"{kind}_{name}" for kind in "tp" for name in LEVELS)])
    for row, truth, said in zip(pictures.rows, pictures.targets, found, strict=True):
        where = [row["file"], row["study"], row["k"], *([row["split"]] if binary else []), row.get("strata") or ""]
        values = [int(one) for one in truth.reshape(-1)], [f"{one:.6f}" for one in said.reshape(-1).tolist()]
        table.writerow([*where, *values[0], *values[1]])
    write_text_atomically(text.getvalue(), path)
