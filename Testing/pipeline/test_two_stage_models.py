"""The ``two-stage`` profile with networks of whole slices, as document 000 trains them, not the shipped ones."""

from __future__ import annotations

import numpy as np
import picture_networks
import pytest
import torch

from CSpineFractureLib.errors import Cancelled, UserError
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.study_result import BY_CAM, LEVELS
from CSpineFractureLib.models.registry import create
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline import two_stage
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture(scope="module")
def study():
    return picture_networks.block_study()


@pytest.fixture(scope="module")
def empty_bundle(tmp_path_factory):
    return tmp_path_factory.mktemp("bundled")


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_bundle):
    store = WeightsStore(tmp_path_factory.mktemp("store") / "models", empty_bundle)
    picture_networks.install_vertebra_detector(store, "two-stage")
    picture_networks.install_slice_classifier(store)
    picture_networks.install_fracture_detector(store, "two-stage")
    return store


@pytest.fixture(scope="module")
def output(store, study):
    return Engine(store, device="cpu").run_study(study.volume, "two-stage")[1]


@pytest.fixture(scope="module")
def without_boxes(tmp_path_factory, study, empty_bundle):
    store = WeightsStore(tmp_path_factory.mktemp("store") / "models", empty_bundle)
    picture_networks.install_vertebra_detector(store, "two-stage")
    picture_networks.install_slice_classifier(store)
    return Engine(store, device="cpu").run_study(study.volume, "two-stage")[1]


def test_a_run_can_be_cancelled_between_vertebrae_after_the_last_network(store, study, monkeypatch):
    measured, real = [], two_stage._vertebra
    monkeypatch.setattr(two_stage, "_vertebra", lambda *given: measured.append(given[0]) or real(*given))
    with pytest.raises(Cancelled):
        Engine(store, device="cpu").run_study(study.volume, "two-stage", is_cancelled=lambda: len(measured) == 3)
    assert len(measured) == 3


@pytest.mark.parametrize(
    ("done", "times", "following"), [("_vertebra", 7, "scan_warnings"), ("fracture_findings", 1, "cam_volume")]
)
def test_a_run_can_be_cancelled_before_its_last_steps(store, study, monkeypatch, done, times, following):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # with more, some steps begin ahead
    seen, real = [], getattr(two_stage, done)
    monkeypatch.setattr(two_stage, done, lambda *given: seen.append(1) or real(*given))
    monkeypatch.setattr(two_stage, following, lambda *given: pytest.fail(f"{following} began in spite of it"))
    with pytest.raises(Cancelled):
        Engine(store, device="cpu").run_study(study.volume, "two-stage", is_cancelled=lambda: len(seen) >= times)


def test_levels_and_the_fracture_are_found_in_place(study, output):
    assert first_fault(output.result.to_dict()) is None
    assert [v.level for v in output.result.vertebrae] == list(LEVELS)
    (fracture,) = output.result.fractures
    assert fracture.level == "C4"
    low, high = study.hull(study.fracture)
    np.testing.assert_allclose(fracture.box_ras[0], low, atol=1.6)
    np.testing.assert_allclose(fracture.box_ras[1], high, atol=1.6)
    probabilities = {v.level: v.fracture_probability for v in output.result.vertebrae}
    assert probabilities["C4"] > 0.9
    assert max(p for level, p in probabilities.items() if level != "C4") < 0.5
    assert output.result.study.fracture_probability == probabilities["C4"]


def test_grad_cam_shines_where_the_classifier_looked(study, output):
    bright = np.argwhere(output.cam > 127)[:, ::-1]
    places = bright @ output.cam_ijk_to_ras[:3, :3].T + output.cam_ijk_to_ras[:3, 3]
    low, high = study.hull(study.fracture)
    np.testing.assert_allclose(places.mean(axis=0), (low + high) / 2, atol=1.5)
    assert (places > low - 3).all()
    assert (places < high + 3).all()


def test_the_cam_pictures_are_what_the_classifier_saw(study, output):
    first, last = study.fracture[0]
    assert {one.k for one in output.cam_slices} <= set(range(first - 2, last + 2))
    probabilities = [one.probability for one in output.cam_slices]
    assert probabilities == sorted(probabilities, reverse=True)
    best = output.cam_slices[0]
    assert best.picture.shape == best.cam.shape == (224, 224)
    assert best.cam.max() == pytest.approx(best.probability, abs=1e-3)
    row, column = np.unravel_index(best.cam.argmax(), best.cam.shape)
    assert best.picture[row, column] == pytest.approx(picture_networks.grey(picture_networks.FRACTURE_HU), abs=0.01)


