"""Who was scanned, for the head of a report page: read from the DICOM series only when asked for."""

from __future__ import annotations

from pathlib import Path

from pydicom.valuerep import DA

from CSpineFractureLib.dicom.source_series import check_has_dicom_source, read_source_series
from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.volume.quiet import quiet_libraries

_LINES = {
    "Patient": "PatientName",
    "ID": "PatientID",
    "Born": "PatientBirthDate",
    "Sex": "PatientSex",
    "Study date": "StudyDate",
    "Accession": "AccessionNumber",
}


def patient_lines(result: StudyResult, dicom: str | Path, name: str = "The result") -> dict[str, str]:
    """Name, ID, birth date, sex, study date and accession number of the source series, as far as it has them.

    Raises ``UserError`` where the result has no DICOM source or ``dicom`` (folder or .zip) is not it.
    """
    check_has_dicom_source(result, name)
    with quiet_libraries():
        first = read_source_series(dicom, result.volume).images[0]
        found = {line: str(first.get(keyword) or "").strip() for line, keyword in _LINES.items()}
    return {line: _readable(value, _LINES[line]) for line, value in found.items() if value}


def _readable(value: str, keyword: str) -> str:
    """Dates as year-month-day, where they are whole."""
    if not keyword.endswith("Date"):
        return value
    try:
        return DA(value).isoformat()
    except ValueError:
        return value
