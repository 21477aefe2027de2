"""Concept drift and attribution drift: quiet while nothing or only P(X) moves, loud when the relation changes."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from model.alarms.null_distributions import NullAttributions, NullConcept, NullErrors
from model.alarms.thresholds import calibrate_thresholds
from model.artifact.manifest import Calibration, ConceptThreshold
from model.data.bundled import BundledName, load_bundled
from model.data.encoding import pipeline_input
from model.data.split import Shares, split_rows
from model.serving.engines import PipelineClassifier
from model.statistics.calibration import (
    expected_errors,
    expected_regression_errors,
    fit_calibration,
    fit_error_calibration,
)
from model.statistics.concept import classification_drift, regression_drift
from model.training.out_of_fold import OutOfFoldRows, error_chances, score, score_out_of_fold, wrong_predictions
from model.training.pipelines import build_pipeline, named_recipe

NAMES: tuple[BundledName, ...] = ("iris", "wine", "breast_cancer")


@pytest.mark.parametrize("tails", [np.inf, 4])
def test_the_threshold_covers_the_luck_of_expected_errors(tails: float) -> None:
    """As for classes: errors that grow with the number predicted, of a normal or a t distribution."""
    rates = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        predictions, errors = draw_errors(rng, 300, tails)
        calibration = fit_error_calibration(predictions, errors, 1.5)
        quiet = NullErrors(errors, predictions, calibration, rng)
        population = pd.DataFrame(index=range(300))
        limits = calibrate_thresholds(
            population, population, {}, rng, others=[quiet], window_rows=(50, 200), replicates=2_000
        )
        for size, limit in zip((50, 200), limits.others[0], strict=True):
            p, e = draw_errors(rng, 200 * size, tails)
            windows = np.kron(np.eye(200, dtype=np.float32), np.ones((size, 1), dtype=np.float32))
            rates.append((regression_drift(e, expected_regression_errors(calibration, p), windows).z >= limit).mean())
    assert np.mean(rates) <= 0.008


def draw_errors(rng: np.random.Generator, rows: int, tails: float) -> tuple[np.ndarray, np.ndarray]:
    predictions = rng.normal(0, 1, rows)
    errors = rng.standard_normal(rows) if np.isinf(tails) else rng.standard_t(tails, rows)
    return predictions, np.exp(predictions / 4) * errors


@pytest.mark.parametrize("rows", [60, 300])
def test_the_threshold_covers_the_luck_of_the_calibrator(rows: int) -> None:
    """Over many training sets of one known model, quiet windows of the true population alarm about as stated."""
    rates = []
    for seed in range(8):
        rng = np.random.default_rng([seed, rows])
        probabilities, wrong = draw(rng, rows)
        calibration = fit_calibration(probabilities, ~wrong, rng)
        concept = NullConcept(wrong, expected_errors(calibration, probabilities), rng)
        population = pd.DataFrame(index=range(rows))
        limits = calibrate_thresholds(
            population, population, {}, rng, others=[concept], window_rows=(200, 5_000), replicates=2_000
        )
        for size, limit in zip((200, 5_000), limits.others[0], strict=True):
            p, e = draw(rng, 200 * size)
            expected = expected_errors(calibration, p).reshape(200, size)
            excess = (e.reshape(200, size) - expected).sum(axis=1)
            rates.append((excess / np.sqrt((expected * (1 - expected)).sum(axis=1)) >= limit).mean())
    assert np.mean(rates) <= 0.008


def draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    probabilities = 1 - 0.6 * rng.beta(0.5, 3.0, rows)
    return probabilities, rng.random(rows) > probabilities - 0.05


def test_a_model_without_a_single_error_is_not_taken_to_be_infallible() -> None:
    rng = np.random.default_rng(0)
    concept = NullConcept(np.zeros(100, dtype=bool), np.full(100, 0.01), rng)
    weights = rng.dirichlet(np.ones(100), size=4_000)
    counts = rng.multinomial(1_000, weights).T.astype(np.float32)
    z = concept.distances(counts, concept.prepare(weights))
    # after 100 right rows, Beta(1, 101) for the error rate: above 3 % with a chance of 0.97 ** 101 = 4.6 %
    gap_of_2_percent = 1_000 * 0.02 / np.sqrt(1_000 * 0.01 * 0.99)
    assert 0.02 < (z >= gap_of_2_percent).mean() < 0.08


def test_the_attribution_distance_of_large_windows_is_that_of_500_rows() -> None:
    rng = np.random.default_rng(0)
    phi = rng.gamma(1.0, size=(80, 5))
    quiet = NullAttributions(phi.mean(axis=0), phi, np.arange(20, 100), rng)
    weights = np.full((3_000, 100), 0.01)
    far = [
        quiet.distances(np.full((1, 3_000), size, dtype=np.float32), quiet.prepare(weights)).mean()
        for size in (50, 500, 5_000)
    ]
    assert far[0] > 2 * far[1]
    assert far[1] == pytest.approx(far[2], rel=0.05)


class Watched(NamedTuple):
    """A model's rows with its answers, and what watches their labels."""

    features: pd.DataFrame
    rows: pd.DataFrame
    calibration: Calibration
    threshold: ConceptThreshold

    def alarm_rate(self, weights: np.ndarray, *, size: int = 200, flipped_share: float = 0.0) -> float:
        """Return the share of 500 windows that alarm; of the labels drawn, some become another class."""
        rng = np.random.default_rng(size)
        counts = rng.multinomial(size, weights, size=500).T.astype(np.float64)
        errors = wrong_predictions(self.rows).astype(np.float64)
        flips = rng.binomial(counts.astype(int), flipped_share) / np.maximum(counts, 1) if flipped_share else 0 * counts
        # a flipped label makes a right prediction wrong; with two classes it makes a wrong one right
        rate = np.where(errors[:, None] > 0, 1 - flips * (self.rows["label"].nunique() == 2), flips)
        found = classification_drift(rate, error_chances(self.rows, self.calibration), counts)
        return float(((found.z >= self.threshold.at(size)) & (found.gap >= self.threshold.gap_floor)).mean())


