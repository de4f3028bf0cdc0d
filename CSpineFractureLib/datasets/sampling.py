"""Which slices of which studies become images.

Document 000 (section III-B) takes slices with a box as positive, all others as negative, and draws as many negatives as
there are positives. In a fractured study without boxes that calls broken slices negative; so only slices known to be
negative are drawn here, unless that flaw is asked for with ``unannotated_as_negative``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from CSpineFractureLib.datasets.record import StudyRecord


@dataclass(frozen=True)
class StudySlices:
    """The slices with a fracture box of a study, and how many slices without one it should give."""

    record: StudyRecord
    positives: tuple[int, ...] = ()
    negatives: int = 0


def gives_negatives(record: StudyRecord, unannotated_as_negative: bool = False) -> bool:
    """Whether slices without a box may be taken as negative; test studies (nothing known) never."""
    return record.slices_are_labelled or (unannotated_as_negative and record.fractured is not None)


def plan_slices(
    records: Iterable[StudyRecord],
    ratio: float = 1.0,
    added: int | None = None,
    seed: int = 0,
    unannotated_as_negative: bool = False,
    most_per_study: int | None = None,
) -> list[StudySlices]:
    """What each study gives to a set of fracture images; needs no volume. Studies that give nothing are left out.

    Parameters
    ----------
    ratio
        Negative slices per positive slice, in each split.
    added
        Instead of ``ratio``: this many fracture-free slices in all, shared among the splits as the positives are
        (document 004, section 2.6, adds about a thousand).
    seed
        Chooses the studies where not all can give equally many.
    unannotated_as_negative
        The flaw of document 000, see above.
    most_per_study
        At most so many positive slices of each study, drawn by ``seed``; for small sets.

    Studies with fractures come first, then the others, by id.
    """
    records = sorted(records, key=lambda record: record.id)
    positives = {
        record.id: tuple(at_most({box.k for box in record.boxes or ()}, most_per_study, record.id, seed))
        for record in records
    }
    splits = sorted({record.split or "" for record in records})
    in_split = {split: [record for record in records if (record.split or "") == split] for split in splits}
    counts = [sum(len(positives[record.id]) for record in in_split[split]) for split in splits]
    wanted = [round(ratio * count) for count in counts] if added is None else shared_out(added, counts)
    negatives: dict[str, int] = {}
    for number, split in enumerate(splits):
        able = [record.id for record in in_split[split] if gives_negatives(record, unannotated_as_negative)]
        order = np.random.default_rng([seed, number]).permutation(len(able))
        for place, n in enumerate(order):
            negatives[able[n]] = wanted[number] // len(able) + (place < wanted[number] % len(able))
    plans = [StudySlices(record, positives[record.id], negatives.get(record.id, 0)) for record in records]
    chosen = [plan for plan in plans if plan.positives or plan.negatives]
    return sorted(chosen, key=lambda plan: (not plan.positives, plan.record.id))


def shared_out(total: int, weights: list[int]) -> list[int]:
    """``total`` divided in proportion to whole ``weights``, by largest remainders; all 0 where the weights are."""
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    parts = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % whole), n))
    for n in by_remainder[: total - sum(parts)]:
        parts[n] += 1
    return parts


def at_most(slices: Iterable[int], most: int | None, study: str, seed: int) -> list[int]:
    """The slices, sorted; drawn where there are more than ``most``."""
    slices = sorted(slices)
    return slices if most is None or len(slices) <= most else draw_slices(slices, most, study, seed)


def draw_slices(candidates: Iterable[int], wanted: int, study: str, seed: int) -> list[int]:
    """``wanted`` of the candidates (all, where there are fewer), sorted; depends on the seed and the study alone."""
    candidates = sorted(candidates)
    drawn = study_stream(seed, study).permutation(len(candidates))[: max(0, wanted)]
    return sorted(candidates[n] for n in drawn)


def study_stream(seed: int, study: str, purpose: int = 0) -> np.random.Generator:
    """Random numbers of a study's own, whatever the other studies are."""
    return np.random.default_rng([seed, zlib.crc32(study.encode()), purpose])
