"""Masks that the installed networks draw, for the vertebra classifiers to learn from."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipeline"))

import coded_phantom
from small_studies import make_phantom_set

from CSpineFractureLib.datasets.crop_table import read_crop_table
from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.datasets.vertebra_crops import read_crop
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.models.store import WeightsStore
from CSpineFractureLib.pipeline.context import RunContext
from CSpineFractureLib.training import found_masks, vertebra_images
from CSpineFractureLib.training.found_masks import masks_drawn_by, with_found_masks
from CSpineFractureLib.training.run_images import MADE_FILE
from CSpineFractureLib.training.systems import load_system


@pytest.fixture
def context():
    """A run whose network reads the grey values of the coded phantom."""
    store = coded_phantom.PlainStore(segmentation=coded_phantom.segmentation())
    context = RunContext(profile="unet-cracknet", device="cpu")
    context.use_models(lambda task: store.load(store.find(task)), store.find)
    return context


def test_the_network_draws_the_mask_and_the_study_keeps_the_rest(context):
    study = coded_phantom.coded_study()
    given = StudyRecord("one", lambda: study.volume, None, {"C5": True}, group="patient", split="train")
    (record,) = with_found_masks([given], context)
    drawn = record.load_levels()
    assert (record.id, record.fractured, record.group, record.split) == ("one", {"C5": True}, "patient", "train")
    assert given.load_levels is None
    for number in range(1, 8):
        assert coded_phantom.dice(drawn, study.labels, number) > 0.9


def test_crops_have_the_drawn_mask_and_note_who_drew_it(context, monkeypatch, tmp_path):
    make_phantom_set(tmp_path / "studies", 5)

    def striped(records, _context):
        def every_other_column(record):
            labels = record.load_levels()
            labels[:, :, ::2] = 0
            return labels

        return [StudyRecord(**{**vars(one), "load_levels": lambda one=one: every_other_column(one)}) for one in records]

    monkeypatch.setattr(found_masks, "run_context", lambda *_: context)
    shares = {}
    for masks in ("study", "found"):
        system = load_system("002-vertebra-fracture", True, {"input.size": 32, "data.masks": masks})
        system.input["slices"] = 4
        monkeypatch.setattr(vertebra_images, "with_found_masks", striped)
        out = tmp_path / masks
        vertebra_images.make_images(system, "phantom", tmp_path / "studies", out, single_set=True)
        row = read_crop_table(out)[0]
        shares[masks] = (read_crop(out / row.file, "crop", (4, 4, 32, 32))[:, 3] / 255).mean()
        noted = yaml.safe_load((out / MADE_FILE).read_text(encoding="utf-8"))["data"]["masks"]
        assert noted == ("study" if masks == "study" else "0" * 64)
    assert shares["found"] < 0.8 * shares["study"]


def test_other_words_and_missing_weights_are_refused(monkeypatch, tmp_path):
    assert masks_drawn_by("study") is None
    with pytest.raises(UserError, match=r"data.masks of vertebra crops is 'mine': give 'study' or 'found'"):
        masks_drawn_by("mine")
    monkeypatch.setattr("CSpineFractureLib.training.run_context.WeightsStore", lambda: WeightsStore(tmp_path, tmp_path))
    with pytest.raises(UserError, match="cspine train 002-segmentation"):
        masks_drawn_by("found", "cpu")


def test_the_network_that_comes_with_the_program_draws_them():
    drawing = masks_drawn_by("found", "cpu")
    assert drawing.entry("segmentation").bundled
    assert np.array_equal(drawing.entry("segmentation").input["size"], [128, 128])
