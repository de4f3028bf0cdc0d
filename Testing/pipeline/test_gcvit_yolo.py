"""The ``gcvit-yolo`` profile with a network that reads the metadata and a detector that reads the picture."""

from __future__ import annotations

import numpy as np
import picture_networks
import pytest

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.findings.result_rows import NOT_SUSPECTED, SUSPECTED, result_rows
from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.boxes2d import SliceBox
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.pipeline.fracture_boxes import fracture_findings, level_probability
from CSpineFractureLib.pipeline.level_presence import looked_at, on_every_slice, slice_places
from CSpineFractureLib.pipeline.outputs import slicer_is_installed, write_outputs
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture(scope="module")
def study():
    return picture_networks.block_study()


@pytest.fixture(scope="module")
def engine(tmp_path_factory, study):
    store = WeightsStore(user=tmp_path_factory.mktemp("store") / "models")
    picture_networks.install_place_reader(store, study)
    picture_networks.install_fracture_detector(store, "gcvit-yolo")
    return Engine(store, device="cpu")


@pytest.fixture(scope="module")
def output(engine, study):
    return engine.run_study(study.volume, "gcvit-yolo")[1]


def test_each_level_has_its_slices(study, output):
    assert [v.level for v in output.result.vertebrae] == list(LEVELS)
    hang = 2  # slices of 1.5 mm that reach below the block by the network's 4 mm
    for vertebra, ((first, last), _, _) in zip(output.result.vertebrae, study.levels, strict=True):
        assert vertebra.slice_range == [first - hang, last - 1]
        assert vertebra.visible == "full"
        low, high = study.hull([(first - hang, last), *study.levels[0][1:]])
        np.testing.assert_allclose([vertebra.box_ras[n][2] for n in (0, 1)], [low[2], high[2]], atol=1e-6)
    assert "levels-by-slice" in {notice.code for notice in output.result.warnings}


def test_the_fracture_is_found_in_place_at_its_level(study, output):
    assert first_fault(output.result.to_dict()) is None
    (fracture,) = output.result.fractures
    low, high = study.hull(study.fracture)
    np.testing.assert_allclose(fracture.box_ras[0], low, atol=1.6)
    np.testing.assert_allclose(fracture.box_ras[1], high, atol=1.6)
    assert fracture.level == "C4"
    assert fracture.confidence == pytest.approx(0.9)
    assert output.result.study.fracture_probability == pytest.approx(0.9)
    assessed = {row.level: row.assessment for row in result_rows(output.result) if row.kind == "level"}
    assert assessed == {level: SUSPECTED if level == "C4" else NOT_SUSPECTED for level in LEVELS}


