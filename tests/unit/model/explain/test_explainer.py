"""Attributions add up to the answers, and are the Shapley values of what callers send."""

from itertools import combinations
from math import factorial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline

from model.artifact.manifest import EstimatorName
from model.artifact.store import PIPELINE_FILE, read_manifest, read_reference, read_test
from model.data.csv_file import load_csv
from model.data.dataset import Dataset
from model.data.encoding import pipeline_input
from model.errors import ArtifactError, ExplanationError
from model.explain.explainer import Explainer, load_explainer
from model.training.pipelines import build_pipeline


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Pipeline]:
    """Numbers, a category and a boolean, all with gaps, columns in an order that the encoding does not keep."""
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {
            "colour": rng.choice(["red", "green", "blue", ""], 240),
            "age": rng.normal(40, 10, 240).round(2),
            "member": rng.choice(["true", "false", ""], 240),
            "size": np.where(rng.random(240) < 0.2, np.nan, rng.normal(size=240)),
        }
    )
    rows["y"] = np.where(rows["age"] + 8 * (rows["colour"] == "red") + 9 * (rows["member"] == "true") > 48, "b", "a")
    path = tmp_path_factory.mktemp("mixed") / "mixed.csv"
    rows.to_csv(path, index=False)
    dataset = load_csv(path, "y")
    pipeline = build_pipeline(dataset.features, seed=0)
    return dataset, pipeline.fit(pipeline_input(dataset.frame, dataset.features), dataset.codes)


def test_signed_attributions_and_the_base_add_up_to_the_answer(mixed: tuple[Dataset, Pipeline]) -> None:
    dataset, pipeline = mixed
    surprises = dataset.frame.head(3).assign(colour=["violet", None, "red"], age=[1e300, np.nan, -1e300])
    rows = pd.concat([dataset.frame, surprises.assign(member=None)], ignore_index=True)
    explainer = Explainer(pipeline, dataset.features)
    signed = explainer.signed(rows)
    assert signed.shape == (len(rows), 4, 2)
    finite = rows.assign(age=rows["age"].clip(-3e38, 3e38))
    answers = pipeline.predict_proba(pipeline_input(finite, dataset.features))
    np.testing.assert_allclose(signed.sum(axis=1) + explainer.base, answers, atol=1e-9)


def test_attributions_are_the_shapley_values_of_the_encoded_columns_added_up(mixed: tuple[Dataset, Pipeline]) -> None:
    """Brute force over all subsets of columns: their definition, with each tree's own expectation."""
    dataset, pipeline = mixed
    row = dataset.frame.head(1)
    encoded = pipeline[:-1].transform(pipeline_input(row, dataset.features))[0].astype(np.float32)
    # numbers come first, then the one-hot columns: "(missing)", blue, green, red; "(missing)", False, True
    groups = [[2, 3, 4, 5], [0], [6, 7, 8], [1]]
    trees = [estimator.tree_ for estimator in pipeline[-1].estimators_[:5]]
    expected = np.array([sum(brute_force(tree, encoded)[:, group].sum(axis=1) for tree in trees) for group in groups])
    pipeline_of_five = Pipeline([("columns", pipeline[0]), ("forest", first_trees(pipeline[-1], 5))])
    found = Explainer(pipeline_of_five, dataset.features).signed(row)[0]
    np.testing.assert_allclose(found, expected / 5, atol=1e-6)


def first_trees(forest: object, number: int) -> object:
    from copy import copy  # noqa: PLC0415 - only here

    few = copy(forest)
    few.estimators_ = forest.estimators_[:number]
    few.n_estimators = number
    return few


def brute_force(tree: object, row: "np.ndarray") -> "np.ndarray":
    """Return the Shapley values of one tree, (classes, columns), by summing over subsets of the columns it uses."""
    used = sorted({int(column) for column in tree.feature if column >= 0})
    values = {
        subset: expectation(tree, row, set(subset))
        for size in range(len(used) + 1)
        for subset in combinations(used, size)
    }
    phi = np.zeros((tree.value.shape[2], len(row)))
    for column in used:
        others = [one for one in used if one != column]
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(used) - size - 1) / factorial(len(used))
            for subset in combinations(others, size):
                phi[:, column] += weight * (values[tuple(sorted((*subset, column)))] - values[subset])
    return phi


def expectation(tree: object, row: "np.ndarray", known: set[int], node: int = 0) -> "np.ndarray":
    """Return the tree's answer with only some columns known; elsewhere branches count by their training rows."""
    left, right = int(tree.children_left[node]), int(tree.children_right[node])
    if left < 0:
        return tree.value[node, 0] / tree.value[node, 0].sum()
    column = int(tree.feature[node])
    if column in known:
        return expectation(tree, row, known, left if row[column] <= tree.threshold[node] else right)
    share = tree.weighted_n_node_samples[left] / tree.weighted_n_node_samples[node]
    return share * expectation(tree, row, known, left) + (1 - share) * expectation(tree, row, known, right)


def test_an_artifact_holds_the_attributions_of_its_reference(iris_artifact: Path) -> None:
    manifest, reference = read_manifest(iris_artifact), read_reference(iris_artifact)
    found = load_explainer(iris_artifact).attributions(reference)
    assert found.shape == (len(reference), 4)
    assert manifest.attributions is not None
    assert manifest.attributions_missing is None
    assert manifest.attributions.rows == len(reference)
    assert list(manifest.attributions.mean_absolute.values()) == pytest.approx(found.mean(axis=0).tolist())
    assert max(manifest.attributions.mean_absolute, key=manifest.attributions.mean_absolute.__getitem__).startswith(
        "petal"
    )


