"""The last part of making an artifact, for a trained and an adopted pipeline alike: evaluate, calibrate, write."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from pickle import PicklingError
from typing import Any

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from model.alarm_policy import AlarmPolicy
from model.alarms import Alarms, calibrate_alarms
from model.artifact import ONNX_FILE, PIPELINE_FILE, REFERENCE_FILE, TEST_FILE, write_artifact
from model.conversion import Engines
from model.dataset import AnyDataset, Dataset
from model.errors import DataError
from model.evaluation import evaluate, evaluate_numbers
from model.explanation import Explainer
from model.held_out import HeldOutRows, probabilities_in
from model.manifest import PREDICTION, ClassifierManifest, DataCard, Manifest, RegressorManifest
from model.split import Split

_LIBRARIES = (
    "scikit-learn",
    "numpy",
    "pandas",
    "scipy",
    "shap",
    "skl2onnx",
    "onnx",
    "onnxruntime",
    "joblib",
    "pyarrow",
)

Progress = Callable[[str, float], None]
"""Told the step that is being worked on and how much of that step is done, from 0 to 1."""


@dataclass(frozen=True)
class Candidate:
    """A model that answers, with rows that it was not fitted on; `estimator` says what it is."""

    dataset: AnyDataset
    split: Split
    engines: Engines
    held_out: HeldOutRows
    estimator: str


def finish(
    candidate: Candidate,
    folder: Path,
    rng: np.random.Generator,
    *,
    seed: int,
    policy: AlarmPolicy,
    progress: Progress,
) -> Manifest:
    """Evaluate a model on its test rows, calibrate its alarms, write the artifact and return its manifest.

    Raises DataError if the pipeline cannot be saved and ArtifactError if the folder cannot be written.
    """
    dataset, engines, held_out = candidate.dataset, candidate.engines, candidate.held_out
    files = _files(engines, held_out)
    progress("explaining held-out rows", 0)
    alarms = calibrate_alarms(
        held_out,
        dataset.features,
        lambda: Explainer(engines.pipeline, dataset.features, held_out.test),
        rng,
        policy=policy,
        label_range=None if isinstance(dataset, Dataset) else dataset.label_range,
        progress=lambda share: progress("calibrating alarms", share),
    )
    progress("writing the artifact", 0)
    return write_artifact(folder, files, _manifest(candidate, alarms, seed=seed, policy=policy))


def _manifest(candidate: Candidate, alarms: Alarms, *, seed: int, policy: AlarmPolicy) -> Manifest:
    dataset, engines, test = candidate.dataset, candidate.engines, candidate.held_out.test
    common: dict[str, Any] = {
        "name": dataset.name,
        "version": "",
        "created_at": datetime.now(UTC).replace(microsecond=0),
        "features": dataset.features,
        "target": dataset.target,
        "estimator": candidate.estimator,
        "engine": "scikit-learn" if engines.parity.reason else "onnx",
        "parity": engines.parity,
        "seed": seed,
        "data": _data_card(dataset, candidate.split),
        "calibration": alarms.calibration,
        "attributions": alarms.attributions,
        "attributions_missing": alarms.attributions_missing,
        "thresholds": alarms.columns,
        "concept_threshold": alarms.concept,
        "attribution_threshold": alarms.attribution,
        "false_alarm_rate": policy.false_alarm_rate,
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        "files": {},
    }
    positions = candidate.split.test
    if isinstance(dataset, Dataset):
        probabilities = probabilities_in(test, dataset.class_names)
        quality = evaluate(probabilities, dataset.codes[positions], dataset.class_names)
        return ClassifierManifest(**common, classes=dataset.classes, quality=quality)
    predictions = test[PREDICTION].to_numpy(dtype=np.float64)
    return RegressorManifest(
        **common,
        label_range=dataset.label_range,
        quality=evaluate_numbers(predictions, dataset.numbers[positions]),
    )


def _data_card(dataset: AnyDataset, split: Split) -> DataCard:
    return DataCard(
        source=dataset.source,
        rows=len(dataset.frame),
        train_rows=len(split.train),
        test_rows=len(split.test),
        reference_rows=len(split.reference),
        fingerprint=dataset.fingerprint(),
    )


def _files(engines: Engines, held_out: HeldOutRows) -> dict[str, bytes]:
    files = {PIPELINE_FILE: _dumped(engines.pipeline)}
    # an ONNX model that answers differently is not kept: nothing may serve it by mistake
    if engines.onnx is not None:
        files[ONNX_FILE] = engines.onnx
    for name, rows in ((REFERENCE_FILE, held_out.reference), (TEST_FILE, held_out.test)):
        files[name] = rows.to_parquet(index=False)
    return files


def _dumped(pipeline: Pipeline) -> bytes:
    content = BytesIO()
    try:
        joblib.dump(pipeline, content, compress=3)
    except (PicklingError, AttributeError, TypeError) as error:
        raise DataError(f"the pipeline cannot be saved: {error}; give it functions of a module, not lambdas") from error
    return content.getvalue()
