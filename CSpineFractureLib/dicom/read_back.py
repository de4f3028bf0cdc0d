"""DICOM SEG and SR of this program as labels and findings again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage

from CSpineFractureLib.dicom import codes
from CSpineFractureLib.dicom.box_geometry import box_of_surface
from CSpineFractureLib.dicom.segmentation import segment_numbers
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, Box, FractureFinding, VolumeInfo
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS


@dataclass
class ReportedVertebra:
    """What the report says of one level; fields as in ``VertebraFinding``, ``None`` where the report has none.

    ``segment`` is the number of its segment in the SEG that goes with the report.
    """

    id: str
    level: str
    visible: str = "full"
    assessed: bool = True
    confidence: float = 0.0
    fracture_probability: float | None = None
    fracture_assessable: bool | str = True
    volume_mm3: float = 0.0
    box: Box | None = None
    segment: int | None = None


@dataclass
class Report:
    """The findings of a measurement report, in the order in which it holds them."""

    vertebrae: list[ReportedVertebra] = field(default_factory=list)
    fractures: list[FractureFinding] = field(default_factory=list)


def read_segmentation(path: str | Path, volume: VolumeInfo) -> np.ndarray:
    """uint8 labels ``[k, j, i]`` (1-7 = C1-C7) on the grid of ``volume``.

    Raises ``UserError`` where the file is no DICOM SEG or its frames do not lie on that grid.
    """
    segmentation = hd.seg.Segmentation.from_dataset(_dataset(path, SegmentationStorage, "segmentation"), copy=False)
    labels = np.zeros(volume.shape_kji, np.uint8)
    label_of = {number: LEVELS.index(level) + 1 for level, number in segment_numbers(segmentation).items()}
    pixels = segmentation.pixel_array
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    slices = _slices_of_frames(segmentation, volume, path)
    for frame, k, group in zip(pixels, slices, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if number in label_of:
            labels[k][frame > 0] = label_of[number]
    return labels


def _slices_of_frames(segmentation: Dataset, volume: VolumeInfo, path: str | Path) -> np.ndarray:
    """The slice ``k`` of each frame, by its position."""
    inverse = np.linalg.inv(np.array(volume.ijk_to_ras, float))
    groups = segmentation.PerFrameFunctionalGroupsSequence
    positions = np.array([group.PlanePositionSequence[0].ImagePositionPatient for group in groups], float)
    ijk = (positions @ LPS_TO_RAS) @ inverse[:3, :3].T + inverse[:3, 3]
    k = np.rint(ijk[:, 2]).astype(int)
    same_size = [int(segmentation.Rows), int(segmentation.Columns)] == list(volume.shape_kji[1:])
    inside = (k >= 0).all() and (k < volume.shape_kji[0]).all()
    if not same_size or not inside or np.abs(ijk[:, :2]).max() > 0.5 or np.abs(ijk[:, 2] - k).max() > 0.25:
        message = f"'{path}' does not lie on the grid of the CT: name the segmentation that was made from it."
        raise UserError(message)
    return k


def read_report(path: str | Path) -> Report:
    """The findings of a measurement report that this program wrote.

    Raises ``UserError`` where the file is no such report, or holds a finding that cannot be understood.
    """
    dataset = _dataset(path, Comprehensive3DSRStorage, "measurement report")
    try:
        content = sr.Comprehensive3DSR.from_dataset(dataset, copy=False).content
        groups = content.get_volumetric_roi_measurement_groups() + content.get_image_measurement_groups()
        report = Report()
        for group in groups:
            _take(group, report)
    except (ValueError, AttributeError, TypeError, KeyError, RuntimeError) as error:
        message = f"'{path}' is not a measurement report as CSpineFracture writes it: name its sr.dcm."
        raise UserError(message) from error
    report.vertebrae.sort(key=lambda vertebra: LEVELS.index(vertebra.level))
    return report


def _take(group: sr.MeasurementsAndQualitativeEvaluations, report: Report) -> None:
    """Add one measurement group to the report; groups of the same vertebra are one finding."""
    level = codes.name_of(group.finding_sites[0].value, codes.level_codes())
    if level is None:
        return
    if codes.code_key(group.finding_type) == codes.code_key(codes.FRACTURE):
        report.fractures.append(_fracture(group, level))
        return
    vertebra = next((other for other in report.vertebrae if other.level == level), None)
    if vertebra is None:
        vertebra = ReportedVertebra(group.tracking_identifier, level)
        report.vertebrae.append(vertebra)
    box = _box(group)
    vertebra.box = box or vertebra.box
    if getattr(group, "referenced_segment", None) is not None and box is None:
        vertebra.segment = int(group.referenced_segment.referenced_segment_numbers[0])
    visible = codes.name_of(_answer(group, codes.VISIBLE), codes.VISIBILITIES)
    if visible is not None:
        _fill(vertebra, group, visible)


def _fill(vertebra: ReportedVertebra, group: sr.MeasurementsAndQualitativeEvaluations, visible: str) -> None:
    assessable = codes.name_of(_answer(group, codes.ASSESSABLE), codes.YES_NO)
    vertebra.visible = visible
    vertebra.assessed = codes.name_of(_answer(group, codes.ASSESSED), codes.YES_NO)
    vertebra.fracture_assessable = assessable or _text(group, codes.NOT_ASSESSABLE_BECAUSE)
    vertebra.confidence = _number(group, codes.CONFIDENCE)
    vertebra.volume_mm3 = _number(group, codes.VOLUME) or 0.0
    vertebra.fracture_probability = _number(group, codes.FRACTURE_PROBABILITY)


def _fracture(group: sr.MeasurementsAndQualitativeEvaluations, level: str) -> FractureFinding:
    return FractureFinding(
        id=group.tracking_identifier,
        level=level,
        confidence=_number(group, codes.CONFIDENCE),
        box=_box(group),
        status=codes.name_of(_answer(group, codes.STATUS), codes.STATUSES),
        comment=_text(group, codes.COMMENT),
    )


def _number(group: sr.MeasurementsAndQualitativeEvaluations, name: Code) -> float | None:
    found = group.get_measurements(name=name)
    return float(found[0].value) if found else None


def _answer(group: sr.MeasurementsAndQualitativeEvaluations, name: Code) -> Code | None:
    found = group.get_qualitative_evaluations(name=name)
    return found[0].value if found else None


def _text(group: sr.MeasurementsAndQualitativeEvaluations, name: Code) -> str:
    found = sr.utils.find_content_items(group[0], name=name, value_type=sr.ValueTypeValues.TEXT)
    return str(found[0].TextValue) if found else ""


def _box(group: sr.MeasurementsAndQualitativeEvaluations) -> Box | None:
    surfaces = sr.utils.find_content_items(group[0], value_type=sr.ValueTypeValues.SCOORD3D)
    return box_of_surface([surface.value for surface in surfaces]) if surfaces else None


def _dataset(path: str | Path, sop_class: str, kind: str) -> Dataset:
    try:
        dataset = dcmread(path)
    except (OSError, InvalidDicomError, EOFError) as error:
        message = f"'{path}' could not be read as a DICOM file: name a {kind} that CSpineFracture wrote."
        raise UserError(message) from error
    if dataset.get("SOPClassUID") != sop_class:
        message = f"'{path}' is not a DICOM {kind}: name one that CSpineFracture wrote."
        raise UserError(message)
    return dataset
