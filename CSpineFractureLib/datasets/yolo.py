"""Data sets as YOLO reads them: ``images/<split>``, ``labels/<split>`` and ``data.yaml``.

Format: https://docs.ultralytics.com/datasets/detect/. Each line of a label file is a class id, the box's middle and its
size, as shares of the image's width and height. Every image has a label file, an empty one where it shows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from CSpineFractureLib.datasets.image_tree import write_images
from CSpineFractureLib.datasets.labelled_image import (
    ClassBox,
    LabelledImage,
    origin_of,
    read_slice_table,
    slice_name,
)
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.slice_image import pictures_below, read_image
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.errors import UserError

DATA_FILE, IMAGES, LABELS = "data.yaml", "images", "labels"
DIGITS = 10
"""Of label coordinates: exact to 1e-6 pixel in any CT slice, where six digits may move an edge."""
_PIXEL_DIGITS = 4


def write_yolo(
    records: Iterable[StudyRecord],
    out: Path,
    options: ImageOptions | None = None,
    on_progress: Progress = no_progress,
) -> list[LabelledImage]:
    """Write a YOLO tree of split ``records`` to ``out``; raises ``UserError`` as ``write_images`` does.

    The ids of C1-C7 are 0-6; that of ``fracture`` is 0, or 7 beside the vertebrae. Of five folds ``data.yaml`` and
    ``fold0.yaml`` validate on fold 0, ``fold1.yaml`` on fold 1, ...
    """
    import yaml  # imported late: Slicer may lack it

    options = options or ImageOptions()
    names = options.names

    def finish(root: Path, images: list[LabelledImage]) -> None:
        for image in images:
            path = label_file(root, image.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(label_text(image, names), encoding="utf-8")
        for name, sets in _data_files(sorted({image.split for image in images})).items():
            data = {**sets, "names": dict(enumerate(names))}
            (root / name).write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")

    return write_images(records, out, options, "yolo", image_place, finish, on_progress)


def image_place(image: LabelledImage) -> str:
    """``images/<split>/<study>_k<slice>``."""
    return f"{IMAGES}/{image.split}/{slice_name(image.study, image.k)}"


def label_file(root: Path, image_file: str) -> Path:
    """The label file of ``images/<split>/NAME.png``."""
    return (root / LABELS / Path(image_file).relative_to(IMAGES)).with_suffix(".txt")


def label_text(image: LabelledImage, names: tuple[str, ...]) -> str:
    """The lines of a label file."""
    lines = []
    for box in image.boxes:
        shares = (
            (box.x + box.width / 2) / image.width,
            (box.y + box.height / 2) / image.height,
            box.width / image.width,
            box.height / image.height,
        )
        lines.append(" ".join([str(names.index(box.name)), *(f"{share:.{DIGITS}f}" for share in shares)]) + "\n")
    return "".join(lines)


def read_yolo_boxes(path: Path, image_size: tuple[int, int], names: list[str]) -> list[ClassBox]:
    """The boxes of a label file in pixels, to 1e-4; exactly those that were written.

    ``image_size`` is width and height in pixels. Raises ``UserError`` for a malformed line or an unknown class id.
    """
    boxes = []
    for number, line in enumerate(label_lines(path), start=1):
        try:
            boxes.append(parse_label(line, image_size, names))
        except ValueError as error:
            message = f"'{path}', line {number}: {error}; correct the line."
            raise UserError(message) from error
    return boxes


def label_lines(path: Path) -> list[str]:
    """The lines of a label file. Raises ``UserError`` where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"'{path}' cannot be read as text; copy it or make it again."
        raise UserError(message) from error


def parse_label(line: str, image_size: tuple[int, int], names: list[str]) -> ClassBox:
    """The box of one line, in pixels. Raises ``ValueError`` that says what is wrong."""
    words = line.split()
    try:
        number, *shares = int(words[0]), *(float(word) for word in words[1:])
    except (ValueError, IndexError):
        number, shares = 0, []
    if len(shares) != 4 or not all(math.isfinite(share) for share in shares):
        message = "it is not a class id and four numbers"
        raise ValueError(message)
    if not 0 <= number < len(names):
        message = f"class id {number} is out of range 0-{len(names) - 1}"
        raise ValueError(message)
    width, height = image_size
    box = (
        (shares[0] - shares[2] / 2) * width,
        (shares[1] - shares[3] / 2) * height,
        shares[2] * width,
        shares[3] * height,
    )
    return ClassBox(names[number], *(round(value, _PIXEL_DIGITS) + 0.0 for value in box))


def read_data_file(root: Path) -> tuple[list[str], dict[str, list[str]]]:
    """Class names, and the folders of each set, of ``data.yaml``. Raises ``UserError`` where it is missing or wrong."""
    import yaml  # imported late: Slicer may lack it

    path = root / DATA_FILE
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = data["names"]
        if isinstance(names, dict):
            names = [names[number] for number in range(len(names))]
        sets = {key: data[key] for key in ("train", "val", "test") if data.get(key)}
        sets = {key: [value] if isinstance(value, str) else list(value) for key, value in sets.items()}
        known = {"train", "val"} <= set(sets) or set(sets) == {"test"}
        if not names or not known or not all(isinstance(name, str) for name in names):
            raise ValueError
    except FileNotFoundError as error:
        message = f"'{path}' does not exist; a YOLO data set names its classes and splits there."
        raise UserError(message) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"'{path}' does not name train, val and the classes (names: 0, 1, ...); correct it."
        raise UserError(message) from error
    return list(names), sets


def read_yolo(root: Path) -> list[LabelledImage]:
    """All images of a YOLO tree with their boxes, sorted by file. Raises ``UserError`` where a file is wrong."""
    names, table = read_data_file(root)[0], read_slice_table(root)
    images = []
    for path in pictures_below(root / IMAGES):
        height, width = read_image(path).shape[:2]
        file = path.relative_to(root).as_posix()
        study, group, k = origin_of(path, root, table)
        labels = label_file(root, file)
        boxes = tuple(read_yolo_boxes(labels, (width, height), names)) if labels.is_file() else ()
        split = path.relative_to(root / IMAGES).parts[0]
        images.append(LabelledImage(file, study, group, split, k, width, height, boxes))
    return sorted(images, key=lambda image: image.file)


def _data_files(splits: list[str]) -> dict[str, dict[str, str | list[str]]]:
    """What each yaml file says of the sets. No ``path``: it is then the folder of the file, wherever that is moved."""
    if not splits[0].startswith("fold"):
        return {DATA_FILE: {split: f"{IMAGES}/{split}" for split in ("train", "val", "test") if split in splits}}
    files = {
        f"{fold}.yaml": {
            "train": [f"{IMAGES}/{other}" for other in splits if other != fold],
            "val": f"{IMAGES}/{fold}",
        }
        for fold in splits
    }
    return {DATA_FILE: files[f"{splits[0]}.yaml"], **files}
