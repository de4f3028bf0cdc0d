"""The section "DICOM and report": the study that is shown, as corrected, as DICOM SEG and SR or as a page to print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.findings.report_page import report_page
from CSpineFractureLib.panel.dicom_source import dicom_source
from CSpineFractureLib.panel.key_images import key_images
from CSpineFractureLib.panel.messages import plain_failure
from CSpineFractureLib.panel.results_panel import ResultsPanel
from CSpineFractureLib.scene.corrections import Corrections


def choose_folder(title: str) -> str:
    """Ask for a folder; empty where the user thinks better of it."""
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title)


def choose_page(title: str) -> str:
    """Ask for the name of an HTML file; empty where the user thinks better of it."""
    kinds = _("HTML page (*.html)")
    return qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "cspine-report.html", kinds)


class ExportPanel:
    """Ties the widgets of the section to the study that the section "Findings" shows.

    Parameters
    ----------
    ui, scene
        The widgets by name, and the scene.
    results
        Says which study is shown, and whether its findings are hidden from the reader.
    corrections
        Gives the corrections that are open in the panel for a study (its ID); ``None`` where there are none.
    pictures
        Gives the key images of the report, PNG files by name.
    """

    def __init__(
        self,
        ui: Any,
        scene: slicer.vtkMRMLScene,
        results: ResultsPanel,
        corrections: Callable[[str], Corrections | None] = lambda study: None,
        pictures: Callable[[], dict[str, bytes]] = key_images,
    ) -> None:
        self._ui, self._scene, self._results = ui, scene, results
        self._open_corrections, self._pictures = corrections, pictures
        self._page: Path | None = None
        ui.exportDicomButton.connect("clicked(bool)", self._on_export)
        ui.reportButton.connect("clicked(bool)", self._on_report)
        ui.openReportButton.connect("clicked(bool)", self._on_open)
        ui.studyBox.connect("currentIndexChanged(int)", self.refresh)  # after the section "Findings" has heard of it
        ui.readButton.connect("clicked(bool)", self.refresh)
        self.refresh()

    def refresh(self, *_event: object) -> None:
        """Enable what can be pressed now."""
        ready = self._results.study is not None and not self._results.is_hidden
        for button in (self._ui.exportDicomButton, self._ui.reportButton):
            button.enabled = ready
        self._ui.openReportButton.enabled = self._page is not None
        waiting = _("Analyse a CT first.") if self._results.study is None else _("Read the CT first.")
        if not ready:
            self._say(waiting)
        elif self._ui.exportStatus.text in (_("Analyse a CT first."), _("Read the CT first.")):
            self._say("")

    def export(self, folder: Path) -> str:
        """Write SEG and SR into a folder of the study's own below ``folder``, and say so.

        Raises ``UserError`` where there are no source images or the files cannot be written; nothing is written then.
        """
        from CSpineFractureLib.dicom.export import export_result  # imported late: highdicom

        corrections = self._corrections()
        labels, node = corrections.labels(), corrections.nodes.volume
        place = folder / f"cspine-{corrections.result.id[:8]}"
        with dicom_source(corrections.result, node, self._ui.dicomSourcePath.currentPath) as (result, source):
            written = export_result(result, labels, source, place, name=_("The study"))
        told = _("Written: {folder}.").format(folder=place)
        if written.seg is None:
            told += " " + _("No vertebra is segmented, so there is no seg.dcm.")
        if self._ui.exportToDatabase.checked:
            told += " " + self._add_to_database(place)
        return told

    def write_report(self, path: Path) -> str:
        """Write the page as the study and the views are now, and say so. Raises ``UserError`` where it cannot be."""
        corrections = self._corrections()
        corrections.take_in()
        result, node, patient = corrections.result, corrections.nodes.volume, None
        if self._ui.reportPatient.checked:
            from CSpineFractureLib.dicom.patient import patient_lines  # imported late: highdicom

            with dicom_source(result, node, self._ui.dicomSourcePath.currentPath) as (tied, source):
                patient = patient_lines(tied, source, _("The study"))
        write_text_atomically(report_page(result, self._pictures(), patient), path)
        self._page = path
        return _("Written: {path}.").format(path=path)

    def _corrections(self) -> Corrections:
        """The corrections of the study that is shown; they take in what was changed in the scene by hand."""
        study = self._results.study
        return self._open_corrections(study) or Corrections(self._scene, study)

    def _add_to_database(self, folder: Path) -> str:
        database = getattr(slicer, "dicomDatabase", None)
        if database is None or not database.isOpen:
            return _("Slicer's DICOM database is not open: import the folder in the DICOM module.")
        from DICOMLib import DICOMUtils

        if DICOMUtils.importDicom(str(folder), database, True):
            return _("Both stand in the DICOM database, in the study of the CT.")
        return _("They could not be added to the DICOM database: import the folder in the DICOM module.")

    def _on_export(self) -> None:
        folder = choose_folder(_("Folder for the DICOM files"))
        if folder:
            self._work(_("Writing DICOM ..."), lambda: self.export(Path(folder)))

    def _on_report(self) -> None:
        name = choose_page(_("Report"))
        if name:
            path = Path(name) if Path(name).suffix else Path(name).with_suffix(".html")
            self._work(_("Writing the report ..."), lambda: self.write_report(path))

    def _on_open(self) -> None:
        if not self._page.is_file() or not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(self._page))):
            self._say(_("{path} could not be opened: open it in a browser.").format(path=self._page))

    def _work(self, text: str, work: Callable[[], str]) -> None:
        """Do what takes a few seconds under a wait cursor; its end, good or bad, is told in one sentence."""
        for button in (self._ui.exportDicomButton, self._ui.reportButton):
            button.enabled = False
        self._say(text)
        slicer.app.processEvents()
        try:
            with slicer.util.WaitCursor():
                told = work()
        except UserError as error:
            told = str(error)
        except ModuleNotFoundError as error:
            told = plain_failure(str(error))
        except OSError as error:
            told = _("Not written ({reason}): choose a folder with space.").format(reason=error.strerror or error)
        self._say(told)
        self.refresh()

    def _say(self, text: str) -> None:
        self._ui.exportStatus.setText(text)
        self._ui.exportStatus.setVisible(bool(text))
