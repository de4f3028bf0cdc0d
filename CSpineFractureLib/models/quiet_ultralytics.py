"""ultralytics imported without its habits: no network, no auto-install, no telemetry, no files in the user's home.

ultralytics (AGPL-3.0) is used as a package. On import it looks up the network, writes settings into the user's
configuration folder, prints, and changes numpy, OpenCV, torch and Pillow for the whole process. Here it sees an
offline machine and a private folder that lasts as long as the import, and what it changed is put back.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from PIL import Image

from CSpineFractureLib.models.quick_torchvision import import_torchvision

_SWITCHES = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "ULTRALYTICS_SAFE_LOAD": "1"}


@cache
def ultralytics_parts() -> SimpleNamespace:
    """The parts of ultralytics in use, imported on the first call (about two seconds).

    ``DetectionModel``, ``get_cfg``, ``loss`` (v8DetectionLoss), ``nms`` (non_max_suppression) and ``definition``
    (``str -> dict``: a network definition of the package, by its path below ``cfg/models`` without ``.yaml``).
    """
    with _process_settings_kept():
        import_torchvision()  # ultralytics uses its NMS only where it is imported already
        from ultralytics.cfg import get_cfg
        from ultralytics.nn.tasks import DetectionModel
        from ultralytics.utils import LOGGER, ROOT, SETTINGS, YAML
        from ultralytics.utils.events import events
        from ultralytics.utils.loss import v8DetectionLoss
        from ultralytics.utils.nms import non_max_suppression

        LOGGER.setLevel("ERROR")
        events.enabled = False
        dict.update(SETTINGS, sync=False)  # in memory only, should someone else have imported ultralytics first

    def definition(name: str) -> dict:
        return YAML.load(Path(ROOT) / "cfg" / "models" / f"{name}.yaml")

    return SimpleNamespace(
        DetectionModel=DetectionModel,
        get_cfg=get_cfg,
        loss=v8DetectionLoss,
        nms=non_max_suppression,
        definition=definition,
    )


@cache
def ultralytics_training_parts() -> SimpleNamespace:
    """The parts of ultralytics that train, imported on the first call (about three seconds).

    ``DetectionTrainer``; ``YOLODataset`` and its transforms ``Albumentations``, ``Mosaic`` and ``RandomPerspective``;
    ``get_default_callbacks`` and ``unwrap_model``. The trainer calls no service (hub, trackers,
    telemetry) and trusts mixed precision where it is asked for, instead of trying it with a network it downloads.
    """
    ultralytics_parts()
    with _process_settings_kept():
        from ultralytics.data.augment import Albumentations, Mosaic, RandomPerspective
        from ultralytics.data.dataset import YOLODataset
        from ultralytics.engine import trainer
        from ultralytics.models.yolo.detect import DetectionTrainer
        from ultralytics.utils import callbacks
        from ultralytics.utils.torch_utils import unwrap_model

        trainer.check_amp = lambda model: True
        callbacks.add_integration_callbacks = lambda instance: None
    return SimpleNamespace(
        DetectionTrainer=DetectionTrainer,
        YOLODataset=YOLODataset,
        Albumentations=Albumentations,
        Mosaic=Mosaic,
        RandomPerspective=RandomPerspective,
        get_default_callbacks=callbacks.get_default_callbacks,
        unwrap_model=unwrap_model,
    )


@contextmanager
def _process_settings_kept() -> Iterator[None]:
    """Set the switches and the private folder; put back what the import changes elsewhere in the process."""
    folder = tempfile.mkdtemp(prefix="cspine-yolo-")
    threads, printing, save = cv2.getNumThreads(), np.get_printoptions(), torch.save
    open_picture = Image.open  # ultralytics' own tries to install a package for a damaged file
    outside = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMEXPR_MAX_THREADS", "YOLO_CONFIG_DIR")}
    os.environ.update(_SWITCHES, YOLO_CONFIG_DIR=folder)
    try:
        yield
    finally:
        for name, value in outside.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        cv2.setNumThreads(threads)
        np.set_printoptions(**printing)
        torch.set_printoptions(profile="default")
        torch.save = save
        Image.open = open_picture
        shutil.rmtree(folder, ignore_errors=True)
