from __future__ import annotations

import pytest
import torch
from cspine_runner import cspine_here, make_ct

from CSpineFractureLib.models.manifest import ModelEntry, as_metadata
from CSpineFractureLib.models.registry import create, register
from CSpineFractureLib.models.store import WeightsStore, save_weights
from CSpineFractureLib.pipeline.profiles import Profile, register_profile


def make_network() -> torch.nn.Module:
    return torch.nn.Linear(40, 2)


register("tiny", make_network)
register_profile(Profile("fake-with-weights", "", tasks=("tiny-task",), run=lambda volume, context: None))
ENTRY = ModelEntry(
    name="tiny-net",
    version="1",
    task="tiny-task",
    profiles=["fake-with-weights"],
    architecture="tiny",
    licence="Apache-2.0",
    trained_on="nothing at all",
    input={"spacing_mm": [1, 1], "windows": [[500, 2000]], "size": [8, 8]},
)


@pytest.fixture
def user_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def weights(tmp_path):
    return save_weights(create("tiny"), tmp_path / "tiny.safetensors", metadata=as_metadata(ENTRY))


@pytest.fixture
def installed(capfd, user_folder, weights):
    """The weights file as installed."""
    assert cspine_here(capfd, "models", "install", weights).code == 0
    return WeightsStore().find("tiny-task").path


def refused(ended) -> str:
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    lines = [line for line in ended.err.splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1
    return lines[0]


def test_weights_are_installed_listed_verified_and_removed(capfd, installed, user_folder):
    listed = cspine_here(capfd, "models", "list")
    assert listed.code == 0
    assert "tiny-net" in listed.out
    assert "nothing at all" in listed.out
    assert str(user_folder) in listed.out
    assert "ok     tiny-net" in cspine_here(capfd, "models", "verify").out
    assert cspine_here(capfd, "models", "remove", "tiny-net").code == 0
    assert not installed.exists()
    assert "tiny-net" not in cspine_here(capfd, "models", "list").out


def test_a_file_that_is_no_weights_is_not_installed(capfd, user_folder, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"pickle")
    assert "bad.safetensors" in refused(cspine_here(capfd, "models", "install", tmp_path / "bad.safetensors"))
    assert not user_folder.exists()


@pytest.mark.parametrize("words", [("verify", "absent-net"), ("remove", "absent-net")])
def test_a_name_that_is_not_there_is_refused(capfd, user_folder, words):
    assert "absent-net" in refused(cspine_here(capfd, "models", *words))


def spoil_missing(path):
    path.unlink()


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-20])


def spoil_other_hash(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [(spoil_missing, "missing"), (spoil_truncated, "truncated"), (spoil_other_hash, "another SHA-256")],
)
def test_spoiled_weights_are_refused_by_run_and_by_verify(capfd, installed, tmp_path, spoil, cause):
    spoil(installed)
    ct = make_ct(tmp_path / "ct.nrrd")

    verified = cspine_here(capfd, "models", "verify", "tiny-net")
    ran = cspine_here(
        capfd, "run", ct, "-o", tmp_path / "out", "--profile", "fake-with-weights", "--device", "cpu", "--no-render"
    )

    for ended in (verified, ran):
        sentence = refused(ended)
        assert installed.name in sentence
        assert cause in sentence
    assert "FAULT  tiny-net" in verified.out
    assert not (tmp_path / "out").exists()


def test_a_profile_whose_weights_were_never_installed_is_refused(capfd, user_folder, tmp_path):
    ct = make_ct(tmp_path / "ct.nrrd")
    ended = cspine_here(capfd, "run", ct, "-o", tmp_path / "out", "--profile", "fake-with-weights", "--device", "cpu")
    assert "cspine models install" in refused(ended)
    assert not (tmp_path / "out").exists()
