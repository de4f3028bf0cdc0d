"""A training of the vertebra classifier that is killed ends as if nothing had happened."""

from __future__ import annotations

import pytest
from broken_off import assert_same_weights, go_on, kill_after, one_thread
from made_vertebrae import a_run, make_crops

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.training import vertebra_run

PLAN = {"training__epochs": 2, "training__batch": 4, "training__learning_rate": 0.002}
TRAINING = f"""
from made_vertebrae import a_run
from CSpineFractureLib.training import vertebra_run
vertebra_run.fit(a_run(folder, **{PLAN!r}), CPU, slowly)
"""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path) -> None:
    runs = []
    for name in ("undisturbed", "killed"):
        make_crops(tmp_path / name / "images", train=6, val=3)
        if name == "killed":
            kill_after(tmp_path / name, TRAINING, done=8)  # of 12; six to an epoch, so in the second
        run = a_run(tmp_path / name, **PLAN)
        assert (run.checkpoints / "last.ckpt").is_file() == (name == "killed")
        assert not run.weights.exists()
        first = go_on(vertebra_run.fit, run)
        runs.append(run)
    assert first == 7
    assert_same_weights(*(run.weights for run in runs))
    with pytest.raises(UserError, match="another training"):
        a_run(tmp_path / "killed", **{**PLAN, "training__epochs": 9})
