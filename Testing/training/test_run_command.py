"""The command that is written down for a run makes the same run again."""

from __future__ import annotations

import itertools
import shlex

import pytest

from CSpineFractureLib.training.run_command import changed_values, command_of
from CSpineFractureLib.training.run_folder import Setup
from CSpineFractureLib.training.systems import load_system, parse_overrides

CHANGES = {
    "training.epochs": 3,
    "training.learning_rate": 1e-05,
    "data.split": "70:20:10",
    "data.most_per_study": None,
    "data.unannotated_as_negative": True,
    "data.window": "400/1800",
    "input.size": [96, 96],
    "augmentation.flip": 0.0,
}


@pytest.mark.parametrize("quick", [False, True])
def test_the_changes_of_a_recipe_read_back_from_its_command_give_the_same_recipe(quick):
    system = load_system("000-slice-classifier", quick, CHANGES)
    command = shlex.split(command_of(Setup(system, "slice-cnn", 0, "phantom", "/far/away/neck", "shipped")))
    given = [after for before, after in itertools.pairwise(command) if before == "--set"]
    assert load_system("000-slice-classifier", "--quick" in command, parse_overrides(given)) == system
    assert "input.size=96" in given
    assert command[:4] == ["cspine", "train", "000-slice-classifier", "--model"]
    assert command[command.index("--start") + 1] == "shipped"
    assert command[command.index("--data") + 1] == "neck"


def test_an_unchanged_recipe_needs_no_options_and_one_of_the_users_own_is_named(tmp_path):
    system = load_system("004-level-presence")
    assert changed_values(system) == {}
    assert command_of(Setup(system, "level-vit", 0, "rsna", "RSNA")).endswith(
        "--model level-vit --source rsna --data RSNA"
    )
    from CSpineFractureLib.resources import resource_path

    own = tmp_path / "mine.yaml"
    own.write_text(resource_path("Systems/004-level-presence.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    setup = Setup(load_system(str(own)), "level-vit", 0, "rsna", "RSNA")
    assert "--recipe mine.yaml" in command_of(setup)


def test_whole_slices_and_further_studies_can_be_asked_for_again_without_a_path(tmp_path):
    changes = {"input.size": 192, "input.spacing_mm": [None, None], "data.more": str(tmp_path / "sound")}
    system = load_system("002-segmentation", True, changes)
    command = shlex.split(command_of(Setup(system, "unet-mobilenet", 0, "phantom", "neck")))
    given = [after for before, after in itertools.pairwise(command) if before == "--set"]
    again = load_system("002-segmentation", True, parse_overrides(given))
    assert again.input["spacing_mm"] == [None, None]
    assert again.data["more"] == "sound"
