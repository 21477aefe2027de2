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
from threadpoolctl import threadpool_limits

from model.alarms.calibrate import Alarms, calibrate_alarms
from model.alarms.effects import smallest_effects
from model.alarms.learning import alarms_while_learning, gross_thresholds
from model.alarms.policy import AlarmPolicy
from model.alarms.traffic import calibrate_traffic
from model.alarms.window_values import Model
from model.artifact.estimates import EstimatesFile
from model.artifact.estimators import libraries_of
from model.artifact.manifest import (
    PREDICTION,
    AlarmKind,
    AnswerColumns,
    ClassifierManifest,
    ClassQuality,
    DataCard,
    HoldOutQuality,
    Manifest,
    RegressionQuality,
    RegressorManifest,
)
from model.artifact.store import (
    ESTIMATES_FILE,
    ONNX_FILE,
    PIPELINE_FILE,
    REFERENCE_FILE,
    TEST_FILE,
    write_artifact,
)
from model.artifact.traffic import TrafficAlarms
from model.data.dataset import AnyDataset, Codes, Dataset
from model.data.split import Split
from model.errors import DataError, ExplanationError
from model.explain.explainer import Explainer
from model.serving.engines import Probabilities
from model.serving.onnx import Engines
from model.serving.parity import no_parity, no_regression_parity
from model.statistics.segments import divided_by
from model.training.fit_estimates import fit_estimates
from model.training.out_of_fold import OutOfFoldRows, probabilities_in


def evaluate(
    probabilities: Probabilities, codes: Codes, class_names: tuple[str, ...], predicted: Codes | None = None
) -> HoldOutQuality:
    """Return accuracy, log loss, ROC AUC, and precision, recall and F1 per class and averaged unweighted.

    `probabilities` (rows, classes) in the order of `class_names`, NaN where there are none; `codes` (rows,) the true
    classes, `predicted` (rows,) those that were answered, if not the most probable ones.
    """
    indices, known = np.arange(len(class_names)), not np.isnan(probabilities).any()
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
        log_loss=float(log_loss(codes, probabilities, labels=indices)) if known else None,
        roc_auc=_roc_auc(probabilities, codes) if known else None,
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
    """A fitted model, with rows scored by models that were not fitted on them; `estimator` says what it is.

    A model that is served elsewhere has no `engines`, and columns of a file that held its answers.
    """

    dataset: AnyDataset
    split: Split
    engines: Engines | None
    scored: OutOfFoldRows
    estimator: str
    answer_columns: AnswerColumns | None = None

    def explainer(self, also: Callable[[float], pd.DataFrame]) -> Explainer:
        """Return what explains the answers, having explained the rows of `also` too; raises ExplanationError."""
        if self.engines is None:
            raise ExplanationError("the model is served elsewhere, and only its own program could explain its answers")
        return Explainer(self.engines.pipeline, self.dataset.features, self.scored.test, also)


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
    dataset, scored = candidate.dataset, candidate.scored
    files = _files(candidate.engines, scored)
    progress("explaining held-out rows", 0)
    # one thread: where matrices are small, several wait for each other, and that takes CPU too
    with threadpool_limits(limits=1, user_api="blas"):
        alarms = calibrate_alarms(
            scored,
            dataset.features,
            candidate.explainer,
            rng,
            policy=policy,
            label_range=None if isinstance(dataset, Dataset) else dataset.label_range,
            progress=lambda share: progress("calibrating alarms", share),
        )
    progress("calibrating alarms on windows cut in time", 0)
    kind = policy.kind or ("rows" if dataset.times is None else "time")
    traffic = None if kind == "rows" else _traffic(candidate, alarms, policy, kind)
    progress("fitting what estimates performance", 0)
    files |= _estimates(candidate)
    progress("writing the artifact", 0)
    return write_artifact(folder, files, _manifest(candidate, alarms, kind, traffic, seed=seed, policy=policy))


