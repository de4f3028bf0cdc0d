"""Fracture probability along the spine: a table, series and chart in the scene, and the curve the panel draws."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import vtk

from CSpineFractureLib.findings.study_result import StudyResult
from CSpineFractureLib.scene import roles
from CSpineFractureLib.scene.build import SceneNodes
from CSpineFractureLib.scene.read_back import nodes_of_scene

SLICE_TABLE = "slice probabilities"
SLICE_CHART = "slice chart"
_HEIGHT, _PROBABILITY = "S (mm)", "fracture probability"


@dataclass(frozen=True)
class SliceCurve:
    """Heights (S, mm in the CT's own frame, rising) with a probability 0..1 each, and the levels' (low, high) there."""

    heights: list[float]
    probabilities: list[float]
    levels: dict[str, tuple[float, float]]


def add_slice_table(
    scene: slicer.vtkMRMLScene, nodes: SceneNodes, result: StudyResult
) -> slicer.vtkMRMLTableNode | None:
    """Add the probabilities of the slices as a table with a plot chart; ``None`` where the profile gives none."""
    known = [one for one in result.slices if one.fracture_probability is not None]
    if not known:
        return None
    shape, matrix = result.volume.shape_kji, result.volume.ijk_to_ras
    middle = matrix[2][0] * (shape[2] - 1) / 2 + matrix[2][1] * (shape[1] - 1) / 2 + matrix[2][3]
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Fracture probability by slice")
    points = sorted((middle + matrix[2][2] * one.k, float(one.fracture_probability)) for one in known)
    for index, title in enumerate((_HEIGHT, _PROBABILITY)):
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for point in points:
            column.InsertNextValue(point[index])
        table.AddColumn(column)
    table.SetLocked(True)
    roles.mark(table, SLICE_TABLE, result.id)
    chart = _add_chart(scene, table)
    roles.mark(chart, SLICE_CHART, result.id)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes.table))
    for node in (table, chart):
        hierarchy.SetItemParent(hierarchy.CreateItem(folder, node), folder)
    return table


def _add_chart(scene: slicer.vtkMRMLScene, table: slicer.vtkMRMLTableNode) -> slicer.vtkMRMLPlotChartNode:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Fracture probability")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(_HEIGHT)
    series.SetYColumnName(_PROBABILITY)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetColor(1.0, 0.13, 0.27)
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Fracture probability along the spine")
    chart.SetTitle("Fracture probability along the spine (research use only)")
    chart.SetXAxisTitle("height S (mm)")
    chart.SetYAxisTitle("probability")
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def slice_curve(scene: slicer.vtkMRMLScene, study: str) -> SliceCurve | None:
    """The curve of a study in the scene, ``None`` where there is none."""
    tables = roles.marked_nodes(scene, SLICE_TABLE, study)
    if not tables or tables[-1].GetNumberOfRows() == 0:
        return None
    content = tables[-1].GetTable()
    heights, probabilities = (content.GetColumnByName(title) for title in (_HEIGHT, _PROBABILITY))
    count = content.GetNumberOfRows()
    levels = {}
    for box in nodes_of_scene(scene, study).vertebra_boxes:
        bounds = [0.0] * 6
        box.GetBounds(bounds)
        levels[box.GetAttribute(roles.LEVEL)] = (bounds[4], bounds[5])
    return SliceCurve(
        [float(heights.GetVariantValue(row).ToDouble()) for row in range(count)],
        [float(probabilities.GetVariantValue(row).ToDouble()) for row in range(count)],
        levels,
    )
