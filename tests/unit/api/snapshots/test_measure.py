"""How logged rows become the frames that are measured, and past windows the sums that show what lasts."""

import json
import math
import random
from datetime import timedelta

import pytest
from sqlalchemy import insert

from api.prediction_log.alarms import AlarmLog, record_statistics
from api.prediction_log.database import microseconds
from api.prediction_log.inserts import insert_predictions, store_labels
from api.prediction_log.reader import read_labelled, read_predictions
from api.prediction_log.records import LabelRecord, LoggedRow, PredictionRecord, WindowValue
from api.prediction_log.tables import windows
from api.snapshots.logged_frames import window_frame
from api.snapshots.measure import PastWindows, SettledEstimates
from model.artifact.manifest import Manifest
from model.artifact.traffic import TrafficAlarms
from model.statistics.segments import metadata_columns, score_segment, segment_frames, segments_of
from tests.clocked import NOON, ClockedDatabase
from tests.unit.evidently_workspace.regression_model import build_regression_manifest

FEATURES = {"x0": 1.5, "x1": None, "colour": "red", "member": True}


def logged(prediction: str, label: str | None = None) -> LoggedRow:
    return LoggedRow(FEATURES, prediction, {}, label)


def test_numbers_are_read_from_the_log_to_the_last_digit() -> None:
    numbers = [random.Random(n).uniform(-1e6, 1e6) for n in range(500)]
    frame = window_frame([logged(repr(one), repr(-one)) for one in numbers], build_regression_manifest(), labelled=True)
    assert frame["prediction"].tolist() == numbers
    assert frame["label"].tolist() == [-one for one in numbers]
    assert list(frame) == [*FEATURES, "prediction", "label"]


@pytest.mark.parametrize("word", ["setosa", "", "True", None])
def test_a_label_that_is_no_number_is_missing(word: str | None) -> None:
    frame = window_frame([logged("1.0", word), logged("2.0", "3.0")], build_regression_manifest(), labelled=True)
    assert math.isnan(frame["label"][0])
    assert frame["label"][1] == 3.0
    assert frame["prediction"].tolist() == [1.0, 2.0]
    assert frame["prediction"].dtype == "float64"


def test_a_window_without_rows_has_its_columns() -> None:
    frame = window_frame([], build_regression_manifest(), labelled=True)
    assert list(frame) == [*FEATURES, "prediction", "label"]
    assert frame["label"].dtype == "float64"


def test_metadata_that_rode_along_divides_the_rows_of_the_log(database_url: str) -> None:
    database = ClockedDatabase(database_url)
    database.migrate()
    shops = ["north", " north", 7, 7.0, None, "rest"]
    rows = [
        PredictionRecord(str(place), place, "v1", json.dumps({**FEATURES, "shop": shop}), str(place), "{}")
        for place, shop in enumerate(shops * 40)
    ]
    at = microseconds(NOON)
    with database.writing() as connection:
        insert_predictions(connection, {1: at}, rows)
        store_labels(connection, {1: at}, [LabelRecord(one.prediction_id, one.prediction) for one in rows])
    manifest = build_regression_manifest().model_copy(
        update={"version": "v1", "segments": ("shop", "member"), "metadata": ("shop",)}
    )
    span = (database, NOON, NOON + HOUR, "v1", 1000)
    current = window_frame(read_predictions(*span).rows, manifest, labelled=False)
    labelled = window_frame(read_labelled(*span).rows, manifest, labelled=True)
    reference = labelled.drop(columns=metadata_columns(manifest)["shop"])
    by_shop, by_member = segments_of(current, labelled, reference, manifest)
    sizes = {one.label: (int(one.current.sum()), int(one.labelled.sum())) for one in by_shop}
    assert sizes == {"shop=north": (80, 80), "shop=7": (80, 80), "shop (missing)": (40, 40), "shop=rest": (40, 40)}
    assert [one.label for one in by_member] == ["member=True"]
    frames = segment_frames(current, labelled, reference, manifest, None)
    assert {one.label: score_segment(one, frames).score for one in by_shop} == dict.fromkeys(sizes, 0.0)
    assert (by_shop[0].compared, by_member[0].compared) == (False, True)
    database.dispose()


HOUR = timedelta(hours=1)


