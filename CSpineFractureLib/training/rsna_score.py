"""The score and the submission file of RSNA-2022 (cervical spine fracture detection).

The score is a weighted log loss over C1-C7 and ``patient_overall``: a level weighs 1 where it is sound and 2 where it
is fractured, the whole patient 7 and 14. The competition normalises by the sum of weights; as public re-implementations
do, that is done here for each study, and the studies are averaged.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.datasets.rsna_tables import TEST_TABLE
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

KINDS = (*LEVELS, "patient_overall")
SOUND_WEIGHTS = np.array([1.0] * 7 + [7.0])
FRACTURED_WEIGHTS = 2 * SOUND_WEIGHTS
BASE_RATES = dict(zip(KINDS, (0.072, 0.141, 0.036, 0.054, 0.080, 0.137, 0.195, 0.476), strict=True))
"""Share of fractured ones in the competition's ``train.csv``: the guess for what could not be judged."""
_EDGE = 1e-15


def rsna_losses(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """The loss of each study, ``[n]``; ``truth`` 0/1 and ``probability`` 0..1 are ``[n, 8]``, columns as ``KINDS``."""
    truth = np.asarray(truth, bool).reshape(-1, len(KINDS))
    p = np.clip(np.asarray(probability, float).reshape(-1, len(KINDS)), _EDGE, 1 - _EDGE)
    weights = np.where(truth, FRACTURED_WEIGHTS, SOUND_WEIGHTS)
    losses = -np.where(truth, np.log(p), np.log1p(-p))
    return (weights * losses).sum(axis=1) / weights.sum(axis=1)


def rsna_log_loss(truth: np.ndarray, probability: np.ndarray) -> float | None:
    """The score: ``rsna_losses`` averaged over studies (lower is better); ``None`` without studies."""
    losses = rsna_losses(truth, probability)
    return float(losses.mean()) if len(losses) else None


def score_submission(submission: Mapping[str, Mapping[str, float]], truth: Mapping[str, Mapping[str, bool]]) -> float:
    """The score of a submission against which of C1-C7 are fractured in each study; all studies must be submitted."""
    missing = sorted(set(truth) - set(submission))
    if missing or not truth:
        what = f"lacks {missing[0]} and {len(missing) - 1} more" if missing else "cannot be scored without labels"
        message = f"The submission {what}; give one row per study and type."
        raise UserError(message)
    known = [[*(truth[uid][level] for level in LEVELS), any(truth[uid].values())] for uid in truth]
    return rsna_log_loss(np.array(known), np.array([[submission[uid][kind] for kind in KINDS] for uid in truth]))


def read_test_table(path: Path) -> list[tuple[str, str, str]]:
    """Rows of ``test.csv``: row_id, StudyInstanceUID, prediction_type. Raises ``UserError`` for a broken table."""
    rows = []
    for line, row in enumerate(_table(path, ("row_id", "StudyInstanceUID", "prediction_type")), start=2):
        if row["prediction_type"] not in KINDS or not row["row_id"]:
            message = f"'{path}', line {line}: '{row['prediction_type']}' is none of {', '.join(KINDS)}; correct it."
            raise UserError(message)
        rows.append((row["row_id"], row["StudyInstanceUID"], row["prediction_type"]))
    return rows


def write_submission(
    path: Path, probabilities: Mapping[str, Mapping[str, float]], test_table: Path | None = None
) -> None:
    """Write ``row_id,fractured`` in the order of ``test.csv``, or by study and type where no table is given.

    ``probabilities`` holds the eight ``KINDS`` of each study. The file is whole or absent. Raises ``UserError`` where a
    study of the table, one of its types, or a probability within 0..1 is lacking.
    """
    if test_table is None:
        asked = [(f"{uid}_{kind}", uid, kind) for uid in probabilities for kind in KINDS]
    else:
        asked = read_test_table(test_table)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("row_id", "fractured"))
    for row_id, uid, kind in asked:
        value = probabilities.get(uid, {}).get(kind)
        if value is None or not 0 <= value <= 1:
            fault = "no probability" if value is None else f"{value}, which is no probability,"
            message = f"'{path}': there is {fault} for {kind} of study {uid}; run that study, then write it again."
            raise UserError(message)
        table.writerow((row_id, repr(round(float(value), 7))))
    write_text_atomically(text.getvalue(), path)


def read_submission(path: Path) -> dict[str, dict[str, float]]:
    """Probabilities by study and type. Raises ``UserError`` for a broken, doubled or incomplete row."""
    found: dict[str, dict[str, float]] = {}
    for line, row in enumerate(_table(path, ("row_id", "fractured")), start=2):
        kind = next((kind for kind in KINDS if row["row_id"].endswith(f"_{kind}")), None)
        value = _number(row["fractured"])
        if kind is None or not 0 <= value <= 1:
            message = f"'{path}', line {line}: a row is '<StudyInstanceUID>_<type>,<0..1>'; correct it."
            raise UserError(message)
        uid = row["row_id"].removesuffix(f"_{kind}")
        if kind in found.setdefault(uid, {}):
            message = f"'{path}', line {line}: '{row['row_id']}' is there twice; remove one."
            raise UserError(message)
        found[uid][kind] = value
    for uid, kinds in found.items():
        missing = [kind for kind in KINDS if kind not in kinds]
        if missing:
            message = f"'{path}': study {uid} has no row for {', '.join(missing)}; add it."
            raise UserError(message)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            table = csv.DictReader(stream)
            missing = [name for name in columns if name not in (table.fieldnames or ())]
            rows = [{name: (row[name] or "").strip() for name in columns} for row in table] if not missing else []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"'{path}' cannot be read as a table ({getattr(error, 'strerror', None) or error}); copy it again."
        raise UserError(message) from error
    if missing or not rows:
        fault = f"no column {', '.join(missing)}" if missing else "no rows"
        message = f"'{path}' has {fault}; use the table as RSNA-2022 ships it ({TEST_TABLE} or a submission)."
        raise UserError(message)
    return rows
