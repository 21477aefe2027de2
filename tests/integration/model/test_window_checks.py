"""Many windows are judged as a snapshot judges each of them: the same values, the same limits, the same failures."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evidently_workspace.window import Window
from model.alarms.window_checks import check_windows
from model.alarms.window_values import Name, measure_windows, model_of
from model.artifact.manifest import LABEL, Manifest, RegressorManifest
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import LEVELS, TrafficAlarms, TrafficLevel, TrafficThreshold
from model.statistics.lasting import gatherer

START = datetime(2026, 11, 23, tzinfo=UTC)
HOUR = 3_600
NOT_JUDGED = "attribution_drift"


def hours_of(folder: Path, rng: np.random.Generator) -> tuple[pd.DataFrame, "np.typing.NDArray[np.float64]"]:
    """Six hours of 60 rows: two as they come, then shifted inputs, missing values, other labels, a single row."""
    manifest, pool = read_manifest(folder), read_test(folder)
    hours = [
        pool.sample(60, replace=True, random_state=int(rng.integers(1000))).reset_index(drop=True) for _ in range(6)
    ]
    number = manifest.features[0].name
    hours[2][number] += 2 * pool[number].std()
    hours[3].loc[:29, number] = np.nan
    hours[4][LABEL] = pool[LABEL].iloc[::-1].sample(60, replace=True, random_state=1).to_numpy()
    hours[5] = hours[5].iloc[[0] * 60].reset_index(drop=True)
    seconds = START.timestamp() + np.repeat(np.arange(6), 60) * HOUR + np.tile(np.arange(60), 6) * 60.0
    return pd.concat(hours, ignore_index=True), seconds


def with_traffic(manifest: Manifest) -> Manifest:
    """The same model with a column that may drift as far as it likes, at any hour but three in the morning."""
    limits = [100.0] * 24
    limits[3] = 0.0
    free = TrafficThreshold(
        name="data_drift",
        column=manifest.features[0].name,
        above=True,
        interval_seconds=HOUR,
        cycle="hour",
        usual=(0.1,) * 24,
        thresholds=tuple(limits),
        blocks=30,
        windows=720,
    )
    traffic = TrafficAlarms(
        time_column="when",
        time_zone="UTC",
        start=START - timedelta(days=30),
        end=START,
        days=30,
        false_alarm_days=90,
        thresholds=(free,),
    )
    return manifest.model_copy(update={"traffic": traffic})


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize("artifact", ["iris_artifact", "diabetes_artifact"])
def test_many_windows_are_judged_as_a_snapshot_judges_each(
    artifact: str, in_time: bool, request: pytest.FixtureRequest
) -> None:
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    folder = request.getfixturevalue(artifact)
    manifest, reference = read_manifest(folder), read_reference(folder)
    if in_time:
        manifest = with_traffic(manifest)
    rows, seconds = hours_of(folder, np.random.default_rng(0))
    judged = check_windows(rows, seconds, HOUR, manifest, reference)
    assert [window.rows for window in judged] == [60] * 6
    failures = 0
    for window in judged:
        inside = rows[(seconds >= window.start.timestamp()) & (seconds < window.end.timestamp())]
        snapshot = take_snapshot(
            Window(window.start, window.end), inside, inside, reference, manifest, min_rows=30, min_labels=30
        )
        ours = {(one.check, one.column): one for one in window.failures}
        theirs = {(one.check, one.column): one for one in snapshot.failed_checks if one.check != NOT_JUDGED}
        assert set(ours) == set(theirs)
        for key, failure in ours.items():
            assert failure.value == pytest.approx(theirs[key].value, rel=1e-4)
            assert failure.threshold == pytest.approx(theirs[key].threshold, rel=1e-4)
        failures += len(ours)
    assert failures > 5
    stuck = {(one.check, one.column) for one in judged[5].failures if one.value == 1.0}
    # alarms that were calibrated in time before a statistic existed say nothing of it
    assert in_time != (("data_quality", manifest.features[0].name) in stuck)


def with_levels(manifest: Manifest) -> Manifest:
    """The same model, with levels of all that is gathered that are far from what its rows show."""
    answers = [None] if isinstance(manifest, RegressorManifest) else list(manifest.class_names)
    columns = {"mean": manifest.feature_names[:2], "prediction_share": answers, "label_share": answers}
    levels = tuple(
        TrafficLevel(
            name=name,
            column=column,
            direction="both",
            interval_seconds=HOUR,
            mean=1e6,
            deviation=1.0,
            autocorrelation=0.2,
            blocks=30,
            rows=1440,
            smallest_effect=0.1,
            critical=4.0,
            chance=1e-4,
            tail=5.0,
        )
        for name in LEVELS
        for column in columns.get(name, [None])
    )
    known = with_traffic(manifest)
    return known.model_copy(update={"traffic": known.traffic.model_copy(update={"levels": levels})})


@pytest.mark.parametrize("artifact", ["iris_artifact", "diabetes_artifact"])
def test_what_lasts_is_judged_as_a_snapshot_judges_it(artifact: str, request: pytest.FixtureRequest) -> None:
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    folder = request.getfixturevalue(artifact)
    manifest, reference, pool = with_levels(read_manifest(folder)), read_reference(folder), read_test(folder)
    rows = pool.sample(60 * 54, replace=True, random_state=2).reset_index(drop=True)
    rows.loc[::7, manifest.feature_names[0]] = np.nan
    seconds = START.timestamp() + np.arange(len(rows)) * 60.0
    judged = check_windows(rows, seconds, HOUR, manifest, reference)
    windows = measure_windows(rows, seconds, HOUR, model_of(manifest, reference))
    before = slice(0, len(windows.starts) - 1)
    keys = [
        (level.name, level.column)
        for level in manifest.traffic.levels
        if Name(level.name, level.column) in windows.values
    ]
    gathered = gatherer(
        {key: windows.values[Name(*key)][before] for key in keys},
        {key: windows.sizes[Name(*key)][before] for key in keys},
        windows.starts[before],
        HOUR,
    )
    newest = judged[-1]
    inside = rows[seconds >= newest.start.timestamp()]
    snapshot = take_snapshot(
        Window(newest.start, newest.end),
        inside,
        inside,
        reference,
        manifest,
        min_rows=30,
        min_labels=30,
        past=gathered(round(newest.start.timestamp())),
    )
    stored = {(value.name, value.column): value.value for value in snapshot.values}
    for key in keys:
        assert stored[key] == pytest.approx(newest.values[Name(*key)], rel=1e-4, abs=1e-6)
    ours = {(one.check, one.column, one.measure): one for one in newest.failures if "of" in (one.measure or "")}
    theirs = {
        (one.check, one.column, one.measure): one for one in snapshot.failed_checks if "of" in (one.measure or "")
    }
    assert set(ours) == set(theirs)
    assert len(ours) == len(keys) > 6
    assert {one.measure.partition("mean")[2] for one in newest.failures if one.measure} == {" of a day"}
    for key, failure in ours.items():
        assert failure.value == pytest.approx(theirs[key].value, rel=1e-4, abs=1e-6)
        assert failure.threshold == pytest.approx(theirs[key].threshold, rel=1e-4)
    assert "Changes that last over several windows" in snapshot.html
    assert not [one for one in judged[23].failures if one.measure]  # of the first day only a part may be known
