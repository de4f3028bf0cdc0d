"""What the manifest says about the networks that this project trains itself."""

from __future__ import annotations

from dataclasses import replace

from CSpineFractureLib.findings.study_result import ModelInfo
from CSpineFractureLib.models.fracture_fcn import VOXEL_MM
from CSpineFractureLib.models.manifest import ModelEntry

SYNTHETIC = "synthetic cervical CT of this project (cspine phantom)"
TRAINED_ON = {
    "phantom": SYNTHETIC,
    "rsna": "RSNA-2022 cervical spine CT",
    "corrections": "reviewed CT of the user's own",
}
"""By source of the studies."""
NOTICE = "synthetic, research use only, never validated on real fractures"
BONE_WINDOW = [[500, 2000]]


def _entry(name: str, task: str, architecture: str, arguments: dict, licence: str, size: int, mm: float) -> ModelEntry:
    return ModelEntry(
        name=name,
        version="0.1.0",
        task=task,
        profiles=["two-stage"],
        architecture=architecture,
        arguments=arguments,
        licence=licence,
        trained_on=SYNTHETIC,
        input={"spacing_mm": [mm, mm], "windows": BONE_WINDOW, "size": [size, size]},
        notice=NOTICE,
    )


ENTRIES = {
    "vertebra-detector": _entry(
        "vertebra-yolov8n",
        "vertebra-detector",
        "yolov8n",
        {"classes": 8, "channels": 3},
        "AGPL-3.0 (ultralytics architecture)",
        192,
        1.0,
    ),
    "slice-classifier": _entry("slice-cnn", "slice-classifier", "slice-cnn", {}, "Apache-2.0", 224, 0.571),
    "fracture-detector": _entry(
        "fracture-yolov8n",
        "fracture-detector",
        "yolov8n",
        {"classes": 1, "channels": 1},
        "AGPL-3.0 (ultralytics architecture)",
        224,
        0.571,
    ),
    "fracture-volume": replace(
        _entry("fracture-fcn", "fracture-volume", "fracture-fcn", {}, "Apache-2.0", 48, VOXEL_MM),
        input={"image": "volume", "spacing_mm": [VOXEL_MM] * 3, "windows": BONE_WINDOW, "size": [48, 48]},
    ),
}


def entry_of(task: str, source: str = "phantom", sound: int = 0, base: ModelInfo | None = None) -> ModelEntry:
    """What a network says that learnt from studies of ``source``, and for fractures from so many CT without them.

    ``base``: what it went on from. Raises KeyError for an unknown task or source.
    """
    entry, trained_on, notice = ENTRIES[task], TRAINED_ON[source], NOTICE
    if source != "phantom" and base is None:
        notice = "research use only, never validated"
    if sound and task != "vertebra-detector":
        trained_on += f" and {sound} CT without fractures"
    if base is not None:
        entry = replace(entry, version=f"{base.version.partition('+')[0]}+own")
        trained_on = trained_on if base.trained_on == trained_on else f"{base.trained_on}, then {trained_on}"
    return replace(entry, trained_on=trained_on, notice=notice)