def _traffic(candidate: Candidate, alarms: Alarms, policy: AlarmPolicy, kind: AlarmKind) -> TrafficAlarms:
    """Return the thresholds that the rows give, cut in time; of what they do not say, a gross change alarms."""
    dataset, scored = candidate.dataset, candidate.scored
    methods = {threshold.column: threshold.method for threshold in alarms.columns}
    divided = divided_by(dataset.segments, tuple(one.name for one in dataset.features))
    model = Model(dataset.features, methods, alarms.calibration, scored.reference, divided)
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
    dataset, test = candidate.dataset, candidate.scored.test
    pipeline = None if candidate.engines is None else candidate.engines.pipeline
    common: dict[str, Any] = {
        "name": dataset.name,
        "version": "",
        "created_at": datetime.now(UTC).replace(microsecond=0),
        "features": dataset.features,
        "target": dataset.target,
        "metadata": dataset.metadata,
        "dropped": dict(dataset.dropped),
        "segments": dataset.segments,
        "fairness": dataset.fairness,
        "estimator": candidate.estimator,
        **_served_by(candidate),
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
            **({} if pipeline is None else libraries_of(pipeline)),
        },
        "files": {},
    }
    positions = candidate.split.test
    if isinstance(dataset, Dataset):
        probabilities = probabilities_in(test, dataset.class_names)
        predicted = pd.Index(dataset.class_names, dtype=object).get_indexer(pd.Index(test[PREDICTION], dtype=object))
        quality = evaluate(probabilities, dataset.codes[positions], dataset.class_names, predicted.astype(np.int64))
        answer = "own predict" if candidate.engines is None else candidate.engines.answer
        return ClassifierManifest(**common, classes=dataset.classes, answer=answer, quality=quality)
    predictions = test[PREDICTION].to_numpy(dtype=np.float64)
    return RegressorManifest(
        **common,
        label_range=dataset.label_range,
        quality=evaluate_regression(predictions, dataset.numbers[positions]),
    )


def _served_by(candidate: Candidate) -> dict[str, Any]:
    """Return what the manifest says of the engine that answers."""
    engines = candidate.engines
    if engines is not None:
        return {"engine": "scikit-learn" if engines.parity.reason else "onnx", "parity": engines.parity}
    nothing = no_parity if isinstance(candidate.dataset, Dataset) else no_regression_parity
    parity = nothing("another program answers, and only its predictions are known here")
    return {"engine": "elsewhere", "parity": parity, "answer_columns": candidate.answer_columns}


def _data_card(dataset: AnyDataset, split: Split) -> DataCard:
    return DataCard(
        source=dataset.source,
        rows=len(dataset.frame),
        train_rows=len(split.train),
        test_rows=len(split.test),
        reference_rows=len(split.reference),
        fingerprint=dataset.fingerprint(),
    )


def _files(engines: Engines | None, scored: OutOfFoldRows) -> dict[str, bytes]:
    files = {} if engines is None else {PIPELINE_FILE: _dumped(engines.pipeline)}
    # an ONNX model that answers differently is not kept: nothing may serve it by mistake
    if engines is not None and engines.onnx is not None:
        files[ONNX_FILE] = engines.onnx
    for name, rows in ((REFERENCE_FILE, scored.reference), (TEST_FILE, scored.test)):
        files[name] = rows.to_parquet(index=False)
    return files


def _estimates(candidate: Candidate) -> dict[str, bytes]:
    """Return the file of estimates, from all rows that were predicted by a model that was not fitted on them."""
    dataset, scored, split = candidate.dataset, candidate.scored, candidate.split
    parts = [(scored.training, split.train), (scored.test, split.test), (scored.reference, split.reference)]
    held_out = [(rows, positions) for rows, positions in parts if len(rows)]
    seconds = None
    if dataset.times is not None:
        seconds = dataset.times.seconds[np.concatenate([positions for _, positions in held_out])]
    rows = pd.concat([rows for rows, _ in held_out], ignore_index=True)
    class_names = dataset.class_names if isinstance(dataset, Dataset) else None
    found = fit_estimates(rows, dataset.features, class_names, seconds)
    return {} if found is None else {ESTIMATES_FILE: EstimatesFile(estimates=found).model_dump_json().encode()}


def _dumped(pipeline: Pipeline) -> bytes:
    content = BytesIO()
    try:
        joblib.dump(pipeline, content, compress=3)
    except (PicklingError, AttributeError, TypeError) as error:
        raise DataError(
            f"the pipeline cannot be saved: {error}; use functions of a module instead of lambdas"
        ) from error
    return content.getvalue()
