"""Random changes of the pictures of a vertebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.vertebra_augment import VertebraAugmentation

ALL = {
    "flip_horizontal": 0.5,
    "flip_vertical": 0.5,
    "transpose": 0.5,
    "brightness": 0.2,
    "rotation_deg": 20,
    "shift": 0.1,
    "scale": 0.15,
    "blur": 0.6,
    "distortion": 0.6,
    "sharpen": 0.4,
}


def a_crop(channels: int = 4) -> torch.Tensor:
    """The same picture in every slice and channel: a bright bar off the middle, and noise."""
    picture = torch.rand(32, 32, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.2
    picture[6:10, 4:20] = 0.9
    return picture.expand(5, channels, 32, 32).clone()


@pytest.mark.parametrize("key", ALL)
def test_each_change_does_something_and_the_others_are_off(key: str) -> None:
    changed = VertebraAugmentation(**{key: 20 if key == "rotation_deg" else 1 if ALL[key] >= 0.3 else ALL[key]})
    assert not torch.allclose(changed(a_crop(), np.random.default_rng(0))[:, :3], a_crop()[:, :3], atol=1e-3)
    assert torch.equal(VertebraAugmentation()(a_crop(), np.random.default_rng(0)), a_crop())


def test_all_slices_change_alike_and_the_mask_keeps_its_values() -> None:
    geometric = VertebraAugmentation(**{key: value for key, value in ALL.items() if key not in ("blur",)})
    for seed in range(20):
        changed = geometric(a_crop(), np.random.default_rng(seed))
        assert torch.allclose(changed, changed[:1].expand_as(changed), atol=1e-6)
        assert changed.shape == a_crop().shape
        assert changed.dtype == torch.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
    bright = VertebraAugmentation(brightness=0.5, sharpen=1, blur=1)(a_crop(), np.random.default_rng(0))
    assert torch.equal(bright[:, 3], a_crop()[:, 3])


def test_the_same_stream_gives_the_same_change() -> None:
    everything = VertebraAugmentation.of(ALL)
    results = [everything(a_crop(3), np.random.default_rng([0, 1, seed])) for seed in (0, 0, 1)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_quarter_turn_takes_rows_to_columns() -> None:
    turned = VertebraAugmentation(rotation_deg=180)
    seen = [turned(a_crop(), np.random.default_rng(seed))[0, 0].mean().item() for seed in range(8)]
    assert np.ptp(seen) < 0.1, "nothing but the corners is lost"
    assert torch.equal(VertebraAugmentation(transpose=1)(a_crop(), np.random.default_rng(0)), a_crop().transpose(2, 3))


def test_every_kind_of_blur_and_noise_comes_up() -> None:
    one_of = VertebraAugmentation(blur=1)
    spreads = {round(one_of(a_crop(3), np.random.default_rng(seed)).std(dim=0).mean().item(), 4) for seed in range(30)}
    assert 0.0 in spreads, "blurs are alike in all slices"
    assert max(spreads) > 0.005, "noise is not"


@pytest.mark.parametrize(("key", "value"), [("flips", 1), ("blur", 2), ("shift", True), ("rotation_deg", "much")])
def test_unknown_changes_and_amounts_are_refused(key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"augmentation.{key}"):
        VertebraAugmentation.of({key: value})
