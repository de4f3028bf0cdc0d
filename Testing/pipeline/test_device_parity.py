"""The CPU and the GPU give the same findings. Needs a CUDA device: ``make test-gpu``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.phantom.plan import StudyPlan, parse_fractures
from CSpineFractureLib.phantom.study import make_study
from CSpineFractureLib.pipeline.engine import Engine
from CSpineFractureLib.volume import CTVolume


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("seed", [7, 8])
def test_the_cpu_and_the_gpu_give_the_same_findings(seed):
    study = make_study(seed, StudyPlan(fractures=parse_fractures(["C5:burst"])))
    volume = CTVolume(study.hu, study.ijk_to_ras)
    (_, on_cpu), (_, on_gpu) = (Engine(device=device).run_study(volume) for device in ("cpu", "cuda"))
    cpu, gpu = on_cpu.result, on_gpu.result
    assert gpu.device.startswith("cuda")
    assert [v.level for v in gpu.vertebrae] == [v.level for v in cpu.vertebrae]
    for one, other in zip(cpu.vertebrae, gpu.vertebrae, strict=True):
        assert other.fracture_probability == pytest.approx(one.fracture_probability, abs=0.01)
        assert other.confidence == pytest.approx(one.confidence, abs=0.01)
        np.testing.assert_allclose(other.center_ras, one.center_ras, atol=0.5)
    slices = [[s.fracture_probability or 0.0 for s in result.slices] for result in (cpu, gpu)]
    np.testing.assert_allclose(*slices, atol=0.01)
    assert [f.level for f in gpu.fractures] == [f.level for f in cpu.fractures]
    assert gpu.study.fracture_probability == pytest.approx(cpu.study.fracture_probability, abs=0.01)
