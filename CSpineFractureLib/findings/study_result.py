"""StudyResult: what one run says about one study. Plain dataclasses, JSON in and out.

Coordinates are RAS millimetres in the volume node's own frame; arrays are ``[k, j, i]``; probabilities are 0..1.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from CSpineFractureLib.notice import Notice

SCHEMA = "cspine-result/1"
LEVELS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7")


@dataclass
class Box:
    """An oriented box: centre (RAS mm), full edge lengths (mm) along its axes, and the axes as rows of unit vectors."""

    center_ras: list[float]
    size_mm: list[float]
    axes: list[list[float]] = field(default_factory=lambda: np.eye(3).tolist())

    def corners_ras(self) -> np.ndarray:
        """The eight corners, shape ``(8, 3)``, RAS mm."""
        signs = np.array(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5])).reshape(3, -1).T
        return np.asarray(self.center_ras) + (signs * self.size_mm) @ np.asarray(self.axes)

    def hull_ras(self) -> list[list[float]]:
        """Axis-aligned hull ``[[r, a, s] low, [r, a, s] high]`` in RAS mm."""
        corners = self.corners_ras()
        return [corners.min(axis=0).tolist(), corners.max(axis=0).tolist()]


@dataclass
class VolumeInfo:
    """The grid of the results. ``spacing_mm`` is along i, j, k. No path and no patient data."""

    shape_kji: list[int]
    spacing_mm: list[float]
    ijk_to_ras: list[list[float]]
    grid: Literal["native", "resampled"] = "native"
    series_uid: str | None = None
    frame_of_reference_uid: str | None = None
    sop_instance_uids: list[str] | None = None


@dataclass
class ModelInfo:
    """A network that took part: its task, name, version, weights hash, licence and training data."""

    task: str
    name: str
    version: str
    sha256: str
    licence: str
    trained_on: str


@dataclass
class SliceFinding:
    """One slice ``k`` of the result grid: fracture probability and per-level presence."""

    k: int
    fracture_probability: float | None
    vertebrae: dict[str, float] = field(default_factory=dict)


@dataclass
class VertebraFinding:
    """One level. ``center_ras`` is the middle of the body (C1: of the anterior arch).

    ``fracture_assessable`` is ``True`` or the reason why a fracture cannot be judged here; ``fracture_probability``
    is ``None`` where it was not computed. ``slice_range`` is inclusive, on the result grid. ``volume_mm3`` is 0 where
    the profile gives no segment.
    """

    id: str
    level: str
    visible: Literal["full", "partial", "no"]
    assessed: bool
    confidence: float
    center_ras: list[float]
    box: Box
    slice_range: list[int]
    fracture_probability: float | None
    fracture_assessable: Literal[True] | str
    volume_mm3: float

    @property
    def box_ras(self) -> list[list[float]]:
        return self.box.hull_ras()


BY_CAM = "Without a box of the fracture detector: placed by Grad-CAM."
"""Comment of a finding that the program could place by Grad-CAM only."""
BY_VOLUME = "Without a box of the fracture detector: placed by the 3D fracture network."
"""Comment of a finding whose level the 3D network suspects while no slice of it is suspicious enough by itself."""
WITHOUT_BOXES = (BY_CAM, BY_VOLUME)
"""Such findings are as sure as their level."""


@dataclass
class FractureFinding:
    """One suspected fracture."""

    id: str
    level: str
    confidence: float
    box: Box
    status: Literal["suggested", "accepted", "rejected", "added"] = "suggested"
    comment: str = ""

    @property
    def box_ras(self) -> list[list[float]]:
        return self.box.hull_ras()


@dataclass
class StudyFinding:
    """The study as a whole. ``level_rule`` names the documented rule that made the probabilities."""

    fracture_probability: float | None
    level_rule: str


@dataclass
class RadiographFinding:
    """What a radiograph was taken for: ``kind`` is ``normal``, ``fracture`` or ``dislocation`` (``class`` in JSON).

    ``probabilities`` of all three add up to 1.
    """

    kind: Literal["normal", "fracture", "dislocation"]
    probabilities: dict[str, float]


@dataclass
class StudyResult:
    """Everything one run says; written as ``result.json``. ``radiograph`` is there for radiographs alone."""

    id: str
    created: str
    software_version: str
    status: Literal["complete", "cancelled", "partial"]
    volume: VolumeInfo
    profile: str
    device: str
    study: StudyFinding
    warnings: list[Notice] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    models: list[ModelInfo] = field(default_factory=list)
    slices: list[SliceFinding] = field(default_factory=list)
    vertebrae: list[VertebraFinding] = field(default_factory=list)
    fractures: list[FractureFinding] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)
    radiograph: RadiographFinding | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``cspine-result/1``; floats are rounded to 1e-6."""
        document = {"schema": SCHEMA, **asdict(self)}
        for key, findings in (("vertebrae", self.vertebrae), ("fractures", self.fractures)):
            for entry, finding in zip(document[key], findings, strict=True):
                entry["box_ras"] = finding.box_ras
        for name in ("series_uid", "frame_of_reference_uid", "sop_instance_uids"):
            if document["volume"][name] is None:
                del document["volume"][name]
        radiograph = document.pop("radiograph")
        if radiograph is not None:
            document["radiograph"] = {"class": radiograph["kind"], "probabilities": radiograph["probabilities"]}
        return _rounded(document)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> StudyResult:
        """Rebuild a result from its JSON document (validate it first, see ``result_file``)."""
        data = {key: value for key, value in document.items() if key != "schema"}

        def boxed(kind: type, entry: dict) -> Any:
            return kind(**{**{k: v for k, v in entry.items() if k != "box_ras"}, "box": Box(**entry["box"])})

        data["volume"] = VolumeInfo(**data["volume"])
        data["study"] = StudyFinding(**data["study"])
        data["warnings"] = [Notice(**entry) for entry in data["warnings"]]
        data["models"] = [ModelInfo(**entry) for entry in data["models"]]
        data["slices"] = [SliceFinding(**entry) for entry in data["slices"]]
        data["vertebrae"] = [boxed(VertebraFinding, entry) for entry in data["vertebrae"]]
        data["fractures"] = [boxed(FractureFinding, entry) for entry in data["fractures"]]
        if "radiograph" in data:
            entry = data["radiograph"]
            data["radiograph"] = RadiographFinding(entry["class"], dict(entry["probabilities"]))
        return cls(**data)


def _rounded(value: Any) -> Any:
    """Plain JSON values: numpy scalars become Python numbers, floats are rounded to 1e-6."""
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            message = "A result holds a number that is not finite."
            raise ValueError(message)
        return round(value, 6)
    return value
