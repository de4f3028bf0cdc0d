from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from CSpineFractureLib.models.yolo import build_yolo, detect, fuse_for_inference, training_loss


def toy_batch() -> dict[str, torch.Tensor]:
    """Four images with one bright square of class 2 each, in different places; the first spans 5 to 31, 21 to 47."""
    images, boxes = torch.zeros(4, 1, 64, 64), []
    for n, (x, y) in enumerate([(5, 21), (13, 17), (21, 13), (29, 9)]):
        images[n, :, y : y + 26, x : x + 26] = 1
        boxes.append([(x + 13) / 64, (y + 13) / 64, 26 / 64, 26 / 64])
    return {
        "img": images,
        "bboxes": torch.tensor(boxes),
        "cls": torch.full((4, 1), 2.0),
        "batch_idx": torch.arange(4.0),
    }


@pytest.fixture(scope="module")
def trained():
    """A nano network after a few steps on the toy batch, and the loss of every step."""
    torch.manual_seed(0)
    model, batch, losses = build_yolo("yolov8n", classes=7, channels=1), toy_batch(), []
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.2  # so that the averages keep up with so few steps
    criterion = training_loss(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.99))
    for _ in range(60):
        loss, _ = criterion(model(batch["img"]), batch)
        optimiser.zero_grad()
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        losses.append(float(loss.sum().detach()))
    with torch.no_grad():
        for _ in range(20):
            model(batch["img"])
    return model.eval(), losses


def as_raw(boxes_xywh: list, scores: list) -> torch.nn.Module:
    """A network that answers with this raw head output: boxes (anchors, 4), scores (anchors, classes)."""

    class Fixed(torch.nn.Module):
        def forward(self, batch):
            raw = torch.cat([torch.tensor(boxes_xywh), torch.tensor(scores)], 1).T[None]
            return raw.repeat(len(batch), 1, 1), {}

    return Fixed().eval()


TWO_ON_ONE_SPOT = as_raw(
    [[32.0, 32.0, 20.0, 10.0], [33.0, 32.0, 20.0, 10.0], [10.0, 50.0, 8.0, 8.0]],
    [[0.9, 0.3, 0.1], [0.2, 0.8, 0.1], [0.1, 0.2, 0.6]],
)
ONE_IMAGE = torch.zeros(1, 1, 64, 64)


@pytest.mark.parametrize("variant", ["yolov8n", "yolov5n"])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_gives_a_box_and_seven_scores_at_every_anchor(variant, channels):
    with torch.no_grad():
        raw, _ = build_yolo(variant, classes=7, channels=channels).eval()(torch.rand(2, channels, 64, 96))
    assert raw.shape == (2, 4 + 7, 8 * 12 + 4 * 6 + 2 * 3)


def test_sizes_differ_as_their_letters_say():
    small, nano = (sum(p.numel() for p in build_yolo(v).parameters()) for v in ("yolov8s", "yolov8n"))
    assert small > 3 * nano


def test_definition_in_the_current_folder_is_not_mistaken_for_the_packages(tmp_path, monkeypatch):
    (tmp_path / "yolov8n.yaml").write_text("not: a network")
    monkeypatch.chdir(tmp_path)
    assert sum(p.numel() for p in build_yolo("yolov8n").parameters()) > 3_000_000


def test_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="yolov9z"):
        build_yolo("yolov9z")


def test_a_few_steps_reduce_the_loss(trained):
    _, losses = trained
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_trained_network_finds_the_square_and_its_class(trained):
    model, _ = trained
    (found,) = detect(model, toy_batch()["img"][:1])
    assert found.classes.tolist() == [2]
    assert np.abs(found.boxes_xyxy[0] - [5, 21, 31, 47]).max() < 3
    assert found.class_probabilities.shape == (1, 7)
    assert found.class_probabilities[0, 2] == found.scores[0] == found.class_probabilities.max()


def test_fused_network_gives_the_same_boxes(trained):
    import copy

    model, _ = trained
    fused = fuse_for_inference(copy.deepcopy(model))
    assert len(fused.state_dict()) < len(model.state_dict())
    for before, after in zip(*(detect(m, toy_batch()["img"], conf=0.01) for m in (model, fused)), strict=True):
        np.testing.assert_allclose(before.boxes_xyxy, after.boxes_xyxy, atol=0.01)
        np.testing.assert_allclose(before.class_probabilities, after.class_probabilities, atol=1e-4)


def test_a_batch_gives_what_its_images_give_alone(trained):
    model, _ = trained
    images = torch.cat([toy_batch()["img"][:2], torch.rand(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)])
    together = detect(model, images, conf=0.005)
    for n, one in enumerate(together):
        (alone,) = detect(model, images[n : n + 1], conf=0.005)
        np.testing.assert_allclose(one.boxes_xyxy, alone.boxes_xyxy, atol=1e-3)


def test_boxes_come_as_corners_best_first_with_the_scores_of_their_own_anchor():
    (found,) = detect(TWO_ON_ONE_SPOT, ONE_IMAGE, conf=0.25)
    np.testing.assert_allclose(found.boxes_xyxy, [[22, 27, 42, 37], [23, 27, 43, 37], [6, 46, 14, 54]])
    np.testing.assert_allclose(found.class_probabilities, [[0.9, 0.3, 0.1], [0.2, 0.8, 0.1], [0.1, 0.2, 0.6]])
    assert found.classes.tolist() == [0, 1, 2]


def test_agnostic_suppression_keeps_one_box_on_one_spot():
    (found,) = detect(TWO_ON_ONE_SPOT, ONE_IMAGE, conf=0.25, agnostic=True)
    assert found.classes.tolist() == [0, 2]


def test_multi_label_counts_a_box_once_for_every_class_above_the_threshold():
    (found,) = detect(TWO_ON_ONE_SPOT, ONE_IMAGE, conf=0.25, iou=0.99, multi_label=True)
    assert sorted(found.classes.tolist()) == [0, 1, 1, 2]
    assert len(found.class_probabilities) == len(found) == 4


def test_suppression_agrees_with_torchvision():
    rng = np.random.default_rng(0)
    boxes = np.hstack([rng.uniform(10, 54, (60, 2)), rng.uniform(6, 20, (60, 2))]).astype(np.float32)
    scores = rng.uniform(0.05, 1, (60, 1)).astype(np.float32)
    (found,) = detect(as_raw(boxes.tolist(), scores.tolist()), ONE_IMAGE, conf=0.1, iou=0.4, max_det=60)
    corners = torch.from_numpy(np.hstack([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2]))
    sure = scores[:, 0] > 0.1
    kept = nms(corners[sure], torch.from_numpy(scores[sure, 0]), 0.4)
    np.testing.assert_allclose(found.boxes_xyxy, corners[sure][kept], rtol=1e-5)
    assert 5 < len(found) < 60


def test_an_image_without_boxes_gives_empty_arrays_of_the_right_shape():
    (found,) = detect(TWO_ON_ONE_SPOT, ONE_IMAGE, conf=0.95)
    assert found.boxes_xyxy.shape == (0, 4)
    assert found.class_probabilities.shape == (0, 3)


def test_network_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        detect(build_yolo("yolov8n"), torch.rand(1, 3, 64, 64))
