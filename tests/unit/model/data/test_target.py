"""A target of numbers: found or asked for, read with its column and line, and trained from end to end."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.artifact.manifest import RegressorManifest
from model.artifact.store import read_manifest, read_reference, read_test, verify_artifact
from model.data.bundled import load_bundled
from model.data.csv_file import load_csv, read_columns
from model.data.dataset import Dataset, RegressionDataset
from model.data.schema_file import SchemaFile
from model.errors import ArtifactError, DataError
from model.explain.explainer import load_explainer
from model.serving.predictor import RegressionPredictor, load_predictor
from model.train import main

Write = Callable[[str], Path]
Cell = Callable[[int], object]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str) -> Path:
        path = tmp_path / "houses.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


def table(cell: Cell, rows: int = 300, separator: str = ",") -> str:
    return f"x{separator}y\n" + "".join(f"{i % 7}{separator}{cell(i)}\n" for i in range(rows))


@pytest.mark.parametrize(
    ("cell", "task"),
    [
        (lambda i: i, "regression"),
        (lambda i: i % 101, "regression"),
        (lambda i: i % 100, "regression"),
        (lambda i: i % 30, "classification"),
        (lambda i: i % 33, "regression"),
        (lambda i: i % 10 if i < 295 else 10 + i % 5, "regression"),
        (lambda i: i % 16 if i < 290 else 16 + i % 5, "classification"),
        (lambda i: i % 7 if i < 297 else 7 + i % 3, "classification"),
        (lambda i: (i % 21) / 4, "regression"),
        (lambda i: (i % 20) / 4, "classification"),
        (lambda i: f"{i % 21}.0", "classification"),
        (lambda i: f'"${i * 7 % 300},000"', "regression"),
        (lambda i: f"{i % 101}%", "regression"),
        (lambda i: f"{i % 24:02}:{i % 60:02}", "classification"),
        (lambda i: f"0{i:04}", "classification"),
        (lambda i: f"house {i}", "classification"),
        (lambda i: "unknown" if i % 5 == 0 else i, "classification"),
        (lambda i: "unknown" if i == 7 else i, "regression"),
        (lambda i: "true" if i % 2 else "false", "classification"),
    ],
)
def test_a_target_is_taken_for_numbers_where_classes_would_be_too_many(write: Write, cell: Cell, task: str) -> None:
    assert read_columns(write(table(cell)), "y").task.task == task


def test_what_is_asked_for_holds_before_the_schema_and_the_schema_before_what_is_found(write: Write) -> None:
    path, asking = write(table(lambda i: i % 3)), SchemaFile(task="regression")
    assert isinstance(read_columns(path, "y").dataset(), Dataset)
    dataset = read_columns(path, "y", asking).dataset()
    assert isinstance(dataset, RegressionDataset)
    assert dataset.numbers[:4].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert isinstance(read_columns(path, "y", asking, task="classification").dataset(), Dataset)


def test_a_decimal_comma_is_read_in_the_target_too(write: Write) -> None:
    dataset = load_csv(write(table(lambda i: f"1.000,{i % 50:02}", separator=";")), "y")
    assert isinstance(dataset, RegressionDataset)
    assert dataset.numbers[7] == 1000.07
    assert dataset.label_range.minimum == 1000.0


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (lambda i: "about 7" if i == 30 else i, "column 'y', line 32: 'about 7' is not a finite number"),
        (lambda i: "inf" if i == 30 else i, "column 'y', line 32: 'inf' is not a finite number"),
        (lambda i: "1e300" if i == 30 else i, "column 'y', line 32: '1e300' is too large: numbers go up to 3.4e+38"),
        (lambda i: f"2024-01-{1 + i % 28:02}", "column 'y', line 2: '2024-01-01' is not a finite number"),
        (lambda i: "1e30" if i == 30 else i, "column 'y', line 32: 1e+30 is far from the others"),
        (lambda _: 7.5, "column 'y' is 7.5 in every row; there is nothing to predict"),
    ],
)
def test_a_target_that_is_no_number_is_refused_with_its_line(write: Write, cell: Cell, message: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_csv(write(table(cell)), "y", SchemaFile(task="regression"))
    assert message in str(refusal.value)


def test_too_few_rows_of_numbers_are_refused(write: Write) -> None:
    assert isinstance(load_csv(write(table(lambda i: i / 7, rows=50)), "y"), RegressionDataset)
    with pytest.raises(DataError, match="column 'y': 49 rows; a number needs at least 50"):
        load_csv(write(table(lambda i: i / 7, rows=49)), "y")


def test_rare_classes_that_could_be_numbers_say_how_to_predict_these(write: Write) -> None:
    with pytest.raises(DataError, match="to predict the number itself: --task regression"):
        load_csv(write(table(lambda i: i % 9 if i < 299 else 9)), "y")
    with pytest.raises(DataError, match="to predict the number itself: --task regression"):
        load_csv(write(table(lambda i: i % 90)), "y", SchemaFile(task="classification"))
    with pytest.raises(DataError, match="at most 100 classes; to predict the number itself: --task regression"):
        load_csv(write(table(lambda i: i)), "y", SchemaFile(task="classification"))


def test_strata_are_of_like_size_from_the_smallest_to_the_largest() -> None:
    dataset = load_bundled("diabetes")
    assert set(np.bincount(dataset.strata)) == {44, 45}
    means = [dataset.numbers[dataset.strata == stratum].mean() for stratum in range(10)]
    assert means == sorted(means)


def test_the_command_says_what_it_took_the_target_for_and_writes_it_down(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(table(lambda i: round(1000 + 3 * (i % 7) + (i * 37 % 100) / 50, 2)))
    given = ["--csv", str(path), "--target", "y"]
    assert main([*given, "--write-schema", str(tmp_path / "houses.yaml")]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "regression:" in shown
    assert "task: regression" in (tmp_path / "houses.yaml").read_text()
    trained = [*given, "--schema", str(tmp_path / "houses.yaml"), "--out", str(tmp_path / "model")]
    assert main([*trained, "--estimator", "logistic_regression"]) == 2
    assert "choose one of random_forest, hist_gradient_boosting, linear_regression" in capsys.readouterr().err
    assert main([*trained, "--estimator", "linear_regression"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "test mean absolute error" in shown
    assert "standard deviations of y" in shown
    manifest = verify_artifact(tmp_path / "model")
    assert isinstance(manifest, RegressorManifest)
    assert manifest.engine == "onnx", manifest.parity.reason
    assert manifest.attributions is not None, manifest.attributions_missing
    assert (manifest.attributions.method, manifest.attributions.unit) == ("linear SHAP", "target")


@pytest.fixture
def diabetes(diabetes_artifact: Path) -> Path:
    return diabetes_artifact


def test_the_bundled_numbers_become_a_whole_artifact(diabetes: Path) -> None:
    manifest, test, reference = verify_artifact(diabetes), read_test(diabetes), read_reference(diabetes)
    assert isinstance(manifest, RegressorManifest)
    assert list(test) == [*manifest.feature_names, "prediction", "label"]
    assert (test.dtypes == "float64").all()
    errors = test["prediction"] - test["label"]
    assert manifest.quality.mean_absolute_error == pytest.approx(errors.abs().mean())
    assert manifest.quality.mean_error == pytest.approx(errors.mean())
    assert manifest.quality.r2 == pytest.approx(1 - (errors**2).mean() / test["label"].var(ddof=0))
    assert manifest.quality.r2 > 0.2
    assert manifest.label_range.minimum == 25.0
    assert manifest.calibration.rows == manifest.data.train_rows + manifest.data.test_rows
    assert {one.column: one.method for one in manifest.thresholds}["label"] == "wasserstein"
    assert manifest.concept_threshold.gap_floor == pytest.approx(0.05 * manifest.label_range.standard_deviation)
    assert len(reference) == manifest.data.reference_rows


def test_the_served_numbers_are_those_of_the_pipeline(diabetes: Path) -> None:
    predictor, reference = load_predictor(diabetes), read_reference(diabetes)
    assert isinstance(predictor, RegressionPredictor)
    assert predictor.engine == "onnx"
    rows = reference[list(predictor.manifest.feature_names)]
    answers = predictor.predict(rows.to_numpy().tolist())
    np.testing.assert_array_equal(answers, reference["prediction"])
    assert predictor.predict([]).shape == (0,)
    manifest = predictor.manifest
    assert predictor.predict([[None] * len(manifest.features)])[0] > 0
    assert manifest.parity.max_difference is not None
    assert manifest.parity.max_difference < 1e-5


def test_the_parts_of_an_answer_add_up_to_it(diabetes: Path) -> None:
    explainer, reference = load_explainer(diabetes), read_reference(diabetes)
    signed = explainer.signed(reference)
    np.testing.assert_allclose(signed.sum(axis=(1, 2)) + explainer.base[0], reference["prediction"], rtol=1e-5)
    assert explainer.unit == "target"


def test_a_damaged_manifest_of_numbers_names_the_field(diabetes: Path, tmp_path: Path) -> None:
    text = (diabetes / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"task": "regression"', '"task": "regress"'))
    with pytest.raises(ArtifactError, match="damaged: task"):
        read_manifest(tmp_path)


def test_rows_without_a_target_are_left_out_and_counted_or_refused_on_request(write: Write) -> None:
    path = write(table(lambda i: "" if i == 30 else "NA" if i == 40 else i))
    columns = read_columns(path, "y")
    assert (columns.without_target, len(columns.dataset().frame), columns.text.lines[30]) == (2, 298, 33)
    with pytest.raises(DataError, match="the target 'y' is missing in 2 rows, first on line 32"):
        read_columns(path, "y", every_target=True)


def test_whole_numbers_with_a_fraction_of_zero_are_integers(write: Write) -> None:
    dataset = load_csv(write(table(lambda i: f"{i % 2}.0")), "y")
    assert isinstance(dataset, Dataset)
    assert dataset.classes == (0, 1)
    assert dataset.codes[:3].tolist() == [0, 1, 0]
    assert load_csv(write(table(lambda i: ("1", "1.0", "0")[i % 3])), "y").classes == (0, 1)  # type: ignore[union-attr]


def test_amounts_are_numbers_in_their_unit(write: Write) -> None:
    dataset = load_csv(write(table(lambda i: f'"${1 + i * 7 % 300},000"')), "y")
    assert isinstance(dataset, RegressionDataset)
    assert (dataset.numbers[1], dataset.label_range.unit) == (8_000, "$")
    with pytest.raises(DataError, match="the target 'y': its cells are in several units"):
        load_csv(write(table(lambda i: f"{'$' if i % 2 else '€'}{i}")), "y")
