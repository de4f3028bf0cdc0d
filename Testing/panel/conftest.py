"""The fixtures of ``panel_fixtures`` for every test of this folder."""

from __future__ import annotations

from panel_fixtures import a_panel, slicer_program, the_worker

__all__ = ["a_panel", "slicer_program", "the_worker"]
