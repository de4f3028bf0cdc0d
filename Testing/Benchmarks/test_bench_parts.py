"""The parts of ``cspine bench``: noted calls, agreement, the naive execution's pictures, the synthetic CT, memory."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from CSpineFractureLib.explain.grad_cam import slice_grad_cam
from CSpineFractureLib.findings.study_result import Box, SliceFinding, StudyFinding, StudyResult, VertebraFinding
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.models.yolo import build_yolo, fuse_for_inference
from CSpineFractureLib.phantom.study import PhantomStudy
from CSpineFractureLib.pipeline.classify import CLASSIFIER
from CSpineFractureLib.pipeline.naive_run import (
    DEEP,
    PREDICT_SIZE,
    SHALLOW,
    NaiveEngine,
    PredictedByUltralytics,
    read_picture,
    write_picture,
)
from CSpineFractureLib.training.bench_agreement import agreement, box_iou
from CSpineFractureLib.training.bench_ct import OUTSIDE_HU, resized
from CSpineFractureLib.training.bench_memory import peak_rss_gb
from CSpineFractureLib.training.bench_networks import CallRecorder


class Counting(nn.Module):
    """A network that counts its forward passes, and those with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.passes, self.explained = nn.Linear(4, 2), 0, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        self.explained += torch.is_grad_enabled()
        return self.layer(images)


@pytest.fixture
def watched():
    network, recorder = Counting().requires_grad_(False).eval(), CallRecorder()
    recorder.watch("guess", network)
    recorder.is_on = True
    return network, recorder


def test_noted_calls_are_repeated_once_each(watched):
    network, recorder = watched
    with torch.no_grad():
        for size in (3, 5):
            network(torch.rand(size, 4))
    recorder.is_on = False
    network(torch.rand(7, 4))
    assert [call.images for call in recorder.calls["guess"]] == [3, 5]
    network.passes = 0
    assert recorder.repeat()["guess"] > 0
    assert network.passes == 2


def test_calls_with_gradients_are_repeated_with_them_and_leave_the_network_as_it_was(watched):
    network, recorder = watched
    network.layer.weight.requires_grad_(True)
    network(torch.rand(3, 4)).sum().backward()
    network.layer.requires_grad_(False)
    network.layer.weight.grad, network.explained = None, 0
    assert list(recorder.calls) == ["guess+backward"]
    with torch.inference_mode():
        recorder.repeat()
    assert network.explained == 1
    assert network.layer.weight.grad is None
    assert not any(one.requires_grad for one in network.parameters())


def test_the_same_pictures_right_after_each_other_count_once(watched):
    network, recorder = watched
    images = torch.rand(3, 4)
    with torch.no_grad():
        network(images)
        network(images.clone())
        network(images + 1)
    assert len(recorder.calls["guess"]) == 2


def test_what_is_noted_does_not_change_with_the_callers_arrays(watched):
    network, recorder = watched
    images = torch.zeros(3, 4)
    with torch.no_grad():
        network(images)
    images += 1
    assert not recorder.calls["guess"][0].arguments[0].any()


def result(centre: float = 0.0, probability: float | None = 0.5, levels: tuple[str, ...] = ("C4",)) -> StudyResult:
    box = Box([centre, 0.0, 0.0], [10.0, 10.0, 10.0])
    found = [
        VertebraFinding(name, name, "full", True, 0.9, [0.0] * 3, box, [0, 1], probability, True, 1.0)
        for name in levels
    ]
    study = StudyFinding(probability, "made up")
    return StudyResult(
        "1", "now", "0", "complete", None, "made", "cpu", study, slices=[SliceFinding(0, probability)], vertebrae=found
    )


def test_a_result_agrees_with_itself():
    assert agreement(result(), result()) == {
        "levels_identical": True,
        "least_box_iou": 1.0,
        "largest_probability_difference": 0.0,
        "probabilities_compared": 3,
    }


def test_differences_of_levels_boxes_and_probabilities_are_told():
    found = agreement(result(levels=("C4", "C5")), result(centre=5.0, probability=0.2))
    assert found["levels_identical"] is False
    assert found["least_box_iou"] == pytest.approx(1 / 3)
    assert found["largest_probability_difference"] == 1.0  # of C5, which one of the two lacks
    assert agreement(result(), result(probability=0.2))["largest_probability_difference"] == pytest.approx(0.3)
    assert agreement(result(probability=None), result(probability=None))["largest_probability_difference"] is None


