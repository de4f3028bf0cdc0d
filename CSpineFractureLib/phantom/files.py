"""Synthetic studies on disk: one folder each, made by several processes, finished ones not made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from CSpineFractureLib.errors import UserError
from CSpineFractureLib.phantom.plan import StudyPlan
from CSpineFractureLib.phantom.study import PhantomStudy, make_study
from CSpineFractureLib.volume.itk_image import itk_image, write_whole

CT_FILE, LABEL_FILE, FRACTURE_FILE, TRUTH_FILE = "ct.nii.gz", "vertebrae.nii.gz", "fractures.nii.gz", "truth.json"
SCHEMA = "cspine-phantom/1"


def study_folder(root: Path, seed: int) -> Path:
    """The folder of one study below ``root``."""
    return root / f"phantom_{seed:06d}"


def write_study(study: PhantomStudy, folder: Path, plan: StudyPlan | None = None) -> None:
    """Write ``ct.nii.gz``, ``vertebrae.nii.gz`` (1-7 = C1-C7, 8+ thoracic), ``fractures.nii.gz`` (the same
    labels in the gaps) and ``truth.json``.

    The folder appears complete or not at all.
    """
    partial = folder.with_name(folder.name + ".part")
    truth = {
        "schema": SCHEMA,
        "seed": study.seed,
        "plan": None if plan is None else asdict(plan),
        "notice": "synthetic CT, research use only",
        "centres_ras": {k: [round(x, 4) for x in v] for k, v in study.centres_ras.items()},
        "fractures": [asdict(f) for f in study.fractures],
        "mimics": study.mimics,
        "scanner": study.scanner,
        "age": study.age,
    }
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, array in ((CT_FILE, study.hu), (LABEL_FILE, study.labels), (FRACTURE_FILE, study.fracture_mask)):
            write_whole(itk_image(array, study.ijk_to_ras), partial / name)
        (partial / TRUTH_FILE).write_text(json.dumps(truth, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: SimpleITK cannot write
        cause = getattr(error, "strerror", None) or str(error).splitlines()[-1]
        message = f"'{folder}' cannot be written ({cause}); choose a folder with space you may use."
        raise UserError(message) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_studies(
    root: Path,
    seeds: list[int],
    plan_of: Callable[[int], StudyPlan],
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Make the studies of ``seeds`` below ``root``, and return their folders.

    A finished study of the same seed and plan is not made again; one of another plan is replaced.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{root}: cannot be used as output folder ({error.strerror}); choose a folder you can write to."
        raise UserError(message) from error
    folders = [study_folder(root, seed) for seed in seeds]
    todo = [(seed, folder) for seed, folder in zip(seeds, folders, strict=True) if not _is_made(folder, plan_of(seed))]
    done = len(seeds) - len(todo)
    on_progress(done, len(seeds))
    if jobs <= 1 or len(todo) <= 1:
        for seed, folder in todo:
            _make(seed, plan_of(seed), folder)
            done += 1
            on_progress(done, len(seeds))
        return folders
    with ProcessPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_make, seed, plan_of(seed), folder) for seed, folder in todo]
        for finished in as_completed(waiting):
            finished.result()
            done += 1
            on_progress(done, len(seeds))
    return folders


def _make(seed: int, plan: StudyPlan, folder: Path) -> None:
    write_study(make_study(seed, plan), folder, plan)


def _is_made(folder: Path, plan: StudyPlan) -> bool:
    try:
        truth = json.loads((folder / TRUTH_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return truth.get("plan") == json.loads(json.dumps(asdict(plan)))