def posted(database: ClockedDatabase, hour: int, value: float, *, version: str = "v1", labels: int = 20) -> None:
    """A posted window of an hour with 60 rows."""
    start = microseconds(NOON + hour * HOUR)
    row = {"start": start, "end": start + HOUR // timedelta(microseconds=1), "status": "posted", "tries": 1}
    row |= {"rows": 60, "labelled_rows": labels, "failed_checks": [], "not_computed": [], "model_version": version}
    values = [WindowValue("mean", "x0", value), WindowValue("observed_bias", "", -value), WindowValue("row", "", 1.0)]
    values += [WindowValue("estimate_distance", "mae", abs(value))] if labels else []
    with database.writing() as connection:
        connection.execute(insert(windows).values(row))
        record_statistics(connection, start, version, values)


def with_levels() -> Manifest:
    level = {"direction": "both", "interval_seconds": 3600, "mean": 0.0, "deviation": 1.0, "autocorrelation": 0.0}
    level |= {"blocks": 30, "rows": 1000.0, "smallest_effect": 0.1, "critical": 4.0, "chance": 1e-4, "tail": 5.0}
    levels = [level | {"name": "mean", "column": "x0"}, level | {"name": "observed_bias"}]
    traffic = {"time_zone": "UTC", "days": 30, "false_alarm_days": 90, "thresholds": [], "levels": levels}
    found = TrafficAlarms.model_validate(traffic)
    return build_regression_manifest().model_copy(update={"version": "v1", "traffic": found})


def test_past_windows_are_gathered_by_days_that_end_with_this_one(database_url: str) -> None:
    database = ClockedDatabase(database_url)
    database.migrate()
    for hour in (*range(47), 49):
        posted(database, hour, float(hour))
    posted(database, 48, 1e9, version="v0")
    past, manifest = PastWindows(AlarmLog(database)), with_levels()
    sums = past.gathered(manifest, NOON + 49 * HOUR, NOON + 50 * HOUR)
    assert set(sums) == {("mean", "x0"), ("observed_bias", None)}
    day, before = sums["mean", "x0"].totals[:2]
    assert (day, before) == (60 * sum(range(26, 47)), 60 * sum(range(2, 26)))
    assert sums["mean", "x0"].rows[:3].tolist() == [60 * 21, 60 * 24, 60 * 2]
    assert sums["observed_bias", None].rows[:3].tolist() == [20 * 21, 20 * 24, 20 * 2]
    posted(database, 47, 47.0)  # late: it was put off
    later = past.gathered(manifest, NOON + 50 * HOUR, NOON + 51 * HOUR)
    assert later["mean", "x0"].totals[0] == 60 * (sum(range(27, 48)) + 49)
    again = PastWindows(AlarmLog(database)).gathered(manifest, NOON + 50 * HOUR, NOON + 51 * HOUR)
    assert later["mean", "x0"].totals.tolist() == again["mean", "x0"].totals.tolist()
    assert past.gathered(build_regression_manifest(), NOON + 50 * HOUR, NOON + 51 * HOUR) == {}
    database.dispose()


def test_intervals_are_widened_by_what_past_windows_of_the_version_showed(database_url: str) -> None:
    database = ClockedDatabase(database_url)
    database.migrate()
    settled = SettledEstimates(AlarmLog(database))

    def widening_at(hour: int, of: SettledEstimates = settled) -> dict[str, float]:
        return of.widening("v1", NOON + hour * HOUR, NOON + (hour + 1) * HOUR)

    assert widening_at(0) == {}
    for hour in range(19):
        posted(database, hour, 0.1 * hour)
    posted(database, 30, 9.0, labels=0)
    posted(database, 31, 9.0, version="v0")
    assert widening_at(32) == {"mae": 1.0}  # too few
    posted(database, 29, 0.5)  # late: it was put off
    assert widening_at(33) == {"mae": pytest.approx(1.8)}
    for hour in range(40, 142):
        posted(database, hour, 0.2)
    assert widening_at(150) == {"mae": 1.0}  # only the newest count, and no interval becomes narrower
    assert widening_at(33) == {"mae": pytest.approx(1.8)}
    assert widening_at(150, SettledEstimates(AlarmLog(database))) == {"mae": 1.0}
    assert settled.widening("v1", NOON + 150 * HOUR, NOON + 152 * HOUR) == {}  # no window is as long
    database.dispose()
