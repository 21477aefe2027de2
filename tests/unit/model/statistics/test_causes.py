"""Why performance changed: inputs by feature and the relation, where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import (
    LABEL,
    PREDICTION,
    PROBABILITY_PREFIX,
    ClassifierManifest,
    Feature,
    RegressorManifest,
)
from model.statistics.causes import MIN_ROWS, causes, value_codes
from model.training.fit_estimates import fit_estimates

FEATURES = (
    Feature(name="strong", type="number", nullable=False, example=0.0),
    Feature(name="weak", type="number", nullable=False, example=0.0),
    Feature(name="idle", type="category", categories=("a", "b", "c"), nullable=False, example="a"),
)
CLASSIFIER = ClassifierManifest.model_construct(features=FEATURES, classes=("no", "yes"))
REGRESSOR = RegressorManifest.model_construct(features=FEATURES)


def chances(rows: pd.DataFrame) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-3 * rows["strong"] - 0.5 * rows["weak"])))


def inputs(rng: np.random.Generator, rows: int, *, spread: float = 1.0, move: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "strong": rng.normal(0, spread, rows),
            "weak": rng.normal(move, 1, rows),
            "idle": rng.choice(["a", "b", "c"], rows, p=[0.8, 0.1, 0.1] if move else [0.1, 0.1, 0.8]),
        }
    )


def classified(rng: np.random.Generator, rows: pd.DataFrame, *, flipped: float = 0.0) -> pd.DataFrame:
    chance = chances(rows)
    happened = (rng.random(len(rows)) < chance) ^ (rng.random(len(rows)) < flipped)
    return rows.assign(
        **{
            PREDICTION: np.where(chance > 0.5, "yes", "no").astype(object),
            LABEL: np.where(happened, "yes", "no").astype(object),
            f"{PROBABILITY_PREFIX}no": 1 - chance,
            f"{PROBABILITY_PREFIX}yes": chance,
        }
    )


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(0)
    return classified(rng, inputs(rng, 4_000))


@pytest.fixture(scope="module")
def estimates(reference):
    return fit_estimates(reference, FEATURES, CLASSIFIER.class_names)


def expected_accuracy(rows: pd.DataFrame) -> float:
    chance = chances(rows)
    return float(np.maximum(chance, 1 - chance).mean())


def test_a_shift_of_one_feature_is_found_as_changed_inputs_of_that_feature(reference, estimates):
    rng = np.random.default_rng(1)
    window = classified(rng, inputs(rng, 2_000, spread=0.2))

    found = causes(window, reference, CLASSIFIER, estimates, None)

    truth = expected_accuracy(window) - expected_accuracy(reference)
    assert truth < -0.15
    assert found.inputs.low <= truth <= found.inputs.high
    assert found.relation.low <= 0 <= found.relation.high
    assert found.features[0][0] == "strong"
    assert found.features[0][1].value == pytest.approx(truth, rel=0.15)
    assert all(abs(part.value) < 0.02 for _, part in found.features[1:])


def test_flipped_labels_are_found_as_a_changed_relation(reference, estimates):
    rng = np.random.default_rng(2)
    window = classified(rng, inputs(rng, 2_000), flipped=0.2)

    found = causes(window, reference, CLASSIFIER, estimates, None)

    truth = -0.2 * (2 * expected_accuracy(window) - 1)
    assert found.relation.low <= truth <= found.relation.high < 0
    assert found.inputs.low <= 0 <= found.inputs.high


def test_both_causes_are_told_apart_and_add_up_to_the_change(reference, estimates):
    rng = np.random.default_rng(3)
    window = classified(rng, inputs(rng, 2_000, spread=0.3), flipped=0.2)

    found = causes(window, reference, CLASSIFIER, estimates, None)

    by_inputs = expected_accuracy(window) - expected_accuracy(reference)
    by_labels = -0.2 * (2 * expected_accuracy(window) - 1)
    assert found.inputs.low <= by_inputs <= found.inputs.high
    assert found.relation.low <= by_labels <= found.relation.high
    assert found.now - found.usual == pytest.approx(found.inputs.value + found.relation.value)
    shares = sum(part.value for _, part in found.features) + found.together
    assert shares == pytest.approx(found.inputs.value)


def test_features_that_moved_but_do_not_matter_get_nothing(reference, estimates):
    rng = np.random.default_rng(4)
    window = classified(rng, inputs(rng, 2_000, move=0.5))

    found = causes(window, reference, CLASSIFIER, estimates, None)

    assert abs(dict(found.features)["idle"].value) < 0.01


def test_the_interval_of_the_relation_holds_as_often_as_it_says(reference, estimates):
    held = []
    for seed in range(100, 160):
        rng = np.random.default_rng(seed)
        window = classified(rng, inputs(rng, 200, spread=0.5))
        relation = causes(window, reference, CLASSIFIER, estimates, None).relation
        held.append(relation.low <= 0 <= relation.high)

    assert np.mean(held) >= 0.85


def test_errors_of_a_number_have_causes_too():
    rng = np.random.default_rng(5)

    def predicted(rows: pd.DataFrame, bias: float = 0.0) -> pd.DataFrame:
        noise = np.abs(rows["strong"]) * rng.normal(0, 1, len(rows))
        return rows.assign(**{PREDICTION: rows["weak"], LABEL: rows["weak"] + noise + bias})

    reference = predicted(inputs(rng, 1_500))
    estimates = fit_estimates(reference, FEATURES, None)
    wider = causes(predicted(inputs(rng, 2_000, spread=2.0)), reference, REGRESSOR, estimates, None)
    biased = causes(predicted(inputs(rng, 2_000), bias=2.0), reference, REGRESSOR, estimates, None)

    assert wider.score == "mean_absolute_error"
    assert wider.features[0][0] == "strong"
    assert wider.inputs.value > 0.4
    assert biased.relation.value > 1
    assert abs(biased.inputs.value) < 0.1


def test_too_few_labels_say_nothing(reference, estimates):
    assert causes(reference.head(MIN_ROWS - 1), reference, CLASSIFIER, estimates, None) is None


def test_a_column_of_missing_values_is_one_group():
    assert value_codes(pd.Series([np.nan] * 5), number=True).tolist() == [0] * 5
    text = pd.Series(["a", None, "b", "a", *"cdefghijklmn"], dtype=object)
    assert value_codes(text, number=False)[1] == 0
    assert len(set(value_codes(text, number=False))) <= 12
