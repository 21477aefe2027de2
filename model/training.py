"""Making an artifact from a data set: split, fit, convert, compare, evaluate, calibrate, write."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import Pipeline

from model.artifact import ONNX_FILE, PIPELINE_FILE, REFERENCE_FILE, TEST_FILE, write_artifact
from model.classifiers import Classifier, OnnxClassifier, PipelineClassifier, Probabilities
from model.dataset import Dataset
from model.evaluation import evaluate
from model.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    DataCard,
    DriftMethod,
    Manifest,
    Parity,
)
from model.onnx_export import ConversionError, export_onnx
from model.parity import compare, no_parity, probing_rows, rows_of
from model.pipeline import build_pipeline, pipeline_input
from model.split import Positions, Shares, Split, split_rows
from model.thresholds import FALSE_ALARM_RATE, calibrate_thresholds

MOST_CALIBRATION_ROWS = 5_000
"""Rows that quiet windows are drawn from; with more, luck is far below the floors of the thresholds."""

_FOLDS = 5
_LIBRARIES = (
    "scikit-learn",
    "numpy",
    "pandas",
    "scipy",
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
    seed: int = 0,
    shares: Shares | None = None,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Train on a data set, write the artifact folder and return its manifest.

    The same data and seed give the same predictions and thresholds. Raises DataError if the rows cannot be
    divided and ArtifactError if the folder cannot be written.
    """
    progress("dividing the rows", 0)
    split = split_rows(dataset.codes, shares or Shares(), seed)
    progress("fitting the forest", 0)
    pipeline = build_pipeline(dataset.features, seed)
    pipeline.fit(pipeline_input(dataset.frame.iloc[split.train], dataset.features), dataset.codes[split.train])
    progress("converting to ONNX and comparing", 0)
    engines = convert(pipeline, dataset)
    progress("evaluating", 0)
    frames = {part: _scored(dataset, engines.serving, getattr(split, part)) for part in ("test", "reference")}
    quality = evaluate(_probabilities(frames["test"], dataset), dataset.codes[split.test], dataset.class_names)
    progress("predicting the training rows out of fold", 0)
    rng = np.random.default_rng(seed)
    thresholds = calibrate_thresholds(
        frames["reference"],
        _population(dataset, split, frames, rng),
        _drift_methods(dataset),
        rng,
        false_alarm_rate=false_alarm_rate,
        progress=lambda share: progress("calibrating drift alarms", share),
    )
    progress("writing the artifact", 0)
    manifest = Manifest(
        name=dataset.name,
        version="",
        created_at=datetime.now(UTC).replace(microsecond=0),
        features=dataset.features,
        target=dataset.target,
        classes=dataset.classes,
        engine="scikit-learn" if engines.parity.reason else "onnx",
        parity=engines.parity,
        quality=quality,
        seed=seed,
        data=_data_card(dataset, split),
        thresholds=thresholds,
        false_alarm_rate=false_alarm_rate,
        libraries={"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}},
        files={},
    )
    return write_artifact(folder, _files(engines, frames), manifest)


def convert(pipeline: Pipeline, dataset: Dataset) -> Engines:
    """Turn the fitted pipeline into ONNX, and let that serve only if it answers alike on every row."""
    fallback = PipelineClassifier(pipeline, dataset.features)
    try:
        content = export_onnx(pipeline, dataset.features)
    except ConversionError as error:
        return Engines(pipeline, None, no_parity(f"the pipeline does not convert: {error}"), fallback)
    candidate = OnnxClassifier(content, dataset.features)
    probes = probing_rows(rows_of(dataset.frame, dataset.features), dataset.features)
    parity = compare(candidate, fallback, probes)
    return Engines(pipeline, content, parity, fallback if parity.reason else candidate)


def _scored(dataset: Dataset, serving: Classifier, positions: Positions) -> pd.DataFrame:
    """Return rows as they are logged: features, prediction, label, probability of each class."""
    frame = dataset.frame.iloc[positions].reset_index(drop=True)
    probabilities = serving.probabilities(rows_of(frame, dataset.features))
    names = np.array(dataset.class_names, dtype=object)
    frame[PREDICTION] = names[probabilities.argmax(axis=1)]
    frame[LABEL] = dataset.labels[positions]
    for place, name in enumerate(dataset.class_names):
        frame[f"{PROBABILITY_PREFIX}{name}"] = probabilities[:, place]
    return frame


def _probabilities(frame: pd.DataFrame, dataset: Dataset) -> Probabilities:
    return frame[[f"{PROBABILITY_PREFIX}{name}" for name in dataset.class_names]].to_numpy()


def _drift_methods(dataset: Dataset) -> dict[str, DriftMethod]:
    """Return the one pinned method of each column, whatever the number of rows."""
    methods: dict[str, DriftMethod] = {
        feature.name: "wasserstein" if feature.type == "number" else "jensenshannon" for feature in dataset.features
    }
    return methods | {PREDICTION: "jensenshannon", LABEL: "jensenshannon"}


def _population(
    dataset: Dataset, split: Split, frames: dict[str, pd.DataFrame], rng: np.random.Generator
) -> pd.DataFrame:
    """Return all rows (or 5,000 of them) with predictions by models that were not fitted on them.

    A forest knows the rows it was fitted on almost by heart; its predictions of them would make quiet windows
    look more alike than those of the future will.
    """
    train = dataset.frame.iloc[split.train]
    pipeline = build_pipeline(dataset.features, seed=int(rng.integers(2**32)))
    out_of_fold = cross_val_predict(
        pipeline,
        pipeline_input(train, dataset.features),
        dataset.codes[split.train],
        cv=_FOLDS,
    )
    names = np.array(dataset.class_names, dtype=object)
    train = train.assign(**{PREDICTION: names[out_of_fold], LABEL: dataset.labels[split.train]})
    population = pd.concat([train, *frames.values()], join="inner", ignore_index=True)
    if len(population) <= MOST_CALIBRATION_ROWS:
        return population
    return population.iloc[rng.choice(len(population), MOST_CALIBRATION_ROWS, replace=False)]


def _data_card(dataset: Dataset, split: Split) -> DataCard:
    return DataCard(
        source=dataset.source,
        rows=len(dataset.frame),
        train_rows=len(split.train),
        test_rows=len(split.test),
        reference_rows=len(split.reference),
        fingerprint=dataset.fingerprint(),
    )


def _files(engines: Engines, frames: dict[str, pd.DataFrame]) -> dict[str, bytes]:
    pipeline = BytesIO()
    joblib.dump(engines.pipeline, pipeline, compress=3)
    files = {PIPELINE_FILE: pipeline.getvalue()}
    # an ONNX model that answers differently is not kept: nothing may serve it by mistake
    if engines.onnx is not None and engines.parity.reason is None:
        files[ONNX_FILE] = engines.onnx
    for name, part in ((REFERENCE_FILE, "reference"), (TEST_FILE, "test")):
        files[name] = frames[part].to_parquet(index=False)
    return files
