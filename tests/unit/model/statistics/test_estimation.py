"""Estimated performance against simulation, and against scores that are computed in another way."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from model.artifact.estimates import CalibrationCurve, ClassEstimates, Excess, NumberEstimates
from model.artifact.manifest import LABEL, PREDICTION, Feature
from model.statistics.estimation import (
    Estimate,
    calibrated_chances,
    class_moments,
    distance,
    error_table,
    hat_weights,
    interval,
    intervals,
    log_odds,
    tree_values,
    true_class_scores,
    widened,
    widening,
    window_moments,
)
from model.training.fit_estimates import fit_class_estimates, fit_number_estimates

RNG = np.random.default_rng(0)
FEATURES = (
    Feature(name="size", type="number", nullable=True, example=1.0),
    Feature(name="place", type="category", nullable=True, example="north"),
)


def said_probabilities(rows, classes, rng=RNG):
    scores = rng.normal(size=(rows, classes)) * 1.5
    odds = np.exp(scores)
    return odds / odds.sum(axis=1, keepdims=True)


def outcomes(chances, rng=RNG):
    return (rng.random((len(chances), 1)) > chances.cumsum(axis=1)[:, :-1]).sum(axis=1)


def certain(classes):
    """Return curves that say of each probability that it is right, and know it."""
    ends = tuple(log_odds(np.linspace(0.001, 0.999, 500)).tolist())
    bands = ((1e9,) * 500, (0.0,) * 500, (0.0,) * 500)
    curve = CalibrationCurve(log_odds=ends, calibrated=ends, precision=bands)
    return ClassEstimates(curves=(curve,) * (1 if classes == 2 else classes), rows=500)


def by_scikit_learn(probabilities, labels, answers):
    two = probabilities.shape[1] == 2
    scores = {"accuracy": accuracy_score(labels, answers)}
    scores["f1"] = f1_score(labels, answers, average="binary" if two else "macro", zero_division=0)
    if len(set(labels)) == probabilities.shape[1]:
        scores["roc_auc"] = roc_auc_score(labels, probabilities[:, 1] if two else probabilities, multi_class="ovr")
    return scores


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("rows", [12, 300])
def test_true_scores_are_those_of_scikit_learn(classes, rows):
    probabilities = np.round(said_probabilities(rows, classes), 1)  # ties
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels, answers = outcomes(probabilities), probabilities.argmax(axis=1)

    assert true_class_scores(probabilities, labels, answers) == pytest.approx(
        by_scikit_learn(probabilities, labels, answers)
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("own", [False, True])
def test_moments_are_those_of_simulated_outcomes(classes, own):
    probabilities = said_probabilities(150, classes)
    # a model's own predict may answer another class than the most probable one
    answers = (probabilities[:, 0] < 0.2).astype(np.intp) if own else probabilities.argmax(axis=1)
    simulated = pd.DataFrame([by_scikit_learn(probabilities, outcomes(probabilities), answers) for _ in range(300)])

    found = class_moments(probabilities, answers, certain(classes))

    assert set(found) == {"accuracy", "f1", "roc_auc"}
    for name, (mean, variance, *_) in found.items():
        assert mean == pytest.approx(simulated[name].mean(), abs=0.012), name
        assert np.sqrt(variance) == pytest.approx(simulated[name].std(), rel=0.2), name


def test_intervals_hold_as_often_as_they_say_with_the_error_of_the_calibration():
    rng = np.random.default_rng(1)
    held = {"accuracy": [], "f1": [], "roc_auc": []}
    for _ in range(100):
        known, window = said_probabilities(300, 2, rng), said_probabilities(300, 2, rng)
        chances = [np.column_stack([1 - one[:, 1] ** 1.5, one[:, 1] ** 1.5]) for one in (known, window)]
        estimates = fit_class_estimates(known, outcomes(chances[0], rng), known.argmax(axis=1))
        labels, answers = outcomes(chances[1], rng), window.argmax(axis=1)
        true = true_class_scores(window, labels, answers)
        for name, one in intervals([class_moments(window, answers, estimates)], estimates, None).items():
            held[name].append(one.low[0] <= true[name] <= one.high[0])

    assert {name: 0.9 <= np.mean(found) <= 0.99 for name, found in held.items()} == dict.fromkeys(held, True)


def test_the_curve_finds_what_a_probability_means():
    probabilities = said_probabilities(20_000, 2)
    chances = np.column_stack([1 - probabilities[:, 1] ** 2, probabilities[:, 1] ** 2])
    estimates = fit_class_estimates(probabilities, outcomes(chances), probabilities.argmax(axis=1))

    assert np.abs(calibrated_chances(probabilities, estimates) - chances).mean() < 0.01


@pytest.mark.parametrize("labels", [np.zeros(50, dtype=np.intp), np.ones(50, dtype=np.intp)])
def test_a_class_that_always_or_never_comes_stays_possible(labels):
    probabilities = np.tile([0.0, 1.0], (50, 1))
    estimates = fit_class_estimates(probabilities, labels, np.ones(50, dtype=np.intp))

    chances = calibrated_chances(probabilities, estimates)

    assert 0 < chances.min() < 0.1
    assert chances[0].argmax() == labels[0]


def test_hats_interpolate_and_hold_the_ends():
    knots, values = np.array([-1.0, 0.0, 2.0]), np.array([3.0, 1.0, 5.0])
    places = np.linspace(-3, 4, 50)

    assert hat_weights(places, knots) @ values == pytest.approx(np.interp(places, knots, values))


def test_days_that_differ_widen_the_intervals_of_a_day():
    rng = np.random.default_rng(2)
    day = np.repeat(np.arange(60), 100)
    probabilities = said_probabilities(6_000, 2, rng)
    odds = log_odds(probabilities[:, 1]) + rng.normal(size=60)[day]
    chances = np.column_stack([1 - 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-odds))])
    labels, answers = outcomes(chances, rng), probabilities.argmax(axis=1)
    seconds = day * 86_400.0 + np.tile(np.arange(100) * 600.0, 60)

    with_times = fit_class_estimates(probabilities, labels, answers, seconds)
    without = fit_class_estimates(probabilities, labels, answers)

    assert with_times.excess_deviation("accuracy", 86_400) > 0.01
    assert without.excess_deviation("accuracy", 86_400) == 0
    windows = [np.flatnonzero(day == one) for one in range(60)]
    moments = [class_moments(probabilities[one], answers[one], with_times) for one in windows]
    found = intervals(moments, with_times, 86_400)["accuracy"]
    true = np.array([(labels[one] == answers[one]).mean() for one in windows])
    assert ((found.low <= true) & (true <= found.high)).mean() >= 0.9


def test_the_deviation_between_two_known_lengths_lies_between_theirs():
    excess = tuple(
        Excess(score="f1", interval_seconds=length, deviation=deviation, windows=30)
        for length, deviation in ((3_600, 0.2), (86_400, 0.1))
    )
    estimates = certain(2).model_copy(update={"excess": excess})

    assert estimates.excess_deviation("f1", 60) == 0.2
    assert 0.1 < estimates.excess_deviation("f1", 20_000) < 0.2
    assert estimates.excess_deviation("f1", 604_800) == 0.1
    assert estimates.excess_deviation("accuracy", 3_600) == 0


def number_rows(rows=800, rng=RNG):
    size, north = rng.normal(size=rows), rng.random(rows) < 0.5
    errors = rng.normal(size=rows) * np.where(north, 3, 1) * np.exp(size / 3)
    frame = pd.DataFrame({"size": size, "place": np.where(north, "north", "south")})
    frame.loc[::17, "size"] = np.nan
    return frame.assign(**{PREDICTION: 10 + size + errors, LABEL: 10 + size})


def test_trees_answer_as_scikit_learns_do():
    rows = number_rows()
    estimates = fit_number_estimates(rows, FEATURES)
    table, absolute = error_table(rows, estimates), (rows[PREDICTION] - rows[LABEL]).abs().to_numpy()
    known = HistGradientBoostingRegressor(early_stopping=False, random_state=0).fit(table, absolute / absolute.mean())

    expected = np.maximum(known.predict(table) * absolute.mean(), 0.02 * absolute.mean())

    assert tree_values(estimates.absolute, table) == pytest.approx(expected)


def test_errors_are_estimated_from_the_rows_of_a_window():
    estimates = fit_number_estimates(number_rows(2_000), FEATURES)
    north = number_rows(2_000, np.random.default_rng(5)).query("place == 'north'")
    errors = (north[PREDICTION] - north[LABEL]).to_numpy()

    found = intervals([window_moments(north, None, estimates)], estimates, None)

    assert found["mae"].low[0] <= np.abs(errors).mean() <= found["mae"].high[0]
    assert found["rmse"].low[0] <= np.sqrt((errors**2).mean()) <= found["rmse"].high[0]
    assert found["mae"].value[0] > 1.2 * estimates.absolute.baseline


def test_a_model_without_errors_is_estimated_to_make_none():
    rows = number_rows().assign(**{PREDICTION: 1.0, LABEL: 1.0})
    estimates = fit_number_estimates(rows, FEATURES)
    assert isinstance(estimates, NumberEstimates)

    found = intervals([window_moments(rows, None, estimates)], estimates, None)

    assert {name: (one.low[0], one.value[0], one.high[0]) for name, one in found.items()} == {
        "mae": (0, 0, 0),
        "rmse": (0, 0, 0),
    }


@pytest.mark.parametrize("mean", [0.0, 1e-9, 0.5, 1.0])
def test_intervals_of_shares_stay_within_0_and_1(mean):
    found = interval("accuracy", [(mean, 0.01, 0.0, 0.0)], 0.3)

    assert 0 <= found.low[0] <= found.high[0] <= 1


@pytest.mark.parametrize("spread", [1.0, 1.7])
def test_intervals_that_were_too_narrow_are_widened_until_they_hold_as_often_as_they_say(spread: float) -> None:
    rng = np.random.default_rng(0)
    distances = np.abs(rng.normal(0, spread, 2_000)) / 1.96
    held = [distances[place] <= widening(distances[:place]) for place in range(100, 2_000)]
    assert 0.935 < np.mean(held) < 0.98
    assert widening(distances[:19]) == 1.0


def test_a_widened_interval_stays_among_the_scores_that_there_are() -> None:
    one = Estimate(np.array([0.9]), np.array([0.6]), np.array([0.95]))
    assert [float(end[0]) for end in widened("accuracy", one, 4.0)] == pytest.approx([0.9, 0.0, 1.0])
    assert [float(end[0]) for end in widened("mae", one, 4.0)] == pytest.approx([0.9, 0.0, 1.1])
    assert distance(one, 0.3) == pytest.approx(2.0)
    assert distance(one, 1.0) == pytest.approx(2.0)
