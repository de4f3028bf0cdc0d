"""The giveaway check sees a data set whose fractured studies are noisier, and passes one where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from CSpineFractureLib.datasets.giveaway import giveaway, slice_statistics
from CSpineFractureLib.datasets.record import LEVELS, SliceBox, StudyRecord
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.volume.ct_volume import CTVolume


def a_set(noise_of_fractured, studies=40):
    def record(n):
        fractured = n % 2 == 1

        def load():
            rng = np.random.default_rng(n)
            hu = rng.normal(40, noise_of_fractured if fractured else 20, (6, 32, 32))
            hu[:, 8:20, 8:20] += 300 + 40 * rng.normal()
            return CTVolume(hu.astype(np.int16), np.eye(4))

        boxes = [SliceBox(k, 10, 10, 4, 4, "C5") for k in range(6)] if fractured else []
        return StudyRecord(f"s{n}", load, fractured={lv: fractured and lv == "C5" for lv in LEVELS}, boxes=boxes)

    return [record(n) for n in range(studies)]


def test_noisier_fractured_studies_are_found_out():
    found = giveaway(a_set(26), step=1)
    assert found.slices_auc > 0.9
    assert found.studies_auc > 0.9


def test_alike_studies_pass():
    found = giveaway(a_set(20), step=1)
    assert found.slices_auc < 0.7
    assert (found.slices, found.fractured_slices, found.studies, found.fractured_studies) == (240, 120, 40, 20)


def test_statistics_do_not_know_where_anything_lies():
    hu = np.random.default_rng(1).normal(0, 100, (40, 40))
    np.testing.assert_allclose(slice_statistics(hu)[:22], slice_statistics(hu[::-1, ::-1])[:22])


def test_too_few_studies_are_refused_with_a_sentence():
    with pytest.raises(UserError, match="too few"):
        giveaway(a_set(20, studies=6))
