"""Pictures of a YOLO tree as the networks see them in training, and as ultralytics' trainer takes them.

ultralytics pads pictures with grey; here both training and inference go through ``models.slice_input.square_image``,
which pads with air, and what augmentation brings in from outside is air as well (except in mosaics, which no system
uses by default). Neither the label caches (pickles) nor the picture caches that ultralytics keeps beside the pictures
are read or written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from CSpineFractureLib.datasets.labelled_image import ClassBox
from CSpineFractureLib.datasets.slice_image import pictures_below, read_image
from CSpineFractureLib.datasets.yolo import label_file, read_yolo_boxes
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.quiet_ultralytics import ultralytics_training_parts
from CSpineFractureLib.models.slice_input import SquareFit
from CSpineFractureLib.training.yolo_find import square_picture

_LIBRARY = ultralytics_training_parts()


class AirAround(_LIBRARY.RandomPerspective):
    """ultralytics' random turn, shift and scale, with air instead of grey where the picture ends."""

    def apply_image(self, labels: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """As in the class it extends: ``labels["img"]`` uint8 ``[h, w, c]`` under the matrix of ``params``."""
        matrix, size = params["M"], params["size"]
        if self.perspective:
            image = cv2.warpPerspective(labels["img"], matrix, dsize=size, borderValue=0)
        else:
            image = cv2.warpAffine(labels["img"], matrix[:2], dsize=size, borderValue=0)
        labels["img"] = image if image.ndim == 3 else image[..., None]
        labels["resized_shape"] = image.shape[:2]
        return labels


class SquarePictures(_LIBRARY.YOLODataset):
    """The pictures of one split as squares of ``imgsz`` pixels; ``data["root"]`` is the tree."""

    def get_img_files(self, img_path: str | list[str]) -> list[str]:
        """All pictures of the folders of the split, sorted."""
        folders = img_path if isinstance(img_path, list) else [img_path]
        return [str(path) for folder in folders for path in pictures_below(Path(folder))]

    def get_labels(self) -> list[dict[str, Any]]:
        """Boxes as shares of the square: middle x, middle y, width, height."""
        names = [self.data["names"][number] for number in range(len(self.data["names"]))]
        return [self._label(file, names) for file in self.im_files]

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> tuple:
        """uint8 ``[size, size, c]`` (three channels as B, G, R, which ultralytics turns round), and its size twice."""
        picture = square_picture(read_image(Path(self.im_files[i])), self.imgsz, self.channels)
        return np.ascontiguousarray(picture[..., ::-1]), picture.shape[:2], picture.shape[:2]

    def build_transforms(self, hyp: Any) -> Any:
        """ultralytics' augmentation with air around the picture, with or without albumentations installed."""
        return _adapted(super().build_transforms(hyp))

    def _label(self, file: str, names: list[str]) -> dict[str, Any]:
        width, height = _size_of(Path(file))
        fit, side, root = SquareFit.of(height, width, 1), max(height, width), Path(self.data["root"])
        labels = label_file(root, Path(file).relative_to(root).as_posix())
        boxes = read_yolo_boxes(labels, (width, height), names) if labels.is_file() else []
        return {
            "im_file": file,
            "shape": (self.imgsz, self.imgsz),
            "cls": np.array([names.index(box.name) for box in boxes], np.float32).reshape(-1, 1),
            "bboxes": np.array([_share(box, fit, side) for box in boxes], np.float32).reshape(-1, 4),
            "segments": [],
            "keypoints": None,
            "normalized": True,
            "bbox_format": "xywh",
        }


def _share(box: ClassBox, fit: SquareFit, side: int) -> tuple[float, float, float, float]:
    x, y = box.x + box.width / 2 - fit.left, box.y + box.height / 2 - fit.top
    return x / side, y / side, box.width / side, box.height / side


def _size_of(path: Path) -> tuple[int, int]:
    """Width and height, from the header alone."""
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ImportError) as error:
        message = f"'{path}' cannot be read as a picture; copy or make it again."
        raise UserError(message) from error


def _adapted(transforms: Any) -> Any:
    """A composition, and those in it, without albumentations and with air around."""
    kept = []
    for one in transforms.transforms:
        if hasattr(one, "transforms"):
            one = _adapted(one)
        elif type(one) is _LIBRARY.RandomPerspective:
            one = AirAround(**vars(one))
        elif isinstance(one, _LIBRARY.Albumentations):
            continue
        elif isinstance(one, _LIBRARY.Mosaic):
            one.buffer_enabled = False  # the buffer of recent pictures is not kept here
        if getattr(one, "pre_transform", None) is not None:
            one.pre_transform = _adapted(one.pre_transform)
        kept.append(one)
    transforms.transforms = kept
    return transforms
