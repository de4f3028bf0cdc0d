"""What tests of the command line share."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder for runs and a store of weights, which may be large; none came with the program."""
    monkeypatch.setenv("CSPINE_MODELS", str(tmp_path / "own/models"))
    monkeypatch.setattr("CSpineFractureLib.models.store.resource_path", lambda name: tmp_path / "nothing")
    yield tmp_path / "own"
    shutil.rmtree(tmp_path / "own")
