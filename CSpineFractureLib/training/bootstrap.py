"""95 % intervals by bootstrap over studies: slices of one patient are no independent samples, so studies are drawn.

``scipy.stats.bootstrap`` resamples single observations and has no figure that may be undefined in some samples; hence
these lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from CSpineFractureLib.training.metrics_file import Figure

Figures = dict[str, float | None]
LEAST_DEFINED = 0.5
"""A figure gets an interval only where at least this share of the samples defines it."""


def with_intervals(
    function: Callable[..., Figures],
    studies: Sequence[str],
    *arrays: Any,
    n: int = 1000,
    seed: int = 0,
    quick: Callable[..., Figures] | None = None,
) -> dict[str, Figure]:
    """The figures of ``function(*arrays)`` with percentile intervals (2.5 % to 97.5 %) over studies.

    Parameters
    ----------
    function
        Gives figures by name; ``None`` or NaN where one is not defined.
    studies
        The study of each row.
    arrays
        What ``function`` takes: arrays with one row per entry of ``studies``.
    n
        Samples; 0 for no intervals. There are none for a single study either.
    seed
        Same seed, same intervals.
    quick
        Gives the same figures in less time, for the samples: a call of scikit-learn takes milliseconds whatever the
        number of rows.
    """
    columns = [np.asarray(array) for array in arrays]
    point = function(*columns)
    rows = rows_by_study(studies)
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(n if len(rows) > 1 else 0):
        drawn = np.concatenate([rows[index] for index in rng.integers(len(rows), size=len(rows))])
        samples.append((quick or function)(*(column[drawn] for column in columns)))
    return {name: _figure(value, [sample.get(name) for sample in samples]) for name, value in point.items()}


def rows_by_study(studies: Sequence[str]) -> list[np.ndarray]:
    """The row numbers of each study, studies in the order of their names."""
    _, member = np.unique(np.asarray(studies, dtype=str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    return np.split(order, np.cumsum(np.bincount(member))[:-1]) if len(order) else []


def _figure(value: float | None, samples: list[float | None]) -> Figure:
    if value is None or not np.isfinite(value):
        return Figure(None)
    defined = np.array([sample for sample in samples if sample is not None and np.isfinite(sample)])
    if not len(samples) or len(defined) < LEAST_DEFINED * len(samples):
        return Figure(float(value))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Figure(float(value), float(low), float(high))
