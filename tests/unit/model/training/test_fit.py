"""Training as a whole: the same twice, and nothing of the reference or test set learned from."""

from pathlib import Path

import numpy as np
import pytest

from model.artifact.store import read_reference, read_test, verify_artifact
from model.data.bundled import load_bundled
from model.errors import ExplanationError
from model.training.fit import train_model
from model.training.out_of_fold import error_chances


def test_the_same_data_and_seed_give_the_same_predictions_and_thresholds(iris_artifact: Path, tmp_path: Path) -> None:
    first = verify_artifact(iris_artifact)
    again = train_model(load_bundled("iris"), tmp_path / "model", seed=first.seed)
    assert again.thresholds == first.thresholds
    assert again.calibration == first.calibration
    assert again.attributions == first.attributions
    assert again.concept_threshold == first.concept_threshold
    assert again.attribution_threshold == first.attribution_threshold
    assert again.quality == first.quality
    assert again.data == first.data
    assert read_reference(iris_artifact).equals(read_reference(tmp_path / "model"))
    assert read_test(iris_artifact).equals(read_test(tmp_path / "model"))


def test_another_seed_gives_another_model(iris_artifact: Path, tmp_path: Path) -> None:
    train_model(load_bundled("iris"), tmp_path / "model", seed=7)
    assert not read_reference(iris_artifact).equals(read_reference(tmp_path / "model"))


def test_the_manifest_tells_how_the_model_did_on_the_test_set(iris_artifact: Path) -> None:
    manifest, test = verify_artifact(iris_artifact), read_test(iris_artifact)
    assert manifest.quality.rows == len(test)
    assert manifest.quality.correct == int((test["prediction"] == test["label"]).sum())
    assert manifest.quality.accuracy > 0.85
    assert manifest.data.rows == 150
    assert manifest.created_at.utcoffset() is not None


def test_parts_of_the_data_are_disjoint(iris_artifact: Path) -> None:
    # iris has one pair of equal rows, so rows are counted, not looked up
    data = load_bundled("iris").frame.round(6).value_counts()
    held_out = [frame.iloc[:, :4].round(6) for frame in (read_test(iris_artifact), read_reference(iris_artifact))]
    for part in held_out:
        counts = part.value_counts()
        assert (counts <= data.loc[counts.index]).all()
    assert sum(len(part) for part in held_out) == 75


def test_progress_names_each_step(tmp_path: Path) -> None:
    steps: dict[str, float] = {}
    train_model(load_bundled("iris"), tmp_path / "model", progress=steps.__setitem__)
    assert steps["calibrating alarms"] == pytest.approx(1)
    assert len(steps) >= 6
    assert np.all(np.array([*steps.values()]) >= 0)


def test_the_calibration_is_fitted_on_rows_that_no_model_was_fitted_on_and_not_on_the_reference(
    iris_artifact: Path,
) -> None:
    manifest, reference = verify_artifact(iris_artifact), read_reference(iris_artifact)
    assert manifest.calibration.rows == manifest.data.train_rows + manifest.data.test_rows
    wrong = (reference["prediction"] != reference["label"]).mean()
    assert abs(error_chances(reference, manifest.calibration).mean() - wrong) < 0.1


def test_where_held_out_rows_are_many_no_training_row_is_predicted_out_of_fold(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("model.training.fit.ENOUGH_HELD_OUT_ROWS", 30)
    steps: dict[str, float] = {}
    manifest = train_model(load_bundled("iris"), tmp_path / "model", progress=steps.__setitem__)
    assert manifest.calibration.rows == manifest.data.test_rows == 30
    assert "predicting the training rows out of fold" not in steps
    assert steps["calibrating alarms"] == pytest.approx(1)


def test_a_model_that_cannot_be_explained_is_trained_without_attributions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise ExplanationError("TreeSHAP explains ensembles of trees, not this")

    monkeypatch.setattr("model.training.build_artifact.Explainer", refuse)
    manifest = train_model(load_bundled("iris"), tmp_path / "model")
    assert manifest.attributions is None
    assert manifest.attribution_threshold is None
    assert manifest.attributions_missing == "TreeSHAP explains ensembles of trees, not this"
    assert manifest.concept_threshold.at(200) > 2
