"""Kinds of windows whose truth is known: in control, or with a single thing changed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evidently_workspace.checks import CheckName
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX
from model.data.dataset import AnyDataset, Dataset, RegressionDataset
from model.data.encoding import number_features, rows_of
from model.serving.predictor import AnyPredictor, Predictor
from scripts.load.scenarios import drift_weights

IN_CONTROL = "in control"
MAX_SHIFTED_COLUMNS = 6
_MIRRORED = 0.5

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """Rows as they would be logged, and the chance of each to be drawn.

    `check` is the one that should fire, None where none should.
    """

    name: str
    check: CheckName | None
    rows: pd.DataFrame
    weights: Weights


def make_traffic(rows: AnyDataset, predictor: AnyPredictor, reference: pd.DataFrame, seed: int) -> Iterator[Traffic]:
    """Yield every kind of traffic that these rows can make."""
    rng = np.random.default_rng(seed)
    logged = answer(rows.frame.assign(**{LABEL: rows.labels}), predictor)
    even = np.full(len(logged), 1 / len(logged))
    yield Traffic(IN_CONTROL, None, logged, even)
    numbers = [feature.name for feature in number_features(rows.features)]
    for name in rng.permutation(numbers)[:MAX_SHIFTED_COLUMNS]:
        moved = logged.assign(**{name: logged[name] + reference[name].std(ddof=0)})
        yield Traffic("one column moved by one deviation", "data_drift", answer(moved, predictor), even)
    yield Traffic("covariate shift", "data_drift", logged, drift_weights(_coordinates(logged[numbers]), seed))
    yield from _other_classes(rows, logged) if isinstance(rows, Dataset) else _other_numbers(rows, logged, rng)


def _other_classes(rows: Dataset, logged: pd.DataFrame) -> Iterator[Traffic]:
    yield Traffic("doubled class share", "target_drift", logged, _doubled(rows))
    largest = int(np.bincount(rows.codes).argmax())
    yield _flipped("30 % of one class flipped", rows, logged, 0.3 * (rows.codes == largest))
    yield _flipped("20 % of labels flipped", rows, logged, np.full(len(logged), 0.2))


def _other_numbers(rows: RegressionDataset, logged: pd.DataFrame, rng: np.random.Generator) -> Iterator[Traffic]:
    even = np.full(len(logged), 1 / len(logged))
    large = rows.numbers >= np.quantile(rows.numbers, 0.75)
    share = 2 * large.mean()
    yield Traffic(
        "doubled share of the largest quarter",
        "target_drift",
        logged,
        np.where(large, share / large.sum(), (1 - share) / (~large).sum()),
    )
    deviation = rows.numbers.std()
    yield Traffic(
        "labels half a deviation higher", "concept_drift", logged.assign(**{LABEL: rows.numbers + deviation / 2}), even
    )
    # far from the mean labels change most; their mean stays
    mirrored = np.where(rng.random(len(logged)) < _MIRRORED, 2 * rows.numbers.mean() - rows.numbers, rows.numbers)
    yield Traffic("half of the labels mirrored", "concept_drift", logged.assign(**{LABEL: mirrored}), even)


def answer(frame: pd.DataFrame, predictor: AnyPredictor) -> pd.DataFrame:
    """Return the rows with the predictions of the model."""
    rows = rows_of(frame, predictor.manifest.features)
    if not isinstance(predictor, Predictor):
        return frame.assign(**{PREDICTION: predictor.predict(rows)})
    probabilities, manifest = predictor.predict(rows), predictor.manifest
    names = np.array(manifest.class_names, dtype=object)
    columns = {f"{PROBABILITY_PREFIX}{name}": probabilities[:, place] for place, name in enumerate(names)}
    return frame.assign(**{PREDICTION: names[probabilities.argmax(axis=1)]}, **columns)


def _coordinates(numbers: pd.DataFrame) -> Weights:
    table = numbers.fillna(numbers.mean()).to_numpy()
    return np.asarray((table - table.mean(axis=0)) / table.std(axis=0))


def _doubled(rows: Dataset) -> Weights:
    """Return weights that double the share of the rarest class; the others keep their proportions."""
    counts = np.bincount(rows.codes, minlength=len(rows.classes))
    rare = rows.codes == int(counts.argmin())
    share = min(2 * rare.mean(), 1.0)
    return np.asarray(np.where(rare, share / rare.sum(), (1 - share) / (~rare).sum()))


def _flipped(name: str, rows: Dataset, logged: pd.DataFrame, flipped_share: Weights) -> Traffic:
    """Return each row twice, once with the next class as its label: so labels change and inputs do not."""
    following = np.array(rows.class_names, dtype=object)[(rows.codes + 1) % len(rows.classes)]
    twice = pd.concat([logged, logged.assign(**{LABEL: following})], ignore_index=True)
    return Traffic(name, "concept_drift", twice, np.concatenate([1 - flipped_share, flipped_share]) / len(logged))
