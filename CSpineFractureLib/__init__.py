"""CSpineFracture: fractures of the cervical spine in CT, found, boxed, explained and shown in 3D Slicer."""

__version__ = "0.1.0"
