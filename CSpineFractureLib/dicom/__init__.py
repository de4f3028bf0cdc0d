"""Results as DICOM objects: a segmentation (SEG) and a measurement report (SR, TID 1500), written and read back."""
