"""Out-of-fold predictions: each row answered by a model that was not fitted on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import KFold, PredefinedSplit, check_cv

from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    AnswerRule,
    Calibration,
    ErrorCalibration,
)
from model.data.dataset import AnyDataset, Dataset
from model.data.encoding import pipeline_input, rows_of
from model.data.split import Positions
from model.data.time_column import zone_of
from model.errors import DataError
from model.serving.engines import (
    Answers,
    AnyEngine,
    Probabilities,
    answers_of,
    as_probabilities,
    predicted_codes,
    with_predictions,
)
from model.statistics.calibration import expected_errors, fit_calibration, fit_error_calibration
from model.training.pipelines import Recipe

Parts = npt.NDArray[np.str_]

_FOLDS = 5


@dataclass(frozen=True)
class OutOfFoldRows:
    """Rows as they are logged: features, prediction, label and, for a classifier, the probability of each class.

    `training` rows were predicted out of fold. A forest almost knows by heart the rows that it was fitted on: with its
    predictions of them, windows in control would look more alike, and the model surer, than they will be.
    """

    training: pd.DataFrame
    test: pd.DataFrame
    reference: pd.DataFrame

    def calibration(self, rng: np.random.Generator) -> Calibration | None:
        """Return the calibration fitted on the training and test rows; None where these have no probabilities.

        The reference is left out, so that the gap and the calibration error that reports show for it were
        measured as they are in a window: on rows that the calibration has not seen.
        """
        rows = pd.concat([self.training, self.test], ignore_index=True)
        probabilities = predicted_probabilities(rows)
        if np.isnan(probabilities).all():
            return None
        return fit_calibration(probabilities, ~wrong_predictions(rows), rng)

    def error_calibration(self, standard_deviation: float) -> ErrorCalibration:
        """Return the same for a regressor, whose target has this standard deviation."""
        rows = pd.concat([self.training, self.test], ignore_index=True)
        return fit_error_calibration(
            rows[PREDICTION].to_numpy(dtype=np.float64), number_errors(rows), standard_deviation
        )

    def population(self, most: int, rng: np.random.Generator) -> tuple[pd.DataFrame, Parts]:
        """Return all rows, or `most` of them at random, and the name of the part that each belongs to."""
        parts = {"training": self.training, "test": self.test, "reference": self.reference}
        rows = pd.concat(parts.values(), ignore_index=True)
        names = np.repeat(list(parts), [len(part) for part in parts.values()])
        if len(rows) <= most:
            return rows, names
        kept = rng.choice(len(rows), most, replace=False)
        return rows.iloc[kept].reset_index(drop=True), names[kept]


def score(dataset: AnyDataset, serving: AnyEngine, positions: Positions) -> pd.DataFrame:
    """Return rows with the answers of the engine that serves."""
    frame = dataset.frame.iloc[positions]
    return logged_rows(dataset, positions, answers_of(serving, rows_of(frame, dataset.features)))


def score_out_of_fold(
    dataset: AnyDataset,
    positions: Positions,
    rng: np.random.Generator,
    recipe: Recipe,
    *,
    answer: AnswerRule = "most probable",
    by_name: bool = False,
) -> pd.DataFrame:
    """Return rows with the answers of pipelines like the served one, each fitted on four fifths of the others.

    `answer` says what decides on a class, `by_name` whether the pipelines learn the classes themselves, not their
    codes. Raises DataError where the recipe's pipeline cannot be fitted on these.
    """
    seed = int(rng.integers(2**32))
    pipeline = recipe.build(dataset.features, seed)
    rows = pipeline_input(dataset.frame.iloc[positions], dataset.features)
    labels = targets_of(dataset, by_name=by_name)[positions]
    folds = check_cv(_folds(dataset, positions, rng), labels, classifier=isinstance(dataset, Dataset))
    answers = _FoldAnswers(len(rows), classes_of(dataset, by_name=by_name), answer)
    try:
        for fitted, held_out in folds.split(rows, labels):
            pipeline = recipe.again(pipeline, dataset.features, seed)
            pipeline.fit(rows.iloc[fitted], labels[fitted])
            answers.fill(held_out, pipeline, rows.iloc[held_out])
    except DataError:
        raise
    except Exception as error:
        # a custom pipeline may raise anything, and each means that it does not suit these rows
        raise DataError(
            f"{recipe.name} cannot be fitted on four fifths of the training rows: {type(error).__name__}: {error}"
        ) from error
    return logged_rows(dataset, positions, answers.answers)


class _FoldAnswers:
    """The answers to rows, filled in fold by fold."""

    def __init__(self, rows: int, classes: Sequence[Any], answer: AnswerRule) -> None:
        self._classes, self._answer = classes, answer
        self.answers = (
            Answers(np.zeros((rows, len(classes))), np.zeros(rows, dtype=np.int64))
            if classes
            else Answers(np.zeros(rows))
        )

    def fill(self, places: Positions, pipeline: Any, rows: pd.DataFrame) -> None:
        """Fill in what a pipeline that was fitted on other rows says; a class that these lacked has probability 0."""
        values, chosen = self.answers
        if chosen is None:
            values[places] = np.asarray(pipeline.predict(rows), dtype=np.float64).reshape(len(places))
            return
        known = predicted_codes(np.asarray(pipeline.classes_), self._classes)
        values[np.ix_(places, known)] = as_probabilities(np.asarray(pipeline.predict_proba(rows)))
        own = self._answer == "own predict"
        chosen[places] = (
            predicted_codes(np.asarray(pipeline.predict(rows)), self._classes) if own else values[places].argmax(axis=1)
        )


def classes_of(dataset: AnyDataset, *, by_name: bool) -> Sequence[Any]:
    """Return what a pipeline calls the classes, in their order: themselves or their codes; none for numbers."""
    if not isinstance(dataset, Dataset):
        return ()
    return dataset.classes if by_name else range(len(dataset.classes))


def targets_of(dataset: AnyDataset, *, by_name: bool) -> npt.NDArray[Any]:
    """Return what a pipeline is fitted on, (n,): codes of classes, the classes themselves, or numbers."""
    if not (by_name and isinstance(dataset, Dataset)):
        return dataset.targets
    texts = isinstance(dataset.classes[0], str)
    return np.array(dataset.classes, dtype=object if texts else None)[dataset.codes]


def _folds(dataset: AnyDataset, positions: Positions, rng: np.random.Generator) -> Any:
    """Return the folds for scikit-learn. With times, no day is in two: a model must not know a day that it predicts.

    Rows of less than a day for each fold are divided into stretches of time.
    """
    if dataset.times is not None:
        moments = pd.to_datetime(dataset.times.seconds[positions], unit="s", utc=True)
        days = moments.tz_convert(zone_of(dataset.times.zone)).tz_localize(None).normalize()
        different, day_of_row = np.unique(days, return_inverse=True)
        if len(different) < _FOLDS:
            day_of_row = np.argsort(np.argsort(moments, kind="stable")) * _FOLDS // len(moments)
        return PredefinedSplit((day_of_row % _FOLDS).astype(np.int64))
    if isinstance(dataset, Dataset):
        return _FOLDS
    # rows in order of their numbers would have each fifth predicted from numbers unlike its own
    return KFold(_FOLDS, shuffle=True, random_state=int(rng.integers(2**32)))


def probabilities_in(frame: pd.DataFrame, class_names: tuple[str, ...]) -> Probabilities:
    """Return the class probabilities of logged rows, (rows, classes)."""
    return frame[[f"{PROBABILITY_PREFIX}{name}" for name in class_names]].to_numpy(dtype=np.float64)


def predicted_probabilities(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the probability of each row's predicted class, (rows,); it need not be the largest one."""
    columns = [str(name) for name in frame if str(name).startswith(PROBABILITY_PREFIX)]
    names = [name.removeprefix(PROBABILITY_PREFIX) for name in columns]
    places = pd.Index(names, dtype=object).get_indexer(pd.Index(frame[PREDICTION], dtype=object))
    return np.asarray(frame[columns].to_numpy(dtype=np.float64)[np.arange(len(frame)), places])


