"""A CT volume from DICOM files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.notice import Notice
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.dicom_choose import choose
from CSpineFractureLib.volume.dicom_geometry import StackLayout, layout_of
from CSpineFractureLib.volume.dicom_pixels import PixelReader
from CSpineFractureLib.volume.dicom_scan import Scan, files_below, scan_files
from CSpineFractureLib.volume.dicom_series import Stack, stacks_of, without_duplicates
from CSpineFractureLib.volume.dicom_slice import DicomSlice
from CSpineFractureLib.volume.hu_check import check_hu
from CSpineFractureLib.volume.resample import resample_stack


def read_dicom_folder(folder: Path, name: str, series: str | None = None) -> CTVolume:
    """The best (or the asked) CT series of all files below ``folder``; ``name`` is used in messages.

    Raises ``UserError`` where the folder is empty, holds no DICOM or no CT, or the series is damaged.
    """
    scan = scan_files(files_below(folder))
    if not scan.files:
        message = f"'{name}' is empty or holds no DICOM files; give the folder that holds those of a CT."
        raise UserError(message)
    return _read(scan, name, series)


def read_dicom_file(path: Path, series: str | None = None) -> CTVolume:
    """A multi-frame file, or the whole series that a single slice belongs to, from the files beside it.

    Raises ``UserError`` where the file is no CT, damaged, or the only slice of its series.
    """
    own = scan_files([path])
    if not own.planes:
        raise UserError(_why_nothing(own, path.name, single=True))
    if own.planes[0].frame is not None:
        return _read(own, path.name, series)
    wanted = series or own.planes[0].series_uid
    beside = [other for other in files_below(path.parent) if other.parent == path.parent]
    scan = scan_files(beside)
    if len([plane for plane in scan.planes if plane.series_uid == wanted]) < 2:
        message = f"'{path.name}' is a single slice; give the folder with the whole series."
        raise UserError(message)
    scan.planes = [plane for plane in scan.planes if plane.series_uid == wanted]
    scan.broken = [item for item in scan.broken if item[1] == wanted]
    notice = Notice("series-of-file", "The file is one slice; its whole series was read from the same folder.")
    return _read(scan, path.name, wanted).with_notices(notice)


def _read(scan: Scan, name: str, series: str | None) -> CTVolume:
    if not scan.planes:
        raise UserError(_why_nothing(scan, name, single=False))
    reader = PixelReader(scan.planes)
    stack, chosen = choose(stacks_of(scan.planes), series, reader.read, name)
    for path, uid in scan.broken:
        if uid == stack.series_uid:
            message = f"'{path.name}' in '{name}' is cut off or damaged; copy or export the series again."
            raise UserError(message)
    notices = [*chosen, *stack.notices, *_bystanders(scan)]
    planes, doubled = without_duplicates(stack.planes, reader.read)
    notices.extend(doubled)
    if "LOCALIZER" in planes[0].image_type:
        message = f"'{name}' holds only a scout view (localizer); give the axial CT series."
        raise UserError(message)
    layout = layout_of(planes)
    hu, checked = _hounsfield(layout.planes, reader, name)
    return _on_grid(layout, hu, stack).with_notices(*notices, *layout.notices, *checked)


def _hounsfield(planes: list[DicomSlice], reader: PixelReader, name: str) -> tuple[np.ndarray, tuple[Notice, ...]]:
    """Checked int16 HU ``[n, j, i]``; a MONOCHROME1 picture is also tried with its stored values inverted."""
    try:
        return check_hu(_stacked(planes, reader), name)
    except UserError:
        if planes[0].photometric != "MONOCHROME1":
            raise
        try:
            hu, notices = check_hu(_stacked(planes, PixelReader(planes, inverted=True)), name)
        except UserError:
            hu = None
        if hu is None:
            raise
    message = "The pixels are stored inverted (MONOCHROME1) in spite of their rescale tags; they were turned back."
    return hu, (*notices, Notice("values-inverted", message))


def _stacked(planes: list[DicomSlice], reader: PixelReader) -> np.ndarray:
    hu = np.empty((len(planes), planes[0].rows, planes[0].columns), np.int16)
    for index, plane in enumerate(planes):
        hu[index] = reader.read(plane)
    return hu


def _on_grid(layout: StackLayout, hu: np.ndarray, stack: Stack) -> CTVolume:
    first = layout.planes[0]
    volume = CTVolume(
        hu=hu,
        ijk_to_ras=layout.ijk_to_ras(),
        series_uid=stack.series_uid or None,
        frame_of_reference_uid=first.frame_of_reference,
        sop_instance_uids=tuple(plane.sop_uid for plane in layout.planes),
        slice_thickness_mm=max((plane.thickness for plane in layout.planes if plane.thickness), default=None),
    )
    if layout.regular:
        return volume
    spacing = (first.pixel_mm[1], first.pixel_mm[0], layout.spacing)
    regular, offset = resample_stack(lambda index: hu[index], layout.along, layout.across, spacing)
    return replace(volume, hu=regular, ijk_to_ras=layout.ijk_to_ras(offset), grid="resampled", sop_instance_uids=None)


def _bystanders(scan: Scan) -> list[Notice]:
    notices = []
    strays = [path.name for path, uid in scan.broken if not uid]
    if strays:
        message = f"{len(strays)} damaged DICOM files were passed over."
        notices.append(Notice("unreadable-files", message))
    if scan.unreadable:
        message = f"{len(scan.unreadable)} files may not be read; they are missing."
        notices.append(Notice("unreadable-files", message))
    return notices


def _why_nothing(scan: Scan, name: str, single: bool) -> str:
    if scan.unreadable and not scan.dicom_files:
        return f"'{name}' may not be read (permission denied); ask for the permission or copy it elsewhere."
    if scan.broken:
        return f"'{scan.broken[0][0].name}' is a DICOM file that is cut off or damaged; copy or export it again."
    if not scan.dicom_files:
        kind = "is not a DICOM file" if single else f"holds no DICOM file (of {scan.files} looked at)"
        return f"'{name}' {kind}; give the folder, or a .zip of it, with the DICOM files of a CT."
    if scan.unusable:
        reason = scan.unusable.most_common(1)[0][0]
        return f"'{name}' cannot be read as a CT volume because {reason}; export the original axial CT slices."
    kinds = ", ".join(kind for kind, _ in scan.other_modalities.most_common(4))
    return f"'{name}' holds no CT but {kinds} data; give a CT of the cervical spine."
