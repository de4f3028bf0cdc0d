"""The whole ``unet-cracknet`` profile, with networks that know a phantom's truth and err now and then."""

from __future__ import annotations

from dataclasses import replace

import coded_phantom
import numpy as np
import pytest
import torch
from torch import nn

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.pipeline.calibrated import Calibration, calibration_file, write_calibration
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.profiles import Profile, register_profile
from CSpineFractureLib.pipeline.vertebra_cam import hot_part, sample_cam, vertebra_cam_slices
from CSpineFractureLib.pipeline.vertebra_fractures import JudgedVertebra
from CSpineFractureLib.pipeline.vertebra_places import widest
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume
from CSpineFractureLib.volume.vertebra_crop import VertebraPlace, place_of

TEST_PROFILE = "unet-cracknet-test"
register_profile(
    Profile(
        TEST_PROFILE,
        "Document 002",
        tasks=("segmentation",),
        optional=("vertebra-detector", "vertebra-fracture"),
        run="CSpineFractureLib.pipeline.unet_cracknet:run",
        explains=True,
    )
)


@pytest.fixture(scope="module")
def study():
    return coded_phantom.coded_study()


def analyse(volume, *networks, **options):
    store = coded_phantom.PlainStore(**{str(n): one for n, one in enumerate(networks)})
    return Engine(store, device="cpu").run_study(volume, TEST_PROFILE, **options)[1]


@pytest.fixture(scope="module")
def networks():
    return coded_phantom.segmentation(slips=0.08, swaps=0.03, islands=True), coded_phantom.fractures()


@pytest.fixture(scope="module")
def output(study, networks):
    return analyse(study.volume, *networks)


def test_segments_follow_the_truth_though_the_network_errs(study, output):
    assert first_fault(output.result.to_dict()) is None
    assert output.labels.dtype == np.uint8
    assert set(np.unique(output.labels)) == set(range(8))
    for number in range(1, 8):
        assert coded_phantom.dice(output.labels, study.labels, number) > 0.9, LEVELS[number - 1]
    assert (output.labels[study.labels == 0] > 0).sum() < 0.02 * (output.labels > 0).sum()


def test_levels_are_named_measured_and_placed(study, output):
    assert [v.level for v in output.result.vertebrae] == list(LEVELS)
    voxel_mm3 = float(np.prod(study.volume.spacing_mm))
    for number, vertebra in enumerate(output.result.vertebrae, start=1):
        assert vertebra.visible == "full"
        assert vertebra.volume_mm3 == pytest.approx((output.labels == number).sum() * voxel_mm3)
        shown = np.flatnonzero((output.labels == number).any(axis=(1, 2)))
        assert vertebra.slice_range == [shown[0], shown[-1]]
        assert np.linalg.norm(np.subtract(vertebra.center_ras, study.centres_ras[vertebra.level])) < 6
        assert 0.4 < vertebra.confidence < 1


def test_the_fractured_level_alone_is_found_near_its_gap(study, output):
    probabilities = {v.level: v.fracture_probability for v in output.result.vertebrae}
    assert probabilities["C5"] > 0.8
    assert max(p for level, p in probabilities.items() if level != "C5") < 0.5
    (fracture,) = output.result.fractures
    assert (fracture.level, fracture.confidence) == ("C5", probabilities["C5"])
    assert output.result.study.fracture_probability == probabilities["C5"]
    gap = study.volume.ras_of(np.argwhere(study.gap)[:, ::-1])
    low, high = np.array(fracture.box_ras)
    assert ((low > gap.min(axis=0) - 3) & (high < gap.max(axis=0) + 3)).all()


def test_grad_cam_shines_in_the_gap_and_as_bright_as_the_level_is_likely(study, output):
    brightest = 255 * output.result.study.fracture_probability  # in the crop; less between its pixels
    assert 0.8 * brightest < output.cam.max() <= brightest + 1
    places = np.argwhere(output.cam >= 0.6 * output.cam.max())[:, ::-1]
    ras = places @ output.cam_ijk_to_ras[:3, :3].T + output.cam_ijk_to_ras[:3, 3]
    gap = study.volume.ras_of(np.argwhere(study.gap)[:, ::-1])
    nearest = np.linalg.norm(ras[:, None] - gap[None], axis=2).min(axis=1)
    assert np.percentile(nearest, 90) < 2.5
    assert 0 < len(output.cam_slices) <= 6
    for one in output.cam_slices:
        assert one.picture.shape == one.cam.shape == (64, 64)
        assert study.gap[one.k - 1 : one.k + 2].any()


