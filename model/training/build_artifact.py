"""The last part of training and of an import: evaluate, calibrate the alarms, write the artifact."""

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
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import log_loss, precision_recall_fscore_support, roc_auc_score
from sklearn.pipeline import Pipeline

from model.alarms.calibrate import Alarms, calibrate_alarms
from model.alarms.effects import smallest_effects
from model.alarms.learning import alarms_while_learning, gross_thresholds
from model.alarms.policy import AlarmPolicy
from model.alarms.traffic import calibrate_traffic
from model.alarms.window_values import Model
from model.artifact.estimators import libraries_of
from model.artifact.manifest import (
    PREDICTION,
    AlarmKind,
    ClassifierManifest,
    ClassQuality,
    DataCard,
    HoldOutQuality,
    Manifest,
    RegressionQuality,
    RegressorManifest,
)
from model.artifact.store import ONNX_FILE, PIPELINE_FILE, REFERENCE_FILE, TEST_FILE, write_artifact
from model.artifact.traffic import TrafficAlarms
from model.data.dataset import AnyDataset, Codes, Dataset
from model.data.split import Split
from model.errors import DataError
from model.explain.explainer import Explainer
from model.serving.engines import Probabilities
from model.serving.onnx import Engines
from model.training.out_of_fold import OutOfFoldRows, probabilities_in


def evaluate(
    probabilities: Probabilities, codes: Codes, class_names: tuple[str, ...], predicted: Codes | None = None
) -> HoldOutQuality:
    """Return accuracy, log loss, ROC AUC, and precision, recall and F1 per class and averaged unweighted.

    `probabilities` (rows, classes) in the order of `class_names`; `codes` (rows,) the true classes, `predicted` (rows,)
    those that were answered, if not the most probable ones.
    """
    indices = np.arange(len(class_names))
    if predicted is None:
        predicted = probabilities.argmax(axis=1)
    correct = int((predicted == codes).sum())
    # zero_division: a class that is never predicted has precision 0, not a warning
    precision, recall, f1, support = precision_recall_fscore_support(codes, predicted, labels=indices, zero_division=0)
    return HoldOutQuality(
        rows=len(codes),
        correct=correct,
        accuracy=correct / len(codes),
        precision=float(np.mean(precision)),
        recall=float(np.mean(recall)),
        f1=float(np.mean(f1)),
        log_loss=float(log_loss(codes, probabilities, labels=indices)),
        roc_auc=_roc_auc(probabilities, codes),
        per_class={
            name: ClassQuality(
                rows=int(support[index]),
                precision=float(precision[index]),
                recall=float(recall[index]),
                f1=float(f1[index]),
            )
            for index, name in enumerate(class_names)
        },
    )


def evaluate_regression(predictions: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> RegressionQuality:
    """Return how far predicted numbers (rows,) are from the true ones (rows,), and R2."""
    errors = predictions - labels
    absolute = np.abs(errors)
    variance = float(labels.var())
    return RegressionQuality(
        rows=len(labels),
        mean_absolute_error=float(absolute.mean()),
        root_mean_squared_error=float(np.sqrt((errors**2).mean())),
        median_absolute_error=float(np.median(absolute)),
        largest_absolute_error=float(absolute.max()),
        mean_error=float(errors.mean()),
        r2=1 - float((errors**2).mean()) / variance if variance > 0 else None,
    )


def _roc_auc(probabilities: Probabilities, codes: Codes) -> float | None:
    if len(np.unique(codes)) < probabilities.shape[1]:
        return None
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(codes, probabilities[:, 1]))
    return float(roc_auc_score(codes, probabilities, multi_class="ovr", average="macro"))


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
"""Called with the step at work and the share of it that is done, from 0 to 1."""


@dataclass(frozen=True)
class Candidate:
    """A fitted model, with rows scored by models that were not fitted on them; `estimator` says what it is."""

    dataset: AnyDataset
    split: Split
    engines: Engines
    scored: OutOfFoldRows
    estimator: str


