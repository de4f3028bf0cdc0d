"""From a radiograph's file to its class, saliency map and files."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.models.manifest import ModelEntry
from CSpineFractureLib.models.radiograph_nets import BUILDERS
from CSpineFractureLib.pipeline.radiograph import FILES, analyse_radiograph, run, write_radiograph

ENTRY = ModelEntry(
    name="tiny",
    version="0.1.0",
    task="radiograph",
    profiles=["radiograph"],
    architecture="radiograph-alexnet",
    licence="Apache-2.0",
    trained_on="nothing (random weights)",
    input={"image": "radiograph", "windows": [], "size": [96, 96], "spacing_mm": [None, None]},
    sha256="0" * 64,
)


class Store:
    """One network with random weights, or none."""

    def __init__(self, entries=(ENTRY,)):
        torch.manual_seed(0)
        self.entries = list(entries)
        self.network = BUILDERS["radiograph-alexnet"](fc_width=16, batch_norm=True).eval().requires_grad_(False)

    def list(self):
        return self.entries

    def find(self, task, profile=None, name=None):
        if name not in (None, "tiny"):
            message = f"Model '{name}' is not on this computer."
            raise UserError(message)
        return self.entries[0]

    def load(self, entry, device):
        return self.network, entry.info


@pytest.fixture
def picture(tmp_path):
    """A wide picture with all shades."""
    noise = sitk.GetArrayFromImage(
        sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(np.random.default_rng(1).random((150, 210))), 9.0)
    )
    grey = 255 * (noise - noise.min()) / np.ptp(noise)
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "x.png")
    return tmp_path / "x.png"


def test_a_radiograph_gives_a_class_with_probabilities_and_two_maps(picture):
    output = analyse_radiograph(picture, store=Store(), device="cpu")
    found = output.result.radiograph
    assert found.kind == max(found.probabilities, key=found.probabilities.get)
    assert sum(found.probabilities.values()) == pytest.approx(1)
    for one in (output.saliency, output.cam):
        assert (one.shape, one.dtype) == ((150, 210), np.float32)
        assert one.min() >= 0
        assert one.max() <= found.probabilities[found.kind] + 1e-6
    assert output.saliency.max() > 0.2


def test_the_result_describes_the_picture_as_one_slice(picture):
    result = analyse_radiograph(picture, store=Store(), device="cpu").result
    assert result.volume.shape_kji == [1, 150, 210]
    assert [notice.code for notice in result.warnings] == ["no-pixel-size"]
    assert result.study.fracture_probability is None
    assert [model.name for model in result.models] == ["tiny"]
    assert {"read", "models", "classify", "explain"} <= result.timings_s.keys()


def test_the_same_file_gives_the_same_answer_and_the_picture_is_what_the_network_saw(picture):
    first, second = (analyse_radiograph(picture, store=Store(), device="cpu") for _ in range(2))
    assert first.result.radiograph == second.result.radiograph
    assert np.array_equal(first.saliency, second.saliency)


def test_what_is_no_radiograph_is_classified_with_a_warning(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    result = analyse_radiograph(tmp_path / "noise.png", store=Store(), device="cpu").result
    assert "not-a-radiograph" in [notice.code for notice in result.warnings]


def test_the_files_are_written_and_hold_what_was_found(picture, tmp_path):
    output = analyse_radiograph(picture, store=Store(), device="cpu")
    paths = write_radiograph(output, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert all(path.is_file() for path in paths)
    assert read_result(tmp_path / "out" / "result.json").radiograph.kind == output.result.radiograph.kind
    saved = sitk.ReadImage(str(tmp_path / "out" / "saliency.nrrd"))
    assert np.allclose(sitk.GetArrayFromImage(saved)[0], output.saliency)
    page = Image.open(tmp_path / "out" / "saliency.png")
    assert page.width > 3 * page.height


def test_a_pixel_size_that_is_known_stands_in_the_files(picture, tmp_path):
    output = analyse_radiograph(picture, store=Store(), device="cpu")
    output.image = replace(output.image, pixel_mm=0.25)
    write_radiograph(output, tmp_path / "out")
    assert sitk.ReadImage(str(tmp_path / "out" / "saliency.nrrd")).GetSpacing() == (0.25, 0.25, 1.0)


def test_nothing_is_left_where_writing_fails(picture, tmp_path, monkeypatch):
    output = analyse_radiograph(picture, store=Store(), device="cpu")
    output.result.radiograph.probabilities["normal"] = 3.0
    with pytest.raises(ValueError, match="does not follow cspine-result"):
        write_radiograph(output, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds other files"):
        write_radiograph(output, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_without_weights_the_command_that_makes_them_is_named_before_the_file_is_read(tmp_path):
    with pytest.raises(UserError, match="'cspine train 001-radiograph'"):
        analyse_radiograph(tmp_path / "none.png", store=Store([]), device="cpu")


def test_bad_files_and_unknown_networks_end_in_one_sentence(tmp_path, picture):
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match="is empty"):
        analyse_radiograph(tmp_path / "empty.png", store=Store(), device="cpu")
    with pytest.raises(UserError, match="'other'"):
        analyse_radiograph(picture, store=Store(), device="cpu", model="other")


def test_a_run_can_be_cancelled(picture):
    with pytest.raises(Cancelled):
        analyse_radiograph(picture, store=Store(), device="cpu", is_cancelled=lambda: True)


def test_events_tell_the_stages_in_order(picture):
    stages = []
    analyse_radiograph(picture, store=Store(), device="cpu", on_event=lambda event: stages.append(event["stage"]))
    assert list(dict.fromkeys(stages)) == ["read", "models", "classify", "explain"]


def test_the_weights_stay_as_they_were(picture):
    store = Store()
    before = _digest(store.network)
    analyse_radiograph(picture, store=store, device="cpu")
    assert _digest(store.network) == before
    assert not any(weight.requires_grad for weight in store.network.parameters())


def test_a_ct_is_refused_with_the_profile_to_use():
    with pytest.raises(UserError, match="--profile default"):
        run(None, None)


def _digest(network):
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in network.state_dict().values())).hexdigest()
