"""``cspine export-dicom``: a finished run as DICOM SEG and SR."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from CSpineFractureLib.errors import UserError


def export_dicom(
    run: Annotated[Path, typer.Argument(metavar="RESULT_FOLDER", help="What 'cspine run' wrote.")],
    dicom: Annotated[Path, typer.Option("--dicom", help="Folder or .zip of the DICOM series that was analysed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for seg.dcm and sr.dcm; made if absent.")],
) -> None:
    """Write the vertebrae as DICOM SEG and the findings as TID 1500 SR, for the study that was analysed."""
    try:
        from CSpineFractureLib.dicom.export import export_folder
    except ModuleNotFoundError as error:
        if error.name != "highdicom":
            raise
        message = "The package highdicom is not installed: pip install highdicom adds it."
        raise UserError(message) from error

    written = export_folder(run, dicom, output)
    if written.seg is None:
        typer.echo("No vertebra was segmented, so there is no seg.dcm.")
    typer.echo("Files written:")
    for path in (written.seg, written.sr):
        if path is not None:
            typer.echo(f"  {path}")
    typer.echo("They hold the patient's data of the DICOM series. Research use only.")