def test_slices_say_which_levels_they_show(study, output):
    assert len(output.result.slices) == len(study.volume.hu)
    for row in output.result.slices:
        assert row.fracture_probability is None
        shown = {LEVELS[n - 1] for n in np.unique(output.labels[row.k]) if n}
        assert set(row.vertebrae) <= shown
    middle = output.result.slices[round(float(study.volume.ijk_of(study.centres_ras["C4"])[2]))]
    assert middle.vertebrae["C4"] > 0.45


def test_the_order_of_storage_does_not_change_the_findings(study, networks, output):
    order = (2, 0, 1)
    stored = np.ascontiguousarray(np.transpose(np.flip(study.volume.hu, (1, 2)), order))
    matrix = study.volume.ijk_to_ras.copy()
    for axis in (0, 1):
        matrix[:3, 3] += matrix[:3, axis] * (study.volume.hu.shape[2 - axis] - 1)
        matrix[:3, axis] *= -1
    matrix[:3, :3] = matrix[:3, [2 - order[2], 2 - order[1], 2 - order[0]]]
    other = analyse(CTVolume(stored, matrix), *networks)
    assert np.array_equal(np.flip(np.transpose(other.labels, np.argsort(order)), (1, 2)), output.labels)
    for one, two in zip(other.result.vertebrae, output.result.vertebrae, strict=True):
        np.testing.assert_allclose(one.box_ras, two.box_ras, atol=1e-6)
        np.testing.assert_allclose(one.center_ras, two.center_ras, atol=1e-6)
        assert one.fracture_probability == pytest.approx(two.fracture_probability, abs=1e-6)
    np.testing.assert_allclose(other.result.fractures[0].box_ras, output.result.fractures[0].box_ras, atol=1e-6)


def test_without_weights_for_fractures_the_segments_stand_alone(study, networks, output):
    result = (alone := analyse(study.volume, networks[0])).result
    assert np.array_equal(alone.labels, output.labels)
    assert result.fractures == []
    assert result.study.fracture_probability is None
    assert all(isinstance(v.fracture_assessable, str) for v in result.vertebrae)
    assert "no weights" in next(w.message for w in result.warnings if w.code == "fracture-not-assessable")
    assert alone.cam is None


def test_coarse_pixels_give_segments_but_no_word_on_fractures(study, networks):
    matrix = study.volume.ijk_to_ras @ np.diag([1.2, 1.2, 1, 1])
    result = analyse(CTVolume(study.volume.hu, matrix), *networks).result
    assert len(result.vertebrae) == 7
    assert result.fractures == []
    assert [w.code for w in result.warnings] == ["fracture-not-assessable"]


def test_a_vertebra_that_the_scan_cuts_is_not_judged(study, networks):
    shown = np.flatnonzero((study.labels == 5).any(axis=(1, 2)))
    matrix = study.volume.ijk_to_ras.copy()
    matrix[:3, 3] = study.volume.ras_of(np.array([0, 0, shown[0] + 7]))
    result = analyse(CTVolume(study.volume.hu[shown[0] + 7 :], matrix), *networks).result
    cut = next(v for v in result.vertebrae if v.level == "C5")
    assert (cut.visible, cut.fracture_probability) == ("partial", None)
    assert "only part" in cut.fracture_assessable
    assert result.fractures == []
    assert "levels-below-missing" in {w.code for w in result.warnings}


def test_air_gives_a_warning_and_nothing_else(networks):
    output = analyse(CTVolume(np.full((20, 32, 32), -1000, np.int16), np.diag([-0.9, -0.9, 1.5, 1])), networks[0])
    assert output.result.vertebrae == []
    assert not output.labels.any()
    assert [w.code for w in output.result.warnings if w.code == "no-cervical-spine"] == ["no-cervical-spine"]


def test_scores_become_probabilities_by_the_calibration_beside_the_network(study, networks, output, tmp_path):
    network, entry = networks[1]
    entry = replace(entry, folder=tmp_path)
    slopes = {"below": 4.0, "above": 0.7}
    found = Calibration(TEST_PROFILE, 0.7, {entry.task: entry.sha256}, slopes, {"below": 3.0, "above": 0.4})
    write_calibration(found, tmp_path / calibration_file(TEST_PROFILE))
    calibrated = analyse(study.volume, networks[0], (network, entry))
    scores = {v.level: v.fracture_probability for v in output.result.vertebrae}
    for vertebra in calibrated.result.vertebrae:
        expected = found.level_map.probability(scores[vertebra.level])
        assert vertebra.fracture_probability == pytest.approx(expected, abs=1e-6)
    (fracture,) = calibrated.result.fractures
    assert (fracture.level, fracture.confidence) == ("C5", pytest.approx(found.level_map.probability(scores["C5"])))
    assert fracture.confidence != pytest.approx(scores["C5"], abs=0.01)
    study_result = calibrated.result.study
    assert study_result.fracture_probability == pytest.approx(found.study_probability(scores["C5"]))
    assert "calibrated on 0 synthetic studies" in study_result.level_rule
    assert "not calibrated" in output.result.study.level_rule
    assert calibrated.cam.max() <= 255 * fracture.confidence + 1


