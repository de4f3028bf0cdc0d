"""What the networks of a result learnt from, in a few words for those who read it."""

from __future__ import annotations

from CSpineFractureLib.findings.study_result import StudyResult

REAL = "real CT without fractures"


def training_sources(result: StudyResult) -> list[str]:
    """``synthetic CT`` (or ``radiographs``) and ``real CT without fractures``, as far as the networks say so.

    Nothing where none of them learnt from synthetic images: networks of the user's own.
    """
    told = " ".join(model.trained_on.lower() for model in result.models)
    if "synthetic" not in told:
        return []
    synthetic = "synthetic CT" if result.radiograph is None else "synthetic radiographs"
    return [synthetic, REAL] if REAL.lower() in told else [synthetic]
