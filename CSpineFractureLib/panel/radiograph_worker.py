"""The worker for radiographs: the protocol of ``pipeline.worker``, but each input is the path of one picture.

The reply's volume is the picture as one slice of grey 0 to 1000, its ``cam`` the saliency map on the same pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from CSpineFractureLib.pipeline import worker

if TYPE_CHECKING:
    from CSpineFractureLib.findings.study_output import StudyOutput
    from CSpineFractureLib.models.store import WeightsStore
    from CSpineFractureLib.volume.ct_volume import CTVolume

WHITE = 1000
"""What stands for white in the reply's volume."""


class RadiographEngine:
    """Reads radiographs where ``pipeline.engine.Engine`` reads CT; raises as ``analyse_radiograph`` does."""

    def __init__(self, device: str = "auto", store: WeightsStore | None = None) -> None:
        self._device, self._store = device, store

    def run_study(
        self,
        path: str,
        profile: str,
        *,
        on_event: Callable[[Any], None] | None = None,
        is_cancelled: Callable[[], bool] | None = None,
        **_options: Any,
    ) -> tuple[CTVolume, StudyOutput]:
        """The picture as one slice, and its result with the saliency map (uint8, 255 = 1.0)."""
        import numpy as np  # imported late: after ``worker.main`` has set the threads

        from CSpineFractureLib.findings.study_output import StudyOutput
        from CSpineFractureLib.pipeline.radiograph import analyse_radiograph
        from CSpineFractureLib.volume.ct_volume import CTVolume

        found = analyse_radiograph(
            path, store=self._store, device=self._device, on_event=on_event, is_cancelled=is_cancelled
        )
        matrix = np.array(found.result.volume.ijk_to_ras)
        grey = np.rint(found.image.pixels[None] * WHITE).astype(np.int16)
        saliency = np.rint(np.clip(found.saliency[None], 0, 1) * 255).astype(np.uint8)
        output = StudyOutput(found.result, np.zeros(grey.shape, np.uint8), saliency, matrix)
        return CTVolume(grey, matrix), output


def main(device: str = "auto", store: WeightsStore | None = None) -> None:
    """Run a worker on this process's stdin and stdout."""
    worker.main(engine=RadiographEngine(device, store))


if __name__ == "__main__":
    main(*sys.argv[1:2])
