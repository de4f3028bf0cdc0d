"""A result as one self-contained HTML page that prints on one A4 sheet."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.report_style import STYLE
from CSpineFractureLib.findings.result_file import read_result
from CSpineFractureLib.findings.result_rows import (
    DEFAULT_LEVEL_THRESHOLD,
    LEVEL_THRESHOLD,
    NOT_ASSESSED,
    SUSPECTED,
    FindingRow,
    result_rows,
)
from CSpineFractureLib.findings.study_result import FractureFinding, StudyResult, VertebraFinding
from CSpineFractureLib.findings.training_sources import training_sources

BANNER = "Research use only. Not a medical device, never validated on real fractures."
PICTURES = {"sagittal": "Sagittal", "axial": "Axial", "three_d": "3D"}
"""Names of the pictures in ``views/`` and their captions, in the order of the page."""
LARGEST_PICTURE = 8 * 2**20
MOST_FRACTURES, MOST_WARNINGS = 6, 4
"""More would not fit on one sheet; the page says how many are left out."""
DASH = "–"


def write_report_page(run: str | Path, path: str | Path, patient: Mapping[str, str] | None = None) -> Path:
    """Write the page of what ``cspine run`` wrote into the folder ``run``; it is whole or absent.

    ``patient``: lines for the head of the page (name to value), by default none: a result holds no patient data.
    Raises ``UserError`` where the folder holds no result or the page cannot be written.
    """
    run, path = Path(run), Path(path)
    result = read_result(run / "result.json")
    write_text_atomically(report_page(result, _pictures(run / "views"), patient), path)
    return path


def report_page(
    result: StudyResult, pictures: Mapping[str, bytes] | None = None, patient: Mapping[str, str] | None = None
) -> str:
    """The page as HTML. ``pictures``: PNG files by name (see ``PICTURES``). All text is escaped."""
    parts = [
        _head(result, patient or {}),
        _radiograph(result) if result.radiograph is not None else _levels(result) + _fractures(result),
        _key_images(pictures or {}),
        _warnings(result),
        _how(result),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>Cervical spine findings</title>\n<style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main></body></html>\n"
    )


def _pictures(folder: Path) -> dict[str, bytes]:
    """Those pictures that are there; a run without the Slicer libraries has none."""
    found = {}
    for name in PICTURES:
        file = folder / f"{name}.png"
        if file.is_file() and file.stat().st_size <= LARGEST_PICTURE:
            found[name] = file.read_bytes()
    return found


def _head(result: StudyResult, patient: Mapping[str, str]) -> str:
    volume = result.volume
    sizes = " × ".join(str(number) for number in reversed(volume.shape_kji))
    spacing = " × ".join(f"{number:.2f}" for number in volume.spacing_mm)
    study = {
        "Analysed": result.created[:19].replace("T", " "),
        "Result": result.id,
        "Grid": f"{sizes} voxels of {spacing} mm ({volume.grid})" if result.radiograph is None else f"{sizes} pixels",
    }
    if result.status != "complete":
        study["Status"] = f"{result.status}: not the whole study was analysed"
    lines = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in study.items())
    who = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in patient.items())
    sources = training_sources(result)
    trained = f" The networks were trained on {' and '.join(sources)}." if sources else ""
    return (
        f'<p class="banner">{BANNER}{trained}</p>\n<header><h1>Cervical spine: suspected fractures</h1>'
        + (f'<dl class="study">{who}</dl>' if who else "")
        + f'<dl class="study">{lines}</dl></header>'
    )


def _levels(result: StudyResult) -> str:
    threshold = result.thresholds.get(LEVEL_THRESHOLD, DEFAULT_LEVEL_THRESHOLD)
    rows = "".join(_level_row(row, threshold) for row in result_rows(result) if row.kind == "level")
    overall = result.study.fracture_probability
    total = NOT_ASSESSED if overall is None else f"{overall:.3f}"
    names = ("Level", "Fracture probability", "Confidence", "Visible", "Assessment", "Slices", "Volume")
    return (
        f"<section><h2>Levels</h2>{_table(names, rows)}"
        f"<p>Fracture anywhere in the assessed levels: probability <b>{total}</b>. A level is suspected from "
        f"{threshold:.2f} on (the mark on the bar) or where a box lies in it.</p></section>"
    )


def _level_row(row: FindingRow, threshold: float) -> str:
    vertebra = row.finding if isinstance(row.finding, VertebraFinding) and row.visible != "no" else None
    confidence = slices = volume = DASH
    if vertebra is not None:
        confidence = f"{vertebra.confidence:.2f}"
        slices = f"{vertebra.slice_range[0]}{DASH}{vertebra.slice_range[1]}"
        volume = f"{vertebra.volume_mm3 / 1000:.1f} cm³" if vertebra.volume_mm3 > 0 else DASH
    kind = ' class="suspected"' if row.assessment == SUSPECTED else ""
    return (
        f'<tr{kind}><th scope="row">{row.level}</th><td>{_bar(row.probability, threshold)}</td><td>{confidence}</td>'
        f'<td>{_text(row.visible)}</td><td class="words">{_text(row.assessment)}</td><td>{slices}</td>'
        f"<td>{volume}</td></tr>"
    )


def _bar(probability: float | None, threshold: float) -> str:
    if probability is None:
        return f'<span class="none">{NOT_ASSESSED}</span>'
    width, mark = (100 * min(max(value, 0.0), 1.0) for value in (probability, threshold))
    return (
        f'<span class="bar"><i style="width:{width:.1f}%"></i><b style="left:{mark:.1f}%"></b></span>'
        f'<span class="value">{probability:.3f}</span>'
    )


def _fractures(result: StudyResult) -> str:
    found = [row.finding for row in result_rows(result) if isinstance(row.finding, FractureFinding)]
    if not found:
        judged = any(vertebra.fracture_assessable is True for vertebra in result.vertebrae)
        text = "No box was drawn." if judged else "Fractures were not judged: see the assessments above."
        return f"<section><h2>Suspected fractures</h2><p>{text}</p></section>"
    names = ("Level", "Confidence", "Status", "Centre (R, A, S)", "Size", "Comment")
    rows = "".join(_fracture_row(fracture) for fracture in found[:MOST_FRACTURES])
    more = len(found) - MOST_FRACTURES
    rest = f"<p>{more} more with less confidence are in findings.csv.</p>" if more > 0 else ""
    return f"<section><h2>Suspected fractures</h2>{_table(names, rows)}{rest}</section>"


def _fracture_row(fracture: FractureFinding) -> str:
    centre = ", ".join(f"{value:.0f}" for value in fracture.box.center_ras)
    size = " × ".join(f"{value:.0f}" for value in fracture.box.size_mm)
    comment = _text(_shortened(fracture.comment, 100)) or DASH
    return (
        f'<tr><th scope="row">{_text(fracture.level)}</th><td>{fracture.confidence:.2f}</td>'
        f'<td>{_text(fracture.status)}</td><td>{centre} mm</td><td>{size} mm</td><td class="words">{comment}</td></tr>'
    )


def _radiograph(result: StudyResult) -> str:
    found = result.radiograph
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{_bar(value, 0.5)}</td></tr>'
        for name, value in found.probabilities.items()
    )
    return f"<section><h2>Radiograph: {_text(found.kind)}</h2>{_table((), rows)}</section>"


def _key_images(pictures: Mapping[str, bytes]) -> str:
    figures = "".join(
        f'<figure><img alt="{caption} view" src="data:image/png;base64,{base64.b64encode(pictures[name]).decode()}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for name, caption in PICTURES.items()
        if name in pictures
    )
    if not figures:
        return '<section><h2>Key images</h2><p class="none">The run wrote no pictures.</p></section>'
    return f'<section><h2>Key images</h2><div class="images">{figures}</div></section>'


def _warnings(result: StudyResult) -> str:
    if not result.warnings:
        return ""
    items = "".join(f"<li>{_text(_shortened(notice.message))}</li>" for notice in result.warnings[:MOST_WARNINGS])
    more = len(result.warnings) - MOST_WARNINGS
    rest = f"<li>{more} more in result.json.</li>" if more > 0 else ""
    return f"<section><h2>Warnings</h2><ul>{items}{rest}</ul></section>"


def _how(result: StudyResult) -> str:
    """Programs, networks and thresholds: what one needs to repeat the run."""
    groups: dict[str, list[str]] = {}
    for model in result.models:
        network = f"{_text(model.task)}: {_text(model.name)} {_text(model.version)}"
        groups.setdefault(model.trained_on, []).append(f"{network} (<code>{_text(model.sha256[:12])}</code>)")
    networks = "".join(
        f"<p>{'; '.join(members)}. Trained on: {_text(_shortened(trained_on, 400))}.</p>"
        for trained_on, members in groups.items()
    )
    thresholds = ", ".join(f"{_text(name)} {value:g}" for name, value in result.thresholds.items()) or "none"
    return (
        f'<section class="small"><h2>How it was made</h2>{networks}<p>CSpineFracture {_text(result.software_version)}, '
        f"profile {_text(result.profile)}, device {_text(result.device)}; rule for the levels: "
        f"{_text(_shortened(result.study.level_rule, 300))}; thresholds: {thresholds}.</p></section>"
    )


def _table(names: Sequence[str], rows: str) -> str:
    """A table that scrolls sideways where the window is too narrow for it."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<thead><tr>{cells}</tr></thead>" if names else ""
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _shortened(text: str, limit: int = 180) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