def test_the_mask_is_a_further_channel_where_the_network_takes_it(study):
    judge = coded_phantom.fractures(mask=True)
    result = analyse(study.volume, coded_phantom.segmentation(), judge).result
    assert judge[0].channels == {4}
    assert [f.level for f in result.fractures] == ["C5"]


def test_a_network_that_takes_no_crops_is_refused(study):
    judge = coded_phantom.GapReader(), coded_phantom.entry_of("vertebra-fracture", 64)
    with pytest.raises(UserError, match="slices of vertebrae"):
        analyse(study.volume, coded_phantom.segmentation(), judge)


@pytest.mark.parametrize("slices", [1, 30])
def test_a_network_of_whole_slices_sees_them_uncropped_and_needs_no_boxes(study, slices):
    torch.manual_seed(0)
    entry = coded_phantom.entry_of("vertebra-fracture", 64, "vertebra-whole", slices=slices)
    boxes = BoxReader(), coded_phantom.entry_of("vertebra-detector", coded_phantom.SIZE)
    judge = coded_phantom.GapReader()
    output = analyse(study.volume, coded_phantom.segmentation(), boxes, (judge, entry), thresholds={"gradcam": 0.0})
    assert boxes[0].calls == 0
    scores = {v.level: v.fracture_probability for v in output.result.vertebrae}
    assert max(scores, key=scores.get) == "C5"
    _, rows, columns = output.labels.shape
    assert output.cam.shape[1] == pytest.approx(rows * 0.9, abs=1)
    assert output.cam.shape[2] == pytest.approx(columns * 0.9, abs=1)


