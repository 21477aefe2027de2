"""A pipeline of one's own: found, tried on what callers may send, trained and refused with the reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.artifact.manifest import RegressorManifest
from model.artifact.store import read_manifest
from model.data.csv_file import load_csv
from model.data.dataset import Dataset, RegressionDataset, describe_column
from model.data.encoding import rows_of
from model.data.split import Shares, split_rows
from model.errors import DataError
from model.serving.predictor import load_predictor
from model.training.custom_pipeline import custom_recipe
from model.training.fit import fit, train_model
from model.training.input_checks import proven_features

MODULE = """
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

def parts(columns):
    numbers = [column.name for column in columns if column.type == "number"]
    return numbers, [column.name for column in columns if column.type != "number"]

def build(columns):
    numbers, texts = parts(columns)
    return make_pipeline(
        make_column_transformer(
            (SimpleImputer(), numbers), (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts)
        ),
        ExtraTreesClassifier(20, random_state=0, min_samples_leaf=3),
    )

def gapless(columns):
    numbers, texts = parts(columns)
    return make_pipeline(
        make_column_transformer(("passthrough", numbers), (OneHotEncoder(handle_unknown="ignore"), texts)),
        LogisticRegression(max_iter=500),
    )

def closed(columns):
    numbers, texts = parts(columns)
    return make_pipeline(
        make_column_transformer((SimpleImputer(), numbers), (OneHotEncoder(), texts)), LogisticRegression(max_iter=500)
    )

def regressor(columns):
    return LinearRegression()

def number(columns):
    numbers, texts = parts(columns)
    encode = make_column_transformer((SimpleImputer(), numbers), (OneHotEncoder(handle_unknown="ignore"), texts))
    return make_pipeline(encode, LinearRegression())

def groups(columns):
    return KMeans(2)

class Unlike:
    def fit(self, rows, labels):
        return self

    def predict(self, rows):
        return [0.0] * len(rows)

def unlike(columns):
    return Unlike()

class Endless(RegressorMixin, BaseEstimator):
    def fit(self, rows, labels):
        self.fitted_ = True
        return self

    def predict(self, rows):
        return np.full(len(rows), np.inf)

class Paired(Endless):
    def predict(self, rows):
        return np.zeros((len(rows), 2))

def endless(columns):
    return Endless()

def paired(columns):
    return Paired()

def broken(columns):
    return columns.missing

def unfit(columns):
    return LogisticRegression()

def unsaved(columns):
    return make_pipeline(FunctionTransformer(lambda rows: rows[["age"]].fillna(0)), LogisticRegression())
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_pipelines.py").write_text(MODULE)
    (tmp_path / "my_broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def people(tmp_path: Path) -> Dataset:
    rows = "".join(
        f"{20 + i * 7 % 41},{('red', 'blue', 'green')[i % 3]},{'ab'[(i * 7 % 41) // 21]}\n" for i in range(120)
    )
    (tmp_path / "people.csv").write_text(f"age,colour,y\n{rows}")
    return load_csv(tmp_path / "people.csv", "y")


def test_a_pipeline_that_chooses_columns_by_name_is_trained_explained_and_served(
    people: Dataset, tmp_path: Path
) -> None:
    manifest = train_model(people, tmp_path / "model", recipe=custom_recipe("my_pipelines:build"))
    assert manifest.estimator == "my_pipelines:build"
    assert manifest.attributions is not None, manifest.attributions_missing
    assert max(manifest.attributions.mean_absolute, key=manifest.attributions.mean_absolute.__getitem__) == "age"
    assert [feature.nullable for feature in manifest.features] == [True, True]
    assert manifest.engine == "onnx", manifest.parity.reason
    predictor = load_predictor(tmp_path / "model")
    assert read_manifest(tmp_path / "model") == manifest
    assert predictor.predict([(25.0, "red"), (None, "violet")]).shape == (2, 2)


def test_what_may_be_missing_is_found_by_trying(people: Dataset) -> None:
    split = split_rows(people.codes, Shares(), 0)
    _, proven = fit(custom_recipe("my_pipelines:gapless"), people, split, 0)
    assert {feature.name: feature.nullable for feature in proven.features} == {"age": False, "colour": True}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("build", "write it as module:function"),
        ("my_pipelines:none", "the module my_pipelines has no 'none'"),
        ("my_absent_module:build", "no module 'my_absent_module'"),
        ("my_broken_module:build", "importing my_broken_module failed: ZeroDivisionError"),
        ("my_pipelines:broken", "my_pipelines:broken failed: AttributeError"),
        ("my_pipelines:regressor", "returned LinearRegression, which lacks fit or predict_proba"),
        ("my_pipelines:unfit", "my_pipelines:unfit cannot be fitted: ValueError: could not convert string"),
        ("my_pipelines:closed", "fails where column 'colour' is 'a value never seen in training'"),
    ],
)
def test_a_pipeline_that_does_not_do_is_refused_with_the_reason(people: Dataset, reference: str, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        fit(custom_recipe(reference), people, split_rows(people.codes, Shares(), 0), 0)
    assert message in str(refusal.value)


@pytest.fixture
def prices() -> RegressionDataset:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"age": rng.uniform(0, 60, 120), "colour": rng.choice(["red", "blue"], 120)})
    numbers = 100.0 + frame["age"].to_numpy() + rng.normal(0, 1, 120)
    features = (describe_column("age", "number", frame["age"]), describe_column("colour", "category", frame["colour"]))
    return RegressionDataset("prices", "made up", "price", features, frame, numbers)


def test_a_regressor_of_ones_own_is_trained_and_served(prices: RegressionDataset, tmp_path: Path) -> None:
    recipe = custom_recipe("my_pipelines:number", "regression")
    manifest = train_model(prices, tmp_path / "model", recipe=recipe)
    assert isinstance(manifest, RegressorManifest)
    assert manifest.quality.mean_absolute_error < 2
    # a line goes on for ever, so that absurd numbers leave what ONNX can count in
    assert manifest.engine == "scikit-learn"
    assert manifest.parity.reason == "ONNX answers some rows with no finite number"
    assert load_predictor(tmp_path / "model").predict([(30.0, "violet")])[0] == pytest.approx(130, abs=3)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("build", "returned Pipeline, which is not a regressor, and the target is a number"),
        ("groups", "returned KMeans, which is not a regressor"),
        ("unlike", "returned Unlike, which is not a regressor"),
        ("endless", "its answers are not finite numbers"),
        ("paired", "its answers are not one number for each row"),
    ],
)
def test_what_does_not_predict_a_number_is_refused_with_the_reason(
    prices: RegressionDataset, function: str, message: str
) -> None:
    recipe = custom_recipe(f"my_pipelines:{function}", "regression")
    with pytest.raises(DataError) as refusal:
        fit(recipe, prices, split_rows(prices.strata, Shares(), 0), 0)
    assert message in str(refusal.value)


def test_a_pipeline_that_cannot_be_saved_is_refused_and_leaves_nothing(people: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be saved"):
        train_model(people, tmp_path / "model", recipe=custom_recipe("my_pipelines:unsaved"))
    assert not (tmp_path / "model").exists()


def test_answers_that_are_no_probabilities_are_refused(people: Dataset) -> None:
    class Wrong:
        def probabilities(self, rows: object) -> object:
            import numpy as np  # noqa: PLC0415 - only here

            return np.full((len(rows), 2), 0.7)  # type: ignore[arg-type]

    with pytest.raises(DataError, match="its answers are no probabilities"):
        proven_features(Wrong(), people.features, rows_of(people.frame, people.features))  # type: ignore[arg-type]
