"""Models that people bring: each is imported and trained, and answers exactly as the model itself does."""

import importlib.util
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from model.adopt import main as adopt
from model.artifact.estimators import libraries_of
from model.artifact.manifest import PREDICTION, ClassifierManifest
from model.artifact.store import read_reference, read_test, verify_artifact
from model.data.csv_file import load_csv, read_columns
from model.data.dataset import AnyDataset, Dataset
from model.data.schema_file import SchemaFile
from model.data.split import Shares, split_rows
from model.errors import DataError
from model.explain.explainer import Explainer
from model.serving.engines import AnyEngine, answers_of
from model.serving.onnx import Engines, convert
from model.serving.predictor import load_predictor
from model.training.custom_pipeline import custom_recipe
from model.training.fit import fit
from model.training.import_pipeline import load_fitted, proven_engines
from model.training.out_of_fold import error_chances, predicted_probabilities, score_out_of_fold, wrong_predictions

NUMBERS, TEXTS = ["age", "income"], ["city"]
COLUMNS = [*NUMBERS, *TEXTS]


def people(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 12, rows).round(1),
            "income": rng.gamma(2, 0.02, rows).round(4),
            "city": rng.choice(["Lyon", "Nice", "Paris"], rows, p=[0.3, 0.2, 0.5]),
        }
    )
    odds = (frame["age"] - 45) / 8 + (frame["city"] == "Nice") - 16 * frame["income"] + rng.logistic(0, 1, rows)
    frame["buys"] = np.where(odds > 0, "yes", "no")
    frame["spent"] = np.exp(1 + frame["age"] / 40 + 0.5 * (frame["city"] == "Nice") + rng.normal(0, 0.2, rows)).round(2)
    return frame


def encoder(numbers: Sequence[str], texts: Sequence[str], closed: bool = False) -> Any:
    return make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), list(numbers)),
        (OneHotEncoder(handle_unknown="error" if closed else "ignore"), list(texts)),
    )


