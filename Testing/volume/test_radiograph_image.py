"""Radiographs from picture and DICOM files: bone bright, 0 to 1; one plain sentence for what is none."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume import radiograph_image
from CSpineFractureLib.volume.radiograph_image import is_single_picture, read_radiograph

GREY = np.add.outer(np.arange(90), np.arange(70)).astype(np.uint8)


def write_dicom(path, pixels, modality="CR", photometric="MONOCHROME2", bits=12, **tags):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage if modality == "CR" else SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PhotometricInterpretation = modality, photometric
    data.PatientName, data.PatientID = "Secret^Person", "4711"
    data.Rows, data.Columns, data.SamplesPerPixel = *pixels.shape[-2:], 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, bits, bits - 1, 0
    for name, value in tags.items():
        setattr(data, name, value)
    data.PixelData = pixels.astype(np.uint16).tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def fault(path):
    with pytest.raises(UserError) as caught:
        read_radiograph(path)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize("ending", ["png", "bmp", "gif", "tif", "webp", "jpg"])
def test_every_kind_of_picture_gives_the_same_grey(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    Image.fromarray(GREY).save(path, **({"lossless": True} if ending == "webp" else {"quality": 100}))

    image = read_radiograph(path)

    assert image.pixels.dtype == np.float32
    assert np.allclose(image.pixels, GREY / 255, atol=0.02)
    assert (image.pixel_mm, image.colour < 0.01) == (None, True)


def test_the_content_decides_and_not_the_name(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert read_radiograph(tmp_path / "x.jpg").source == "PNG"


def test_pictures_are_read_though_another_library_replaced_the_opener_of_pillow(tmp_path, monkeypatch):
    Image.fromarray(GREY).save(tmp_path / "x.tif")
    monkeypatch.setattr(Image, "open", lambda *a, **k: pytest.fail("Image.open was called"))
    assert read_radiograph(tmp_path / "x.tif").pixels.shape == GREY.shape


def test_sixteen_bits_are_stretched_and_that_is_said(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 16).save(tmp_path / "x.png")
    image = read_radiograph(tmp_path / "x.png")
    assert (image.pixels.min(), image.pixels.max()) == (0, 1)
    assert [notice.code for notice in image.notices] == ["stretched"]


def test_colour_is_measured_and_transparency_is_black(tmp_path):
    colours = np.stack([GREY, GREY * 0, GREY * 0, np.full_like(GREY, 255)], axis=2)
    colours[:45, :, 3] = 0
    Image.fromarray(colours).save(tmp_path / "x.png")
    image = read_radiograph(tmp_path / "x.png")
    assert image.colour > 0.1
    assert not image.pixels[:45].any()


def test_a_picture_that_lies_on_its_side_is_put_upright(tmp_path):
    tags = Image.Exif()
    tags[274] = 6
    Image.fromarray(GREY).save(tmp_path / "x.jpg", exif=tags, quality=100)
    assert read_radiograph(tmp_path / "x.jpg").pixels.shape == (70, 90)


def test_dicom_is_shown_through_its_window_and_knows_its_pixels(tmp_path):
    pixels = GREY.astype(int) * 10
    path = write_dicom(tmp_path / "x.dcm", pixels, WindowCenter=800, WindowWidth=400, ImagerPixelSpacing=[0.2, 0.2])
    image = read_radiograph(path)
    assert image.pixel_mm == 0.2
    assert np.allclose(image.pixels, np.clip((pixels - 600) / 400, 0, 1), atol=0.01)


def test_monochrome1_is_inverted(tmp_path):
    window = {"WindowCenter": 800, "WindowWidth": 1600}
    one = read_radiograph(write_dicom(tmp_path / "1.dcm", GREY.astype(int) * 10, **window))
    two = read_radiograph(write_dicom(tmp_path / "2.dcm", GREY.astype(int) * 10, photometric="MONOCHROME1", **window))
    assert np.allclose(one.pixels, 1 - two.pixels, atol=1e-5)


def test_dicom_without_a_window_is_stretched_and_its_padding_is_black(tmp_path):
    pixels = 1000 + GREY.astype(int) * 3
    pixels[:5] = 4095
    image = read_radiograph(write_dicom(tmp_path / "x.dcm", pixels, PixelPaddingValue=4095))
    assert not image.pixels[:5].any()
    assert image.pixels.max() == 1


def test_a_table_of_grey_values_is_followed(tmp_path):
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 8])
    table.add_new("LUTData", "US", [255 - n for n in range(256)])
    image = read_radiograph(write_dicom(tmp_path / "x.dcm", GREY.astype(int), VOILUTSequence=[table]))
    inverse = 1 - GREY / GREY.max()
    assert np.allclose(image.pixels, inverse, atol=0.01)


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    image = read_radiograph(write_dicom(tmp_path / "x.dcm", GREY.astype(int), PixelSpacing=[0.4, 0.2]))
    assert image.pixels.shape == (180, 70)
    assert (image.pixel_mm, image.resampled) == (0.2, True)


def test_a_secondary_capture_is_read_with_a_warning(tmp_path):
    image = read_radiograph(write_dicom(tmp_path / "x.dcm", GREY.astype(int), modality="OT"))
    assert [notice.code for notice in image.notices] == ["modality-unknown"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.png", b"", "is empty"),
        ("text.png", b"not a picture at all", "no picture in spite of its name"),
        ("notes.txt", b"not a picture at all", "of a kind that is not read"),
        ("cut.dcm", b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0", "damaged|holds no picture"),
        ("ct.nii.gz", b"x", "--profile default"),
        ("study.zip", b"x", "--profile default"),
        ("magic.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "cut off or damaged"),
        ("magic.webp", b"RIFF\0\0\0\0WEBPVP8 ", "cut off or damaged"),
    ],
)
def test_what_is_no_radiograph_gives_one_plain_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    assert re.search(words, fault(tmp_path / name))


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_picture_that_was_cut_off_is_refused(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    Image.fromarray(noise).save(tmp_path / f"x.{ending}")
    whole = (tmp_path / f"x.{ending}").read_bytes()
    (tmp_path / f"x.{ending}").write_bytes(whole[: len(whole) // 2])
    assert "cut off or damaged" in fault(tmp_path / f"x.{ending}")


def test_several_pictures_in_one_file_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert "holds 2 pictures" in fault(tmp_path / "x.tif")
    assert "3 frames" in fault(write_dicom(tmp_path / "x.dcm", np.stack([GREY] * 3).astype(int), NumberOfFrames=3))


def test_a_ct_slice_is_sent_to_the_profile_that_takes_it(tmp_path):
    assert "--profile default" in fault(write_dicom(tmp_path / "x.dcm", GREY.astype(int), modality="CT"))
    assert "not a radiograph" in fault(write_dicom(tmp_path / "y.dcm", GREY.astype(int), modality="MR"))


def test_damaged_pixels_of_a_dicom_file_are_refused(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", GREY.astype(int))
    data = dcmread(path)
    data.PixelData = data.PixelData[:1000]
    data.save_as(path)
    assert "cannot be decoded" in fault(path)


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(radiograph_image, "MOST_PIXELS", 6000)
    Image.fromarray(GREY).save(tmp_path / "x.png")
    assert "70 x 90 pixels" in fault(tmp_path / "x.png")
    assert "70 x 90 pixels" in fault(write_dicom(tmp_path / "x.dcm", GREY.astype(int)))


def test_a_tiny_picture_and_a_folder_and_a_missing_file_are_refused(tmp_path):
    Image.fromarray(GREY[:8, :8].copy()).save(tmp_path / "x.png")
    assert "only 8 x 8 pixels" in fault(tmp_path / "x.png")
    assert "does not exist" in fault(tmp_path / "none.png")
    assert "is a folder" in fault(tmp_path)


def test_no_message_and_no_field_holds_what_the_file_says_of_the_patient(tmp_path):
    path = write_dicom(tmp_path / "x.dcm", GREY.astype(int))
    assert "Secret" not in repr(read_radiograph(path))
    path.write_bytes(path.read_bytes()[:-2000])
    assert "Secret" not in fault(path)


def test_pictures_and_projections_are_told_from_ct(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png")
    assert is_single_picture(tmp_path / "x.png")
    assert is_single_picture(write_dicom(tmp_path / "x.dcm", GREY.astype(int)))
    assert not is_single_picture(write_dicom(tmp_path / "y.dcm", GREY.astype(int), modality="CT"))
    assert not is_single_picture(tmp_path)
    assert not is_single_picture(tmp_path / "none.png")


def test_reading_needs_no_torch():
    code = "import sys, CSpineFractureLib.volume.radiograph_dicom, CSpineFractureLib.volume.radiograph_check as c; "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr
