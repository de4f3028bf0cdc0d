"""The 3D fracture network in a run: whose bone it sees torn, where, and what becomes of the level's score."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from CSpineFractureLib.findings.study_result import BY_VOLUME
from CSpineFractureLib.pipeline import torn_bone as module
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.pipeline.suspicion import TORN_FROM, fracture_findings, with_torn_bone
from CSpineFractureLib.pipeline.torn_bone import LEAST, TornBone, torn_bone
from CSpineFractureLib.volume.canonical import CanonicalView
from CSpineFractureLib.volume.ct_volume import CTVolume

SPACING = (0.6, 0.6, 1.5)
BRIGHT = (slice(30, 34), slice(60, 68), slice(70, 78))


def test_a_break_does_not_make_its_neighbour_suspected():
    logits, levels = np.zeros((8, 6, 6), np.float32), np.zeros((8, 6, 6), np.uint8)
    levels[:4], levels[4:] = 5, 4
    logits[3, 2:4, 2:4], logits[4, 2:4, 2:4] = 6, 5  # the break of C5 spreads into C4
    logits[7, :2, :2] = 2  # and C4 has something of its own
    torn = TornBone(logits, levels, np.zeros(3), np.ones(3))
    assert torn.logit(5) == pytest.approx(6)
    assert torn.logit(4) == pytest.approx(2)


class BrightCubes(nn.Module):
    """As the network: a logit for each cube, here how bright it is."""

    def forward(self, hu: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool3d(hu, 4)[:, 0]


@pytest.fixture
def view():
    hu = np.full((60, 120, 130), 40, np.int16)
    hu[20:50, 50:90, 50:90] = 400
    hu[BRIGHT] = 1400
    return CanonicalView.of(CTVolume(hu, np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])))


@pytest.fixture
def labels(view):
    """C4 above C5, and a thoracic vertebra below, which is nobody's."""
    labels = np.zeros(view.hu.shape, np.uint8)
    for number, ks in ((4, slice(36, 50)), (5, slice(28, 36)), (8, slice(20, 28))):
        labels[ks, 50:90, 50:90] = number
    return labels


@pytest.fixture
def context(monkeypatch):
    network = BrightCubes().eval()
    context = RunContext(loader=lambda task: (network, SimpleNamespace(task=task)), finder=lambda task: task)
    return context


def test_the_level_whose_bone_is_bright_has_the_highest_logit_and_its_place(view, labels, context):
    torn = torn_bone(view, labels, context)
    logits = {number: torn.logit(number) for number in range(1, 9)}
    assert max(logits, key=logits.get) == 5
    assert logits[1] == logits[8] == LEAST
    assert logits[5] > logits[4] + 0.5
    for found, true in zip(torn.place(5), BRIGHT, strict=True):
        middle = (found.start + found.stop - 1) / 2, (true.start + true.stop - 1) / 2
        assert middle[0] == pytest.approx(middle[1], abs=4)
        assert found.start <= true.start + 1
        assert found.stop >= true.stop - 1
    assert torn.place(2) is None


def test_a_long_neck_is_looked_at_in_parts_with_the_same_answer(view, labels, context, monkeypatch):
    whole = torn_bone(view, labels, context)
    monkeypatch.setattr(module, "SLAB", 24)
    parts = torn_bone(view, labels, context)
    np.testing.assert_allclose(parts.logits, whole.logits, atol=1e-5)


def test_without_bone_or_without_weights_nothing_is_said(view, labels, context, monkeypatch):
    assert torn_bone(view, np.zeros_like(labels), context) is None
    monkeypatch.setattr(context, "has", lambda task: False)
    assert torn_bone(view, labels, context) is None


def test_torn_bone_raises_a_score_and_whole_bone_leaves_it():
    assert with_torn_bone(0.3, LEAST) == pytest.approx(0.3)
    assert with_torn_bone(0.3, TORN_FROM - 0.1) == pytest.approx(0.3)
    raised = [with_torn_bone(0.3, TORN_FROM + more) for more in (0.5, 1.0, 4.0)]
    assert 0.3 < raised[0] < raised[1] < raised[2] < 1
    assert with_torn_bone(0.3, TORN_FROM + 0.5, is_c1=True) == pytest.approx(0.3)
    assert with_torn_bone(0.0, 6.0) < with_torn_bone(0.5, 6.0)


def test_a_level_that_only_the_3d_network_suspects_is_marked_where_it_is_torn(view, labels, context):
    torn = torn_bone(view, labels, context)
    judged = [SimpleNamespace(level="C5", fracture_assessable=True, fracture_probability=0.9)]
    (found,) = fracture_findings([], judged, labels, view, 0.7, torn)
    assert (found.level, found.comment, found.confidence) == ("C5", BY_VOLUME, 0.9)
    middle = [(one.start + one.stop - 1) / 2 for one in BRIGHT]
    np.testing.assert_allclose(found.box.center_ras, view.ras_of(np.array(middle[::-1])), atol=3)
    assert fracture_findings([], judged, labels, view, 0.7) == []
