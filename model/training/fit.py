"""Training a model on a data set: divide the rows, fit, convert, build the artifact."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

from model.alarms.calibrate import MAX_CALIBRATION_ROWS
from model.alarms.policy import AlarmPolicy
from model.artifact.manifest import DEFAULT_ESTIMATOR, Manifest
from model.data.dataset import AnyDataset, Dataset
from model.data.encoding import pipeline_input, rows_of
from model.data.split import Positions, Shares, Split, split_in_time, split_rows
from model.errors import DataError
from model.serving.onnx import convert, pipeline_engine
from model.training.build_artifact import Candidate, Progress, build_artifact
from model.training.input_checks import proven_features
from model.training.out_of_fold import OutOfFoldRows, logged_rows, score_out_of_fold, targets_of
from model.training.pipelines import Recipe, named_recipe

ENOUGH_HELD_OUT_ROWS = MAX_CALIBRATION_ROWS
"""Test rows that calibrate alarms as well as all rows would: windows in control are drawn from as many.

Then no training row is predicted out of fold, except where these tell how earlier days were."""


def train_model(
    dataset: AnyDataset,
    folder: Path,
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    shares: Shares | None = None,
    policy: AlarmPolicy | None = None,
    in_time: bool = True,
    refuse_unseen: bool = False,
    progress: Progress = lambda _step, _share: None,
) -> Manifest:
    """Train on a data set, write the artifact folder and return its manifest.

    The same data and seed give the same predictions and thresholds. Without a recipe it trains a random forest. Rows
    that have times are divided in their order, unless `in_time` is False: earlier ones train, the latest are the
    reference. Raises
    DataError if the rows cannot be divided or the recipe's pipeline is unusable, and ArtifactError if the folder
    cannot be written.
    """
    policy, recipe = policy or AlarmPolicy(), recipe or named_recipe(DEFAULT_ESTIMATOR, dataset.task)
    progress("dividing the rows", 0)
    split = _split(dataset, shares or Shares(), seed, in_time=in_time)
    progress("fitting the model", 0)
    pipeline, dataset = fit(recipe, dataset, split, seed, refuse_unseen=refuse_unseen)
    by_name = isinstance(dataset, Dataset) and list(pipeline.classes_) != list(range(len(dataset.classes)))
    progress("converting to ONNX and comparing", 0)
    engines = convert(pipeline, dataset)
    test, reference = (logged_rows(dataset, part, engines.known.at(part)) for part in (split.test, split.reference))
    rng = np.random.default_rng(seed)
    if dataset.times is None and len(split.test) >= ENOUGH_HELD_OUT_ROWS:
        training = test.iloc[:0]
    else:
        progress("predicting the training rows out of fold", 0)
        training = score_out_of_fold(dataset, split.train, rng, recipe, answer=engines.answer, by_name=by_name)
    scored = OutOfFoldRows(training, test, reference)
    candidate = Candidate(dataset, split, engines, scored, recipe.name)
    return build_artifact(candidate, folder, rng, seed=seed, policy=policy, progress=progress)


def _split(dataset: AnyDataset, shares: Shares, seed: int, *, in_time: bool) -> Split:
    if dataset.times is not None and in_time:
        return split_in_time(dataset.times.seconds, dataset.strata, shares)
    return split_rows(dataset.strata, shares, seed)


def fit(
    recipe: Recipe, dataset: AnyDataset, split: Split, seed: int, *, refuse_unseen: bool = False
) -> tuple[Pipeline, AnyDataset]:
    """Return the recipe's pipeline fitted on the training rows, and the data set with what may be missing proven.

    Raises DataError where the pipeline cannot be fitted, or cannot answer what callers may send.
    """
    pipeline = _fitted(recipe, dataset, split.train, seed)
    held_out = rows_of(dataset.frame.iloc[np.concatenate([split.test, split.reference])], dataset.features)
    engine = pipeline_engine(pipeline, dataset)
    features = proven_features(engine, dataset.features, held_out, refuse_unseen=refuse_unseen)
    return pipeline, replace(dataset, features=features)


def _fitted(recipe: Recipe, dataset: AnyDataset, positions: Positions, seed: int) -> Pipeline:
    """Return the recipe's pipeline fitted on rows with the codes of their classes, as most libraries want them.

    One that names a class, as `pos_label` does, wants the classes themselves, and gets them next.
    """
    rows = pipeline_input(dataset.frame.iloc[positions], dataset.features)
    ordered = isinstance(dataset, Dataset) and tuple(sorted(dataset.classes)) == dataset.classes
    errors = []
    for by_name in (False, True) if ordered else (False,):
        pipeline = recipe.build(dataset.features, seed)
        try:
            pipeline.fit(rows, targets_of(dataset, by_name=by_name)[positions])
            pipeline.predict(rows.iloc[:1])
        except Exception as error:  # noqa: BLE001 - a custom pipeline may raise anything; it does not suit these rows
            errors.append(error)
            continue
        return pipeline
    raise DataError(f"{recipe.name} cannot be fitted: {type(errors[0]).__name__}: {errors[0]}") from errors[0]