def scaled_forest(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    return make_pipeline(encoder(numbers, texts), RandomForestClassifier(15, random_state=0))


def searched_forest(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    return GridSearchCV(scaled_forest(numbers, texts), {"randomforestclassifier__max_depth": [2, 5]}, cv=2)


def voting(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    logistic = make_pipeline(encoder(numbers, texts), LogisticRegression(max_iter=300))
    return VotingClassifier([("forest", scaled_forest(numbers, texts)), ("logistic", logistic)], voting="soft")


def stacking(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    return StackingClassifier([("forest", scaled_forest(numbers, texts))], LogisticRegression(max_iter=300), cv=2)


def fixed_threshold(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    logistic = make_pipeline(encoder(numbers, texts), LogisticRegression(max_iter=300))
    return FixedThresholdClassifier(logistic, threshold=0.25, pos_label="yes")


def tuned_threshold(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    logistic = make_pipeline(encoder(numbers, texts), LogisticRegression(max_iter=300))
    return TunedThresholdClassifierCV(logistic, scoring="balanced_accuracy", cv=3)


def lightgbm_categories(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    from lightgbm import LGBMClassifier  # noqa: PLC0415 - need not be installed

    return LGBMClassifier(n_estimators=15, verbose=-1, n_jobs=1)


def xgboost_categories(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    from xgboost import XGBClassifier  # noqa: PLC0415 - as above

    return XGBClassifier(n_estimators=15, enable_categorical=True, n_jobs=1)


def catboost_native(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    from catboost import CatBoostClassifier  # noqa: PLC0415 - as above

    return CatBoostClassifier(
        iterations=15, verbose=0, cat_features=list(texts), thread_count=1, allow_writing_files=False
    )


def boosted_pipeline(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    from xgboost import XGBClassifier  # noqa: PLC0415 - as above

    return make_pipeline(encoder(numbers, texts), XGBClassifier(n_estimators=15, n_jobs=1))


def oversampled(numbers: Sequence[str], texts: Sequence[str]) -> Any:
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415 - as above
    from imblearn.pipeline import make_pipeline as make_imblearn_pipeline  # noqa: PLC0415 - as above

    return make_imblearn_pipeline(
        encoder(numbers, texts), SMOTE(random_state=0), RandomForestClassifier(15, random_state=0)
    )


Make = Callable[[Sequence[str], Sequence[str]], Any]
BOOSTED = {"lightgbm": lightgbm_categories, "xgboost": xgboost_categories, "catboost": catboost_native}
NEEDS = {make.__name__: name for name, make in BOOSTED.items()}
NEEDS |= {"boosted_pipeline": "xgboost", "oversampled": "imblearn"}


def case(make: Callable[..., Any]) -> Any:
    library = NEEDS.get(make.__name__)
    missing = library is not None and importlib.util.find_spec(library) is None
    skip = pytest.mark.skipif(missing, reason=f"{library} is in the group boosting: make setup EXTRAS=boosting")
    return pytest.param(make, id=make.__name__, marks=skip)


PLAIN = [scaled_forest, searched_forest, voting, stacking, fixed_threshold, tuned_threshold]
MODELS = [case(make) for make in (*PLAIN, *BOOSTED.values(), boosted_pipeline, oversampled)]


def as_fitted(frame: pd.DataFrame, make: Make) -> pd.DataFrame:
    """The columns as the person's own script has them."""
    rows = frame[COLUMNS]
    if make in (lightgbm_categories, xgboost_categories):
        return rows.astype({name: pd.CategoricalDtype(["Lyon", "Nice", "Paris"]) for name in TEXTS})
    return rows


def labels(frame: pd.DataFrame, make: Make) -> pd.Series:
    return (frame["buys"] == "yes").astype(int) if NEEDS.get(make.__name__) == "xgboost" else frame["buys"]


def run_adopt(folder: Path, model: object, later: pd.DataFrame, target: str = "buys", *options: str) -> int:
    if model is not None:
        joblib.dump(model, folder / "theirs.joblib")
    later.to_csv(folder / "later.csv", index=False)
    files = ["--pipeline", str(folder / "theirs.joblib"), "--reference", str(folder / "later.csv"), "--target", target]
    return adopt([*files, "--alarms", "rows", "--out", str(folder / "model"), *options])


def cells(frame: pd.DataFrame) -> list[list[Any]]:
    return [[None if pd.isna(cell) else cell for cell in row] for row in frame[COLUMNS].to_numpy().tolist()]


def check_answers(serving: AnyEngine, classes: Sequence[object], theirs: Any, new: pd.DataFrame, make: Make) -> None:
    """The engine answers as their model does, to the last row."""
    given = as_fitted(new, make)
    values, chosen = answers_of(serving, cells(new))
    assert chosen is not None
    np.testing.assert_allclose(values, theirs.predict_proba(given), atol=1e-5)
    assert [str(classes[place]) for place in chosen] == [str(one) for one in np.ravel(theirs.predict(given))]


def imported(
    folder: Path, theirs: object, later: pd.DataFrame, target: str = "buys", *, refuse_unseen: bool = False
) -> tuple[Engines, AnyDataset]:
    """What the command adopt makes of a model before it measures it."""
    joblib.dump(theirs, folder / "theirs.joblib")
    later.to_csv(folder / "later.csv", index=False)
    fitted = load_fitted(folder / "theirs.joblib")
    columns = read_columns(folder / "later.csv", target, SchemaFile(), only=fitted.columns, task=fitted.task)
    return proven_engines(fitted, columns.dataset(fitted.classes), refuse_unseen=refuse_unseen)


@pytest.mark.parametrize("make", MODELS)
def test_a_fitted_model_is_imported_and_answers_as_it_does_itself(make: Make, tmp_path: Path) -> None:
    rows, later, new = people(400, 1), people(150, 2), people(300, 3)
    theirs = make(NUMBERS, TEXTS).fit(as_fitted(rows, make), labels(rows, make))
    engines, dataset = imported(tmp_path, theirs, later.assign(buys=labels(later, make)))
    assert isinstance(dataset, Dataset)
    check_answers(engines.serving, dataset.classes, theirs, new, make)
    assert tuple(one.name for one in dataset.features) == tuple(COLUMNS)
    needed = NEEDS.get(make.__name__, "scikit-learn").replace("imblearn", "imbalanced-learn")
    used = libraries_of(engines.pipeline)
    assert any(name.startswith(needed) for name in used), "xgboost may be installed as xgboost-cpu"
    assert len(used.keys() & {"catboost", "imbalanced-learn", "lightgbm", "xgboost", "xgboost-cpu"}) <= 1
    if make not in (voting, stacking, tuned_threshold, fixed_threshold):
        explainer = Explainer(engines.pipeline, dataset.features, dataset.frame)
        assert (explainer.method, explainer.attributions(dataset.frame).shape) == ("TreeSHAP", (150, 3))


@pytest.mark.parametrize("make", MODELS)
def test_a_model_is_trained_by_name_and_answers_as_it_does_itself(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import {Path(__file__).stem} as models

def build(columns):
    numbers = [column.name for column in columns if column.type == "number"]
    return models.{make.__name__}(numbers, [column.name for column in columns if column.type != "number"])
"""
    module = f"their_{make.__name__}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    people(300, 1).drop(columns="spent").to_csv(tmp_path / "rows.csv", index=False)
    recipe, dataset = custom_recipe(f"{module}:build"), load_csv(tmp_path / "rows.csv", "buys")
    split = split_rows(dataset.strata, Shares(), 0)
    pipeline, dataset = fit(recipe, dataset, split, 0)
    engines, new = convert(pipeline, dataset), people(300, 3)
    _, chosen = answers_of(engines.serving, cells(new))
    names = [str(one) for one in pipeline.classes_]
    own = [str(one) for one in np.ravel(pipeline.predict(new[COLUMNS]))]
    assert chosen is not None
    assert [names[place] for place in chosen] == own
    by_name = names == ["no", "yes"]
    rng = np.random.default_rng(0)
    scored = score_out_of_fold(dataset, split.train, rng, recipe, answer=engines.answer, by_name=by_name)
    probable = np.where(scored["probability_yes"] > scored["probability_no"], "yes", "no")
    assert (scored[PREDICTION] == probable).all() == (engines.answer == "most probable")
    assert wrong_predictions(scored).mean() < 0.5


def test_what_a_threshold_of_its_own_decides_is_served_measured_and_calibrated(tmp_path: Path) -> None:
    rows, later = people(600, 1), people(900, 2).drop(columns="spent")
    theirs = fixed_threshold(NUMBERS, TEXTS).fit(rows[COLUMNS], rows["buys"])
    differing = theirs.predict(later[COLUMNS]) != theirs.classes_[theirs.predict_proba(later[COLUMNS]).argmax(axis=1)]
    assert differing.mean() > 0.1
    assert run_adopt(tmp_path, theirs, later) == 0
    manifest, test, reference = (read(tmp_path / "model") for read in (verify_artifact, read_test, read_reference))
    assert isinstance(manifest, ClassifierManifest)
    assert (manifest.engine, manifest.answer) == ("scikit-learn", "own predict")
    assert "the model's own predict decides" in str(manifest.parity.reason)
    assert (test[PREDICTION] == theirs.predict(test[COLUMNS])).all()
    assert manifest.quality.correct == int((theirs.predict(test[COLUMNS]) == test["label"]).sum())
    of_answer = np.where(reference[PREDICTION] == "yes", reference["probability_yes"], reference["probability_no"])
    np.testing.assert_array_equal(predicted_probabilities(reference), of_answer)
    assert predicted_probabilities(reference).min() < 0.3
    expected, wrong = error_chances(reference, manifest.calibration), wrong_predictions(reference)
    unlikely = of_answer < 0.5
    for part in (unlikely, ~unlikely):
        assert abs(expected[part].mean() - wrong[part].mean()) < 0.1


def test_the_most_probable_class_is_served_where_the_model_says_so(tmp_path: Path) -> None:
    rows = people(400, 1)
    model = make_pipeline(encoder(NUMBERS, TEXTS), LogisticRegression(max_iter=300)).fit(rows[COLUMNS], rows["buys"])
    assert imported(tmp_path, model, people(250, 2))[0].answer == "most probable"


class Mute(LogisticRegression):
    """Has probabilities, and fails to predict."""

    def predict(self, _rows: pd.DataFrame) -> np.ndarray:
        raise OSError("no decision")


def test_a_model_whose_own_answer_cannot_be_had_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = people(200, 1)
    assert run_adopt(tmp_path, Mute(max_iter=300).fit(rows[NUMBERS], rows["buys"]), people(250, 2)) == 2
    assert "its predict fails: OSError: no decision; predict must work" in capsys.readouterr().err


def forest_of_numbers() -> Any:
    return make_pipeline(encoder(NUMBERS, TEXTS), RandomForestRegressor(15, random_state=0))


def log_target() -> Any:
    model = make_pipeline(encoder(NUMBERS, TEXTS), LinearRegression())
    return TransformedTargetRegressor(model, func=np.log, inverse_func=np.exp)


def poisson() -> Any:
    return make_pipeline(encoder(NUMBERS, TEXTS), PoissonRegressor(max_iter=500))


@pytest.mark.parametrize("make", [forest_of_numbers, log_target, poisson])
def test_a_regressor_is_tried_as_far_as_it_goes_and_clipped_there(make: Callable[[], Any], tmp_path: Path) -> None:
    rows, later = people(400, 1), people(250, 2).drop(columns="buys")
    with np.errstate(over="ignore"):
        theirs = make().fit(rows[COLUMNS], rows["spent"])
        engines, dataset = imported(tmp_path, theirs, later, "spent")
    income = dataset.features[1]
    assert income.clip is not None
    low, high = income.clip
    span = later["income"].max() - later["income"].min()
    assert low <= later["income"].min() - span
    assert high >= later["income"].max() + span
    new = people(300, 3)
    answered, _ = answers_of(engines.serving, cells(new))
    np.testing.assert_allclose(answered, theirs.predict(new[COLUMNS]), rtol=1e-4)
    far, end = (answers_of(engines.serving, [[41.0, value, "Nice"]]).values[0] for value in (1e300, high))
    assert far == end == pytest.approx(theirs.predict(pd.DataFrame([[41.0, high, "Nice"]], columns=COLUMNS))[0])


def closed_forest() -> Any:
    return make_pipeline(encoder(NUMBERS, TEXTS, closed=True), RandomForestClassifier(15, random_state=0))


def test_unseen_categories_are_refused_only_where_the_model_was_imported_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = people(400, 1)
    theirs = closed_forest().fit(rows[COLUMNS], rows["buys"])
    assert run_adopt(tmp_path, theirs, people(250, 2)) == 2
    assert "or the API must refuse them: add --refuse-unseen" in capsys.readouterr().err
    engines, dataset = imported(tmp_path, theirs, people(250, 2), refuse_unseen=True)
    assert [(one.name, one.closed, one.nullable) for one in dataset.features] == [
        ("age", False, True),
        ("income", False, True),
        ("city", True, False),
    ]
    assert Explainer(engines.pipeline, dataset.features, dataset.frame).method == "TreeSHAP"


def test_columns_are_named_for_a_model_that_was_fitted_on_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, new = people(400, 1), people(300, 3)
    theirs = make_pipeline(StandardScaler(), RandomForestClassifier(15, random_state=0))
    theirs.fit(rows[NUMBERS].to_numpy(), rows["buys"])
    assert run_adopt(tmp_path, theirs, people(250, 2)) == 2
    assert "name its columns in their order with --columns" in capsys.readouterr().err
    assert run_adopt(tmp_path, theirs, people(250, 2), "buys", "--columns", "age") == 2
    assert "--columns names 1 columns" in capsys.readouterr().err
    assert run_adopt(tmp_path, theirs, people(250, 2), "buys", "--columns", "age,income") == 0
    answered = load_predictor(tmp_path / "model").predict(new[NUMBERS].to_numpy().tolist())
    np.testing.assert_allclose(answered, theirs.predict_proba(new[NUMBERS].to_numpy()), atol=1e-5)


@pytest.mark.parametrize("make", [case(make) for make in BOOSTED.values()])
def test_boosted_trees_know_what_is_missing_and_what_they_have_not_seen(make: Make, tmp_path: Path) -> None:
    rows = people(400, 1)
    theirs = make(NUMBERS, TEXTS).fit(as_fitted(rows, make), labels(rows, make))
    later = people(250, 2).query("city != 'Lyon'")  # whose order of categories is not that of the model
    later = later.assign(buys=labels(later, make))
    engines, dataset = imported(tmp_path, theirs, later)
    assert isinstance(dataset, Dataset)
    check_answers(engines.serving, dataset.classes, theirs, people(60, 4).query("city == 'Lyon'"), make)
    gaps = [[None, 0.03, "Nice"], [41.0, 0.03, "Ulm"]]
    if dataset.features[2].nullable:
        gaps.append([41.0, 0.03, None])
    answered, _ = answers_of(engines.serving, gaps)
    assert answered.shape == (len(gaps), 2)
    if make is not catboost_native:
        assert dataset.features[2].nullable
        np.testing.assert_array_equal(answered[1], answered[2])


class Booster:
    def predict(self, _rows: object) -> list[float]:
        return []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.json", b'{"learner": {}}', "is JSON or UBJ, as XGBoost's save_model writes it, which does not say all"),
        ("model.cbm", b"CBM1....", "is CatBoost's own format"),
        ("model.txt", b"tree\nversion=v4\n", "is LightGBM's own text"),
        ("model.pkl", b"c__main__\nTheirs\n.", "was defined in the script or notebook that saved it"),
        ("model.pkl", b"csklearn.gone.away\nTheirs\n.", "was saved by another scikit-learn: this one"),
        ("model.pkl", b"cxgboost.gone\nTheirs\n.", "install it with: make setup EXTRAS=boosting"),
        ("model.pkl", b"cmy_absent_module\nTheirs\n.", "set PYTHONPATH"),
    ],
)
def test_a_file_that_cannot_be_read_names_cause_and_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    people(60, 2).to_csv(tmp_path / "later.csv", index=False)
    (tmp_path / name).write_bytes(content)
    files = ["--pipeline", str(tmp_path / name), "--reference", str(tmp_path / "later.csv"), "--target", "buys"]
    assert adopt([*files, "--out", str(tmp_path / "model")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_booster_without_its_classifier_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_adopt(tmp_path, Booster(), people(60, 2)) == 2
    assert "holds a Booster, which does not know its classes; save the XGBClassifier" in capsys.readouterr().err


MLMODEL = """
flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl}
  sklearn: {pickled_model: %s, serialization_format: cloudpickle}
"""


def mlflow_folder(folder: Path, described: str) -> list[str]:
    rows = people(300, 1)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "MLmodel").write_text(described)
    joblib.dump(scaled_forest(NUMBERS, TEXTS).fit(rows[COLUMNS], rows["buys"]), folder / "theirs" / "model.pkl")
    people(250, 2).to_csv(folder / "later.csv", index=False)
    files = ["--pipeline", str(folder / "theirs"), "--reference", str(folder / "later.csv"), "--target", "buys"]
    return [*files, "--alarms", "rows", "--out", str(folder / "model")]


def test_a_model_folder_of_mlflow_is_imported(tmp_path: Path) -> None:
    mlflow_folder(tmp_path, MLMODEL % "model.pkl")
    fitted = load_fitted(tmp_path / "theirs")
    assert (fitted.source, fitted.columns) == ("theirs (RandomForestClassifier)", tuple(COLUMNS))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("flavors: {xgboost: {data: model.json}}", "is an MLflow model without the flavour sklearn"),
        ("- nothing", "is a folder, but no model folder of MLflow"),
        (MLMODEL % "../theirs.joblib", "which is not in the folder itself"),
    ],
)
def test_another_folder_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], described: str, message: str
) -> None:
    assert adopt(mlflow_folder(tmp_path, described)) == 2
    assert message in capsys.readouterr().err


def test_a_file_of_skops_is_loaded_or_says_what_is_missing(tmp_path: Path) -> None:
    rows, file = people(300, 1), tmp_path / "theirs.skops"
    if importlib.util.find_spec("skops") is None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("schema.json", "{}")
        with pytest.raises(DataError, match="was saved by skops, which is not installed; install skops, or use joblib"):
            load_fitted(file)
        return
    from skops import io  # noqa: PLC0415 - need not be installed

    io.dump(scaled_forest(NUMBERS, TEXTS).fit(rows[COLUMNS], rows["buys"]), file)
    assert load_fitted(file).source == "theirs.skops (RandomForestClassifier)"
    io.dump(Unknown().fit(rows[NUMBERS], rows["buys"]), file)
    with pytest.raises(DataError, match=r"holds types that skops does not trust: .*Unknown"):
        load_fitted(file)


class Unknown(LogisticRegression):
    """Of a module that skops does not know."""
