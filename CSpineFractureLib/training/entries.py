"""What the manifest says about the networks that this project trains itself."""

from __future__ import annotations

from dataclasses import replace

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
}


def entry_of(task: str, source: str = "phantom", sound: int = 0) -> ModelEntry:
    """The entry of a network trained on studies of a source, and on so many CT without fractures (for fractures)."""
    trained_on, notice = TRAINED_ON[source], NOTICE
    if source != "phantom":
        notice = "research use only, never validated"
    if sound and task != "vertebra-detector":
        trained_on += f" and {sound} CT without fractures"
    return replace(ENTRIES[task], trained_on=trained_on, notice=notice)
