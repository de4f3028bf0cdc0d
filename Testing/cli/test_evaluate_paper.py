"""``cspine evaluate --paper``, ``cspine evaluate run`` and the submission of ``cspine evaluate fractures``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cspine_runner import cspine_here, make_ct

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from small_runs import run_of, write_slices

from CSpineFractureLib.training.rsna_score import read_submission


@pytest.fixture
def runs(tmp_path):
    write_slices(run_of(tmp_path / "runs", "000-slice-classifier", "slice-cnn"))
    return tmp_path / "runs"


def test_a_run_is_measured_and_then_stands_beside_the_paper(capfd, runs, tmp_path):
    run = runs / "000-slice-classifier-quick" / "slice-cnn"
    ended = cspine_here(capfd, "evaluate", "run", run)
    assert ended.code == 0, ended.err
    assert "quick recipe" in ended.out
    assert "Set val (synthetic studies" in ended.out
    assert "all: precision 0.629 (" in ended.out
    assert (run / "metrics-val.json").is_file()
    ended = cspine_here(capfd, "evaluate", "--paper", "000", "--table", "2", "--runs", runs, "-o", tmp_path / "t.md")
    assert ended.code == 0, ended.err
    for words in ("Printed in 000, table 2", "Measured here on synthetic CT", "96.8", "62.9", "This kappa cannot"):
        assert words in ended.out
    assert "cspine train 000-slice-classifier --model slice-resnet50" in ended.out
    assert (tmp_path / "t.md").is_file()
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))["table"] == "2"


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", ""])
def test_the_name_of_a_set_leads_nowhere_else(capfd, runs, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    run = runs / "000-slice-classifier-quick" / "slice-cnn"
    ended = cspine_here(capfd, "evaluate", "run", run, "--set", name, "--data", tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "cannot name a set" in ended.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_set_that_the_run_does_not_know_asks_for_its_studies(capfd, runs):
    run = runs / "000-slice-classifier-quick" / "slice-cnn"
    (run / "slice-cnn.safetensors").touch()
    ended = cspine_here(capfd, "evaluate", "run", run, "--set", "benchmark-v1")
    assert ended.code == 2
    assert "add --data" in ended.err


def test_all_tables_of_a_paper_are_printed_without_a_number(capfd):
    ended = cspine_here(capfd, "evaluate", "--paper", "004")
    assert ended.code == 0, ended.err
    assert ended.out.count("Printed in 004") == 3
    assert cspine_here(capfd, "evaluate", "--paper", "003").code == 0


def test_alone_it_shows_help(capfd):
    ended = cspine_here(capfd, "evaluate")
    assert ended.code == 0
    for words in ("--paper", "fractures", "levels", "run"):
        assert words in ended.out


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("--paper", "005"), "000, 001, 002, 003, 004"),
        (("--paper", "000", "--table", "8"), "table '8'"),
        (("--paper", "000", "--runs", "no-such-folder"), "no-such-folder"),
        (("--table", "2"), "Which paper"),
        (("--paper", "000", "-o", "table.txt"), "table.txt"),
        (("--paper", "000", "levels", "--data", "x"), "do not go with"),
        (("run", "no-such-run"), "no-such-run"),
    ],
)
def test_bad_input_ends_with_one_sentence(capfd, tmp_path, monkeypatch, words, fault):
    monkeypatch.chdir(tmp_path)
    ended = cspine_here(capfd, "evaluate", *words)
    assert ended.code == 2
    assert fault in ended.err
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_fractures_are_reported_with_strata_intervals_and_a_submission(capfd, tmp_path):
    ct = make_ct(tmp_path / "ct.nii.gz")
    for n, fractures in enumerate(([], [{"level": "C2", "type": "burst", "box_ras": [[-9] * 3, [9] * 3]}])):
        folder = tmp_path / "studies" / f"phantom_{n:06d}"
        folder.mkdir(parents=True)
        (folder / "ct.nii.gz").write_bytes(ct.read_bytes())
        (folder / "truth.json").write_text(json.dumps({"fractures": fractures}), encoding="utf-8")
    words = ("--data", tmp_path / "studies", "--profile", "fake", "--device", "cpu", "-o", tmp_path / "r.json")
    ended = cspine_here(capfd, "evaluate", "fractures", *words, "--submission", tmp_path / "s.csv")
    assert ended.code == 0, ended.err
    assert "All (synthetic): studies 2" in ended.out
    assert "sound (synthetic): studies 1" in ended.out
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["level_sensitivity"] == 1.0
    assert set(report["strata"]) == {"displaced", "sound"}
    sent = read_submission(tmp_path / "s.csv")
    assert sent["phantom_000001"]["C2"] == 0.9
    assert sent["phantom_000001"]["patient_overall"] == 0.9


def test_help_loads_no_heavy_library():
    code = (
        "import sys; import CSpineFractureLib.cli.app; "
        "print([name for name in ('torch', 'sklearn', 'matplotlib', 'ultralytics') if name in sys.modules])"
    )
    top = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=top)
    assert done.stdout.strip() == "[]", done.stderr
