"""The crops of a vertebra run, made from small synthetic studies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))

from small_studies import make_phantom_folder, make_phantom_set

from CSpineFractureLib.datasets.crop_table import read_crop_table
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training.run_images import MADE_FILE
from CSpineFractureLib.training.systems import System, load_system
from CSpineFractureLib.training.vertebra_images import make_images


def a_system(**overrides) -> System:
    changes = {
        "input.size": 32,
        "data.masks": "study",
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    system = load_system("002-vertebra-fracture", quick=True, overrides=changes)
    system.input["slices"] = 4
    return system


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Fifteen studies with C3 and C4 in view; C3 of the first four is fractured."""
    return make_phantom_set(tmp_path_factory.mktemp("studies"), 15)


def test_a_fold_of_the_patients_is_for_validation(studies, tmp_path) -> None:
    sets = []
    for fold in (0, 1):
        out = tmp_path / f"fold{fold}"
        make_images(a_system(data__fold=fold), "phantom", studies, out)
        rows = read_crop_table(out)
        sets.append({row.study for row in rows if row.split == "val"})
        assert {row.split for row in rows} == {"train", "val"}
        training = [row for row in rows if row.split == "train"]
        broken = sum(row.label for row in training)
        assert broken == 3
        assert 0 < len(training) - broken <= 1.5 * broken + 0.5, "as the quick recipe says"
    assert not sets[0] & sets[1]


def test_a_set_of_its_own_is_all_for_testing_and_keeps_every_vertebra(studies, tmp_path) -> None:
    make_images(a_system(), "phantom", studies, tmp_path / "set", single_set=True)
    rows = read_crop_table(tmp_path / "set")
    assert {row.split for row in rows} == {"test"}
    assert len(rows) == 30
    strata = [row.strata for row in rows if row.label]
    assert strata == ["displaced+mimics", "hairline", "displaced+mimics", "displaced"]


def test_what_is_there_is_left_and_other_options_are_refused(studies, tmp_path) -> None:
    out = tmp_path / "set"
    make_images(a_system(), "phantom", studies, out, single_set=True)
    stamp = (out / MADE_FILE).stat().st_mtime_ns
    make_images(a_system(), "phantom", studies, out, single_set=True)
    assert (out / MADE_FILE).stat().st_mtime_ns == stamp
    assert yaml.safe_load((out / MADE_FILE).read_text(encoding="utf-8"))["source"] == "phantom"
    with pytest.raises(UserError, match="other data or options"):
        make_images(a_system(input__size=64), "phantom", studies, out, single_set=True)


def test_studies_that_do_not_serve_are_one_sentence(studies, tmp_path) -> None:
    for n in range(6):
        make_phantom_folder(tmp_path / "sound" / f"phantom_{n:06d}")
    for words, system, root in (
        ("No vertebra of the split 'train' is fractured", a_system(data__split="80:20"), tmp_path / "sound"),
        ("data.fold is 7", a_system(data__fold=7), studies),
        ("no known split", a_system(data__split="1:2"), studies),
        ("does not exist", a_system(), tmp_path / "nothing"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            make_images(system, "phantom", root, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
