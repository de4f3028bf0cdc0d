"""Run folders: gone on with when the same is asked for, refused otherwise; and the images they learn from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))

from small_studies import make_phantom_folder

from CSpineFractureLib.datasets.labelled_image import read_slice_table
from CSpineFractureLib.datasets.study_images import ImageOptions
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.manifest import as_metadata, from_metadata
from CSpineFractureLib.phantom.radiograph_files import SCHEMA
from CSpineFractureLib.training.run_folder import Setup, is_synthetic, open_run, read_run
from CSpineFractureLib.training.run_images import make_images
from CSpineFractureLib.training.systems import load_system


@pytest.fixture
def a_setup() -> Setup:
    return Setup(load_system("000-slice-classifier", quick=True), "slice-cnn", 3, "phantom", "data/near")


@pytest.fixture
def some_studies(tmp_path) -> Path:
    for n in range(5):
        make_phantom_folder(tmp_path / "studies" / f"broken{n}", "C3", hairline=n == 1, mimics=n == 2)
        make_phantom_folder(tmp_path / "studies" / f"sound{n}")
    return tmp_path / "studies"


def test_a_run_is_gone_on_with_only_when_it_is_the_same(tmp_path, a_setup):
    run = open_run(tmp_path / "run", a_setup)
    assert open_run(tmp_path / "run", a_setup).setup == a_setup
    assert read_run(run.path).setup == a_setup
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").touch()
    other = Setup(a_setup.system, "slice-resnet50", 3, "phantom", "data/near")
    with pytest.raises(UserError, match="another model"):
        open_run(tmp_path / "run", other)
    longer = load_system("000-slice-classifier", True, {"training.epochs": 99})
    with pytest.raises(UserError, match="another training"):
        open_run(tmp_path / "run", Setup(longer, "slice-cnn", 3, "phantom", "data/near"))


def test_a_command_that_failed_before_it_trained_does_not_bar_the_corrected_one(tmp_path, a_setup):
    wrong = load_system("000-slice-classifier", True, {"input.size": 100})
    failed = open_run(tmp_path / "run", Setup(wrong, "slice-cnn", 3, "phantom", "data/near"))
    failed.logs.mkdir()
    (failed.logs / "metrics.csv").write_text("epoch\n0\n", encoding="utf-8")
    (failed.logs / "notes.txt").write_text("a note of the user's", encoding="utf-8")
    assert open_run(failed.path, a_setup).setup == a_setup
    assert read_run(failed.path).setup == a_setup
    assert [one.name for one in failed.logs.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("text", ["", "format: cspine-run/0\n", "- a\n", "format: cspine-run/1\nmodel: x\n", "a: [\n"])
def test_a_damaged_run_is_one_sentence(tmp_path, text):
    (tmp_path / "system.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"system\.yaml.*damaged"):
        read_run(tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        read_run(tmp_path / "nothing")


def test_the_entry_of_a_run_says_that_it_is_synthetic_and_survives_as_metadata(tmp_path, a_setup):
    entry = open_run(tmp_path / "run", a_setup).entry()
    assert "synthetic" in entry.notice
    assert "synthetic" in entry.trained_on
    assert entry.input["image"] == "slice"
    assert from_metadata(as_metadata(entry), "x").architecture == "slice-cnn"
    real = open_run(tmp_path / "real", Setup(a_setup.system, "slice-cnn", 0, "rsna", "RSNA")).entry()
    assert "synthetic" not in real.notice + real.trained_on


def test_synthetic_radiographs_are_known_by_their_truth_whatever_they_are_called(tmp_path):
    assert not is_synthetic("radiographs", tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps({"schema": SCHEMA, "radiographs": []}, indent=1), encoding="utf-8")
    assert is_synthetic("radiographs", tmp_path)
    (tmp_path / "truth.json").write_text('{"schema": "mine"}', encoding="utf-8")
    assert not is_synthetic("radiographs", tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"negatives": "abc"},
        {"negatives": float("nan")},
        {"most_per_study": 1.5},
        {"least_pixels": "abc"},
        {"window": 5},
    ],
)
def test_options_of_images_that_are_no_numbers_are_one_sentence(options):
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        ImageOptions(**options)


def test_images_are_split_by_study_and_made_once(tmp_path, some_studies):
    system, out = load_system("000-slice-classifier", quick=True), tmp_path / "images"
    make_images(system, "phantom", some_studies, out)
    rows = list(read_slice_table(out).values())
    assert {row["split"] for row in rows} == {"train", "val"}
    assert not {r["study"] for r in rows if r["split"] == "train"} & {r["study"] for r in rows if r["split"] == "val"}
    before = (out / "slices.csv").stat().st_mtime_ns
    make_images(system, "phantom", some_studies, out)
    assert (out / "slices.csv").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="other data or options"):
        make_images(system, "phantom", some_studies, out, seed=1)


def test_the_table_tells_place_and_strata_of_each_slice(tmp_path, some_studies):
    make_images(load_system("000-slice-classifier"), "phantom", some_studies, tmp_path / "set", single_set=True)
    rows = list(read_slice_table(tmp_path / "set").values())
    assert {row["split"] for row in rows} == {"test"}
    for row in rows:  # twelve slices 2 mm apart, the last is the highest
        assert float(row["from_top_mm"]) == pytest.approx(2.0 * (11 - int(row["k"])))
        assert float(row["ratio"]) == pytest.approx((11 - int(row["k"])) / 11, abs=1e-4)
    strata = {row["study"]: row["strata"] for row in rows if row["fracture"] == "1"}
    assert strata == {
        "broken0": "displaced", "broken1": "hairline", "broken2": "displaced+mimics", "broken3": "displaced",
        "broken4": "displaced",
    }  # fmt: skip
    assert {row["strata"] for row in rows if row["fracture"] == "0"} <= {"", "mimics"}


def test_at_most_so_many_positive_slices_of_a_study_are_drawn(tmp_path, some_studies):
    system = load_system("000-slice-classifier", overrides={"data.most_per_study": 1})
    make_images(system, "phantom", some_studies, tmp_path / "set", single_set=True)
    rows = list(read_slice_table(tmp_path / "set").values())
    positive = [row["study"] for row in rows if row["fracture"] == "1"]
    assert sorted(positive) == [f"broken{n}" for n in range(5)]
    assert len(rows) == 10


@pytest.mark.parametrize("name", ["000-slice-classifier", "004-fracture-detector"])
@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (0, "None of the 6 studies has a slice known to show a fracture: add studies that have"),
        (1, "The split 'val' would have no images, for none of its studies has a slice known to show a fracture"),
    ],
)
def test_too_few_fractures_are_one_sentence_and_leave_nothing(tmp_path, name, broken, sentence):
    for n in range(6):
        make_phantom_folder(tmp_path / "studies" / f"s{n}", "C3" if n < broken else "")
    with pytest.raises(UserError, match=sentence):
        make_images(load_system(name), "phantom", tmp_path / "studies", tmp_path / "set")
    assert [one.name for one in tmp_path.iterdir()] == ["studies"]


def test_an_empty_class_is_one_sentence_and_leaves_nothing(tmp_path):
    for n in range(6):
        make_phantom_folder(tmp_path / "sound" / f"s{n}")
    system = load_system("000-slice-classifier")
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        make_images(system, "phantom", tmp_path / "sound", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    with pytest.raises(UserError, match=r"shows C1.*of those made from '.*sound'.: add studies that do"):
        make_images(load_system("004-level-presence"), "phantom", tmp_path / "sound", tmp_path / "levels")
    assert not (tmp_path / "levels").exists()
    with pytest.raises(UserError, match="does not exist"):
        make_images(system, "phantom", tmp_path / "nowhere", tmp_path / "set")