@cache
def watched(name: BundledName) -> Watched:
    dataset = load_bundled(name)
    split, rng = split_rows(dataset.codes, Shares(), 0), np.random.default_rng(0)
    pipeline = build_pipeline(dataset.features, 0)
    pipeline.fit(pipeline_input(dataset.frame.iloc[split.train], dataset.features), dataset.codes[split.train])
    serving = PipelineClassifier(pipeline, dataset.features)
    held_out = OutOfFoldRows(
        score_out_of_fold(dataset, split.train, rng, named_recipe("random_forest")),
        score(dataset, serving, split.test),
        score(dataset, serving, split.reference),
    )
    calibration = held_out.calibration(rng)
    rows, _ = held_out.population(5_000, rng)
    concept = NullConcept(wrong_predictions(rows), error_chances(rows, calibration), rng)
    limits = calibrate_thresholds(rows, rows, {}, rng, others=[concept], window_rows=(50, 200, 1_000))
    return Watched(
        rows[list(dataset.frame)],
        rows,
        calibration,
        ConceptThreshold(window_rows=(50, 200, 1_000), thresholds=limits.others[0]),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [50, 200, 1_000])
def test_concept_drift_is_quiet_while_nothing_changes(name: BundledName, size: int) -> None:
    model = watched(name)
    assert model.alarm_rate(np.full(len(model.rows), 1 / len(model.rows)), size=size) <= 0.002


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [50, 200, 1_000])
def test_concept_drift_is_quiet_while_only_the_inputs_move(name: BundledName, size: int) -> None:
    """Rows keep their labels and are drawn with unequal weights: exp of one column's standardized value."""
    model = watched(name)
    table = ((model.features - model.features.mean()) / model.features.std()).to_numpy()
    rates = []
    for column in table.T[:6]:
        for sign in (-1, 1):
            weights = np.exp(sign * np.clip(column, -2, 2))
            rates.append(model.alarm_rate(weights / weights.sum(), size=size))
    assert np.mean(rates) <= 0.02


@pytest.mark.parametrize("name", NAMES)
def test_concept_drift_is_loud_when_a_fifth_of_the_labels_become_others(name: BundledName) -> None:
    model = watched(name)
    even = np.full(len(model.rows), 1 / len(model.rows))
    assert model.alarm_rate(even, flipped_share=0.2) >= 0.95
