"""Windows of a model that is served elsewhere: read from the log, measured, and said what cannot be."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.prediction_log.database import Database
from api.settings import Settings
from api.snapshots.logged_frames import PastWindows
from api.wiring import build_evaluator
from evidently_workspace.dashboard import build_dashboard
from model.artifact.manifest import ClassifierManifest
from model.artifact.store import read_manifest
from model.serving.engines import ElsewhereEngine
from model.serving.predictor import Predictor
from tests.watched import loans, logged

ROWS = 120
START = datetime(2020, 1, 1, tzinfo=UTC)
END = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["classes", "plain"])
def folder(request: pytest.FixtureRequest, watched_artifact: Callable[[str], Path]) -> Path:
    return watched_artifact(request.param)


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    """A log in which each loan has its label, and every third one no probabilities."""
    settings = Settings(
        model_dir=folder,
        database_url=f"sqlite:///{tmp_path}/log.db",
        reports_dir=tmp_path / "reports",
        snapshots=False,
        allowed_hosts="testserver",
    )
    sent = [logged(row, label=True) for row in loans(ROWS, seed=3)]
    for one in sent[::3]:
        del one["probabilities"]
    with TestClient(create_app(settings)) as client:
        client.post("/models/loans/log", json={"predictions": sent}).raise_for_status()
    return settings


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database_url.get_secret_value())
    yield database
    database.dispose()


def test_a_window_is_measured_and_what_cannot_be_is_said(settings: Settings, database: Database, folder: Path) -> None:
    evaluation = build_evaluator(settings, database).evaluate(START, END)
    snapshot = evaluation.snapshot
    assert snapshot is not None, evaluation.reason
    names = {value.name for value in snapshot.values}
    assert {"data_drift", "prediction_drift", "target_drift", "accuracy", "missing_share", "f1"} <= names
    of_probabilities = {"concept_z", "roc_auc", "log_loss", "calibration_error"}
    attributions = (
        "attributions: the model has no attributions on the reference: the model is served elsewhere, and only its own "
        "program could explain its answers"
    )
    if read_manifest(folder).answer_columns.probabilities:  # type: ignore[union-attr] # it is watched
        assert of_probabilities <= names
        assert snapshot.not_computed == (attributions,)
    else:
        assert not of_probabilities & names
        why = "the predictions of this model have no probabilities, which say how many errors to expect"
        assert snapshot.not_computed == (
            attributions,
            f"concept drift: {why}",
            f"estimated performance: {why}",
            "performance: ROC AUC, log loss and calibration error: the predictions have no probabilities",
        )
    assert not any(check.check == "attribution_drift" for check in snapshot.failed_checks)


def test_past_rows_of_another_version_stay_as_they_were_logged(database: Database, folder: Path) -> None:
    manifest = read_manifest(folder)
    assert isinstance(manifest, ClassifierManifest)
    later = manifest.model_copy(update={"version": "another"})
    past = PastWindows(database, Predictor(later, ElsewhereEngine("loans")), max_rows=1_000)
    span = round((END - START) / timedelta(seconds=1))
    (rows,) = past.read({START: ROWS}, span, 10_000)
    assert past.predicted_again == 0
    frame = rows.labelled.rows
    expected = {(row["income"], row["age"]): row for row in loans(ROWS, seed=3)}
    assert len(frame) == ROWS
    for row in frame.to_dict("records"):
        loan: dict[str, Any] = expected[row["income"], row["age"]]
        assert (row["prediction"], row["label"]) == (loan["decision"], loan["defaulted"])
    assert frame["probability_yes"].isna().sum() == ROWS / 3


def test_its_dashboard_has_no_charts_of_what_is_never_measured(folder: Path) -> None:
    manifest = read_manifest(folder)
    titles = {panel["title"] for panel in build_dashboard(manifest)["panels"] if panel["title"]}
    measured = manifest.concept_threshold is not None
    assert ("Concept gap" in titles, "ROC AUC" in titles) == (measured, measured)
    assert "Attribution distance" not in titles
