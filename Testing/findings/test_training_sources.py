from __future__ import annotations

import pytest
from sample_result import make_result

from CSpineFractureLib.findings.study_result import ModelInfo, RadiographFinding
from CSpineFractureLib.findings.training_sources import training_sources

REAL = "synthetic cervical CT of this project (cspine phantom) and 91 real CT without fractures (OpenKBP)"


@pytest.mark.parametrize(
    ("told", "sources"),
    [
        (["synthetic cervical CT of this project"], ["synthetic CT"]),
        (["synthetic cervical CT of this project", REAL], ["synthetic CT", "real CT without fractures"]),
        (["RSNA-2022"], []),
    ],
)
def test_sources_are_those_that_the_networks_name(told, sources):
    models = [ModelInfo("slice-classifier", "mine", "1", "0" * 64, "own", text) for text in told]
    assert training_sources(make_result(models=models)) == sources


def test_those_of_radiographs_are_radiographs():
    models = [ModelInfo("radiograph", "mine", "1", "0" * 64, "own", "synthetic radiographs (cspine phantom)")]
    found = RadiographFinding("normal", {"normal": 1.0})
    assert training_sources(make_result(models=models, radiograph=found)) == ["synthetic radiographs"]