class BoxReader(nn.Module):
    """Boxes of C1-C7 by grey value, two pixels wider on each side, as a YOLO network gives them; score 0.9."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.calls = 0

    def forward(self, images):
        self.calls += len(images)
        hu = images[:, 2].numpy() * coded_phantom.WIDTH_HU + coded_phantom.LOW_HU
        answer = torch.zeros(len(images), 4 + 7, 7)
        for n, one in enumerate(hu):
            for number in range(1, 8):
                rows, columns = np.nonzero(np.abs(one - coded_phantom.code_hu(number)) < 20)
                if len(rows):
                    x0, x1 = columns.min() - 2, columns.max() + 3
                    y0, y1 = rows.min() - 2, rows.max() + 3
                    box = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
                    answer[n, :4, number - 1] = torch.tensor(box)
                    answer[n, 3 + number, number - 1] = 0.9
        return answer


def test_the_boxes_of_a_detector_give_the_crops_where_there_is_one(study, monkeypatch):
    from CSpineFractureLib.pipeline import vertebra_fractures

    places, crop = {}, vertebra_fractures.crop_vertebra
    monkeypatch.setattr(
        vertebra_fractures,
        "crop_vertebra",
        lambda hu, place, *rest: (places.setdefault(place.k0, place), crop(hu, place, *rest))[1],
    )
    boxes = BoxReader(), coded_phantom.entry_of("vertebra-detector", coded_phantom.SIZE)
    result = analyse(study.volume, coded_phantom.segmentation(), boxes, coded_phantom.fractures()).result
    assert boxes[0].calls > 50
    assert [f.level for f in result.fractures] == ["C5"]
    view = CanonicalView.of(study.volume)
    own = place_of(study.labels, 4, view.spacing_mm)
    used = places[own.k0]
    assert (used.j0, used.j1, used.i0, used.i1) == pytest.approx(
        (own.j0 - 2, own.j1 + 2, own.i0 - 2, own.i1 + 2), abs=1
    )


def test_boxes_beside_the_vertebra_do_not_count(study):
    view = CanonicalView.of(study.volume)
    place = VertebraPlace(10, 20, 40, 60, 40, 70)
    far, other_slice, good = (15, (90.0, 90, 99, 99)), (30, (40.0, 40, 70, 60)), (15, (42.0, 38, 72, 58))
    assert widest(place, [far, other_slice], view) == place
    margin = 5 / 0.9
    found = widest(place, [far, other_slice, good], view)
    assert (found.k0, found.k1) == (10, 20)
    assert (found.i0, found.i1) == (int(42 - margin), int(np.ceil(72 + margin)))
    assert (found.j0, found.j1) == (int(38 - margin), int(np.ceil(58 + margin)))


def test_the_cam_of_a_crop_is_sampled_where_it_lies_in_the_volume():
    place = VertebraPlace(10, 20, 30, 50, 40, 70)
    cam = np.zeros((11, 60, 60), np.float32)
    cam[2, 20:24, 30:34] = 1.0  # slice 18; a square of 30 pixels from row 25 and column 40
    judged = JudgedVertebra(3, place, 0.8, 0.8, np.zeros((11, 3, 60, 60), np.uint8), cam)
    k, j, i = np.meshgrid(np.arange(5, 26), np.arange(20, 60), np.arange(35, 75), indexing="ij")
    seen = np.argwhere(sample_cam(judged, k, j, i) > 0.9) + np.array([5, 20, 35])
    np.testing.assert_array_equal(np.unique(seen, axis=0), [[18, 35, 55], [18, 35, 56], [18, 36, 55], [18, 36, 56]])
    labels = np.zeros((30, 80, 80), np.uint8)
    labels[10:21, 30:50, 40:70] = 3
    block = (slice(10, 21), slice(30, 50), slice(40, 70))
    assert hot_part(judged, labels, block) == (slice(18, 19), slice(35, 37), slice(55, 57))
    judged.cam = np.zeros_like(cam)
    assert hot_part(judged, labels, block) == block


def test_two_vertebrae_in_one_slice_give_one_picture_of_the_more_suspicious():
    view = CanonicalView.of(CTVolume(np.zeros((40, 8, 8), np.int16), np.diag([-0.9, -0.9, 1, 1])))
    pictures = np.zeros((10, 3, 8, 8), np.uint8)
    cam = np.full((10, 8, 8), 0.5, np.float32)
    judged = [
        JudgedVertebra(number, VertebraPlace(k, k + 9, 0, 8, 0, 8), p, p, pictures, cam * p)
        for number, k, p in ((4, 16, 0.6), (5, 10, 0.9))
    ]
    shown = vertebra_cam_slices(view, judged)
    assert len({one.k for one in shown}) == len(shown)
    assert [one.probability for one in shown] == [0.9] * 6 + [0.6] * 6


def test_untrained_networks_of_the_document_run_through(study):
    from CSpineFractureLib.models.crack_net import cnn_lstm
    from CSpineFractureLib.models.unet import build_unet

    torch.manual_seed(0)
    unet = build_unet("unet-mobilenet"), coded_phantom.entry_of("segmentation", 64)
    judge = cnn_lstm(), coded_phantom.entry_of("vertebra-fracture", 32, "vertebra-crop", slices=4)
    output = analyse(CTVolume(study.volume.hu[40:72], study.volume.ijk_to_ras), unet, judge)
    assert first_fault(output.result.to_dict()) is None
    assert output.labels.shape == (32, *study.volume.hu.shape[1:])


def test_a_trained_form_of_the_sequence_network_is_explained(study):
    from CSpineFractureLib.models.crack_net import cnn_lstm

    torch.manual_seed(0)
    judge = cnn_lstm(), coded_phantom.entry_of("vertebra-fracture", 32, "vertebra-crop", slices=6)
    output = analyse(study.volume, coded_phantom.segmentation(), judge, thresholds={"fracture": 0.0, "gradcam": 0.0})
    assert [f.level for f in sorted(output.result.fractures, key=lambda f: f.level)] == list(LEVELS)
    assert output.cam.max() > 0
    assert output.cam.shape[0] <= len(study.volume.hu)


def test_explaining_few_slices_at_a_time_changes_nothing_and_leaves_the_network_as_it_was():
    from CSpineFractureLib.explain.grad_cam import slice_grad_cam
    from CSpineFractureLib.models.crack_net import SlicesOfOne, cnn_lstm
    from CSpineFractureLib.pipeline.vertebra_fractures import vertebra_cam

    torch.manual_seed(0)
    network = cnn_lstm().eval().requires_grad_(False)
    features = network.features
    pictures = np.random.default_rng(0).integers(0, 255, (7, 3, 32, 32)).astype(np.uint8)
    images = torch.from_numpy(pictures).float() / 255
    whole = slice_grad_cam(SlicesOfOne(network), images, batch_size=7, normalise=False)
    assert whole.max() > 0
    cam = vertebra_cam(network, pictures, 0.6)
    np.testing.assert_allclose(cam, whole * 0.6 / whole.max(), atol=1e-4)
    assert network.features is features
