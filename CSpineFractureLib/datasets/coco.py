"""Data sets as COCO instances: ``images/<split>`` and ``annotations/instances_<split>.json``.

Format: https://cocodataset.org/#format-data. ``bbox`` is ``[x, y, width, height]`` in pixels from the upper left
corner; ``file_name`` is relative to ``images/<split>``; each image also tells its ``study``, ``group`` (patient) and
slice ``k``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from CSpineFractureLib.datasets.image_tree import write_images
from CSpineFractureLib.datasets.labelled_image import ClassBox, LabelledImage, parts_of_name
from CSpineFractureLib.datasets.part_folder import Progress, no_progress
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.datasets.yolo import IMAGES, image_place
from CSpineFractureLib.errors import UserError

ANNOTATIONS, PREFIX = "annotations", "instances_"


def write_coco(
    records: Iterable[StudyRecord],
    out: Path,
    options: ImageOptions | None = None,
    on_progress: Progress = no_progress,
) -> list[LabelledImage]:
    """Write a COCO data set of split ``records`` to ``out``; raises ``UserError`` as ``write_images`` does.

    Category ids count from 1, in the order C1-C7, fracture. Ids of images and boxes are unique over all splits.
    """
    options = options or ImageOptions()
    names = options.names

    def finish(root: Path, images: list[LabelledImage]) -> None:
        (root / ANNOTATIONS).mkdir(exist_ok=True)
        first_image = first_box = 1
        for split in sorted({image.split for image in images}):
            document = _document([image for image in images if image.split == split], names, first_image, first_box)
            first_image += len(document["images"])
            first_box += len(document["annotations"])
            path = root / ANNOTATIONS / f"{PREFIX}{split}.json"
            path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    return write_images(records, out, options, "coco", image_place, finish, on_progress)


def read_coco(root: Path) -> list[LabelledImage]:
    """All images of a COCO data set with their boxes, sorted by file; exactly those that were written.

    Raises ``UserError`` where a file is missing, damaged, or refers to what is not there.
    """
    images: list[LabelledImage] = []
    for path in annotation_files(root):
        document = read_document(path)
        categories = {entry["id"]: entry["name"] for entry in document["categories"]}
        boxes: dict[Any, list[ClassBox]] = {entry["id"]: [] for entry in document["images"]}
        try:
            for entry in document["annotations"]:
                boxes[entry["image_id"]].append(ClassBox(categories[entry["category_id"]], *entry["bbox"]))
        except (KeyError, TypeError) as error:
            message = f"'{path}' has an annotation of an unknown image or category, or no bbox [x, y, width, height]."
            raise UserError(message + " Correct it.") from error
        split = split_of(path)
        for entry in document["images"]:
            name, k = parts_of_name(Path(entry["file_name"]).stem)
            study = entry.get("study", name)
            images.append(
                LabelledImage(
                    f"{IMAGES}/{split}/{entry['file_name']}",
                    study,
                    entry.get("group", study),
                    split,
                    entry.get("k", k),
                    entry["width"],
                    entry["height"],
                    tuple(boxes[entry["id"]]),
                )
            )
    return sorted(images, key=lambda image: image.file)


def annotation_files(root: Path) -> list[Path]:
    """The annotation files of a data set. Raises ``UserError`` where there is none."""
    files = sorted((root / ANNOTATIONS).glob(f"{PREFIX}*.json"))
    if not files:
        message = f"'{root}' holds no {ANNOTATIONS}/{PREFIX}*.json; give the folder of a COCO data set."
        raise UserError(message)
    return files


def split_of(path: Path) -> str:
    """The split that an annotation file is of."""
    return path.stem.removeprefix(PREFIX)


def read_document(path: Path) -> dict[str, Any]:
    """An annotation file with its three lists; raises ``UserError`` where it is damaged or lacks what is read here."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for entry in document["images"]:
            _ = entry["id"], Path(entry["file_name"]), int(entry["width"]), int(entry["height"])
        for entry in document["categories"]:
            _ = entry["id"], entry["name"]
        list(document["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"'{path}' is no COCO instances file with images, annotations and categories; make it again."
        raise UserError(message) from error
    return document


def _document(
    images: list[LabelledImage], names: tuple[str, ...], first_image: int, first_box: int
) -> dict[str, list[dict[str, Any]]]:
    """One annotation file; ids count from the given ones."""
    document: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": [], "categories": []}
    for number, image in enumerate(images, start=first_image):
        document["images"].append(
            {
                "id": number,
                "file_name": Path(image.file).name,
                "width": image.width,
                "height": image.height,
                "study": image.study,
                "group": image.group,
                "k": image.k,
            }
        )
        for box in image.boxes:
            document["annotations"].append(
                {
                    "id": first_box + len(document["annotations"]),
                    "image_id": number,
                    "category_id": names.index(box.name) + 1,
                    "bbox": [box.x, box.y, box.width, box.height],
                    "area": round(box.width * box.height, 4),
                    "iscrowd": 0,
                }
            )
    for number, name in enumerate(names, start=1):
        kind = "injury" if name == "fracture" else "vertebra"
        document["categories"].append({"id": number, "name": name, "supercategory": kind})
    return document
