"""Vertebra labels as a DICOM segmentation (SEG), one segment per level."""

from __future__ import annotations

import highdicom as hd
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription

from CSpineFractureLib.dicom import codes
from CSpineFractureLib.dicom.provenance import PROGRAM, SERIES_NUMBERS, UTF_8, Export, caution, parameters, tracking_uid
from CSpineFractureLib.dicom.source_series import SourceSeries
from CSpineFractureLib.findings.study_result import LEVELS, StudyResult
from CSpineFractureLib.volume.dicom_geometry import LPS_TO_RAS


def make_segmentation(
    result: StudyResult, labels: np.ndarray, source: SourceSeries, export: Export
) -> Segmentation | None:
    """A BINARY SEG of the levels that have voxels; ``None`` where no level has.

    ``labels``: uint8 ``[k, j, i]`` (1-7 = C1-C7) on the grid of ``result.volume``. Where the slices of that grid are
    the source images the frames refer to them one by one; else (resampled grid, multi-frame source) the frames carry
    their own geometry in the frame of reference of the source. Frames without voxels are left out. BINARY without
    compression (PS3.3 C.8.20), because every viewer reads it. Raises ``ValueError`` for labels of another shape.
    """
    if list(labels.shape) != list(result.volume.shape_kji):
        message = f"labels {labels.shape} do not fit the grid {result.volume.shape_kji} of the result"
        raise ValueError(message)
    present = [label for label in range(1, len(LEVELS) + 1) if (labels == label).any()]
    if not present:
        return None
    numbers = np.zeros(256, np.uint8)
    numbers[present] = np.arange(1, len(present) + 1)
    pixels = numbers[labels]
    segmentation = Segmentation(
        source_images=source.images,
        pixel_array=pixels if source.aligned else _placed(pixels, result, source),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_describe(result, LEVELS[label - 1], int(numbers[label])) for label in present],
        series_instance_uid=export.uid("seg-series"),
        series_number=SERIES_NUMBERS["seg"],
        sop_instance_uid=export.uid("seg"),
        instance_number=1,
        manufacturer=PROGRAM,
        manufacturer_model_name=PROGRAM,
        software_versions=result.software_version,
        device_serial_number="1",
        content_label="VERTEBRAE",
        content_description=caution(result),
        pixel_measures=_measures(result, source) if source.aligned else None,
        series_description="Cervical vertebrae (research use only)",
        specific_character_set=UTF_8,
    )
    for item in segmentation.SegmentSequence:
        item.SegmentDescription = f"{item.SegmentLabel} found by {PROGRAM}. {caution(result)}."
    _name_dimensions(segmentation, export.uid("seg-dimensions"))
    export.stamp(segmentation)
    return segmentation


def _name_dimensions(segmentation: Segmentation, uid: str) -> None:
    """Give the dimensions a UID of ours; highdicom draws one at random."""
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def segment_numbers(segmentation: Segmentation) -> dict[str, int]:
    """Number of each level's segment, found by its code."""
    found = {}
    for number in segmentation.segment_numbers:
        kind = segmentation.get_segment_description(number).segmented_property_type
        level = codes.name_of(kind, codes.level_codes())
        if level is not None:
            found[level] = int(number)
    return found


def _placed(pixels: np.ndarray, result: StudyResult, source: SourceSeries) -> hd.Volume:
    """Labels with their own place: LPS affine over the array's axes ``k, j, i``."""
    to_ras = np.array(result.volume.ijk_to_ras, float)
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ to_ras[:3, 2::-1]
    affine[:3, 3] = LPS_TO_RAS @ to_ras[:3, 3]
    return hd.Volume(pixels, affine, "PATIENT", frame_of_reference_uid=source.frame_of_reference_uid)


def _measures(result: StudyResult, source: SourceSeries) -> hd.PixelMeasuresSequence:
    """Those of the source, and the distance of the slices, which single images do not have."""
    first = source.images[0]
    thickness = first.get("SliceThickness") or result.volume.spacing_mm[2]
    return hd.PixelMeasuresSequence(
        pixel_spacing=[float(value) for value in first.PixelSpacing],
        slice_thickness=float(thickness),
        spacing_between_slices=round(float(result.volume.spacing_mm[2]), 6),
    )


def _describe(result: StudyResult, level: str, number: int) -> SegmentDescription:
    code = codes.level_codes()[level]
    finding = next((vertebra.id for vertebra in result.vertebrae if vertebra.level == level), f"vertebra-{level}")
    return SegmentDescription(
        segment_number=number,
        segment_label=level,
        segmented_property_category=codes.anatomical_structure(),
        segmented_property_type=code,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=PROGRAM, family=codes.AI, version=result.software_version, parameters=parameters(result)
        ),
        tracking_uid=tracking_uid(result, finding),
        tracking_id=finding,
        display_color=codes.level_colours()[level],
    )
