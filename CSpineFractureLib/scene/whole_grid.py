"""A segmentation on the CT's whole grid instead of the part that its segments fill."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from CSpineFractureLib.scene.arrays import fill_image, image_array, numpy_matrix, vtk_matrix


def on_whole_grid(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkMRMLSegmentationNode:
    """A copy of a segmentation whose shared labelmap fills the reference grid; belongs to no scene.

    Slicer pads a cropped labelmap while writing it, once per segment, which takes seconds; this takes a moment.
    Returns the node itself where that is not possible: no segments, overlapping segments, or labels off the grid.
    """
    segmentation = node.GetSegmentation()
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if segmentation.GetNumberOfSegments() == 0 or segmentation.GetNumberOfLayers(name) != 1:
        return node
    whole = _whole_labelmap(segmentation, segmentation.GetNthSegment(0).GetRepresentation(name))
    if whole is None:
        return node
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetName(node.GetName())
    target = copy.GetSegmentation()
    target.SetSourceRepresentationName(name)
    target.CopyConversionParameters(segmentation)
    for index in range(segmentation.GetNumberOfSegments()):
        segment = slicer.vtkSegment()
        segment.DeepCopyMetadata(segmentation.GetNthSegment(index))
        segment.SetLabelValue(segmentation.GetNthSegment(index).GetLabelValue())
        segment.AddRepresentation(name, whole)
        target.AddSegment(segment, segmentation.GetNthSegmentID(index))
    return copy


def _whole_labelmap(
    segmentation: slicer.vtkSegmentation, cropped: slicer.vtkOrientedImageData
) -> slicer.vtkOrientedImageData | None:
    """The labelmap padded with zeros to the reference grid; ``None`` where its voxels are not those of the grid."""
    parameter = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    whole = slicer.vtkOrientedImageData()
    text = segmentation.GetConversionParameter(parameter)
    if not text or not slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, whole, False):
        return None
    to_grid = np.linalg.inv(_image_to_world(whole)) @ _image_to_world(cropped)
    offset = to_grid[:3, 3]
    if not np.allclose(to_grid[:3, :3], np.eye(3), atol=1e-4) or not np.allclose(offset, np.rint(offset), atol=1e-2):
        return None
    start = np.rint(offset).astype(int) + cropped.GetExtent()[::2] - np.array(whole.GetExtent()[::2])
    labels = image_array(cropped)
    shape = whole.GetDimensions()[::-1]
    low, high = start[::-1], start[::-1] + labels.shape
    if (low < 0).any() or (high > shape).any():
        return None
    array = np.zeros(shape, labels.dtype)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = labels
    matrix = _image_to_world(whole)
    matrix[:3, 3] += matrix[:3, :3] @ whole.GetExtent()[::2]
    fill_image(whole, array)
    whole.SetImageToWorldMatrix(vtk_matrix(matrix))
    return whole


def _image_to_world(image: slicer.vtkOrientedImageData) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return numpy_matrix(matrix)