def chances_and_labels(frame: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return the probability of each class, (rows, classes), and the place of each row's label among them, else -1."""
    columns = [str(name) for name in frame if str(name).startswith(PROBABILITY_PREFIX)]
    names = pd.Index([name.removeprefix(PROBABILITY_PREFIX) for name in columns], dtype=object)
    return frame[columns].to_numpy(dtype=np.float64), names.get_indexer(pd.Index(frame[LABEL], dtype=object))


def wrong_predictions(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return for each row whether its prediction is not its label, (rows,)."""
    return np.asarray(frame[PREDICTION].to_numpy() != frame[LABEL].to_numpy())


def number_errors(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return prediction - label of each row of a regressor, (rows,)."""
    return np.asarray(frame[PREDICTION].to_numpy(dtype=np.float64) - frame[LABEL].to_numpy(dtype=np.float64))


def error_chances(frame: pd.DataFrame, calibration: Calibration | None) -> npt.NDArray[np.float64]:
    """Return the calibrated chance of each row's prediction to be wrong, (rows,); NaN where it is not known."""
    return expected_errors(calibration, predicted_probabilities(frame))


def logged_rows(dataset: AnyDataset, positions: Positions, answers: Answers) -> pd.DataFrame:
    """Return rows as they are logged, with the answers that a model gave to them."""
    frame = dataset.frame.iloc[positions].reset_index(drop=True)
    # both columns are made here, so that the prediction stands before the label
    frame = frame.assign(**{PREDICTION: None, LABEL: dataset.labels[positions]})
    if len(dataset.segment_values.columns):
        frame = frame.join(dataset.segment_values.iloc[positions].reset_index(drop=True))
    return with_predictions(frame, answers, dataset.class_names if isinstance(dataset, Dataset) else None)
