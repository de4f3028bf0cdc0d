"""The measurement groups of the report: per vertebra and per suspected fracture (PS3.16 TID 1410, 1411 and 1501)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from highdicom import sr
from highdicom.seg import Segmentation
from pydicom.sr.coding import Code

from CSpineFractureLib.dicom import codes
from CSpineFractureLib.dicom.box_geometry import image_through, is_straight_axial, rectangle_on_image, surface_of_box
from CSpineFractureLib.dicom.provenance import PROGRAM, caution, tracking_uid
from CSpineFractureLib.dicom.segmentation import segment_numbers
from CSpineFractureLib.dicom.source_series import SourceSeries
from CSpineFractureLib.findings.study_result import Box, FractureFinding, StudyResult, VertebraFinding

Group = sr.MeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
DECIMALS = 9
"""Digits of a measurement; a DICOM decimal string has 16 characters."""


@dataclass(frozen=True)
class GroupMaker:
    """Makes the groups of one result; ``segmentation`` is the SEG that goes with it, where there is one."""

    result: StudyResult
    source: SourceSeries
    segmentation: Segmentation | None

    def groups(self) -> list:
        """All groups: vertebrae, fractures, and the rectangles that show fractures in Slicer."""
        found = [group for vertebra in self.result.vertebrae for group in self._vertebra(vertebra)]
        found += [self._fracture(fracture) for fracture in self.result.fractures]
        rectangles = [self._rectangle(fracture) for fracture in self.result.fractures]
        return found + [rectangle for rectangle in rectangles if rectangle is not None]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return segment_numbers(self.segmentation) if self.segmentation is not None else {}

    def _vertebra(self, vertebra: VertebraFinding) -> list[Group]:
        """What was measured goes with the segment where there is one; the box is a group of its own then."""
        code = codes.level_codes()[vertebra.level]
        answers = {
            "measurements": self._measurements(vertebra),
            "qualitative_evaluations": [
                sr.QualitativeEvaluation(codes.VISIBLE, codes.VISIBILITIES[vertebra.visible]),
                sr.QualitativeEvaluation(codes.ASSESSED, codes.YES_NO[bool(vertebra.assessed)]),
                sr.QualitativeEvaluation(codes.ASSESSABLE, codes.YES_NO[vertebra.fracture_assessable is True]),
            ],
        }
        about = self._about(vertebra.id, code, code)
        boxed = vertebra.visible != "no" and min(vertebra.box.size_mm) > 0
        segment = self._segment(vertebra.level)
        volumetric = sr.VolumetricROIMeasurementsAndQualitativeEvaluations
        if segment is not None:
            groups = [volumetric(**about, **answers, referenced_segment=segment)]
            if boxed:
                groups.append(volumetric(**about, referenced_volume_surface=self._surface(vertebra.box)))
        elif boxed:
            groups = [volumetric(**about, **answers, referenced_volume_surface=self._surface(vertebra.box))]
        else:
            groups = [sr.MeasurementsAndQualitativeEvaluations(**about, **answers)]
        reason = vertebra.fracture_assessable
        if isinstance(reason, str) and reason:
            _add_text(groups[0], codes.NOT_ASSESSABLE_BECAUSE, reason)
        return groups

    def _measurements(self, vertebra: VertebraFinding) -> list[sr.Measurement]:
        """Always in the same order, and what may be missing last: Slicer's table goes by position, not by name."""
        numbers = [_measurement(codes.CONFIDENCE, vertebra.confidence, codes.NO_UNITS)]
        if any(other.volume_mm3 > 0 for other in self.result.vertebrae):
            numbers.append(_measurement(codes.VOLUME, vertebra.volume_mm3, codes.CUBIC_MM))
        if vertebra.fracture_probability is not None:
            numbers.append(_measurement(codes.FRACTURE_PROBABILITY, vertebra.fracture_probability, codes.NO_UNITS))
        return numbers

    def _fracture(self, fracture: FractureFinding) -> Group:
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            **self._about(fracture.id, codes.FRACTURE, codes.level_codes()[fracture.level]),
            referenced_volume_surface=self._surface(fracture.box),
            measurements=[_measurement(codes.CONFIDENCE, fracture.confidence, codes.NO_UNITS)],
            qualitative_evaluations=[sr.QualitativeEvaluation(codes.STATUS, codes.STATUSES[fracture.status])],
        )
        if fracture.comment:
            _add_text(group, codes.COMMENT, fracture.comment)
        return group

    def _rectangle(self, fracture: FractureFinding) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations | None:
        """The box on the slice through its middle: what Slicer's TID 1500 reader shows.

        ``None`` for a rejected finding, and where that reader would place it wrongly (not straight axial slices).
        """
        images = self.source.images
        single = all("ImagePositionPatient" in image for image in images)
        if fracture.status == "rejected" or not single or not is_straight_axial(images[0]):
            return None
        image = image_through(fracture.box, images)
        points = rectangle_on_image(fracture.box, image)
        if points is None:
            return None
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            **self._about(fracture.id, codes.FRACTURE, codes.level_codes()[fracture.level]),
            referenced_region=sr.ImageRegion(
                sr.GraphicTypeValues.POLYLINE,
                points,
                sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID),
            ),
            geometric_purpose=codes.BOUNDED_BY,
        )

    def _about(self, finding_id: str, finding: Code, site: Code) -> dict:
        uid = tracking_uid(self.result, finding_id)
        return {
            "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=finding_id),
            "finding_type": finding,
            "finding_sites": [sr.FindingSite(site)],
            "algorithm_id": sr.AlgorithmIdentification(
                name=PROGRAM,
                version=self.result.software_version,
                parameters=[caution(self.result), f"profile {self.result.profile}"],
            ),
        }

    def _surface(self, box: Box) -> sr.VolumeSurface:
        return sr.VolumeSurface(
            sr.GraphicTypeValues3D.POLYGON,
            surface_of_box(box),
            self.source.frame_of_reference_uid,
            source_series=sr.SourceSeriesForSegmentation(self.source.series_uid),
        )

    def _segment(self, level: str) -> sr.ReferencedSegment | None:
        number = self._numbers.get(level)
        if number is None:
            return None
        return sr.ReferencedSegment(
            self.segmentation.SOPClassUID,
            self.segmentation.SOPInstanceUID,
            number,
            source_series=sr.SourceSeriesForSegmentation(self.source.series_uid),
        )


def _measurement(name: Code, value: float, unit: Code) -> sr.Measurement:
    return sr.Measurement(name=name, value=round(float(value), DECIMALS), unit=unit)


def _add_text(group: Group, name: Code, text: str) -> None:
    """Text in a measurement group, whose templates are extensible."""
    group[0].ContentSequence.append(
        sr.TextContentItem(name, text, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    )
