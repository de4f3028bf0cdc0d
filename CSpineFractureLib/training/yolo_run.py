"""The functions of ``tasks`` for the detectors (documents 000, 002, 003 and 004)."""

from pathlib import Path

from CSpineFractureLib.training.measure_run import measure
from CSpineFractureLib.training.run_folder import RunFolder, Setup
from CSpineFractureLib.training.run_images import make_images
from CSpineFractureLib.training.yolo_find import find_boxes as look
from CSpineFractureLib.training.yolo_fit import fit_boxes as fit
from CSpineFractureLib.training.yolo_settings import check_optimiser, check_size
from CSpineFractureLib.training.yolo_start import first_network

__all__ = ["check", "fit", "look", "make_images", "measure"]


def check(setup: Setup) -> None:
    """Raise ``UserError`` where the model cannot take images of its size, or not start from the weights, or
    for an optimiser that there is not."""
    check_size(setup)
    check_optimiser(setup)
    if setup.start:
        first_network(RunFolder(Path(setup.model), setup))
