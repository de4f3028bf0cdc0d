"""The findings as a DICOM measurement report: Comprehensive 3D SR after template TID 1500 (PS3.16)."""

from __future__ import annotations

from highdicom import sr
from highdicom.seg import Segmentation
from pydicom.sr.codedict import codes as dicom_codes
from pydicom.uid import generate_uid

from CSpineFractureLib.dicom import codes
from CSpineFractureLib.dicom.provenance import PROGRAM, SERIES_NUMBERS, UTF_8, Export
from CSpineFractureLib.dicom.report_groups import GroupMaker
from CSpineFractureLib.dicom.source_series import SourceSeries
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import StudyResult


def make_report(
    result: StudyResult,
    source: SourceSeries,
    segmentation: Segmentation | None,
    export: Export,
    reader: str | None = None,
) -> sr.Comprehensive3DSR:
    """The report of a result: one measurement group per vertebra and per suspected fracture.

    Boxes are closed surfaces in the patient (SCOORD3D, LPS mm in the frame of reference of the source); a suspected
    fracture also has a rectangle on its middle slice, with the same tracking UID. ``segmentation`` is what
    ``make_segmentation`` gave. ``reader`` names the person who reviewed the findings, only where that person agreed.
    The report is neither complete nor verified in the sense of DICOM. Raises ``UserError`` where there is nothing to
    report.
    """
    groups = GroupMaker(result, source, segmentation).groups()
    if not groups:
        message = "The result has neither vertebrae nor suspected fractures, so there is nothing to report as DICOM."
        raise UserError(message)
    report = sr.MeasurementReport(
        observation_context=_observers(result, reader),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=groups,
        title=dicom_codes.DCM.ImagingMeasurementReport,
    )
    evidence = [*source.images, *([segmentation] if segmentation is not None else [])]
    document = sr.Comprehensive3DSR(
        evidence=evidence,
        content=report[0],
        series_instance_uid=export.uid("sr-series"),
        series_number=SERIES_NUMBERS["sr"],
        sop_instance_uid=export.uid("sr"),
        instance_number=1,
        manufacturer=PROGRAM,
        series_description="Cervical findings (research use only)",
        specific_character_set=UTF_8,
    )
    export.stamp(document)
    return document


def _observers(result: StudyResult, reader: str | None) -> sr.ObservationContext:
    device = sr.ObserverContext(
        dicom_codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[PROGRAM, result.software_version]),
            name=PROGRAM,
            manufacturer_name=PROGRAM,
            model_name=f"{PROGRAM} {result.software_version}",
        ),
    )
    person = None
    if reader:
        person = sr.ObserverContext(dicom_codes.DCM.Person, sr.PersonObserverIdentifyingAttributes(name=reader))
    return sr.ObservationContext(observer_person_context=person, observer_device_context=device)
