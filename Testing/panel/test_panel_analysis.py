"""From a volume node to results in the scene: real scene, real worker process, a made-up profile."""

from __future__ import annotations

import numpy as np
import pytest
from panel_fixtures import COMMAND

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.ct_volume import CTVolume


@pytest.fixture
def a_node():
    pytest.importorskip("trame_slicer", reason="the Slicer libraries (extra standalone) are not installed")
    from CSpineFractureLib.scene.headless import headless_slicer
    from CSpineFractureLib.scene.volume_node import add_volume_node

    hu = np.full((28, 24, 24), -1000, np.int16)
    hu[:, 6:18, 6:18] = 300
    with headless_slicer() as app:
        yield add_volume_node(app.scene, CTVolume(hu, np.diag([-1.0, -1.0, 3.0, 1.0])), "neck")


def test_results_appear_beside_the_volume(a_node):
    from CSpineFractureLib.panel.analysis import analyse
    from CSpineFractureLib.scene.read_back import labels_of_node, nodes_of_scene

    messages = []
    result = analyse(a_node, "fake", messages.append, COMMAND)
    nodes = nodes_of_scene(a_node.GetScene())
    assert nodes.volume.GetID() == a_node.GetID()
    assert len(nodes.vertebra_boxes) == len(result.vertebrae)
    labels = labels_of_node(nodes.segmentation, (28, 24, 24), result.volume.ijk_to_ras)
    assert set(np.unique(labels)) == set(range(8))
    assert messages


def test_a_study_that_fails_leaves_the_scene_alone(a_node):
    from CSpineFractureLib.panel.analysis import analyse

    scene = a_node.GetScene()
    before = scene.GetNumberOfNodes()
    with pytest.raises(UserError):
        analyse(a_node, "no-such-profile", lambda message: None, COMMAND)
    assert scene.GetNumberOfNodes() == before


def test_no_volume_is_one_sentence(a_node):
    from CSpineFractureLib.panel.analysis import analyse

    with pytest.raises(UserError, match="No CT is chosen"):
        analyse(None, "fake", print, COMMAND)
