"""What an exported file holds, from a log of each kind of database."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from api.prediction_log import export as log_export
from api.prediction_log.database import Database, Stamps, microseconds
from api.prediction_log.inserts import insert_predictions, store_labels
from api.prediction_log.records import LabelRecord, PredictionRecord
from api.settings import Settings
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest
from scripts.export import LogExport, export_columns, main

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPAN = ["--from", "2026-03-01", "--to", "2026-03-02"]


@pytest.fixture
def database(
    database_url: str, iris_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database]:
    monkeypatch.setenv("VIGIE_DATABASE_URL", database_url)
    monkeypatch.setenv("VIGIE_MODEL_DIR", str(iris_artifact))
    monkeypatch.setenv("VIGIE_REPORTS_DIR", str(tmp_path / "reports"))
    database = Database(database_url)
    database.migrate()
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


def iris(number: int, version: str, **more: object) -> PredictionRecord:
    features = {name: number + place / 10 for place, name in enumerate(FLOWER)}
    probabilities = orjson.dumps({"setosa": 0.25, "versicolor": 0.5, "virginica": 0.25}).decode()
    return PredictionRecord(
        f"id-{number}", number % 7, version, orjson.dumps({**features, **more}).decode(), "versicolor", probabilities
    )


FLOWER = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def log(database: Database, records: Sequence[PredictionRecord], at: datetime = NOON) -> None:
    with database.writing() as connection:
        insert_predictions(connection, Stamps(microseconds(at), []), records)


def label(database: Database, ids: Sequence[str], text: str, at: datetime) -> None:
    with database.writing() as connection:
        store_labels(connection, Stamps(microseconds(at), []), [LabelRecord(one, text) for one in ids])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_has_one_row_a_prediction_with_its_features_answer_and_label(
    kind: str, database: Database, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(database, [iris(1, manifest.version), iris(2, manifest.version, sepal_width=None)])
    log(database, [iris(3, manifest.version)], NOON + timedelta(days=1))
    label(database, ["id-2"], "setosa", NOON + timedelta(minutes=5))
    file = tmp_path / f"march.{kind}"
    assert main([*SPAN, "--out", str(file)]) == 0
    assert capsys.readouterr().out.startswith("2 rows of 13 columns: ")
    times = ["logged_at", "label_arrived_at"]
    found = pd.read_parquet(file) if kind == "parquet" else pd.read_csv(file, parse_dates=times)
    assert list(found) == [
        "prediction_id",
        "logged_at",
        "model_version",
        *manifest.feature_names,
        "prediction",
        "probability_setosa",
        "probability_versicolor",
        "probability_virginica",
        "label",
        "label_arrived_at",
    ]
    first, second = found.iloc[0], found.iloc[1]
    assert (first.prediction_id, first.model_version, first.prediction) == ("id-1", manifest.version, "versicolor")
    assert first.logged_at == NOON
    assert first.probability_versicolor == 0.5
    assert pd.isna(first.label)
    assert pd.isna(first.label_arrived_at)
    assert pd.isna(second[manifest.feature_names[1]]) == (manifest.feature_names[1] == "sepal_width")
    assert (second.label, second.label_arrived_at) == ("setosa", NOON + timedelta(minutes=5))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_only_rows_with_a_label_are_exported_where_asked(
    database: Database, manifest: Manifest, tmp_path: Path
) -> None:
    log(database, [iris(number, manifest.version) for number in range(5)])
    label(database, ["id-4", "id-1"], "virginica", NOON)
    file = tmp_path / "labelled.parquet"
    assert main([*SPAN, "--labelled", "--out", str(file)]) == 0
    assert pd.read_parquet(file).prediction_id.tolist() == ["id-1", "id-4"]


def test_rows_of_one_moment_are_neither_lost_nor_doubled_between_pages(database: Database, manifest: Manifest) -> None:
    log(database, [iris(number, manifest.version) for number in range(50)])
    log(database, [iris(number, manifest.version) for number in range(50, 60)], NOON + timedelta(seconds=1))
    pages = log_export.read_logged(database, NOON, NOON + timedelta(days=1), labelled=False, page_rows=7)
    ids = [row.prediction_id for page in pages for row in page]
    assert len(ids) == 60
    assert set(ids) == {f"id-{number}" for number in range(60)}
    assert ids.index("id-59") >= 50


def test_a_frame_has_the_same_rows_as_a_file(database: Database, manifest: Manifest, tmp_path: Path) -> None:
    log(database, [iris(number, manifest.version) for number in range(20)])
    file = tmp_path / "all.parquet"
    assert main([*SPAN, "--out", str(file)]) == 0
    export = LogExport.open(Settings(), NOON, NOON + timedelta(days=1))
    pd.testing.assert_frame_equal(export.frame(), pd.read_parquet(file))
    export.close()


def test_columns_of_a_version_whose_manifest_is_gone_are_exported_too(
    database: Database, manifest: Manifest, tmp_path: Path
) -> None:
    log(database, [iris(1, "older", colour="blue", weight=3)])
    log(database, [iris(2, manifest.version)])
    file = tmp_path / "both.parquet"
    assert main([*SPAN, "--out", str(file)]) == 0
    found = pd.read_parquet(file).set_index("prediction_id")
    assert found.colour.tolist() == ["blue", None]
    assert found.weight.tolist() == ["3", None]


def test_a_feature_with_the_name_of_another_column_gets_an_underscore(manifest: Manifest) -> None:
    first, second, third, *others = manifest.features
    renamed = (
        first.model_copy(update={"name": "prediction"}),
        second.model_copy(update={"name": "prediction_"}),
        third.model_copy(update={"name": "probability_setosa"}),
        *others,
    )
    changed = manifest.model_copy(update={"features": renamed, "metadata": ("label", "customer")})
    names = [column.name for column in export_columns([changed])]
    assert names[3:9] == ["prediction_", "prediction__", "probability_setosa_", others[0].name, "label_", "customer"]
    assert len(set(names)) == len(names)


def test_an_empty_stretch_says_what_the_log_holds_and_leaves_the_file_alone(
    database: Database, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log(database, [iris(1, manifest.version)])
    file = tmp_path / "kept.csv"
    file.write_text("older")
    assert main(["--from", "2026-04-01", "--to", "2026-04-02", "--out", str(file)]) == 1
    assert "the log holds rows from 2026-03-01 12:00 UTC to 2026-03-01 12:00 UTC" in capsys.readouterr().err
    assert file.read_text() == "older"


def test_a_file_of_another_kind_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*SPAN, "--out", "march.xlsx"])
    assert "march.xlsx must end with .parquet or .csv" in capsys.readouterr().err


def test_parquet_columns_have_the_types_of_the_features(database: Database, manifest: Manifest, tmp_path: Path) -> None:
    log(database, [iris(1, manifest.version)])
    file = tmp_path / "typed.parquet"
    assert main([*SPAN, "--out", str(file)]) == 0
    schema = pq.read_schema(file)
    assert {str(schema.field(name).type) for name in manifest.feature_names} == {"double"}
    assert str(schema.field("logged_at").type) == "timestamp[us, tz=UTC]"
