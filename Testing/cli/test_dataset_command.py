"""``cspine dataset``: images of studies, and faults of data sets, with the exit codes of all commands."""

from __future__ import annotations

import sys

import pytest
from cspine_runner import TESTING, cspine_here

sys.path.insert(0, str(TESTING / "datasets"))

from small_studies import make_phantom_folder, make_phantom_set

from CSpineFractureLib.cli import dataset_command
from CSpineFractureLib.cli.command_group import command_group
from CSpineFractureLib.datasets.coco import read_coco
from CSpineFractureLib.datasets.image_folder import read_image_folder
from CSpineFractureLib.datasets.yolo import read_yolo


@pytest.fixture
def dataset(capfd, monkeypatch):
    """Runs ``cspine dataset ...``."""
    cspine = command_group()
    cspine.add_typer(dataset_command.app, name="dataset")
    monkeypatch.setattr("CSpineFractureLib.cli.app.app", cspine)
    return lambda *words: cspine_here(capfd, "dataset", *words)


@pytest.fixture
def phantoms(tmp_path):
    return make_phantom_set(tmp_path / "phantoms")


def test_phantoms_become_a_yolo_tree_that_passes_the_check(dataset, phantoms, tmp_path):
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", "--to", "yolo", "--split", "70:20:10", "--seed", 3)
    assert done.code == 0, done.err
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["test", "train", "val"]
    assert {image.split for image in read_yolo(tmp_path / "out")} == {"train", "val", "test"}
    checked = dataset("check", tmp_path / "out")
    assert (checked.code, checked.out) == (0, f"No faults found in '{tmp_path / 'out'}'.\n")


def test_png_gives_class_folders_with_as_many_of_each(dataset, phantoms, tmp_path):
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", "--to", "png", "--window", "minmax")
    assert done.code == 0, done.err
    images = read_image_folder(tmp_path / "out")
    assert {kind: sum(image.kind == kind for image in images) for kind in ("fracture", "normal")} == {
        "fracture": 8,
        "normal": 8,
    }


def test_coco_takes_the_options(dataset, phantoms, tmp_path):
    words = ("--to", "coco", "--classes", "both", "--window", "three", "--format", "jpeg", "--split", "5-fold")
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", *words, "--least-pixels", 2, "--negatives", 0.5)
    assert done.code == 0, done.err
    images = read_coco(tmp_path / "out")
    assert {image.split for image in images} == {f"fold{n}" for n in range(5)}
    assert {name for image in images for name in image.names} == {"C3", "C4", "fracture"}
    assert images[0].file.endswith(".jpg")


def test_the_limit_takes_the_first_studies(dataset, phantoms, tmp_path):
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", "--to", "yolo", "--limit", 3)
    assert done.code == 0, done.err
    assert {image.study for image in read_yolo(tmp_path / "out")} == {f"phantom_{n:06d}" for n in range(3)}


def test_a_split_by_slice_says_that_it_leaks(dataset, phantoms, tmp_path):
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", "--to", "yolo", "--by-slice")
    assert done.code == 0, done.err
    assert "scores on these images are too good" in done.out
    checked = dataset("check", tmp_path / "out")
    assert checked.code == 1
    assert "is in the splits train and val" in checked.out
    assert "faults found in" in checked.out.splitlines()[-1]


