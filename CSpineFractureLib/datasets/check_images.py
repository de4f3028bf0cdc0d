"""Faults of image sets: YOLO trees, COCO files, class folders and plain pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from CSpineFractureLib.datasets.coco import annotation_files, read_document, split_of
from CSpineFractureLib.datasets.image_folder import CLASSES, group_of, split_folders
from CSpineFractureLib.datasets.labelled_image import (
    SLICE_TABLE,
    ClassBox,
    origin_of,
    parts_of_name,
    read_slice_table,
)
from CSpineFractureLib.datasets.slice_image import pictures_below, read_image
from CSpineFractureLib.datasets.yolo import (
    DATA_FILE,
    IMAGES,
    LABELS,
    label_file,
    label_lines,
    parse_label,
    read_data_file,
)
from CSpineFractureLib.errors import UserError

EDGE_PIXELS = 0.01
"""Boxes may reach over the image's edge by so much: other programs write few digits."""


def check_yolo(root: Path) -> list[str]:
    """Faults of a YOLO tree: ``data.yaml``, labels without images and the reverse, lines, boxes, splits, pictures."""
    faults: list[str] = []
    try:
        names, sets = read_data_file(root)
    except UserError as error:
        faults.append(str(error))
        names, sets = [], {}
    for key, folders in sets.items():
        faults += [
            f"{DATA_FILE}: '{folder}', named for {key}, is no folder of the data set; correct it."
            for folder in folders
            if not (root / folder).is_dir()
        ]
    pictures = pictures_below(root / IMAGES)
    if not pictures:
        faults.append(f"'{IMAGES}' holds no pictures; copy them to {IMAGES}/<split>.")
    labels = {label_file(root, path.relative_to(root).as_posix()): path for path in pictures}
    for path in sorted((root / LABELS).rglob("*.txt")):
        if path not in labels:
            faults.append(f"{path.relative_to(root).as_posix()}: a label file without image; remove it or its image.")
    for label, picture in labels.items():
        faults += _yolo_image_faults(root, label, picture, names)
    return faults + _split_faults(root, pictures)


def check_coco(root: Path) -> list[str]:
    """Faults of a COCO data set: missing files, unknown ids, sizes, boxes outside the image, splits, pictures."""
    faults: list[str] = []
    pictures: list[Path] = []
    origins: list[tuple[str, str]] = []
    for path in annotation_files(root):
        try:
            document = read_document(path)
        except UserError as error:
            faults.append(str(error))
            continue
        folder = root / IMAGES / split_of(path)
        faults += _annotation_faults(path.name, document)
        for entry in document["images"]:
            picture = folder / entry["file_name"]
            pictures.append(picture)
            study = entry.get("study", parts_of_name(picture.stem)[0])
            origins.append((str(entry.get("group", study)), split_of(path)))
            faults += _coco_image_faults(path.name, entry, picture, root)
    known = set(pictures)
    faults += [
        f"{path.relative_to(root).as_posix()}: no annotation file lists this image; remove it or list it."
        for path in pictures_below(root / IMAGES)
        if path not in known
    ]
    return faults + _in_two_splits(origins)


def check_class_folders(root: Path) -> list[str]:
    """Faults of ``<split>/<class>`` folders: unknown classes, unreadable pictures, one patient in two splits."""
    faults: list[str] = []
    origins: list[tuple[str, str]] = []
    table = read_slice_table(root)
    for split in split_folders(root):
        for folder in sorted(path for path in split.iterdir() if path.is_dir() and path.name not in CLASSES):
            faults.append(f"{split.name}/{folder.name}: an unknown class; the classes are {', '.join(CLASSES)}.")
        pictures = pictures_below(split)
        if not pictures:
            faults.append(f"'{split.name}' holds no pictures; copy them to {split.name}/<class>.")
        for path in pictures:
            faults += _picture_size(root, path)[1]
            origins.append((group_of(path, root, table), split.name))
    return faults + _missing_rows(root, table) + _in_two_splits(origins)


def check_pictures(root: Path) -> list[str]:
    """Faults of plain pictures with ``slices.csv``: rows without picture and the reverse, pictures, splits."""
    table, pictures = read_slice_table(root), pictures_below(root / IMAGES)
    faults = [fault for path in pictures for fault in _picture_size(root, path)[1]]
    faults += [
        f"{path.relative_to(root).as_posix()}: has no row in {SLICE_TABLE}; remove it or add its row."
        for path in pictures
        if path.relative_to(root).as_posix() not in table
    ]
    return faults + _missing_rows(root, table) + _split_faults(root, pictures)


