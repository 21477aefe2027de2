"""Training on the labelled rows of a real log, and the comparison with the model that serves."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from api.prediction_log.database import Database, microseconds
from api.prediction_log.inserts import insert_predictions, store_labels
from api.prediction_log.records import SOLE_MODEL, LabelRecord, PredictionRecord
from model.artifact.manifest import LABEL
from model.artifact.store import read_manifest, read_reference, read_test
from model.data.encoding import json_rows
from model.serving.predictor import load_predictor
from model.train import main
from model.training.retraining import Comparison, compare

START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = ["--since", "2026-03-01", "--until", "2026-03-20"]
MOVED = {"setosa": "versicolor", "versicolor": "virginica", "virginica": "setosa"}


@pytest.fixture
def log(iris_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Ten days of iris whose classes have changed their names."""
    url = f"sqlite:///{tmp_path}/log.db"
    for name, value in (("DATABASE_URL", url), ("MODEL_DIR", iris_artifact), ("REPORTS_DIR", tmp_path / "reports")):
        monkeypatch.setenv(f"VIGIE_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "200")
    database = Database(url)
    database.migrate()
    manifest = read_manifest(iris_artifact)
    frame = pd.concat([read_test(iris_artifact), read_reference(iris_artifact)], ignore_index=True)
    rows, rng = json_rows(frame, manifest.features), np.random.default_rng(0)
    answer = orjson.dumps(dict.fromkeys(MOVED, 1 / 3)).decode()
    for hour in range(240):
        stamps = {SOLE_MODEL: microseconds(START + timedelta(hours=hour))}
        chosen = [(f"{hour}-{n}", int(place)) for n, place in enumerate(rng.integers(0, len(rows), 5))]
        with database.writing() as connection:
            insert_predictions(
                connection,
                stamps,
                [
                    PredictionRecord(key, n, manifest.version, orjson.dumps(rows[place]).decode(), "setosa", answer)
                    for n, (key, place) in enumerate(chosen)
                ],
            )
            store_labels(
                connection, stamps, [LabelRecord(key, MOVED[frame[LABEL][place]]) for key, place in chosen[:4]]
            )
    yield database
    database.dispose()


def test_a_candidate_from_the_log_is_compared_with_the_serving_model(
    log: Database, iris_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "candidate"
    before = read_manifest(iris_artifact)
    assert main(["--from-log", *SPAN, "--out", str(out), "--estimator", "logistic_regression"]) == 0
    made = read_manifest(out)
    assert (made.name, made.target, made.feature_names) == (before.name, before.target, before.feature_names)
    assert [(one.type, one.unit) for one in made.features] == [(one.type, one.unit) for one in before.features]
    assert made.data.rows == 960
    assert made.alarms == "time"
    assert "960 labelled rows" in made.data.source
    said = " ".join(capsys.readouterr().out.split())
    assert "accuracy on the same 480 newest labelled rows" in said
    assert float(re.findall(r"serving ([0-9.]+)%", said)[0]) < 10
    assert "the candidate is better" in said
    assert f"copy {out} over {iris_artifact}" in said
    assert read_manifest(iris_artifact) == before


def test_rows_of_less_than_a_day_are_enough(
    log: Database, iris_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from-log", "--since", "2026-03-03", "--until", "2026-03-04", "--out", str(tmp_path / "day")]) == 0
    assert read_manifest(tmp_path / "day").data.rows == 96
    assert "the candidate is better" in " ".join(capsys.readouterr().out.split())


def test_the_serving_model_wins_where_it_is_right(iris_artifact: Path) -> None:
    found = compare(iris_artifact, load_predictor(iris_artifact))
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.verdict == "no clear difference"
    assert found.rows == len(read_test(iris_artifact)) + len(read_reference(iris_artifact))


@pytest.mark.parametrize(
    ("low", "high", "more_is_better", "verdict"),
    [
        (0.01, 0.05, True, "the candidate is better"),
        (-0.05, -0.01, True, "the serving model is better"),
        (-0.01, 0.01, True, "no clear difference"),
        (-5.0, -1.0, False, "the candidate is better"),
        (1.0, 5.0, False, "the serving model is better"),
    ],
)
def test_the_verdict_follows_the_interval(low: float, high: float, *, more_is_better: bool, verdict: str) -> None:
    found = Comparison(100, 1.0, 1.0, (low + high) / 2, low, high, more_is_better=more_is_better)
    assert found.verdict == verdict
    assert found.sentence().endswith(verdict)


def test_a_stretch_without_labels_says_what_the_log_holds(log: Database, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--from-log", "--since", "2026-05-01"]) == 2
    error = capsys.readouterr().err
    assert "the log has no labelled rows from 2026-05-01 00:00 UTC" in error
    assert "the log holds rows from 2026-03-01 00:00 UTC" in error
    assert main(["--from-log", "--since", "yesterday"]) == 2
    assert "'yesterday' is not a time such as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from-log"], "--from-log needs --since"),
        (["--from-log", "--since", "2026-03-01", "--csv", "x.csv"], "--from-log and --csv exclude each other"),
        (["--since", "2026-03-01"], "go with --from-log"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err
