"""The page of a result: self-contained, escaped, and silent about the patient."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from dicom_study import TESTING, make_study
from PIL import Image
from sample_result import make_result

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.report_page import BANNER, report_page, write_report_page
from CSpineFractureLib.findings.result_file import write_result
from CSpineFractureLib.findings.study_result import Box, FractureFinding, ModelInfo, RadiographFinding
from CSpineFractureLib.notice import Notice

sys.path.insert(0, str(TESTING / "cli"))
from cspine_runner import cspine_here

EVIL = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """The words of a page and the tags that are open; void tags aside, every tag must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make_run(folder: Path, result) -> Path:
    (folder / "views").mkdir(parents=True)
    write_result(result, folder / "result.json")
    for name in ("sagittal", "axial", "three_d", "coronal"):
        Image.new("RGB", (8, 8), "gray").save(folder / "views" / f"{name}.png")
    return folder


def test_the_page_tells_levels_fractures_networks_and_thresholds(tmp_path: Path) -> None:
    path = write_report_page(make_run(tmp_path / "run", make_result()), tmp_path / "page.html")
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    for words in (BANNER, "C3 0.800 0.90 full fracture suspected 2–8 9.0 cm³", "trained on synthetic CT.", "=1+1"):
        assert words in page.text
    for words in ("slice-cnn 1", "fracture 0.5", "noisy-or of the levels", "Slices are 2 mm thick.", "two-stage"):
        assert words in page.text
    assert "C5 not assessed 0.90 full not assessed: motion artefact" in page.text
    assert "C7 not assessed – no not assessed: C7 was not found in the scan – –" in page.text
    bars = [attrs["style"] for tag, attrs in page.tags if tag == "i"]
    assert bars == ["width:10.0%", "width:10.0%", "width:80.0%", "width:10.0%"]


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    html = write_report_page(make_run(tmp_path / "run", make_result()), tmp_path / "page.html").read_text()
    sources = [attrs["src"] for tag, attrs in Page(html).tags if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert not re.search(r"https?://|<script|<link|url\(|@import", html)


def test_every_word_of_a_result_is_escaped() -> None:
    result = make_result(
        fractures=[FractureFinding("f", "C3", 0.5, Box([0, 0, 0], [1, 1, 1]), comment=EVIL)],
        warnings=[Notice("x", EVIL)],
        models=[ModelInfo(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL)],
        thresholds={EVIL: 0.5},
        profile=EVIL,
        device=EVIL,
        software_version=EVIL,
        id=EVIL,
    )
    result.vertebrae[4].fracture_assessable = EVIL
    result.study.level_rule = EVIL
    html = report_page(result, {}, {EVIL: EVIL})
    assert "<script" not in html
    assert Page(html).text.count("<script>alert(") == 15


def test_a_page_never_grows_beyond_its_sheet() -> None:
    fractures = [
        FractureFinding(f"f{n}", "C3", 0.5, Box([0, 0, 0], [1, 1, 1]), comment="long " * 200) for n in range(9)
    ]
    page = Page(report_page(make_result(fractures=fractures, warnings=[Notice("x", "word " * 300)] * 9)))
    assert "3 more with less confidence are in findings.csv" in page.text
    assert "5 more in result.json" in page.text
    assert page.text.count("long") < 6 * 21
    assert page.text.count("word") < 4 * 37


def test_a_radiograph_and_a_run_without_pictures_have_pages_too() -> None:
    found = RadiographFinding("fracture", {"normal": 0.25, "fracture": 0.75})
    page = Page(report_page(make_result(radiograph=found, vertebrae=[], fractures=[])))
    assert "Radiograph: fracture" in page.text
    assert "fracture 0.750" in page.text
    assert "The run wrote no pictures." in page.text
    assert page.open == []


def test_a_page_without_a_judged_level_does_not_read_as_if_nothing_was_found() -> None:
    result = make_result(fractures=[])
    assert "No box was drawn." in Page(report_page(result)).text
    for vertebra in result.vertebrae:
        vertebra.fracture_assessable = "slices are 3.0 mm thick"
    assert "Fractures were not judged: see the assessments above." in Page(report_page(result)).text


def test_the_patient_is_on_the_page_only_when_asked_for(tmp_path: Path, capfd) -> None:
    tags = {"PatientName": "Secret^Name", "PatientID": "P-77", "PatientBirthDate": "19480229"}
    study = make_study(tmp_path / "series", tags=tags)
    run = make_run(tmp_path / "run", study.result)
    silent = cspine_here(capfd, "report", run, "-o", tmp_path / "silent.html")
    named = cspine_here(capfd, "report", run, "-o", tmp_path / "named.html", "--with-patient", "--dicom", study.folder)
    assert (silent.code, named.code) == (0, 0)
    assert "Secret" not in (tmp_path / "silent.html").read_text()
    assert "Patient Secret^Name ID P-77 Born 1948-02-29" in Page((tmp_path / "named.html").read_text()).text
    assert "Secret" not in silent.out + silent.err + named.out + named.err
    alone = cspine_here(capfd, "report", run, "-o", tmp_path / "no.html", "--with-patient")
    assert alone.code == 2
    assert "go together" in alone.err


def test_bad_folders_give_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"result\.json"):
        write_report_page(tmp_path / "none", tmp_path / "page.html")
    run = make_run(tmp_path / "run", make_result())
    with pytest.raises(UserError, match="could not be written"):
        write_report_page(run, tmp_path / "none" / "page.html")
