"""Every network of document 001: trained for a moment by ``cspine train``, installed, and run on a radiograph."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from cspine_runner import cspine_here

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))

from broken_off import one_thread
from drawn_radiographs import radiographs_in

from CSpineFractureLib.datasets.radiographs import CLASSES
from CSpineFractureLib.findings.result_file import first_fault
from CSpineFractureLib.training.paper_tables import paper_table

SYSTEM = "001-radiograph"
MODELS = ["radiograph-alexnet", "radiograph-googlenet", pytest.param("radiograph-stacked", marks=pytest.mark.slow)]


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


@pytest.mark.parametrize("model", MODELS)
def test_a_network_goes_from_training_to_a_class_with_its_saliency(capfd, tmp_path, monkeypatch, model):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "models"))
    pictures, runs, out = radiographs_in(tmp_path / "data", each=6), tmp_path / "runs", tmp_path / "out"
    words = ["--quick", "--model", model, "--set", "training.epochs=1", "--set", "input.size=64", "--device", "cpu"]
    ended = cspine_here(capfd, "train", SYSTEM, "--data", pictures, "-o", runs, *words)
    assert ended.code == 0, ended.err
    ended = cspine_here(capfd, "models", "install", runs / f"{SYSTEM}-quick" / model / f"{model}.safetensors")
    assert ended.code == 0, ended.err
    words = ["--profile", "radiograph", "--model", f"radiograph={model}-001-quick", "--device", "cpu"]
    ended = cspine_here(capfd, "run", pictures / "fracture/000.png", "-o", out, *words)
    assert ended.code == 0, ended.err
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert first_fault(result) is None
    assert [used["name"] for used in result["models"]] == [f"{model}-001-quick"]
    probabilities = result["radiograph"]["probabilities"]
    assert set(probabilities) == set(CLASSES)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert result["radiograph"]["class"] == max(probabilities, key=probabilities.get)
    saliency = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "saliency.nrrd")))
    assert np.isfinite(saliency).all()
    assert saliency.max() > 0
    assert (out / "saliency.png").is_file()
    measured = {row["name"] for row in paper_table("001", "models", runs).measured.rows if row.get("accuracy")}
    assert {"SVM on small pictures", "Random forest on small pictures"} < measured
