"""Labels back into the segments of a segmentation node."""

from __future__ import annotations

import numpy as np
import slicer

from CSpineFractureLib.findings.study_result import LEVELS
from CSpineFractureLib.scene.segmentation_node import cropped_labelmap, labelmap_name, level_segment

Segments = tuple[tuple[str, str], ...]
"""ID and name of every segment of a level, in order. Other segments are the user's own and never touched."""


def segments_of_node(node: slicer.vtkMRMLSegmentationNode) -> Segments:
    """The segments of levels that a node has now."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    named = ((one, segmentation.GetSegment(one).GetName()) for one in ids)
    return tuple((one, name) for one, name in named if name in LEVELS)


def relabelled_segments(segments: Segments, mapping: dict[str, str | None]) -> Segments:
    """The segments once levels have changed their names; ``None`` drops one. A segment of a level keeps its ID."""
    own = {name: one for one, name in segments}
    renamed = []
    for one, name in segments:
        level = mapping.get(name, name)
        if level is not None:
            renamed.append((one, name) if level == name else (own.get(level, level), level))
    return tuple(renamed)


def put_labels(
    node: slicer.vtkMRMLSegmentationNode, labels: np.ndarray, ijk_to_ras: np.ndarray, segments: Segments
) -> None:
    """Let the segments named "C1" to "C7" show ``labels`` (uint8 ``[k, j, i]``, 1-7) on the grid of ``ijk_to_ras``.

    ``segments`` says which segments there are to be, and in which order. Missing ones are made as the analysis makes
    them; segments of levels that are not named are removed. Other segments are left alone.
    """
    segmentation = node.GetSegmentation()
    surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    empty = not labels.any()
    shared = slicer.vtkOrientedImageData() if empty else cropped_labelmap(labels, ijk_to_ras)
    for one, _ in segments_of_node(node):
        if one not in dict(segments):
            segmentation.RemoveSegment(one)
    for one, name in segments:
        segment = segmentation.GetSegment(one)
        if segment is not None and segment.GetName() != name:
            segment.SetName(name)
        label = LEVELS.index(name) + 1
        if segment is None:
            segmentation.AddSegment(level_segment(name, label, shared), one)
        else:
            segment.SetLabelValue(label)
            segment.AddRepresentation(labelmap_name(), shared)
            segment.RemoveRepresentation(surface)
    if segments_of_node(node) != segments:
        everything = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        in_order = iter(one for one, _ in segments)
        levels = dict(segments)
        segmentation.ReorderSegments([next(in_order) if one in levels else one for one in everything])
    node.CreateClosedSurfaceRepresentation()
    node.Modified()


def voxels_changed(node: slicer.vtkMRMLSegmentationNode) -> int:
    """A count that grows when segments or their voxels may have changed."""
    segmentation = node.GetSegmentation()
    latest = segmentation.GetMTime()
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        image = segment.GetRepresentation(labelmap_name())
        latest = max(latest, segment.GetMTime(), image.GetMTime() if image is not None else 0)
    return latest
