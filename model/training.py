"""Making an artifact from a data set: split, fit, convert, compare, evaluate, calibrate, write."""

import platform
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from pickle import PicklingError

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from model.alarm_policy import AlarmPolicy
from model.alarms import calibrate_alarms
from model.artifact import ONNX_FILE, PIPELINE_FILE, REFERENCE_FILE, TEST_FILE, write_artifact
from model.classifiers import Classifier, OnnxClassifier, PipelineClassifier
from model.dataset import Dataset
from model.errors import DataError
from model.estimator_names import DEFAULT_ESTIMATOR
from model.evaluation import evaluate
from model.explanation import Explainer
from model.held_out import HeldOutRows, probabilities_in, score, score_out_of_fold
from model.inputs import proven_features
from model.manifest import DataCard, Manifest, Parity
from model.onnx_export import ConversionError, export_onnx
from model.parity import compare, no_parity, probing_rows, rows_of
from model.pipeline import Recipe, named_recipe, pipeline_input
from model.split import Shares, Split, split_rows

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
class Engines:
    """The fitted pipeline, what it was turned into, and which of the two answers."""

    pipeline: Pipeline
    onnx: bytes | None
    parity: Parity
    serving: Classifier


def train_model(
    dataset: Dataset,
    folder: Path,
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    shares: Shares | None = None,
    policy: AlarmPolicy | None = None,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Train on a data set, write the artifact folder and return its manifest.

    The same data and seed give the same predictions and thresholds. Without a recipe it trains a random forest. Raises
    DataError if the rows cannot be divided or the recipe's pipeline does not do, and ArtifactError if the folder
    cannot be written.
    """
    policy, recipe = policy or AlarmPolicy(), recipe or named_recipe(DEFAULT_ESTIMATOR)
    progress("dividing the rows", 0)
    split = split_rows(dataset.codes, shares or Shares(), seed)
    progress("fitting the model", 0)
    pipeline, dataset = fit(recipe, dataset, split, seed)
    progress("converting to ONNX and comparing", 0)
    engines = convert(pipeline, dataset)
    progress("evaluating", 0)
    test, reference = (score(dataset, engines.serving, part) for part in (split.test, split.reference))
    quality = evaluate(probabilities_in(test, dataset.class_names), dataset.codes[split.test], dataset.class_names)
    progress("predicting the training rows out of fold", 0)
    rng = np.random.default_rng(seed)
    held_out = HeldOutRows(score_out_of_fold(dataset, split.train, rng, recipe), test, reference)
    progress("explaining held-out rows", 0)
    alarms = calibrate_alarms(
        held_out,
        dataset.features,
        lambda: Explainer(pipeline, dataset.features, test),
        rng,
        policy=policy,
        progress=lambda share: progress("calibrating alarms", share),
    )
    progress("writing the artifact", 0)
    manifest = Manifest(
        name=dataset.name,
        version="",
        created_at=datetime.now(UTC).replace(microsecond=0),
        features=dataset.features,
        target=dataset.target,
        classes=dataset.classes,
        estimator=recipe.name,
        engine="scikit-learn" if engines.parity.reason else "onnx",
        parity=engines.parity,
        quality=quality,
        seed=seed,
        data=_data_card(dataset, split),
        calibration=alarms.calibration,
        attributions=alarms.attributions,
        attributions_missing=alarms.attributions_missing,
        thresholds=alarms.columns,
        concept_threshold=alarms.concept,
        attribution_threshold=alarms.attribution,
        false_alarm_rate=policy.false_alarm_rate,
        libraries={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        files={},
    )
    return write_artifact(folder, _files(engines, held_out), manifest)


def fit(recipe: Recipe, dataset: Dataset, split: Split, seed: int) -> tuple[Pipeline, Dataset]:
    """Return the recipe's pipeline fitted on the training rows, and the data set with what may be missing proven.

    Raises DataError where the pipeline cannot be fitted, or cannot answer what callers may send.
    """
    pipeline = recipe.build(dataset.features, seed)
    rows = pipeline_input(dataset.frame.iloc[split.train], dataset.features)
    try:
        pipeline.fit(rows, dataset.codes[split.train])
    except Exception as error:
        # a pipeline of one's own may raise anything, and each means that it does not suit these rows
        raise DataError(f"{recipe.name} cannot be fitted: {type(error).__name__}: {error}") from error
    held_out = rows_of(dataset.frame.iloc[np.concatenate([split.test, split.reference])], dataset.features)
    features = proven_features(PipelineClassifier(pipeline, dataset.features), dataset.features, held_out)
    return pipeline, replace(dataset, features=features)


def convert(pipeline: Pipeline, dataset: Dataset, convertible: Pipeline | None = None) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row.

    It is tried with columns by position and by name. `convertible` is what is turned, if not the pipeline itself.
    """
    fallback = PipelineClassifier(pipeline, dataset.features)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    reasons = []
    for by_name in (False, True):
        try:
            content = export_onnx(convertible or pipeline, dataset.features, by_name=by_name)
            candidate = OnnxClassifier(content, dataset.features)
        except ConversionError as error:
            reasons.append(no_parity(f"the pipeline does not convert: {error}"))
            continue
        parity = compare(candidate, fallback, probes)
        if parity.reason is None:
            return Engines(pipeline, content, parity, candidate)
        reasons.append(parity)
    # what was compared says more than what could not be
    told = max(reasons, key=lambda parity: parity.rows)
    return Engines(pipeline, None, told, fallback)


def _data_card(dataset: Dataset, split: Split) -> DataCard:
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