def build_artifact(
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
    dataset, engines, scored = candidate.dataset, candidate.engines, candidate.scored
    files = _files(engines, scored)
    progress("explaining held-out rows", 0)
    alarms = calibrate_alarms(
        scored,
        dataset.features,
        lambda: Explainer(engines.pipeline, dataset.features, scored.test),
        rng,
        policy=policy,
        label_range=None if isinstance(dataset, Dataset) else dataset.label_range,
        progress=lambda share: progress("calibrating alarms", share),
    )
    progress("calibrating alarms on windows cut in time", 0)
    kind = policy.kind or ("rows" if dataset.times is None else "time")
    traffic = None if kind == "rows" else _traffic(candidate, alarms, policy, kind)
    progress("writing the artifact", 0)
    return write_artifact(folder, files, _manifest(candidate, alarms, kind, traffic, seed=seed, policy=policy))


def _traffic(candidate: Candidate, alarms: Alarms, policy: AlarmPolicy, kind: AlarmKind) -> TrafficAlarms:
    """Return the thresholds that the rows give, cut in time; of what they do not say, a gross change alarms."""
    dataset, scored = candidate.dataset, candidate.scored
    methods = {threshold.column: threshold.method for threshold in alarms.columns}
    model = Model(dataset.features, methods, alarms.calibration, scored.reference)
    gross = gross_thresholds(model, smallest_effects(model, policy), attributions=alarms.attribution is not None)
    zone = policy.time_zone if dataset.times is None else dataset.times.zone
    learning = alarms_while_learning(gross, policy.false_alarm_days, zone)
    found = _calibrate_traffic(candidate, model, policy) if kind == "time" else None
    return learning if found is None else learning.replaced(found)


def _calibrate_traffic(candidate: Candidate, model: Model, policy: AlarmPolicy) -> TrafficAlarms | None:
    """Return the thresholds of all rows, cut in time; None where there are too few days.

    How days differ is seen from few of them already, and held-out rows alone would be fewer still, and all of one
    season. The rows that trained the model were predicted by models fitted on other days.
    """
    dataset, scored, split = candidate.dataset, candidate.scored, candidate.split
    if dataset.times is None:
        raise DataError("alarms calibrated in time need a time column; name it with --time, or choose --alarms learn")
    rows = pd.concat([scored.training, scored.test, scored.reference], ignore_index=True)
    seconds = dataset.times.seconds[np.concatenate([split.train, split.test, split.reference])]
    return calibrate_traffic(rows, dataset.times._replace(seconds=seconds), model, policy)


def _manifest(
    candidate: Candidate,
    alarms: Alarms,
    kind: AlarmKind,
    traffic: TrafficAlarms | None,
    *,
    seed: int,
    policy: AlarmPolicy,
) -> Manifest:
    dataset, engines, test = candidate.dataset, candidate.engines, candidate.scored.test
    common: dict[str, Any] = {
        "name": dataset.name,
        "version": "",
        "created_at": datetime.now(UTC).replace(microsecond=0),
        "features": dataset.features,
        "target": dataset.target,
        "metadata": dataset.metadata,
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
        "alarms": kind,
        "traffic": traffic,
        "libraries": {
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
            **libraries_of(engines.pipeline),
        },
        "files": {},
    }
    positions = candidate.split.test
    if isinstance(dataset, Dataset):
        probabilities = probabilities_in(test, dataset.class_names)
        predicted = pd.Index(dataset.class_names, dtype=object).get_indexer(pd.Index(test[PREDICTION], dtype=object))
        quality = evaluate(probabilities, dataset.codes[positions], dataset.class_names, predicted.astype(np.int64))
        return ClassifierManifest(**common, classes=dataset.classes, answer=engines.answer, quality=quality)
    predictions = test[PREDICTION].to_numpy(dtype=np.float64)
    return RegressorManifest(
        **common,
        label_range=dataset.label_range,
        quality=evaluate_regression(predictions, dataset.numbers[positions]),
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


def _files(engines: Engines, scored: OutOfFoldRows) -> dict[str, bytes]:
    files = {PIPELINE_FILE: _dumped(engines.pipeline)}
    # an ONNX model that answers differently is not kept: nothing may serve it by mistake
    if engines.onnx is not None:
        files[ONNX_FILE] = engines.onnx
    for name, rows in ((REFERENCE_FILE, scored.reference), (TEST_FILE, scored.test)):
        files[name] = rows.to_parquet(index=False)
    return files


def _dumped(pipeline: Pipeline) -> bytes:
    content = BytesIO()
    try:
        joblib.dump(pipeline, content, compress=3)
    except (PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"the pipeline cannot be saved: {error}; use functions of a module instead of lambdas"
        ) from error
    return content.getvalue()