def test_reviewed_studies_become_images(dataset, phantoms, tmp_path):
    from CSpineFractureLib.datasets.corrections import write_corrections
    from CSpineFractureLib.datasets.phantoms import read_phantoms
    from CSpineFractureLib.findings.study_result import StudyFinding, StudyResult, VolumeInfo

    for record in read_phantoms(phantoms)[:3]:
        ct = record.load_volume()
        info = VolumeInfo(list(ct.shape_kji), list(ct.spacing_mm), ct.ijk_to_ras.tolist())
        result = StudyResult(
            "a", "2026-11-21T10:00:00Z", "1", "complete", info, "default", "cpu", StudyFinding(None, "rule")
        )
        write_corrections(tmp_path / "reviewed" / record.id, ct, record.load_levels(), result)
    done = dataset("corrections", tmp_path / "reviewed", "-o", tmp_path / "out", "--to", "yolo")
    assert done.code == 0, done.err
    assert len({image.study for image in read_yolo(tmp_path / "out")}) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--to", "tfrecord"), "--to tfrecord is not known"),
        (("--to", "yolo", "--classes", "bones"), "'bones' is not known"),
        (("--to", "yolo", "--split", "50:50"), "'50:50' is no known split"),
        (("--to", "yolo", "--window", "bone"), "'bone' is no window"),
        (("--to", "yolo", "--added", "9"), "goes with the class fracture"),
        (("--to", "yolo", "--limit", "1"), "1 patients cannot be split"),
    ],
)
def test_wrong_options_end_with_a_sentence_and_nothing_written(words, sentence, dataset, phantoms, tmp_path):
    done = dataset("phantom", phantoms, "-o", tmp_path / "out", *words)
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["phantoms"]


@pytest.mark.parametrize("source", ["rsna", "phantom", "corrections"])
def test_a_folder_of_something_else_is_refused(source, dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    done = dataset(source, tmp_path / "empty", "-o", tmp_path / "out", "--to", "yolo")
    assert done.code == 2
    assert done.err.startswith("Error: '")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_damaged_study_ends_the_run_and_a_mended_one_lets_it_go_on(dataset, phantoms, tmp_path):
    ct = phantoms / "phantom_000007" / "ct.nii.gz"
    whole = ct.read_bytes()
    ct.write_bytes(whole[:2000])
    words = ("phantom", phantoms, "-o", tmp_path / "out", "--to", "yolo")
    done = dataset(*words)
    assert done.code == 2
    assert "ct.nii.gz" in done.err
    assert not (tmp_path / "out").exists()
    early = next((tmp_path / "out.part" / "images").rglob("phantom_000000_k*.png"))
    before = early.stat().st_mtime_ns
    ct.write_bytes(whole)
    assert dataset(*words).code == 0
    assert next((tmp_path / "out" / "images").rglob(early.name)).stat().st_mtime_ns == before
    assert not (tmp_path / "out.part").exists()


def test_the_check_lists_faults_and_ends_with_code_one(dataset, phantoms):
    (phantoms / "phantom_000002" / "truth.json").unlink()
    done = dataset("check", phantoms)
    assert done.code == 1
    assert done.out.splitlines() == [
        "phantom_000002: truth.json is missing; copy it there or make the study again.",
        f"1 fault found in '{phantoms}'.",
    ]


def test_the_check_refuses_what_is_no_data_set(dataset, tmp_path):
    make_phantom_folder(tmp_path / "deep" / "down" / "study")
    for folder in (tmp_path / "absent", tmp_path):
        done = dataset("check", folder)
        assert done.code == 2
        assert done.err.startswith("Error: ")


@pytest.mark.parametrize("command", ["located", "sound"])
def test_a_folder_without_scans_is_told_at_once(dataset, tmp_path, command):
    done = dataset(command, tmp_path, "-o", tmp_path / "out")
    assert done.code == 2
    assert f"'{tmp_path}' holds no NIfTI files" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_marks_is_told_at_once(dataset, tmp_path):
    (tmp_path / "one.nii.gz").write_bytes(b"")
    done = dataset("located", tmp_path, "-o", tmp_path / "out", "--marks", tmp_path)
    assert done.code == 2
    assert "holds no level marks" in done.err


def test_a_damaged_scan_among_sound_ones_is_named_and_nothing_stays(dataset, tmp_path):
    (tmp_path / "one.nii.gz").write_bytes(b"no image")
    done = dataset("sound", tmp_path, "-o", tmp_path / "out", "--device", "cpu")
    assert done.code == 2
    assert "one.nii.gz" in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["one.nii.gz"]
