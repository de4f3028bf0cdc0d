"""Writes synthetic CT series as real DICOM files, with the irregularities that real archives have."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)
from scipy import ndimage

NATIVE_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
}
COMPRESSED_SYNTAXES = ("rle", "jpeg-lossless", "jpeg-2000")
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])


def make_ct_phantom(shape_kji: tuple[int, int, int] = (24, 48, 40), seed: int = 0) -> np.ndarray:
    """int16 HU ``[k, j, i]``: a soft-tissue cylinder with a bone rod and an airway in air, unlike its own mirror."""
    n_k, n_j, n_i = shape_kji
    k, j, i = np.meshgrid(np.arange(n_k), np.arange(n_j), np.arange(n_i), indexing="ij")
    v, u = (j - n_j * 0.5) / n_j, (i - n_i * 0.5) / n_i
    hu = np.full(shape_kji, -1000.0)
    hu[u**2 + v**2 < 0.42**2] = 40
    hu[(u - 0.05) ** 2 + (v - 0.15) ** 2 < 0.12**2] = 700
    hu[(u + 0.08) ** 2 + (v + 0.2) ** 2 < 0.06**2] = -1000
    hu[(k > n_k * 0.7) & (hu == 700)] = 1200
    hu += np.random.default_rng(seed).normal(0, 8, shape_kji)
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16)


def axial_matrix(
    spacing: tuple[float, float, float] = (1.0, 1.0, 2.0), origin: tuple[float, float, float] = (20, 30, -100)
) -> np.ndarray:
    """``ijk_to_ras`` of a usual axial CT: i to the left, j to the back, k upwards."""
    matrix = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    matrix[:3, 3] = origin
    return matrix


def tilted_acquisition(hu: np.ndarray, ijk_to_ras: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """The same patient scanned with a tilted gantry: slices turned about R, the table still moving along S.

    Gives the new array and its sheared ``ijk_to_ras``; what lay outside the first scan is -1000 HU.
    """
    angle = np.radians(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    tilted = np.array(ijk_to_ras, float)
    middle = (np.array(hu.shape[::-1]) - 1) / 2
    centre = tilted[:3, :3] @ middle + tilted[:3, 3]
    tilted[:3, 0] = turn @ tilted[:3, 0]
    tilted[:3, 1] = turn @ tilted[:3, 1]
    tilted[:3, 3] = centre - tilted[:3, :3] @ middle
    to_source = np.linalg.inv(ijk_to_ras) @ tilted
    reverse = np.eye(3)[::-1]
    matrix = reverse @ to_source[:3, :3] @ reverse
    scanned = ndimage.affine_transform(
        hu.astype(np.float32), matrix, offset=to_source[:3, 3][::-1], order=1, mode="constant", cval=-1000
    )
    return np.round(scanned).astype(np.int16), tilted


def make_dicom_series(
    folder: Path,
    hu: np.ndarray,
    ijk_to_ras: np.ndarray,
    *,
    missing: Iterable[int] = (),
    duplicate: Iterable[int] = (),
    duplicates_differ: bool = False,
    shift_mm: Mapping[int, float] | None = None,
    multiframe: bool = False,
    syntax: str = "explicit",
    photometric: str = "MONOCHROME2",
    slope: float | Iterable[float] = 1.0,
    intercept: float = -1024.0,
    padding: int | None = None,
    signed: bool = False,
    modality: str = "CT",
    tags: Mapping[str, object] | None = None,
    omit: Iterable[str] = (),
    blank: Iterable[str] = (),
    suffix: str = ".dcm",
    name: str = "IMG",
    shuffle: bool = True,
) -> str:
    """Write ``hu`` (int16 ``[k, j, i]``, RAS matrix) as a DICOM series into ``folder``; gives the SeriesInstanceUID.

    missing, duplicate
        Slice numbers left out, or written twice (with other content if ``duplicates_differ``).
    shift_mm
        Slices moved along the slice step by so many mm: unequal spacing.
    multiframe
        One Enhanced CT file, with per-frame functional groups.
    syntax
        ``explicit``, ``implicit``, ``deflated``, ``big-endian``, ``rle``, ``jpeg-lossless`` or ``jpeg-2000``.
    slope, intercept
        Rescale tags; ``slope`` may be one number per slice. Voxels that do not divide evenly are rounded.
    padding
        Stored value written as PixelPaddingValue and into the corners of each slice.
    signed
        Store two's complement (PixelRepresentation 1); use ``intercept=0`` to store HU as they are.
    tags, omit, blank
        DICOM keywords to set, to leave out, and to write empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    geometry = np.array(ijk_to_ras, float)
    columns = RAS_FROM_LPS @ geometry[:3, :3]
    origin = RAS_FROM_LPS @ geometry[:3, 3]
    spacing = np.linalg.norm(columns, axis=0)
    orientation = [*(columns[:, 0] / spacing[0]), *(columns[:, 1] / spacing[1])]
    n_slices = len(hu)
    slopes = np.broadcast_to(np.asarray(slope, float), n_slices) if np.ndim(slope) == 0 else np.array(list(slope))
    shifts = dict(shift_mm or {})
    kept = [k for k in range(n_slices) if k not in set(missing)]
    series = _series_dataset(hu, spacing, photometric, padding, modality, signed)
    for keyword, value in (tags or {}).items():
        setattr(series, keyword, value)

    planes = []
    for k in kept:
        stored = np.round((hu[k].astype(float) - intercept) / slopes[k]).astype(np.int64).astype(np.uint16)
        if padding is not None:
            corner = max(2, hu.shape[1] // 8)
            stored[:corner, :corner] = padding % 65536
        step = columns[:, 2] / spacing[2]
        planes.append((k, stored, origin + columns[:, 2] * k + step * shifts.get(k, 0.0), slopes[k]))

    if multiframe:
        frames = _enhanced(series, planes, orientation, spacing, intercept)
        _edit(frames, omit, blank)
        _save(frames, folder / f"{name}{suffix}", np.stack([plane[1] for plane in planes]), syntax)
        return series.SeriesInstanceUID

    copies = [plane for plane in planes if plane[0] in set(duplicate)]
    if duplicates_differ:
        copies = [(k, np.ascontiguousarray(stored[::-1]), position, s) for k, stored, position, s in copies]
    written = [*planes, *copies]
    numbers = np.random.default_rng(1).permutation(len(written)) if shuffle else np.arange(len(written))
    for number, (k, stored, position, one_slope) in zip(numbers, written, strict=True):
        one = Dataset()
        one.update(series)
        one.SOPInstanceUID = generate_uid()
        one.InstanceNumber = k + 1
        one.ImagePositionPatient = [_decimal(value) for value in position]
        one.ImageOrientationPatient = [_decimal(value) for value in orientation]
        one.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = _decimal(one_slope), _decimal(intercept), "HU"
        _edit(one, omit, blank)
        _save(one, folder / f"{name}{number:04d}{suffix}", stored, syntax)
    return series.SeriesInstanceUID


def _decimal(value: float) -> str:
    return f"{float(value):.10g}"[:16]


def _series_dataset(
    hu: np.ndarray, spacing: np.ndarray, photometric: str, padding: int | None, modality: str, signed: bool
) -> Dataset:
    series = Dataset()
    series.SOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    series.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    series.Modality = modality
    series.PatientName, series.PatientID, series.PatientPosition = "Synthetic^CT", "SYN", "HFS"
    series.StudyInstanceUID, series.SeriesInstanceUID = generate_uid(), generate_uid()
    series.FrameOfReferenceUID = generate_uid()
    series.SeriesDescription, series.ConvolutionKernel, series.KVP = "C-SPINE", "H60s", "120"
    series.SliceThickness = _decimal(spacing[2])
    series.SamplesPerPixel, series.PhotometricInterpretation = 1, photometric
    series.Rows, series.Columns = hu.shape[1:]
    series.BitsAllocated, series.BitsStored, series.HighBit, series.PixelRepresentation = 16, 16, 15, int(signed)
    series.WindowCenter, series.WindowWidth = "500", "2000"
    if padding is not None:
        series.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    return series


def _enhanced(series: Dataset, planes: list, orientation: list, spacing: np.ndarray, intercept: float) -> Dataset:
    frames = Dataset()
    frames.update(series)
    frames.SOPClassUID, frames.SOPInstanceUID = EnhancedCTImageStorage, generate_uid()
    frames.InstanceNumber, frames.NumberOfFrames = 1, len(planes)
    shared, measures, turn = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    measures.SliceThickness = _decimal(spacing[2])
    turn.ImageOrientationPatient = [_decimal(value) for value in orientation]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([turn])
    frames.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for _, _, position, slope in planes:
        group, place, values = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [_decimal(value) for value in position]
        values.RescaleSlope, values.RescaleIntercept = _decimal(slope), _decimal(intercept)
        values.RescaleType = "HU"
        group.PlanePositionSequence = Sequence([place])
        group.PixelValueTransformationSequence = Sequence([values])
        groups.append(group)
    frames.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return frames


def _edit(dataset: Dataset, omit: Iterable[str], blank: Iterable[str]) -> None:
    for keyword in omit:
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword in blank:
        setattr(dataset, keyword, "" if isinstance(dataset.get(keyword), str) else None)


def _save(dataset: Dataset, path: Path, stored: np.ndarray, syntax: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta
    meta.TransferSyntaxUID = NATIVE_SYNTAXES.get(syntax, ExplicitVRLittleEndian)
    pixels = stored.astype(">u2" if syntax == "big-endian" else "<u2")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    if syntax == "rle":
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in ("jpeg-lossless", "jpeg-2000"):
        _paste_jpeg(dataset, stored, "JPEG" if syntax == "jpeg-lossless" else "JPEG2000")
    elif syntax not in NATIVE_SYNTAXES:
        message = f"unknown transfer syntax {syntax}"
        raise ValueError(message)
    dataset.save_as(path, enforce_file_format=True)


def _paste_jpeg(dataset: Dataset, stored: np.ndarray, compressor: str) -> None:
    """Let SimpleITK's GDCM writer encode the pixels, and take over its PixelData and transfer syntax."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "encoded.dcm")
        writer = sitk.ImageFileWriter()
        writer.SetUseCompression(True)
        writer.SetCompressor(compressor)
        writer.SetFileName(path)
        writer.Execute(sitk.GetImageFromArray(stored[None] if stored.ndim == 2 else stored))
        encoded = dcmread(path)
    dataset.PixelData = encoded.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = encoded.file_meta.TransferSyntaxUID
