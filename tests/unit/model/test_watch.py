"""python -m model.watch: the artifact of a model that is served elsewhere, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.artifact.manifest import ClassifierManifest, RegressorManifest
from model.artifact.store import read_reference, read_test, verify_artifact
from model.errors import ExplanationError, ServedElsewhereError
from model.explain.explainer import load_explainer
from model.serving.predictor import load_predictor
from model.train import main as train
from model.watch import main
from tests.watched import OPTIONS, PROBABILITIES, csv_of, loans, losses

Artifact = Callable[[str], Path]
Rows = list[dict[str, Any]]


def classifier(folder: Path) -> ClassifierManifest:
    manifest = verify_artifact(folder)
    assert isinstance(manifest, ClassifierManifest)
    return manifest


def test_the_artifact_has_the_predictions_of_the_file_and_no_pipeline(watched_artifact: Artifact) -> None:
    folder = watched_artifact("classes")
    manifest = classifier(folder)
    assert (manifest.engine, manifest.is_watched, manifest.estimator) == ("elsewhere", True, "served elsewhere")
    assert manifest.feature_names == ("income", "age", "region")
    assert set(manifest.files) == {"reference.parquet", "test.parquet"}
    assert manifest.answer_columns is not None
    assert manifest.answer_columns.model_dump() == {
        "prediction": "decision",
        "probabilities": {"no": "p_no", "yes": "p_yes"},
    }
    assert not set(manifest.metadata) & {"decision", "p_no", "p_yes"}
    kept = {(row["income"], row["age"]): row for row in loans(600)}
    for frame in (read_reference(folder), read_test(folder)):
        for row in frame.to_dict("records"):
            loan = kept[row["income"], row["age"]]
            assert (row["prediction"], row["label"]) == (loan["decision"], loan["defaulted"])
            assert row["probability_yes"] == pytest.approx(loan["p_yes"], abs=1e-9)


def test_its_quality_is_that_of_the_predictions(watched_artifact: Artifact) -> None:
    folder = watched_artifact("classes")
    manifest, test = classifier(folder), read_test(folder)
    assert manifest.quality.correct == int((test["prediction"] == test["label"]).sum())
    assert manifest.quality.roc_auc == pytest.approx(0.9, abs=0.1)
    assert manifest.calibration is not None
    at = np.interp([0.2, 0.8], manifest.calibration.probabilities, manifest.calibration.calibrated)
    assert at[0] < 0.5 < at[1], "the labels follow from the probabilities"
    assert manifest.concept_threshold is not None


def test_without_probabilities_the_rest_is_measured(watched_artifact: Artifact) -> None:
    folder = watched_artifact("plain")
    manifest = classifier(folder)
    assert (manifest.calibration, manifest.concept_threshold) == (None, None)
    assert (manifest.quality.log_loss, manifest.quality.roc_auc) == (None, None)
    assert manifest.quality.accuracy == classifier(watched_artifact("classes")).quality.accuracy
    assert {threshold.column for threshold in manifest.thresholds} == {"income", "age", "region", "prediction", "label"}
    assert read_reference(folder)[["probability_no", "probability_yes"]].isna().all(axis=None)


def test_a_number_is_watched_too(watched_artifact: Artifact) -> None:
    manifest = verify_artifact(watched_artifact("numbers"))
    assert isinstance(manifest, RegressorManifest)
    assert manifest.is_watched
    assert manifest.quality.root_mean_squared_error == pytest.approx(60, rel=0.2)


def test_it_has_no_attributions_and_says_so(watched_artifact: Artifact) -> None:
    folder = watched_artifact("classes")
    manifest = verify_artifact(folder)
    assert manifest.attributions is None
    assert "served elsewhere" in (manifest.attributions_missing or "")
    with pytest.raises(ExplanationError, match="served elsewhere"):
        load_explainer(folder)


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_its_predictor_cannot_predict(watched_artifact: Artifact, kind: str) -> None:
    predictor = load_predictor(watched_artifact(kind))
    row = [feature.example for feature in predictor.manifest.features]
    for call in (predictor.predict, predictor.answers):
        with pytest.raises(ServedElsewhereError, match="is served elsewhere"):
            call([row])


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: Rows, *options: str) -> str:
    """Return what the command says about a file that it refuses."""
    file = tmp_path / "loans.csv"
    file.write_text(csv_of(rows), encoding="utf-8")
    status = main(["--reference", str(file), "--out", str(tmp_path / "model"), *options])
    assert status == 2
    assert not (tmp_path / "model").exists()
    return " ".join(capsys.readouterr().err.split())


def changed(**columns: Any) -> Rows:
    """Return loans of which the fourth, on line 5, differs."""
    rows = loans(60)
    rows[3] |= columns
    return rows


CASES: dict[str, tuple[Rows, tuple[str, ...], str]] = {
    "no prediction column": (loans(60), ("--prediction", "verdict", "--target", "defaulted"), "no column 'verdict'"),
    "no probability column": (loans(60), (*OPTIONS, "--probability", "yes=p"), "has no column 'p'; it has: loan"),
    "no target": (loans(60), ("--prediction", "decision", "--target", "late"), "no column 'late'"),
    "the target as the prediction": (
        loans(60), ("--prediction", "defaulted", "--target", "defaulted"), "cannot be both"
    ),
    "a sum": (changed(p_no=0.5, p_yes=0.2), (*OPTIONS, *PROBABILITIES), "line 5: the probabilities add up to 0.7"),
    "a percentage": (changed(p_yes=47), (*OPTIONS, "--probability", "yes=p_yes"), "line 5: 47 is no probability"),
    "a gap": (changed(p_yes=""), (*OPTIONS, *PROBABILITIES), "column 'p_yes' is missing in 1 rows, first on line 5"),
    "no prediction": (changed(decision="NA"), OPTIONS, "column 'decision' is missing in 1 rows, first on line 5"),
    "another class": (changed(decision="maybe"), OPTIONS, "line 5: 'maybe' is none of the model's classes: no, yes"),
    "codes for names": (
        [row | {"decision": int(row["decision"] == "yes")} for row in loans(60)], OPTIONS, "none of the model's classes"
    ),
    "one prediction": ([row | {"decision": "no"} for row in loans(60)], OPTIONS, "'no' in every row"),
    "an unknown class": (loans(60), (*OPTIONS, "--probability", "maybe=p_yes"), "names the class 'maybe'"),
    "a class twice": (
        loans(60), (*OPTIONS, "--probability", "yes=p_yes", "--probability", "yes=p_no"), "names a class twice"
    ),
    "a column twice": (
        loans(60), (*OPTIONS, "--probability", "yes=p_yes", "--probability", "no=p_yes"), "named for two answers"
    ),
    "few rows": (loans(20), OPTIONS, "each class needs at least 10"),
    "few numbers": (losses(20), ("--prediction", "loss", "--target", "lost", "--task", "regression"), "at least 50"),
    "probabilities of a number": (
        losses(300), ("--prediction", "loss", "--target", "lost", "--probability", "a=age"), "has no probabilities"
    ),
    "a number with a word": (
        [row | ({"loss": "high"} if place == 3 else {}) for place, row in enumerate(losses(300))],
        ("--prediction", "loss", "--target", "lost"),
        "line 5: 'high' is not a finite number",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "options", "said"), CASES.values(), ids=CASES)
def test_a_file_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: Rows, options: tuple[str, ...], said: str
) -> None:
    assert said in refused(tmp_path, capsys, rows, *options)


def test_of_three_classes_each_needs_a_probability(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"defaulted": "late", "decision": "late"} if row["age"] > 50 else row for row in loans(200)]
    error = refused(tmp_path, capsys, rows, *OPTIONS, *PROBABILITIES)
    assert "--probability names no column for 'late'" in error


def test_a_class_that_is_never_predicted_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"defaulted": "late"} if row["age"] > 60 else row for row in loans(300)]
    file = tmp_path / "loans.csv"
    file.write_text(csv_of(rows), encoding="utf-8")
    folder = tmp_path / "model"
    assert main(["--reference", str(file), "--out", str(folder), *OPTIONS, "--schema", str(drops(tmp_path))]) == 0
    assert "The prediction is never 'late' in these rows" in " ".join(capsys.readouterr().out.split())
    assert classifier(folder).classes == ("late", "no", "yes")


def drops(folder: Path) -> Path:
    file = folder / "schema.yaml"
    file.write_text("drop: [loan, at, p_no, p_yes]\n", encoding="utf-8")
    return file


def test_the_option_names_a_class_and_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--reference", "x.csv", *OPTIONS, "--probability", "p_yes"])
    assert "is not CLASS=COLUMN" in capsys.readouterr().err


def test_the_rows_of_an_export_can_be_the_next_reference(tmp_path: Path) -> None:
    rows = [
        {
            "prediction_id": row["loan"],
            "logged_at": f"2026-11-{1 + place // 24:02}T{place % 24:02}:00:00+00:00",
            "model_version": "20261101T000000Z-12345678",
            **{name: row[name] for name in ("income", "age", "region")},
            "prediction": row["decision"],
            "probability_no": row["p_no"],
            "probability_yes": row["p_yes"],
            "label": row["defaulted"],
            "label_arrived_at": f"2026-11-{1 + place // 24:02}T{place % 24:02}:30:00+00:00",
        }
        for place, row in enumerate(loans(300))
    ]
    file = tmp_path / "export.csv"
    file.write_text(csv_of(rows), encoding="utf-8")
    options = ["--prediction", "prediction", "--target", "label", "--time", "logged_at", "--alarms", "rows"]
    options += ["--probability", "no=probability_no", "--probability", "yes=probability_yes"]
    assert main(["--reference", str(file), "--out", str(tmp_path / "model"), *options]) == 0
    assert classifier(tmp_path / "model").feature_names == ("income", "age", "region")


def test_a_model_that_is_served_elsewhere_is_not_trained_from_the_log(
    watched_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIGIE_MODEL_DIR", str(watched_artifact("classes")))
    span = ["--since", "2026-11-01", "--until", "2026-11-02"]
    assert train(["--from-log", *span, "--estimator", "logistic_regression"]) == 2
    assert "the model loans is served elsewhere and only watched here" in capsys.readouterr().err
