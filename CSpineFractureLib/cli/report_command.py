"""``cspine report``: a finished run as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def report(
    run: Annotated[Path, typer.Argument(metavar="RESULT_FOLDER", help="What 'cspine run' wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML file to write.")],
    with_patient: Annotated[
        bool, typer.Option("--with-patient", help="Put the patient's data of the --dicom series on the page.")
    ] = False,
    dicom: Annotated[
        Path | None, typer.Option("--dicom", help="Folder or .zip of the series that was analysed.")
    ] = None,
) -> None:
    """Write the findings, key images and what made them as one HTML page that prints on one A4 sheet."""
    from CSpineFractureLib.findings.report_page import write_report_page

    if with_patient != (dicom is not None):
        message = "--with-patient and --dicom FOLDER go together: give both, or neither."
        raise UserError(message)
    patient = None
    if dicom is not None:
        from CSpineFractureLib.dicom.patient import patient_lines
        from CSpineFractureLib.findings.result_file import read_result

        patient = patient_lines(read_result(run / "result.json"), dicom, str(run / "result.json"))
    typer.echo(f"File written: {write_report_page(run, output, patient)}")