def test_no_rows_give_no_attributions(iris_artifact: Path) -> None:
    assert load_explainer(iris_artifact).attributions(read_test(iris_artifact).head(0)).shape == (0, 4)


@pytest.mark.parametrize("estimator", ["hist_gradient_boosting", "logistic_regression"])
@pytest.mark.parametrize("classes", [2, 3])
def test_other_estimators_are_explained_in_log_odds(
    mixed: tuple[Dataset, Pipeline], estimator: EstimatorName, classes: int
) -> None:
    dataset, _ = mixed
    codes = dataset.codes if classes == 2 else (dataset.codes + dataset.frame["age"].gt(45)).to_numpy()
    pipeline = build_pipeline(dataset.features, 0, estimator)
    pipeline.fit(pipeline_input(dataset.frame, dataset.features), codes)
    explainer = Explainer(pipeline, dataset.features, dataset.frame)
    rows = pd.concat([dataset.frame, dataset.frame.head(1).assign(age=np.nan, colour="violet", member=None)])
    signed = explainer.signed(rows)
    assert signed.shape == (241, 4, 1 if classes == 2 else 3)
    odds = pipeline.decision_function(pipeline_input(rows, dataset.features)).reshape(241, -1)
    np.testing.assert_allclose(signed.sum(axis=1) + explainer.base, odds, atol=1e-9)
    assert explainer.unit == "log odds"
    assert explainer.method == ("TreeSHAP" if estimator == "hist_gradient_boosting" else "linear SHAP")


@pytest.mark.parametrize("estimator", ["random_forest", "hist_gradient_boosting", "linear_regression"])
@pytest.mark.parametrize("unit", [1.0, 1e9])
def test_a_number_is_explained_in_its_own_unit(
    mixed: tuple[Dataset, Pipeline], estimator: EstimatorName, unit: float
) -> None:
    dataset, _ = mixed
    numbers = unit * (dataset.codes + dataset.frame["age"].fillna(0.0).to_numpy() / 100)
    pipeline = build_pipeline(dataset.features, 0, estimator, "regression")
    pipeline.fit(pipeline_input(dataset.frame, dataset.features), numbers)
    explainer = Explainer(pipeline, dataset.features, dataset.frame)
    rows = pd.concat([dataset.frame, dataset.frame.head(1).assign(age=np.nan, colour="violet", member=None)])
    signed = explainer.signed(rows)
    assert signed.shape == (241, 4, 1)
    answers = pipeline.predict(pipeline_input(rows, dataset.features))
    np.testing.assert_allclose(signed.sum(axis=(1, 2)) + explainer.base[0], answers, rtol=1e-6, atol=1e-6 * unit)
    assert explainer.unit == "target"


def test_linear_attributions_are_the_shapley_values_of_independent_features(mixed: tuple[Dataset, Pipeline]) -> None:
    """With one number left to vary, a feature's value is what the answer gains over the mean answer of its rows."""
    dataset, _ = mixed
    pipeline = build_pipeline(dataset.features, 0, "logistic_regression")
    pipeline.fit(pipeline_input(dataset.frame, dataset.features), dataset.codes)
    place = dataset.frame.columns.get_loc("colour")
    found = Explainer(pipeline, dataset.features, dataset.frame).signed(dataset.frame.head(1))[0, place, 0]
    swapped = dataset.frame.head(1).loc[[0] * len(dataset.frame)].reset_index(drop=True)
    swapped["colour"] = dataset.frame["colour"]
    answers = pipeline.decision_function(pipeline_input(swapped, dataset.features))
    own = pipeline.decision_function(pipeline_input(dataset.frame.head(1), dataset.features))[0]
    assert found == pytest.approx(own - answers.mean())


def test_a_model_of_another_kind_is_refused_with_the_reason(mixed: tuple[Dataset, Pipeline]) -> None:
    dataset, pipeline = mixed
    encoded = pipeline[:-1].transform(pipeline_input(dataset.frame, dataset.features))
    other = Pipeline([("columns", pipeline[0]), ("bayes", GaussianNB().fit(encoded, dataset.codes))])
    with pytest.raises(ExplanationError, match="TreeSHAP cannot explain GaussianNB"):
        Explainer(other, dataset.features)


def test_columns_that_mix_features_are_refused_with_their_names(mixed: tuple[Dataset, Pipeline]) -> None:
    dataset, pipeline = mixed
    steps = [("columns", pipeline[0]), ("rotate", PCA(3)), ("forest", RandomForestClassifier(3, random_state=0))]
    mixing = Pipeline(steps).fit(pipeline_input(dataset.frame, dataset.features), dataset.codes)
    with pytest.raises(ExplanationError, match=r"mixes features \(colour, age, member, size\)"):
        Explainer(mixing, dataset.features)


def test_a_changed_pipeline_file_is_not_loaded(iris_artifact: Path, tmp_path: Path) -> None:
    manifest = read_manifest(iris_artifact)
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    (tmp_path / PIPELINE_FILE).write_bytes((iris_artifact / PIPELINE_FILE).read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="SHA-256"):
        load_explainer(tmp_path)
