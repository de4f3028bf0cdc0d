"""Training and measuring the segmentation of document 002 (stage one), by the functions of ``tasks``."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import default_collate

from CSpineFractureLib.datasets.slice_image import read_image, write_image
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.models.batches import run_batches
from CSpineFractureLib.models.device import choose_device
from CSpineFractureLib.models.unet import CLASSES
from CSpineFractureLib.models.weights_file import load_weights
from CSpineFractureLib.pipeline.unet_segment import winners, winners_around
from CSpineFractureLib.training.epoch_data import EpochData
from CSpineFractureLib.training.fit_options import FitOptions
from CSpineFractureLib.training.lightning_fit import fit_lightning, one_sentence, telling
from CSpineFractureLib.training.lightning_keep import BEST
from CSpineFractureLib.training.lightning_log import OnEvent
from CSpineFractureLib.training.mask_augment import MaskAugmentation
from CSpineFractureLib.training.mask_pictures import MaskPictures
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.segmentation_export import export_weights, new_network, spacing_of, window_of
from CSpineFractureLib.training.segmentation_images import make_images
from CSpineFractureLib.training.segmentation_measure import measure
from CSpineFractureLib.training.segmentation_task import SegmentationTask
from CSpineFractureLib.training.slice_export import check_network, exported_network

__all__ = ["check", "fit", "look", "make_images", "measure"]

PREDICT_BATCH = 8
KEPT = ("file", "mask", "study", "k", "strata", "column_mm", "row_mm", "slice_mm", *CLASSES[1:])
"""Columns of ``slices.csv`` that stand in the predictions, too."""


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the model cannot take images of its size, or not start from the weights."""
    check_network(setup, new_network)


def slice_data(run: RunFolder, workers: int = 0) -> EpochData:
    """The slices a run learns from and is watched on. Raises ``UserError`` as ``MaskPictures`` does.

    The set ``val`` holds all slices of its studies; during training at most ``data.most_per_study`` of each are seen.
    """
    setup, system = run.setup, run.setup.system
    augmentation, common = MaskAugmentation.of(system.augmentation), (setup.size, window_of(setup))
    spacing_mm, most = spacing_of(setup), system.data.get("most_per_study")
    training = MaskPictures(run.images, "train", *common, augmentation, setup.seed, spacing_mm=spacing_mm)
    validation = MaskPictures(run.images, "val", *common, most_per_study=most, spacing_mm=spacing_mm)
    batch = int(system.training["batch"])
    return EpochData(training, validation, batch, workers, watched=2 * batch)


def fit(run: RunFolder, options: FitOptions, on_event: OnEvent) -> None:
    """Train the network of a run, or go on with it, and export the weights of its best epoch.

    A run that has its weights is finished and left as it is. Raises ``UserError`` as ``slice_run.fit`` does.
    """
    if run.weights.is_file():
        return
    with one_sentence(run):
        data = slice_data(run, options.workers)
        data.read_all(telling(on_event, "pictures", "Reading the slices"))
        lightning.seed_everything(run.setup.seed, workers=True, verbose=False)
        module = SegmentationTask(new_network(run.setup), run.setup.system, run.setup.seed)
        fit_lightning(run, module, data, options, on_event)
        export_weights(run, load_weights(module.network, run.checkpoints / BEST, run.remedy))


def look(
    run: RunFolder, set_name: str, device: str | torch.device = "auto", on_event: OnEvent = lambda event: None
) -> Path:
    """Let the run's exported network segment all slices of a set; returns the table ``predictions-<set>.csv``.

    The maps lie in ``segments-<set>``, in the slices' own pixels. Columns: ``KEPT``, and ``found``, the map's file.
    Raises ``UserError`` where weights or slices are missing or damaged, or the maps cannot be written.
    """
    network = exported_network(run)
    split = "val" if set_name == "val" else "test"
    given = {"window": window_of(run.setup), "spacing_mm": spacing_of(run.setup)}
    pictures = MaskPictures(run.images_of(set_name), split, run.setup.size, **given)
    folder = run.path / f"segments-{set_name}"
    part = folder.with_name(folder.name + ".part")

    @torch.inference_mode()
    def name_pixels(batch: Sequence[int], where: str) -> list[str]:
        images = default_collate([pictures[index][0] for index in batch]).to(where)
        names = []
        for index, logits in zip(batch, network.to(where)(images), strict=True):
            square = pictures.square(index)
            if square is None:
                labels = winners(logits.float(), read_image(pictures.picture_file(index)).shape[:2])[0]
            else:
                labels = np.zeros(square.shape, np.uint8)
                labels[square.window()] = winners_around(logits.float(), square)[0]
            names.append(Path(pictures.rows[index]["mask"]).name)
            write_image(labels, part / names[-1])
        return names

    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        tell = telling(on_event, "predict", f"Looking at the slices of {set_name}")
        names = run_batches(name_pixels, range(len(pictures)), PREDICT_BATCH, choose_device(str(device)), tell)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:
        message = f"'{part}' cannot be written ({error.strerror or error}); free some space, then measure again."
        raise UserError(message) from error
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*KEPT, "found"])
    for row, name in zip(pictures.rows, names, strict=True):
        table.writerow([*(row.get(key) or "" for key in KEPT), f"{folder.name}/{name}"])
    write_text_atomically(text.getvalue(), run.predictions(set_name))
    return run.predictions(set_name)
