"""Phantoms as an RSNA-2022 tree, with the traps of the real one, and as folders of DICOM files.

A tree holds ``train_images/<UID>/<slice>.dcm``, ``segmentations/<UID>.nii`` and the four tables of the competition.
What the real data set does not tell, the truth of every study, lies beside it in ``phantom_truth/<UID>.json``.
``test.csv`` asks for the studies of the tree itself (there are no ``test_images``), so that submissions can be scored
against ``train.csv``.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from pydicom.uid import generate_uid

from CSpineFractureLib.datasets.dicom_write import write_dicom_series
from CSpineFractureLib.datasets.nifti_mask import write_mask
from CSpineFractureLib.datasets.record import LEVELS
from CSpineFractureLib.datasets.rsna_tables import (
    BOX_COLUMNS,
    BOX_TABLE,
    IMAGES,
    LABEL_COLUMNS,
    LABEL_TABLE,
    MASKS,
    SUBMISSION_TABLE,
    TEST_TABLE,
)
from CSpineFractureLib.errors import UserError
from CSpineFractureLib.findings.atomic_file import write_text_atomically
from CSpineFractureLib.phantom.files import CT_FILE, TRUTH_FILE, study_folder, write_study
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import PhantomStudy, make_study

TRUTH_FOLDER, DICOM_FOLDER = "phantom_truth", "dicom"
SCHEMA = "cspine-phantom-rsna/1"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Traps:
    """What is awkward about one study.

    ``descending``: file 1 is the uppermost slice. ``jpeg_every``: every so many files are JPEG-lossless, 0 none.
    ``mask_order``: storage order of the mask (ITK's code), empty: the study has no mask. ``boxes``: its fractures are
    boxed.
    """

    descending: bool
    jpeg_every: int
    mask_order: str
    boxes: bool


TRAPS = (
    Traps(descending=True, jpeg_every=0, mask_order="PIR", boxes=True),
    Traps(descending=False, jpeg_every=2, mask_order="", boxes=False),
    Traps(descending=True, jpeg_every=3, mask_order="ASL", boxes=True),
    Traps(descending=False, jpeg_every=0, mask_order="RSA", boxes=False),
    Traps(descending=True, jpeg_every=0, mask_order="", boxes=True),
    Traps(descending=False, jpeg_every=3, mask_order="PIR", boxes=False),
)
"""By seed modulo 6: any six seeds in a row meet all, where their plans have fractures to box. RSNA-2022 stores its
masks in sagittal planes (``PIR``)."""


def traps_of(seed: int) -> Traps:
    """The traps of a seed."""
    return TRAPS[seed % len(TRAPS)]


def study_uid(seed: int) -> str:
    """StudyInstanceUID of a seed, below pydicom's root."""
    return generate_uid(entropy_srcs=["cspine-phantom", str(seed)])


def make_rsna_tree(
    root: Path,
    seeds: list[int],
    plan_of: Callable[[int], StudyPlan],
    jobs: int = 1,
    on_progress: Progress = lambda done, total: None,
) -> list[Path]:
    """Make the studies of ``seeds`` as an RSNA-2022 tree below ``root``; returns their image folders.

    A finished study of the same seed and plan is not made again. The tables are written at the end, from all finished
    studies of the tree, those of earlier runs included. Same bytes for any number of ``jobs``. Raises ``UserError``
    where the tree cannot be written.
    """
    _make_folders(root / IMAGES, root / MASKS, root / TRUTH_FOLDER)
    todo = [(root, seed, plan_of(seed)) for seed in seeds]
    _make_all(_make_rsna, [task for task in todo if not _is_rsna_made(*task)], len(todo), jobs, on_progress)
    _write_tables(root)
    return [root / IMAGES / study_uid(seed) for seed in seeds]


def write_rsna_study(root: Path, study: PhantomStudy, plan: StudyPlan | None = None) -> Path:
    """Write one study into the tree, without the tables, and return its image folder. Its truth comes last."""
    uid, traps = study_uid(study.seed), traps_of(study.seed)
    images, mask = root / IMAGES / uid, root / MASKS / f"{uid}.nii"
    truth_file = root / TRUTH_FOLDER / f"{uid}.json"
    truth_file.unlink(missing_ok=True)
    mask.unlink(missing_ok=True)
    files = range(traps.jpeg_every, len(study.hu) + 1, traps.jpeg_every) if traps.jpeg_every else ()
    numbers = write_dicom_series(
        images,
        study.hu,
        study.ijk_to_ras,
        uid,
        patient=f"Synthetic^{study.seed}",
        study_uid=uid,
        descending=traps.descending,
        jpeg_files=files,
    )
    if traps.mask_order:
        write_mask(study.labels, study.ijk_to_ras, mask, traps.mask_order)
    truth = {
        "schema": SCHEMA,
        "uid": uid,
        "seed": study.seed,
        "plan": None if plan is None else asdict(plan),
        "notice": "synthetic CT, research use only",
        "traps": asdict(traps),
        "slice_numbers": numbers,
        "centres_ras": {level: [round(x, 4) for x in ras] for level, ras in study.centres_ras.items()},
        "fractures": [asdict(fracture) for fracture in study.fractures],
        "mimics": study.mimics,
        "scanner": study.scanner,
        "age": study.age,
    }
    write_text_atomically(json.dumps(truth, indent=1) + "\n", truth_file)
    return images


def make_dicom_studies(
    root: Path,
    seeds: list[int],
    plan_of: Callable[[int], StudyPlan],
    jobs: int = 1,
    on_progress: Progress = lambda done, total: None,
    tilt_of: Callable[[int], float] = lambda seed: 0.0,
) -> list[Path]:
    """Make one folder per seed: ``dicom/<n>.dcm``, ``vertebrae.nii.gz``, ``fractures.nii.gz`` and ``truth.json``.

    ``tilt_of`` gives the gantry tilt of a seed in degrees; masks and truth stay upright, in the same RAS mm. A finished
    study of the same seed, plan and tilt is not made again. Raises ``UserError`` where ``root`` cannot be written.
    """
    _make_folders(root)
    todo = [(study_folder(root, seed), seed, plan_of(seed), tilt_of(seed)) for seed in seeds]
    _make_all(_make_dicom, [task for task in todo if not _is_dicom_made(*task)], len(todo), jobs, on_progress)
    return [folder for folder, *_ in todo]


def write_dicom_study(folder: Path, study: PhantomStudy, plan: StudyPlan | None = None, tilt_deg: float = 0.0) -> None:
    """Write one study as ``make_dicom_studies`` does; the folder appears complete or not at all."""
    partial = folder.with_name(folder.name + ".part")
    write_study(study, partial, plan)
    (partial / CT_FILE).unlink()
    write_dicom_series(
        partial / DICOM_FOLDER,
        study.hu,
        study.ijk_to_ras,
        study_uid(study.seed),
        patient=f"Synthetic^{study.seed}",
        gantry_tilt_deg=tilt_deg,
    )
    truth = json.loads((partial / TRUTH_FILE).read_text(encoding="utf-8"))
    (partial / TRUTH_FILE).write_text(json.dumps({**truth, "gantry_tilt_deg": tilt_deg}, indent=1), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _make_all(make: Callable, todo: list[tuple], total: int, jobs: int, on_progress: Progress) -> None:
    """Call ``make`` with each task, in several processes where that helps, and count."""
    first = total - len(todo)
    on_progress(first, total)
    if jobs <= 1 or len(todo) <= 1:
        for done, task in enumerate(todo, start=first + 1):
            make(*task)
            on_progress(done, total)
        return
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(make, *task) for task in todo]
        for done, finished in enumerate(as_completed(waiting), start=first + 1):
            finished.result()
            on_progress(done, total)


def _make_rsna(root: Path, seed: int, plan: StudyPlan) -> None:
    write_rsna_study(root, make_study(seed, plan), plan)


def _make_dicom(folder: Path, seed: int, plan: StudyPlan, tilt_deg: float) -> None:
    write_dicom_study(folder, make_study(seed, plan), plan, tilt_deg)


def _is_rsna_made(root: Path, seed: int, plan: StudyPlan) -> bool:
    uid = study_uid(seed)
    truth = _json(root / TRUTH_FOLDER / f"{uid}.json")
    there = (root / IMAGES / uid).is_dir() and (root / MASKS / f"{uid}.nii").exists() == bool(traps_of(seed).mask_order)
    return there and truth.get("plan") == _plain(plan) and truth.get("traps") == asdict(traps_of(seed))


def _is_dicom_made(folder: Path, seed: int, plan: StudyPlan, tilt_deg: float) -> bool:
    truth = _json(folder / TRUTH_FILE)
    same = truth.get("plan") == _plain(plan) and truth.get("gantry_tilt_deg") == tilt_deg
    return same and (folder / DICOM_FOLDER).is_dir()


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _plain(plan: StudyPlan) -> dict:
    return json.loads(json.dumps(asdict(plan)))


def _make_folders(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{folder}: cannot be used as output folder ({error.strerror}); choose one you can write to."
            raise UserError(message) from error


def _write_tables(root: Path) -> None:
    truths = [_json(path) for path in (root / TRUTH_FOLDER).glob("*.json")]
    truths = sorted((truth for truth in truths if truth.get("schema") == SCHEMA), key=lambda truth: truth["seed"])
    labels, boxes, tests = [], [], []
    for truth in truths:
        uid, fractures = truth["uid"], truth["fractures"]
        levels = [int(any(fracture["level"] == level for fracture in fractures)) for level in LEVELS]
        labels.append((uid, max(levels), *levels))
        tests += [(f"{uid}_{kind}", uid, kind) for kind in (*LEVELS, "patient_overall")]
        if truth["traps"]["boxes"]:
            rows = [box for fracture in fractures for box in fracture["slice_boxes"]]
            boxes += [(uid, *(f"{v:.5f}" for v in box), truth["slice_numbers"][k]) for k, *box in rows]
    _write_table(root / LABEL_TABLE, LABEL_COLUMNS, labels)
    _write_table(root / BOX_TABLE, BOX_COLUMNS, boxes)
    _write_table(root / TEST_TABLE, ("row_id", "StudyInstanceUID", "prediction_type"), tests)
    _write_table(root / SUBMISSION_TABLE, ("row_id", "fractured"), [(row_id, 0.5) for row_id, *_ in tests])


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    write_text_atomically(stream.getvalue(), path)
