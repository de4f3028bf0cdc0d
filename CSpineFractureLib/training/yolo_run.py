"""The four functions of ``tasks`` for the detectors (documents 000, 002, 003 and 004)."""

from CSpineFractureLib.training.measure_run import measure
from CSpineFractureLib.training.run_images import make_images
from CSpineFractureLib.training.yolo_fit import find_boxes as look
from CSpineFractureLib.training.yolo_fit import fit_boxes as fit

__all__ = ["fit", "look", "make_images", "measure"]
