"""Fixtures for all rooms' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def real_ct() -> Path:
    """Folder with real CT beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data" / "real-ct"
    if not folder.is_dir():
        pytest.skip("no real CT at ../shared/data/real-ct")
    return folder