def test_the_order_of_storage_does_not_change_the_findings(store, study, output):
    other = Engine(store, device="cpu").run_study(picture_networks.stored_otherwise(study.volume), "two-stage")[1]
    for one, two in zip(output.result.vertebrae, other.result.vertebrae, strict=True):
        np.testing.assert_allclose(one.box_ras, two.box_ras, atol=1e-6)
        assert one.fracture_probability == pytest.approx(two.fracture_probability, abs=1e-6)
    np.testing.assert_allclose(output.result.fractures[0].box_ras, other.result.fractures[0].box_ras, atol=1e-6)
    assert np.array_equal(output.labels, other.labels[::-1, ::-1, ::-1])
    assert len(output.cam_slices) == len(other.cam_slices)


def test_without_a_fracture_detector_slices_are_judged_and_grad_cam_places_the_fracture(without_boxes):
    result = without_boxes.result
    (found,) = result.fractures
    level = next(v for v in result.vertebrae if v.level == "C4")
    assert (found.level, found.comment, found.confidence) == ("C4", BY_CAM, level.fracture_probability)
    assert "no-fracture-detector" in {notice.code for notice in result.warnings}
    assert {model.task for model in result.models} == {"vertebra-detector", "slice-classifier"}
    assert next(v for v in result.vertebrae if v.level == "C4").fracture_probability > 0.9


def test_without_vertebrae_every_slice_is_still_classified(store, study):
    hu = study.volume.hu.copy()
    bone = (hu > 300) & (hu < 1000)
    hu[bone] = 40
    result = Engine(store, device="cpu").run_study(CTVolume(hu, study.volume.ijk_to_ras), "two-stage")[1].result
    assert result.vertebrae == []
    assert result.study.fracture_probability is None
    probabilities = [one.fracture_probability for one in result.slices]
    middle = sum(study.fracture[0]) // 2
    assert probabilities[middle] > 0.9
    assert probabilities[2] < 0.1
    assert {"no-cervical-spine", "slices-without-levels"} <= {notice.code for notice in result.warnings}


@pytest.mark.parametrize("architecture", ["slice-cnn", "slice-resnet50"])
def test_any_slice_classifier_explains_whole_slices_on_the_right_grid(store, study, architecture, tmp_path):
    own = WeightsStore(tmp_path / "models", store.user)
    torch.manual_seed(1)
    network = create(architecture)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # timm begins some at 0, which lets no gradient through
            torch.nn.init.ones_(module.weight)
    entry = picture_networks.install(own, network, "slice-classifier", "two-stage", architecture, 224)
    few = CTVolume(np.ascontiguousarray(study.volume.hu[40:52]), study.volume.ijk_to_ras)
    thresholds = {"gradcam": 0.0}
    output = Engine(own, device="cpu").run_study(
        few, "two-stage", models={"slice-classifier": entry.name}, thresholds=thresholds
    )[1]
    assert entry.name in [model.name for model in output.result.models]
    assert len(output.cam) == len(output.cam_slices) == 12
    corners = np.array([[0, 0, 0], np.array(output.cam.shape[::-1]) - 1])
    places = corners @ output.cam_ijk_to_ras[:3, :3].T + output.cam_ijk_to_ras[:3, 3]
    inside = few.ijk_of(places)
    assert (inside > -0.6).all()
    assert (inside < np.array(few.hu.shape[::-1]) - 0.4).all()
    assert output.cam.any()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"level-presence": "x"}, "two-stage has no network for the task 'level-presence'.*cspine models list"),
        ({"vertebra-detector": "nonsense"}, "'nonsense'.*vertebra-detector-two-stage-test"),
        ({"vertebra-detector": "slice-classifier-two-stage-test"}, "is not a vertebra-detector"),
        ({"fracture-detector": "nonsense"}, "'nonsense'"),
    ],
)
def test_a_task_or_name_that_is_not_there_is_one_sentence(store, study, models, message):
    with pytest.raises(UserError, match=message):
        Engine(store, device="cpu").run_study(study.volume, "two-stage", models=models)
