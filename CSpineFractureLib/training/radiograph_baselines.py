"""The classical classifiers that document 001 compares with (section 4.2): SVM and random forest.

The document does not say which features they had: here the grey of the same pictures, averaged to 32 pixels. They are
measured, not kept.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from CSpineFractureLib.datasets.radiographs import CLASSES
from CSpineFractureLib.training.bootstrap import with_intervals
from CSpineFractureLib.training.metrics_file import DataFacts, Metrics, metrics_path, write_metrics
from CSpineFractureLib.training.radiograph_report import class_figures, radiograph_confusion, radiograph_figures
from CSpineFractureLib.training.run_folder import RunFolder

BASELINES = ("svm", "random-forest")
EDGE = 32
SAMPLES = 200


def small_pictures(pictures: np.ndarray) -> np.ndarray:
    """float32 ``[n, 1024]`` 0..1 of uint8 pictures ``[n, size, size]``."""
    small = [cv2.resize(picture, (EDGE, EDGE), interpolation=cv2.INTER_AREA).ravel() for picture in pictures]
    return np.stack(small).astype(np.float32) / 255


def baseline_scores(name: str, features: np.ndarray, truth: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    """Scores 0..1 ``[n, 3]`` of ``asked`` by a classifier that learned ``features`` and ``truth`` (0, 1 or 2)."""
    from scipy.special import softmax
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if name == "svm":
        fitted = make_pipeline(StandardScaler(), SVC(C=10.0, random_state=seed)).fit(features, truth)
        return softmax(fitted.decision_function(asked), axis=1)
    return RandomForestClassifier(100, random_state=seed).fit(features, truth).predict_proba(asked)


def measure_baselines(
    run: RunFolder,
    set_name: str,
    facts: DataFacts,
    training: tuple[np.ndarray, np.ndarray],
    asked: tuple[np.ndarray, np.ndarray],
    groups: np.ndarray,
) -> list[Path]:
    """Measure each of ``BASELINES`` beside ``run``: ``baseline-<name>/metrics-<set>.json``; returns the paths.

    ``training`` and ``asked`` are pictures (uint8 ``[n, size, size]``) with their true classes; ``groups`` the persons
    of ``asked``. What is there already is kept: it depends on the pictures and the seed alone.
    """
    folders = {name: run.path.parent / f"baseline-{name}" for name in BASELINES}
    paths = {name: metrics_path(folder, set_name) for name, folder in folders.items()}
    if all(path.is_file() for path in paths.values()):
        return list(paths.values())
    learned, shown = small_pictures(training[0]), small_pictures(asked[0])
    system, seed = run.setup.system, run.setup.seed
    for name, path in paths.items():
        scores = baseline_scores(name, learned, training[1], shown, seed)
        figures = with_intervals(radiograph_figures, groups, asked[1], scores, n=SAMPLES)
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics = Metrics(
            system=system.name,
            document=system.document,
            model=f"baseline-{name}",
            set=set_name,
            data=facts,
            figures=figures,
            per_class=class_figures(asked[1], scores),
            confusion={"labels": list(CLASSES), "matrix": radiograph_confusion(asked[1], scores).tolist()},
            quick=system.quick,
            seed=seed,
        )
        write_metrics(path, metrics)
    return list(paths.values())
