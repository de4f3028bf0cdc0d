"""``metrics-<set>.json``: what a trained system reached on one data set, as plain data with its intervals.

Figures are fractions 0..1, except ``coverage_error`` (a count of labels). ``low`` and ``high`` bound the 95 % bootstrap
interval over studies and are ``None`` where none was computed.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically

SCHEMA = "cspine-metrics/1"


@dataclass(frozen=True)
class Figure:
    """A measured figure; ``None`` where it is not defined (an area under the curve without positives, say)."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DataFacts:
    """What was measured on: name of the set, whether its CT is synthetic, where it comes from, and its size."""

    name: str
    synthetic: bool
    source: str
    studies: int
    images: int


@dataclass
class Metrics:
    """The figures of one trained model on one set.

    ``set`` is ``val`` or the name of another data set. ``strata`` holds the figures of parts of the set, among them
    ``studies`` and ``images`` (their counts). ``parameters`` counts ``trainable`` and ``frozen`` ones. ``per_class``
    holds plain numbers by class. ``confusion`` is ``{"labels": [...], "matrix": [[...]]}``, rows predicted and columns
    true for boxes, rows true and columns predicted for slices.
    """

    system: str
    document: str
    model: str
    set: str
    data: DataFacts
    figures: dict[str, Figure]
    strata: dict[str, dict[str, Figure]] = field(default_factory=dict)
    parameters: dict[str, int] | None = None
    per_class: dict[str, dict[str, float | None]] | None = None
    confusion: dict[str, list] | None = None
    quick: bool = False
    epochs: int = 0
    seed: int = 0
    seconds: float = 0.0
    command: str = ""
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))


def metrics_path(run: Path, set_name: str) -> Path:
    """Where the figures of a set lie in a run folder."""
    return run / f"metrics-{set_name}.json"


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write the document; the file is whole or absent. Raises ``UserError`` where it cannot be written."""
    document = plain({"schema": SCHEMA, **asdict(metrics)})
    write_text_atomically(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_metrics(path: Path) -> Metrics:
    """Read a document. Raises ``UserError`` where it is missing, no JSON, of another schema or incomplete."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.pop("schema") != SCHEMA:
            message = f"its schema is not {SCHEMA}"
            raise ValueError(message)
        document["data"] = DataFacts(**document["data"])
        document["figures"] = _figures(document["figures"])
        document["strata"] = {name: _figures(part) for name, part in document.get("strata", {}).items()}
        return Metrics(**document)
    except OSError as error:
        message = f"'{path}' cannot be read ({error.strerror or error}); measure the run with 'cspine evaluate run'."
        raise UserError(message) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"'{path}' holds no metrics of this program ({error}); measure the run again: 'cspine evaluate run'."
        raise UserError(message) from error


def plain(value: Any) -> Any:
    """Plain JSON values: numpy scalars become numbers, what is not finite becomes ``None``, floats have 6 digits."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return plain(value.tolist())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _figures(document: dict[str, dict]) -> dict[str, Figure]:
    return {name: Figure(**figure) for name, figure in document.items()}