def test_slices_carry_the_levels_they_show_and_the_score_of_their_box(study, output):
    rows = output.result.slices
    assert len(rows) == len(study.volume.hu)
    first, last = study.fracture[0]
    middle = rows[(first + last) // 2]
    assert middle.fracture_probability == pytest.approx(0.9)
    assert set(middle.vertebrae) == {"C4"}
    below = rows[study.levels[3][0][0] - 1]
    assert set(below.vertebrae) == {"C4", "C5"}
    assert below.fracture_probability == 0.0
    assert rows[0].vertebrae == {}
    assert rows[0].fracture_probability is None


def test_the_order_of_storage_does_not_change_the_findings(engine, study, output):
    other = engine.run_study(picture_networks.stored_otherwise(study.volume), "gcvit-yolo")[1].result
    for one, two in zip(output.result.vertebrae, other.vertebrae, strict=True):
        np.testing.assert_allclose(one.box_ras, two.box_ras, atol=1e-6)
        assert one.fracture_probability == pytest.approx(two.fracture_probability)
    np.testing.assert_allclose(output.result.fractures[0].box_ras, other.fractures[0].box_ras, atol=1e-6)


def test_coarse_slices_give_levels_but_no_word_on_fractures(study, tmp_path):
    matrix = study.volume.ijk_to_ras.copy()
    matrix[:3, 2] *= 2
    thick = picture_networks.BlockStudy(CTVolume(study.volume.hu[::2], matrix))
    thick.levels = [[(first // 2, last // 2), *rest] for (first, last), *rest in study.levels]
    store = WeightsStore(user=tmp_path / "models")
    picture_networks.install_fracture_detector(store, "gcvit-yolo")
    last = len(thick.volume.hu) - 1
    top = [(last - block[0][1] + 1) * 3.0 - 0.1 for block in thick.levels]
    bottom = [(last - block[0][0]) * 3.0 + 0.1 for block in thick.levels]
    reader = picture_networks.PlaceReader(top, bottom, last * 3.0)
    arguments = {"first": top, "last": bottom, "length": last * 3.0}
    picture_networks.install(store, reader, "level-presence", "gcvit-yolo", "place-reader", 224, "minmax", **arguments)
    result = Engine(store, device="cpu").run_study(thick.volume, "gcvit-yolo")[1].result
    assert len(result.vertebrae) == 7
    assert result.fractures == []
    assert result.study.fracture_probability is None
    assert "fracture-not-assessable" in {notice.code for notice in result.warnings}


def test_a_detector_of_crops_is_refused(study, tmp_path):
    store = WeightsStore(user=tmp_path / "models")
    picture_networks.install_place_reader(store, study)
    shipped = store.find("fracture-detector", "two-stage").name
    with pytest.raises(UserError, match="takes crops"):
        Engine(store, device="cpu").run_study(study.volume, "gcvit-yolo", models={"fracture-detector": shipped})


def test_metadata_counts_from_the_highest_slice_however_it_is_stored():
    hu = np.zeros((4, 8, 8), np.int16)
    upwards = np.diag([-1.0, -1.0, 2.5, 1.0])
    downwards = np.diag([-1.0, -1.0, -2.5, 1.0])
    for matrix in (upwards, downwards):
        places = slice_places(CanonicalView.of(CTVolume(hu, matrix)))
        np.testing.assert_allclose(places[:, 0], [7.5, 5, 2.5, 0])
        np.testing.assert_allclose(places[:, 1], [1, 2 / 3, 1 / 3, 0], rtol=1e-6)


def test_thin_slices_are_skipped_up_to_a_millimetre_and_filled_in():
    view = CanonicalView.of(CTVolume(np.zeros((9, 4, 4), np.int16), np.diag([-1.0, -1.0, 0.5, 1.0])))
    assert looked_at(view, exact=True) == list(range(8, -1, -1))
    slices = looked_at(view, exact=False)
    assert slices == [8, 6, 4, 2, 0]
    presence = np.linspace(0, 1, 5)[:, None] * np.ones(7)
    np.testing.assert_allclose(on_every_slice(view, slices, presence)[:, 3], np.linspace(1, 0, 9))


def box(k, r=0.0, size=8.0):
    return SliceBox(k, float(k), (r, 0.0), (r + size, size), np.zeros(8))


def test_a_level_probability_is_the_mean_of_its_three_best_slices_and_its_share_of_them():
    slices, presence = [5, 4, 3, 2, 1], np.full((5, 7), 0.01)
    presence[:, 3], presence[:, 4] = 0.9, 0.45
    found = {k: [(box(k), score)] for k, score in ((5, 0.9), (4, 0.6), (3, 0.3), (2, 0.1))}
    assert level_probability(3, range(5), slices, presence, found) == pytest.approx(0.6)
    assert level_probability(4, range(5), slices, presence, found) == pytest.approx(0.3)
    assert level_probability(3, range(3, 5), slices, presence, found) == pytest.approx(0.05)


def test_boxes_of_one_slice_alone_far_apart_or_of_a_level_not_judged_are_no_finding():
    slices, presence = list(range(20, -1, -1)), np.full((21, 7), 0.01)
    presence[:, 3] = 0.9
    one = {10: [(box(10), 0.9)]}
    pair = {10: [(box(10), 0.9)], 11: [(box(11), 0.7)]}
    apart = {10: [(box(10), 0.9)], 11: [(box(11, r=30.0), 0.7)]}
    of = lambda found, judged, least=0.25: fracture_findings(slices, presence, found, judged, 1.0, least)  # noqa: E731
    assert of(one, [3]) == []
    assert of(apart, [3]) == []
    assert of(pair, [4]) == []
    assert of(pair, [3], least=0.85) == []
    (finding,) = of(pair, [3])
    assert (finding.level, finding.confidence) == ("C4", pytest.approx(0.8))
    assert finding.box.size_mm == [8, 8, 2]


@pytest.mark.skipif(not slicer_is_installed(), reason="needs the Slicer libraries (extra standalone)")
def test_fractures_without_segments_are_written_and_rendered(study, output, tmp_path):
    paths = write_outputs(study.volume, output, tmp_path / "out")
    assert {"scene.mrb", "boxes.mrk.json", "overview.png"} <= {path.name for path in paths}
