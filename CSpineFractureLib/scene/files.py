"""Scenes and nodes as files that Slicer opens: ``.mrb``, ``.seg.nrrd``, ``.mrk.json`` and ``.nrrd``."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import slicer

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.bundle_check import refuse_outside_references
from CSpineFractureLib.scene.whole_grid import on_whole_grid

_PACKED = {".nrrd", ".png", ".gz"}


def save_scene(scene: slicer.vtkMRMLScene, path: str | Path) -> Path:
    """Save everything in a scene as a bundle (``scene.mrb``) that Slicer and ``load_scene`` open.

    Slicer writes the bundle's files. They are packed here: Slicer's own packing compresses the voxels a second time.
    Raises ``UserError`` when the bundle cannot be written.
    """
    path = Path(path)
    place = (scene.GetURL(), scene.GetRootDirectory())
    try:
        with tempfile.TemporaryDirectory(prefix="cspine-scene-") as folder:
            bundle = Path(folder) / path.stem
            bundle.mkdir()
            _crop_labelmaps(scene)
            if not scene.SaveSceneToSlicerDataBundleDirectory(str(bundle)):
                message = f"{path} could not be written: check that the disk has room for the CT."
                raise UserError(message)
            _pack(bundle, path)
    except OSError as error:
        message = f"{path} could not be written ({error.strerror or error}): choose a folder you may write to."
        raise UserError(message) from error
    finally:
        scene.SetURL(place[0] or "")
        scene.SetRootDirectory(place[1] or "")
    return path


def load_scene(scene: slicer.vtkMRMLScene, path: str | Path) -> None:
    """Add the content of a bundle (``.mrb``) to a scene.

    Raises ``UserError`` when the file is missing, is no bundle, refers to data outside itself, or Slicer cannot read
    it.
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="cspine-scene-") as folder:
        try:
            with zipfile.ZipFile(path) as bundle:
                bundle.extractall(folder)  # zipfile keeps every member inside the folder
        except FileNotFoundError as error:
            message = f"{path} does not exist: name a scene bundle (.mrb)."
            raise UserError(message) from error
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            message = f"{path} cannot be read as a scene bundle: save the scene again as .mrb."
            raise UserError(message) from error
        description = next(iter(sorted(Path(folder).rglob("*.mrml"))), None)
        if description is None:
            message = f"{path} holds no scene: name a bundle (.mrb) that Slicer or cspine wrote."
            raise UserError(message)
        refuse_outside_references(description, path)
        place = (scene.GetURL(), scene.GetRootDirectory())
        scene.SetURL(str(description))
        read = scene.Import()
        scene.SetURL(place[0] or "")
        scene.SetRootDirectory(place[1] or "")
        if not read:
            message = f"{path} could not be read by Slicer: save the scene again as .mrb."
            raise UserError(message)


def write_segmentation(nodes: SceneNodes, path: str | Path) -> Path:
    """Write the segments with names, colours and terminology as Slicer's ``.seg.nrrd``, on the CT's whole grid."""
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetCropToMinimumExtent(False)
    return _write(storage, on_whole_grid(nodes.segmentation), path)


def write_cam(nodes: SceneNodes, path: str | Path) -> Path | None:
    """Write the Grad-CAM as ``.nrrd`` with its own geometry; ``None`` where there is none."""
    if nodes.cam is None:
        return None
    return _write(slicer.vtkMRMLVolumeArchetypeStorageNode(), nodes.cam, path)


def write_boxes(nodes: SceneNodes, path: str | Path) -> Path:
    """Write every box into one ``.mrk.json``; Slicer loads it as one ROI node per box, named as here."""
    path = Path(path)
    document: dict = {"markups": []}
    with tempfile.TemporaryDirectory(prefix="cspine-boxes-") as folder:
        for node in nodes.boxes:
            one = _write(slicer.vtkMRMLMarkupsROIJsonStorageNode(), node, Path(folder) / "box.mrk.json")
            content = json.loads(one.read_text(encoding="utf-8"))
            document.setdefault("@schema", content["@schema"])
            document["markups"] += [{"type": box["type"], "name": node.GetName(), **box} for box in content["markups"]]
    ordered = {"@schema": document.get("@schema", _SCHEMA), "markups": document["markups"]}
    try:
        path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        message = f"{path} could not be written ({error.strerror or error}): choose a folder you may write to."
        raise UserError(message) from error
    return path


_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)


def _write(storage: slicer.vtkMRMLStorageNode, node: slicer.vtkMRMLStorableNode, path: str | Path) -> Path:
    """Write a node through a storage node of no scene, so that the node does not remember the file."""
    path = Path(path)
    storage.SetFileName(str(path))
    storage.SetUseCompression(True)
    try:
        path.unlink(missing_ok=True)
        written = path.parent.is_dir() and os.access(path.parent, os.W_OK) and storage.WriteData(node)
    except OSError:
        written = False
    if not written:
        message = f"{path} could not be written: choose a folder you may write to."
        raise UserError(message)
    return path


def _crop_labelmaps(scene: slicer.vtkMRMLScene) -> None:
    """Inside a bundle the labels are kept cropped, as in the scene: writing the whole grid takes Slicer seconds."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode")
        if node.GetStorageNode() is None and node.AddDefaultStorageNode():
            node.GetStorageNode().SetCropToMinimumExtent(True)


def _pack(folder: Path, path: Path) -> None:
    """Zip a folder; what is compressed already is stored as it is. The bundle appears whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    method = zipfile.ZIP_STORED if file.suffix in _PACKED else zipfile.ZIP_DEFLATED
                    bundle.write(file, file.relative_to(folder.parent), method)
        shutil.move(partial, path)
    finally:
        partial.unlink(missing_ok=True)