def test_boxes_apart_share_nothing():
    assert box_iou([[0, 0, 0], [1, 1, 1]], [[2, 0, 0], [3, 1, 1]]) == 0.0


@pytest.mark.parametrize("brightest", [SHALLOW, DEEP])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_survives_its_file_up_to_its_bits(tmp_path, channels, brightest):
    image = torch.rand(channels, 9, 7, generator=torch.Generator().manual_seed(0))
    write_picture(image, tmp_path / "picture.png", brightest)
    again = read_picture(tmp_path / "picture.png", channels)
    assert again.shape == image.shape
    assert 0 < (again - image).abs().max() <= 0.5 / brightest + 1e-6


@pytest.mark.parametrize("channels", [1, 3])
def test_predict_shows_the_network_the_picture_in_the_corner_of_512_pixels(tmp_path, channels):
    torch.manual_seed(0)
    network = fuse_for_inference(build_yolo("yolov8n", 2, channels)).requires_grad_(False)
    image = torch.rand(1, channels, 96, 128)
    canvas = torch.zeros(1, channels, PREDICT_SIZE, PREDICT_SIZE)
    canvas[:, :, :96, :128] = (image * 255).round() / 255
    with torch.no_grad():
        expected = network(canvas)[0]
        naive = PredictedByUltralytics(network, lambda task, number: tmp_path / f"{task}-{number}.png")
        said = naive(image)
    assert [path.name for path in tmp_path.iterdir()] == ["detect-0.png"]
    torch.testing.assert_close(said, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_predict_can_show_the_network_the_picture_as_it_is(tmp_path, channels):
    torch.manual_seed(0)
    network = fuse_for_inference(build_yolo("yolov8n", 2, channels)).requires_grad_(False)
    image = torch.rand(1, channels, 96, 128)
    with torch.no_grad():
        expected = network(image)[0]
        naive = PredictedByUltralytics(network, lambda task, number: tmp_path / f"{task}-{number}.png", True)
        said = naive(image)
    assert [path.name for path in tmp_path.iterdir()] == ["detect-0.png"]
    torch.testing.assert_close(said, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("same_pictures", "brightest"), [(False, SHALLOW), (True, DEEP)])
def test_a_warmed_up_naive_execution_explains_a_picture_from_its_file(tmp_path, same_pictures, brightest):
    engine = NaiveEngine(WeightsStore(user=tmp_path / "none"), same_pictures=same_pictures)
    engine.warm_up()
    engine._pictures = tmp_path
    network, _ = engine._load(CLASSIFIER)
    images = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    found = slice_grad_cam(network, images, normalise=False)
    expected = slice_grad_cam(network.network, (images * brightest).round() / brightest, normalise=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert expected.any()
    assert len(list(tmp_path.glob("classify-*.png"))) == 1


def study() -> PhantomStudy:
    hu = np.repeat(np.arange(20, dtype=np.int16)[:, None, None] * 50, 16, 1).repeat(16, 2)
    return PhantomStudy(0, hu, hu * 0, hu * 0, np.diag([-2.0, -2.0, 3.0, 1.0]), {})


def test_the_synthetic_ct_has_the_size_asked_for_and_shows_the_same_field():
    image = resized(study(), 40, 64)
    assert image.GetSize() == (64, 64, 40)
    assert np.multiply(image.GetSize(), image.GetSpacing()) == pytest.approx((32.0, 32.0, 60.0))


def test_a_long_scan_goes_on_below_the_neck():
    import SimpleITK as sitk

    hu = sitk.GetArrayFromImage(resized(study(), 300, 8))
    assert hu[-1].mean() > 900  # the uppermost slices are those of the study
    assert not hu[:170].any()  # 150 mm at 0.5 mm, of which the study has 60 mm
    assert hu.min() > OUTSIDE_HU


def test_the_peak_of_memory_is_at_least_what_is_held_now():
    held = np.ones(25_000_000)
    assert peak_rss_gb() > psutil.Process().memory_info().rss / 1e9 - 0.02 > 0.2
    assert held.any()
