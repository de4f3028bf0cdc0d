"""Other names for the levels of a result: one level, or the whole column shifted by one. Results are never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.study_result import LEVELS, SliceFinding, StudyResult, VertebraFinding

Mapping = dict[str, str | None]
"""From a level's name to its new one; ``None`` drops the level. Levels that are not named stay."""


def found_levels(result: StudyResult) -> set[str]:
    """The levels that a result tells of: vertebrae that were found, and those of suspected fractures."""
    found = {vertebra.level for vertebra in result.vertebrae if vertebra.visible != "no"}
    return found | {fracture.level for fracture in result.fractures if fracture.level in LEVELS}


def shift_of(present: Iterable[str], by: int, drop: bool) -> Mapping:
    """The mapping that shifts all levels: ``by`` is -1 for up (C5 becomes C4) or 1 for down (C5 becomes C6).

    With ``drop`` a level that would leave C1-C7 is dropped; otherwise raises ``UserError`` where one is ``present``.
    """
    if by not in (-1, 1):
        message = "Levels are shifted by one, up or down: choose one of both."
        raise UserError(message)
    last = LEVELS[0] if by < 0 else LEVELS[-1]
    if last in present and not drop:
        way, beyond = ("up", "above C1") if by < 0 else ("down", "below C7")
        message = f"The levels cannot be shifted {way}: {last} would come to lie {beyond}; delete {last} first."
        raise UserError(message)
    numbers = {level: number + by for number, level in enumerate(LEVELS)}
    return {level: LEVELS[n] if 0 <= n < len(LEVELS) else None for level, n in numbers.items()}


def relabelled(result: StudyResult, mapping: Mapping) -> StudyResult:
    """The result with its levels renamed everywhere: vertebrae, fractures, slices, and reasons that name a level.

    Findings keep their IDs. A dropped level loses its vertebra and its fractures. An entry for a level that was not
    found gives way to a vertebra that takes its name.
    """
    moved = {new for level, new in mapping.items() if new != level}
    vertebrae = [
        _renamed(vertebra, mapping)
        for vertebra in result.vertebrae
        if mapping.get(vertebra.level, vertebra.level) is not None
        and not (vertebra.visible == "no" and (vertebra.level in moved or vertebra.level in mapping))
    ]
    fractures = [
        replace(fracture, level=mapping.get(fracture.level, fracture.level))
        for fracture in result.fractures
        if mapping.get(fracture.level, fracture.level) is not None
    ]
    vertebrae.sort(key=lambda vertebra: LEVELS.index(vertebra.level))
    slices = [_slice(one, mapping) for one in result.slices]
    return replace(result, vertebrae=vertebrae, fractures=fractures, slices=slices)


def _renamed(vertebra: VertebraFinding, mapping: Mapping) -> VertebraFinding:
    reason = vertebra.fracture_assessable
    if isinstance(reason, str):
        reason = re.sub(r"\bC[1-7]\b", lambda match: mapping.get(match[0], match[0]) or match[0], reason)
    level = mapping.get(vertebra.level, vertebra.level) or vertebra.level
    return replace(vertebra, level=level, fracture_assessable=reason)


def _slice(one: SliceFinding, mapping: Mapping) -> SliceFinding:
    kept = {level: share for level, share in one.vertebrae.items() if level not in mapping}
    taken = {mapping[level]: share for level, share in one.vertebrae.items() if mapping.get(level) is not None}
    both = {**kept, **taken}
    return replace(one, vertebrae={level: both[level] for level in LEVELS if level in both})
