"""The networks of the source documents, one by one."""

from __future__ import annotations

from collections.abc import Container, Iterable

import pytest

from CSpineFractureLib.training.systems import load_system


def each_network(systems: Iterable[str], quick: Container[str]) -> list:
    """``(system, model)`` of each network of the recipes; those that are like a quick one but larger are slow tests."""
    every = [(name, model) for name in systems for model in load_system(name).models]
    return [pytest.param(*one, id="-".join(one), marks=() if one[1] in quick else pytest.mark.slow) for one in every]