def _yolo_image_faults(root: Path, label: Path, picture: Path, names: list[str]) -> Iterator[str]:
    size, faults = _picture_size(root, picture)
    yield from faults
    if not label.is_file():
        file = picture.relative_to(root).as_posix()
        yield f"{file}: an image without label file; give it one, an empty one if nothing is to be seen."
        return
    try:
        lines = label_lines(label) if names else []
    except UserError as error:
        yield str(error)
        return
    for number, line in enumerate(lines, start=1):
        place = f"{label.relative_to(root).as_posix()}, line {number}"
        try:
            box = parse_label(line, size or (1, 1), names)
        except ValueError as error:
            yield f"{place}: {error}; correct the line."
            continue
        if size:
            yield from _box_faults(place, box, *size)


def _annotation_faults(name: str, document: dict) -> Iterator[str]:
    """Faults of the boxes of one annotation file."""
    categories = {entry["id"] for entry in document["categories"]}
    images = {entry["id"]: entry for entry in document["images"]}
    if len(images) < len(document["images"]):
        yield f"{name}: two images have one id; give each its own."
    for number, entry in enumerate(document["annotations"]):
        place = f"{name}, annotation {entry.get('id', number) if isinstance(entry, dict) else number}"
        try:
            category, image = entry["category_id"], images.get(entry["image_id"])
            box = ClassBox("", *map(float, entry["bbox"]))
        except (KeyError, TypeError, ValueError):
            yield f"{place}: lacks image_id, category_id or a bbox of four numbers; correct it."
            continue
        if category not in categories:
            yield f"{place}: category id {category} is out of range; use one of {sorted(categories)}."
        if image is None:
            yield f"{place}: there is no image {entry['image_id']}; remove it or add the image."
        else:
            yield from _box_faults(place, box, int(image["width"]), int(image["height"]))


def _coco_image_faults(name: str, entry: dict, picture: Path, root: Path) -> Iterator[str]:
    file = picture.relative_to(root).as_posix()
    if not picture.is_file():
        yield f"{name}: image {entry['id']} has no file '{file}'; copy it there or remove its entry."
        return
    size, faults = _picture_size(root, picture)
    yield from faults
    said = (int(entry["width"]), int(entry["height"]))
    if size and size != said:
        yield f"{file}: is {size[0]} x {size[1]} pixels, but {name} says {said[0]} x {said[1]}; correct it."


def _box_faults(place: str, box: ClassBox, width: int, height: int) -> Iterator[str]:
    if not (box.width > 0 and box.height > 0):
        yield f"{place}: the box has no size; correct or remove it."
    elif (
        min(box.x, box.y) < -EDGE_PIXELS
        or box.x + box.width > width + EDGE_PIXELS
        or box.y + box.height > height + EDGE_PIXELS
    ):
        yield f"{place}: the box reaches outside the image of {width} x {height} pixels; correct it."


def _picture_size(root: Path, path: Path) -> tuple[tuple[int, int] | None, list[str]]:
    """Width and height of a picture, and what is wrong with it."""
    try:
        height, width = read_image(path).shape[:2]
    except UserError:
        return None, [f"{path.relative_to(root).as_posix()}: cannot be read as a picture; copy or make it again."]
    return (width, height), []


def _missing_rows(root: Path, table: dict[str, dict[str, str]]) -> list[str]:
    return [
        f"{SLICE_TABLE}: '{file}' does not exist; copy it there or remove its row."
        for file in table
        if not (root / file).is_file()
    ]


def _split_faults(root: Path, pictures: list[Path]) -> list[str]:
    table = read_slice_table(root)
    return _in_two_splits(
        (origin_of(path, root, table)[1], path.relative_to(root / IMAGES).parts[0]) for path in pictures
    )


def _in_two_splits(origins: Iterable[tuple[str, str]]) -> list[str]:
    """A sentence for each group (patient or study) that is in more than one split."""
    splits: dict[str, set[str]] = {}
    for group, split in origins:
        splits.setdefault(group, set()).add(split)
    return [
        f"Study or patient '{group}' is in the splits {' and '.join(sorted(found))}; keep it in one."
        for group, found in sorted(splits.items())
        if len(found) > 1
    ]
