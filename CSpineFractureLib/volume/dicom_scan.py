"""Find the CT planes among the files of a folder, reading headers only."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.dicom_multiframe import frame_count, planes_of_frames
from CSpineFractureLib.volume.dicom_slice import CT_CLASSES, DicomSlice, UnusableSlice, number, plane_of, text

HEADER_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelSpacing", "NumberOfFrames"),
    *("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "SliceThickness"),
    *("ConvolutionKernel", "SeriesDescription", "ProtocolName", "BodyPartExamined", "StudyDescription"),
    *("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
DEFLATED = "1.2.840.10008.1.2.1.99"
PIXEL_GROUP = 0x7FE0


@dataclass
class Scan:
    """What a look at the headers of many files found."""

    planes: list[DicomSlice] = field(default_factory=list)
    files: int = 0
    dicom_files: int = 0
    other_modalities: Counter[str] = field(default_factory=Counter)
    unusable: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[Path, str]] = field(default_factory=list)
    """Files that are DICOM but cut off or damaged, with their series UID ('' if unknown)."""
    unreadable: list[Path] = field(default_factory=list)


def files_below(folder: Path) -> list[Path]:
    """All regular files below a folder, sorted; links that leave it are not followed.

    Raises ``UserError`` where the folder itself may not be listed.
    """
    root = folder.resolve()

    def refuse(error: OSError) -> None:
        if Path(error.filename or "") == folder:
            message = f"'{folder}' may not be read ({error.strerror}); ask for the permission or copy it elsewhere."
            raise UserError(message) from error

    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if name != "__MACOSX")
        for name in sorted(names):
            path = Path(parent) / name
            if name.startswith(".") or name.upper() == "DICOMDIR":
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                continue
            if stat.S_ISREG(path.stat().st_mode):
                found.append(path)
    return found


def scan_files(paths: Iterable[Path]) -> Scan:
    """Read the header of each file and keep the CT planes; see ``Scan``. Never raises for a single bad file."""
    scan = Scan()
    for path in paths:
        scan.files += 1
        try:
            with open(path, "rb") as stream:
                _scan_file(scan, path, stream)
        except PermissionError:
            scan.unreadable.append(path)
        except OSError:
            scan.broken.append((path, ""))
    return scan


def _scan_file(scan: Scan, path: Path, stream: BinaryIO) -> None:
    head = stream.read(132)
    with_preamble = head[128:] == b"DICM"
    if not with_preamble and head[:2] not in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return
    stream.seek(0)
    series = ""
    try:
        dataset = dcmread(stream, stop_before_pixels=True, specific_tags=HEADER_TAGS, force=not with_preamble)
        if not with_preamble and not text(dataset, "SOPClassUID"):
            return
        if "SOPClassUID" not in dataset and "MediaStorageSOPClassUID" in dataset.file_meta:
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID  # de-identified files may lack it
        series = text(dataset, "SeriesInstanceUID")
        _sort_in(scan, path, stream, dataset, series)
    except Exception:  # pydicom raises many kinds on damaged headers, some only when a value is asked for
        if not with_preamble and not series:
            return
        scan.broken.append((path, series))
    scan.dicom_files += 1


def _sort_in(scan: Scan, path: Path, stream: BinaryIO, dataset: Dataset, series: str) -> None:
    """Put a header's planes, or the reason why it has none, into the scan."""
    modality, sop_class = text(dataset, "Modality").upper(), text(dataset, "SOPClassUID")
    if modality != "CT" and (modality or sop_class not in CT_CLASSES):
        if modality or sop_class:
            scan.other_modalities[modality or "other"] += 1
        else:
            scan.broken.append((path, series))
        return
    if sop_class and sop_class not in CT_CLASSES and "Rows" not in dataset:  # e.g. a report with Modality CT
        scan.unusable["it holds no image"] += 1
        return
    try:
        planes = planes_of_frames(dataset, path) if frame_count(dataset) > 1 else [plane_of(dataset, path)]
    except UnusableSlice as unusable:
        planes, reason = [], str(unusable)
    if not _pixels_complete(dataset, stream):
        scan.broken.append((path, series))
    elif planes:
        scan.planes.extend(planes)
    else:
        scan.unusable[reason] += 1


def _pixels_complete(dataset: Dataset, stream: BinaryIO) -> bool:
    """Whether the pixel data element, at which ``stream`` stands, is all in the file."""
    syntax = str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))
    if syntax == DEFLATED:
        return True  # the header could not have been inflated to its end otherwise
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    here = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(here)
    tag = stream.read(4)
    if len(tag) < 4 or int.from_bytes(tag[:2], order) != PIXEL_GROUP:
        return False
    length_bytes = stream.read(4) if implicit else stream.read(8)[4:]
    length = int.from_bytes(length_bytes, order)
    if length == 0xFFFFFFFF:
        return _fragments_complete(stream, end)
    bits = int(number(dataset, "BitsAllocated", 16))
    pixels = int(number(dataset, "Rows", 0)) * int(number(dataset, "Columns", 0)) * frame_count(dataset)
    return stream.tell() + length <= end and length >= pixels * bits // 8


def _fragments_complete(stream: BinaryIO, end: int) -> bool:
    while True:
        item = stream.read(8)
        if len(item) < 8:
            return False
        if item[:4] == b"\xfe\xff\xdd\xe0":
            return True
        if item[:4] != b"\xfe\xff\x00\xe0" or stream.tell() + int.from_bytes(item[4:], "little") > end:
            return False
        stream.seek(int.from_bytes(item[4:], "little"), os.SEEK_CUR)
