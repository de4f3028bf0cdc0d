"""What both objects say of the program that made them, and their identifiers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.findings.training_sources import training_sources

PROGRAM = "CSpineFracture"
UTF_8 = "ISO_IR 192"
SERIES_NUMBERS = {"seg": 9301, "sr": 9302}
CAUTION = "Research use only, never validated on real fractures"


@dataclass(frozen=True)
class Export:
    """One export: its time and the hash of what is exported, from which the UIDs are made.

    The same content at the same time gives the same UIDs (and bytes); any other export gets others, as DICOM wants.
    """

    moment: datetime
    digest: str

    @classmethod
    def of(cls, result: StudyResult, labels: np.ndarray, moment: datetime | None = None) -> Export:
        """The export of a result and its labels; ``moment`` is by default now."""
        moment = moment or datetime.now()
        content = json.dumps(result.to_dict(), sort_keys=True).encode() + np.ascontiguousarray(labels).tobytes()
        return cls(moment, hashlib.sha256(content).hexdigest())

    def uid(self, purpose: str) -> str:
        """A UID for one purpose (``seg``, ``seg-series``, ...) of this export."""
        return generate_uid(entropy_srcs=[self.digest, self.moment.isoformat(), purpose])

    def stamp(self, dataset: Dataset) -> None:
        """Give an object the time of the export."""
        day, time = self.moment.strftime("%Y%m%d"), self.moment.strftime("%H%M%S.%f")
        dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
        dataset.ContentDate, dataset.ContentTime = day, time
        dataset.SeriesDate, dataset.SeriesTime = day, time
        for equipment in dataset.get("ContributingEquipmentSequence", []):
            equipment.ContributionDateTime = day + time


def tracking_uid(result: StudyResult, finding_id: str) -> str:
    """The UID of a finding, the same in every export and in both objects."""
    return generate_uid(entropy_srcs=[PROGRAM, result.id, finding_id])


def caution(result: StudyResult) -> str:
    """The sentence that no reader shall miss (at most 64 characters where the networks learnt from synthetic CT)."""
    sources = training_sources(result)
    if not sources:
        return CAUTION
    return f"Research use only, trained on {sources[0]}{' and sound real CT' if sources[1:] else ''}"


def parameters(result: StudyResult) -> dict[str, str]:
    """Profile and networks, by name."""
    models = {f"network for {model.task}": f"{model.name} {model.version}" for model in result.models}
    return {"caution": caution(result), "profile": result.profile, **models}
