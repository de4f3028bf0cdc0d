"""What is wrong in a data set, whatever its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from CSpineFractureLib.datasets.check_images import check_class_folders, check_coco, check_pictures, check_yolo
from CSpineFractureLib.datasets.check_studies import check_corrections, check_phantoms
from CSpineFractureLib.datasets.coco import ANNOTATIONS
from CSpineFractureLib.datasets.corrections import correction_folders
from CSpineFractureLib.datasets.image_folder import split_folders
from CSpineFractureLib.datasets.labelled_image import SLICE_TABLE
from CSpineFractureLib.datasets.phantoms import phantom_folders
from CSpineFractureLib.datasets.yolo import DATA_FILE, IMAGES, LABELS
from CSpineFractureLib.errors import UserError


def check_dataset(root: Path) -> list[str]:
    """One plain sentence for each fault of the data set in ``root``; empty where all is well.

    Known are RSNA-2022, synthetic studies, corrections, and image sets as YOLO, COCO, class folders or plain pictures
    with ``slices.csv``. Raises ``UserError`` where ``root`` is none of these.
    """
    if not root.is_dir():
        message = f"'{root}' is no folder; give the folder of a data set."
        raise UserError(message)
    for recognised, check in _KINDS:
        if recognised(root):
            return check(root)
    message = (
        f"'{root}' is no data set that is known: expected are RSNA-2022 (train.csv, train_images), synthetic studies "
        f"(ct.nii.gz, truth.json in a folder each), corrections, YOLO (images, labels, data.yaml), COCO (annotations) "
        f"or class folders (train/normal ...)."
    )
    raise UserError(message)


def _check_rsna(root: Path) -> list[str]:
    from CSpineFractureLib.datasets.rsna_check import check_rsna

    return check_rsna(root)


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda root: any((root / name).exists() for name in names)


_KINDS: tuple[tuple[Callable[[Path], object], Callable[[Path], list[str]]], ...] = (
    (_has("train.csv", "train_images"), _check_rsna),
    (_has(ANNOTATIONS), check_coco),
    (_has(LABELS, DATA_FILE), check_yolo),
    (lambda root: (root / SLICE_TABLE).is_file() and (root / IMAGES).is_dir(), check_pictures),
    (correction_folders, check_corrections),
    (phantom_folders, check_phantoms),
    (split_folders, check_class_folders),
)
