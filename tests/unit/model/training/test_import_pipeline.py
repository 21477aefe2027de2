"""Adopting a fitted pipeline: what pandas users make is served, and what cannot be is refused with the reason."""

import json
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from model.adopt import main
from model.artifact.manifest import RegressorManifest
from model.artifact.store import read_reference, verify_artifact
from model.explain.explainer import load_explainer
from model.serving.predictor import load_predictor

Adopt = Callable[..., int]
TEXTS = ["colour", "member"]


def people(rows: int, seed: int) -> pd.DataFrame:
    """Rows with gaps in each type of column, as a person's own script reads them."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "age": rng.normal(40, 10, rows).round(1),
            "member": rng.random(rows) < 0.5,
        }
    )
    odds = frame["age"] + 12 * (frame["colour"] == "red") + 6 * frame["member"] + rng.normal(0, 3, rows)
    frame["buys"] = np.where(odds > 47, "yes", "no")
    frame["colour"] = frame["colour"].mask(rng.random(rows) < 0.1)
    frame["age"] = frame["age"].mask(rng.random(rows) < 0.1)
    return frame


def fitted(encoder: OneHotEncoder | None = None, columns: tuple[str, ...] = ("member", "age", "colour")) -> Pipeline:
    numbers = [name for name in columns if name not in TEXTS]
    texts = [name for name in columns if name in TEXTS]
    encode = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"), encoder or OneHotEncoder(handle_unknown="ignore")
    )
    flags = ("passthrough", ["member"]) if "member" in texts else ("drop", [])
    parts = make_column_transformer(
        (SimpleImputer(), numbers), (encode, [name for name in texts if name != "member"]), flags
    )
    rows = people(300, seed=1)
    return make_pipeline(parts, RandomForestClassifier(20, min_samples_leaf=3, random_state=0)).fit(
        rows[list(columns)], rows["buys"]
    )


@pytest.fixture
def adopt(tmp_path: Path) -> Adopt:
    def run(pipeline: object, reference: pd.DataFrame | None = None, *options: str) -> int:
        if pipeline is not None:
            joblib.dump(pipeline, tmp_path / "theirs.joblib")
        rows = people(200, seed=2) if reference is None else reference
        rows.to_csv(tmp_path / "later.csv", index=False)
        files = ["--pipeline", str(tmp_path / "theirs.joblib"), "--reference", str(tmp_path / "later.csv")]
        return main([*files, "--target", "buys", "--out", str(tmp_path / "model"), *options])

    return run


def test_a_fitted_pipeline_answers_as_it_did_and_has_a_whole_artifact(
    adopt: Adopt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = fitted()
    assert adopt(pipeline) == 0
    out, err = capsys.readouterr()
    assert "adopt only a file that you trust" in err
    assert "dropped" in out
    manifest = verify_artifact(tmp_path / "model")
    assert (manifest.name, manifest.estimator) == ("theirs", "theirs.joblib (RandomForestClassifier)")
    assert [(one.name, one.type) for one in manifest.features] == [
        ("member", "boolean"),
        ("age", "number"),
        ("colour", "category"),
    ]
    assert {one.name: one.nullable for one in manifest.features} == {"member": True, "age": True, "colour": True}
    assert (manifest.data.train_rows, manifest.data.test_rows, manifest.data.reference_rows) == (0, 80, 120)
    assert manifest.attributions is not None, manifest.attributions_missing
    assert {one.column for one in manifest.thresholds} == {"member", "age", "colour", "prediction", "label"}
    rows = people(50, seed=3)
    cells = [[None if pd.isna(cell) else cell for cell in row] for row in rows[["member", "age", "colour"]].to_numpy()]
    answered = load_predictor(tmp_path / "model").predict(cells)
    np.testing.assert_allclose(answered, pipeline.predict_proba(rows[["member", "age", "colour"]]), atol=1e-6)
    assert load_explainer(tmp_path / "model").attributions(read_reference(tmp_path / "model")).shape == (120, 3)


def test_a_fitted_regressor_answers_as_it_did(adopt: Adopt, tmp_path: Path) -> None:
    rows, later = (people(400, seed=seed).dropna() for seed in (1, 2))
    target = [(3 * frame["age"] + 20 * frame["member"]).round(1) for frame in (rows, later)]
    pipeline = make_pipeline(
        make_column_transformer((SimpleImputer(), ["age"]), ("passthrough", ["member"])),
        RandomForestRegressor(20, random_state=0),
    ).fit(rows[["age", "member"]], target[0])
    assert adopt(pipeline, later.assign(buys=target[1])) == 0
    manifest = verify_artifact(tmp_path / "model")
    assert isinstance(manifest, RegressorManifest)
    assert manifest.estimator == "theirs.joblib (RandomForestRegressor)"
    assert (manifest.data.train_rows, manifest.calibration.rows) == (0, manifest.data.test_rows)
    answered = load_predictor(tmp_path / "model").predict(later[["age", "member"]].to_numpy().tolist())
    np.testing.assert_allclose(answered, pipeline.predict(later[["age", "member"]]), rtol=1e-5)


def test_numbers_alone_are_converted_to_onnx_with_proven_parity(adopt: Adopt, tmp_path: Path) -> None:
    rows = people(200, seed=2)
    assert adopt(fitted(columns=("age",)), rows) == 0
    assert verify_artifact(tmp_path / "model").engine == "onnx"


def test_classes_that_are_integers_are_found_in_the_file(adopt: Adopt, tmp_path: Path) -> None:
    rows = people(300, seed=1).dropna()
    model = LogisticRegression(max_iter=500).fit(rows[["age"]], (rows["buys"] == "yes").astype(int))
    later = people(200, seed=2).dropna()
    assert adopt(model, later.assign(buys=(later["buys"] == "yes").astype(float))) == 0
    manifest = verify_artifact(tmp_path / "model")
    assert manifest.classes == (0, 1)
    assert not manifest.features[0].nullable, "a logistic regression takes no gaps"


def test_a_target_that_the_pipeline_takes_as_a_column_is_refused(
    adopt: Adopt, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        adopt(fitted(columns=("age",)), people(200, seed=2).drop(columns="buys").rename(columns={"age": "buys"})) == 2
    )
    assert "lacks columns that the model takes: 'age'" in refused(capsys, tmp_path)
    leaking = LogisticRegression().fit(pd.DataFrame({"buys": [0, 1]}), [0, 1])
    assert adopt(leaking) == 2
    assert "takes 'buys' as a column, so it cannot be the target" in refused(capsys, tmp_path)


def refused(capsys: pytest.CaptureFixture[str], folder: Path) -> str:
    assert not (folder / "model").exists()
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: ")
    return error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="age"), "lacks columns that the model takes: 'age'"),
        (lambda rows: rows.drop(columns="buys"), "no column 'buys'"),
        (lambda rows: rows.replace({"buys": {"no": "maybe"}}), "is none of the model's classes: no, yes"),
        (lambda rows: rows[rows["buys"] == "no"], "class 'yes' has 0 rows"),
        (lambda rows: rows.assign(age="old"), "cannot predict the test rows: ValueError"),
        (lambda rows: rows.assign(age=""), "column 'age' is empty in every row"),
    ],
)
def test_a_reference_that_does_not_fit_the_pipeline_is_refused(
    adopt: Adopt,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
    message: str,
) -> None:
    assert adopt(fitted(), change(people(200, seed=2))) == 2
    assert message in refused(capsys, tmp_path)


def unfitted() -> object:
    return LogisticRegression()


def nameless() -> object:
    return LogisticRegression().fit([[1.0], [2.0]], ["no", "yes"])


def regressor() -> object:
    return LinearRegression().fit(pd.DataFrame({"age": [1.0, 2.0]}), [1.0, 2.0])


def certain() -> object:
    rows = people(60, seed=1).dropna()
    return LinearSVC(random_state=0).fit(rows[["age"]] / 100, rows["buys"])


def clusterer() -> object:
    return make_pipeline(KMeans(2, random_state=0)).fit(people(60, seed=1)[["age"]].dropna())


def transformer() -> object:
    return StandardScaler().fit(people(60, seed=1)[["age"]])


class Unlike:
    """Predicts, and says nothing of itself."""

    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        return np.zeros(len(rows))


def unlike() -> object:
    return Unlike()


def two_targets() -> object:
    rows = people(60, seed=1).dropna()
    return RandomForestClassifier(3, random_state=0).fit(rows[["age"]], rows[["buys", "colour"]])


def closed() -> object:
    return fitted(OneHotEncoder())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unfitted, "is not fitted, or was fitted without column names"),
        (nameless, "is not fitted, or was fitted without column names"),
        (certain, "holds LinearSVC, which has no predict_proba"),
        (regressor, "column 'buys', line 2: 'no' is not a finite number"),
        (clusterer, "holds KMeans, which finds groups or outliers; only classifiers and regressors"),
        (transformer, "holds StandardScaler, which has neither predict_proba nor predict"),
        (unlike, "holds Unlike, which does not say what it predicts"),
        (two_targets, "predicts 2 targets at once"),
        (closed, "fails where column 'colour' is 'a value never seen in training'"),
    ],
)
def test_a_pipeline_that_cannot_serve_is_refused(
    adopt: Adopt,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[], object],
    message: str,
) -> None:
    assert adopt(make()) == 2
    assert message in refused(capsys, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"", "cannot be loaded with joblib"), (b"not a pickle", "cannot be loaded with joblib")],
)
def test_a_file_that_is_no_pipeline_is_refused(
    adopt: Adopt, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "theirs.joblib").write_bytes(content)
    assert adopt(None) == 2
    assert message in refused(capsys, tmp_path)


def test_a_pipeline_saved_by_another_scikit_learn_is_refused_unless_asked_for(
    adopt: Adopt, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = fitted(columns=("age",))
    with monkeypatch.context() as older:
        older.setattr("sklearn.base.__version__", "1.5.0")
        joblib.dump(pipeline, tmp_path / "theirs.joblib")
    assert adopt(None) == 2
    assert "was saved by scikit-learn 1.5.0" in refused(capsys, tmp_path)
    assert adopt(None, None, "--any-version") == 0
    assert json.loads((tmp_path / "model" / "manifest.json").read_text())["estimator"].startswith("theirs.joblib")
