"""Splitting studies for training: always by patient, alike in fractures, the same for a seed in whatever order.

Ratios of the source documents: 80:20 (000), 70:20:10 and 70:15:15 (001), five-fold (002). Document 000 divides slices,
so that slices of one patient lie on both sides and the score is too good; ``slice_splits`` reproduces that flaw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from CSpineFractureLib.datasets.record import StudyRecord
from CSpineFractureLib.errors import UserError

RATIOS = {
    "80:20": {"train": 80, "val": 20},
    "70:20:10": {"train": 70, "val": 20, "test": 10},
    "70:15:15": {"train": 70, "val": 15, "test": 15},
    "5-fold": {f"fold{n}": 20 for n in range(5)},
}
"""Shares of the splits in percent."""


@dataclass(frozen=True)
class Group:
    """What must stay together: its stratum (any text; groups of one stratum are spread evenly) and its size."""

    stratum: str
    size: int = 1


def shares_of(ratios: str) -> dict[str, int]:
    """Percent by split. Raises ``UserError`` for an unknown name."""
    if ratios not in RATIOS:
        message = f"'{ratios}' is no known split; give one of {', '.join(RATIOS)}."
        raise UserError(message)
    return RATIOS[ratios]


def split_records(records: Iterable[StudyRecord], ratios: str, seed: int = 0) -> list[StudyRecord]:
    """The records, sorted by id, with ``split`` set; studies of one ``group`` always share theirs.

    Fractured, fracture-free and unknown studies are spread evenly, and so are the records' strata within them. Raises
    ``UserError`` for unknown ratios and for fewer groups than splits.
    """
    records = sorted(records, key=lambda record: record.id)
    members: dict[str, list[StudyRecord]] = {}
    for record in records:
        members.setdefault(record.group, []).append(record)
    split_of = deal({name: Group(_stratum(group), len(group)) for name, group in members.items()}, ratios, seed)
    return [replace(record, split=split_of[record.group]) for record in records]


def deal(groups: Mapping[str, Group], ratios: str, seed: int = 0) -> dict[str, str]:
    """The split of each group.

    Groups are shuffled, laid out by stratum, and dealt one by one to the split that lacks most: every stratum is
    shared out in the given ratios to within a group or so. No split stays empty. Raises ``UserError`` as
    ``split_records`` does.
    """
    shares = shares_of(ratios)
    names = sorted(groups)
    if len(names) < len(shares):
        message = (
            f"{len(names)} patients cannot be split {ratios}, which needs at least {len(shares)}; "
            f"add studies or choose another split."
        )
        raise UserError(message)
    order = [names[n] for n in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda name: groups[name].stratum)
    dealt: dict[str, list[str]] = {split: [] for split in shares}
    have, total = dict.fromkeys(shares, 0), 0
    for name in order:
        total += groups[name].size
        lacking = max(shares, key=lambda split: shares[split] * total - 100 * have[split])
        dealt[lacking].append(name)
        have[lacking] += groups[name].size
    for empty in (split for split in shares if not dealt[split]):
        dealt[empty].append(max(dealt.values(), key=len).pop())
    return {name: split for split, names in dealt.items() for name in names}


def slice_splits(count: int, ratios: str, rng: np.random.Generator) -> list[str]:
    """A split by chance for each of ``count`` slices of ONE study: the leak of document 000, only to reproduce it."""
    shares = shares_of(ratios)
    ends = np.cumsum(list(shares.values()))
    return [list(shares)[n] for n in np.searchsorted(ends, rng.integers(0, 100, count), side="right")]


def check_groups(records: Iterable[StudyRecord]) -> None:
    """Raise ``UserError`` where a record has no split, or one group has two."""
    split_of: dict[str, str] = {}
    for record in records:
        if record.split is None:
            message = f"Study '{record.id}' has no split; split the studies before writing images of them."
            raise UserError(message)
        other = split_of.setdefault(record.group, record.split)
        if other != record.split:
            message = f"Patient '{record.group}' is in '{other}' and in '{record.split}'; split by patient."
            raise UserError(message)


def _stratum(group: list[StudyRecord]) -> str:
    """``fractured``, ``negative`` or ``unknown``, and the strata of the records."""
    if all(record.negative for record in group):
        kind = "negative"
    elif any(any((record.fractured or {}).values()) or record.boxes for record in group):
        kind = "fractured"
    else:
        kind = "unknown"
    return " ".join([kind, *sorted({tag for record in group for tag in record.strata})])
