"""The benchmark of alarms on dated rows: its goals, when a change can be seen, and the verdicts of other rules."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from model.alarms.window_values import measure_windows, model_of
from model.artifact.manifest import LABEL, PREDICTION
from model.artifact.store import read_manifest, read_reference, read_test
from model.artifact.traffic import DAY_SECONDS
from model.data.bundled import load_bundled
from model.data.dataset import RowTimes
from model.statistics.windows import TimedRows
from scripts.bench.alarm_tables import Found, Quiet, found_table, goals_table, quiet_table
from scripts.bench.alarms import Division, Judged, by_baselines, changes
from scripts.bench.baselines import Baselines
from scripts.bench.dated_tables import by_local_clock, days_of, days_until_seen, times_of
from scripts.bench.traffic import answer

HOUR = 3_600


def quiet(failed: int, alerts: int, interval: int = HOUR) -> Quiet:
    return Quiet("ours", np.arange(1_000) < failed, alerts, 30, {"data_drift": failed}, interval, in_order=False)


def found(change: str, share: float, days: float, allowed: int | None = None, check: str = "data_drift") -> Found:
    fired = {"ours": np.arange(100) < 100 * share, "other": np.zeros(100, dtype=bool)}
    return Found(change, check, fired, days, allowed, HOUR, in_order=False)


def verdicts(table: str) -> dict[str, tuple[str, str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {goal: (reached, verdict) for goal, _, reached, verdict in cells}


def test_each_goal_stands_beside_what_was_reached() -> None:
    calm = [quiet(2, 0), quiet(9, 1), quiet(5, 3), quiet(0, 0, DAY_SECONDS), quiet(1, 0, DAY_SECONDS)]
    changed = [
        found("`a` moved by one deviation", 0.97, 1, allowed=1),
        found("`b` moved by one deviation", 0.1, 9, allowed=4),
        found("`c` moved by one deviation", 0.1, 8, allowed=4),
        found("`a` stuck at one value", 0.9, 1, check="data_quality"),
        found("20 % of labels flipped", 0.9, np.inf, check="concept_drift"),
        found("doubled class share", 0.9, 1, check="target_drift"),
    ]
    assert verdicts(goals_table(calm, changed)) == {
        "at most one false alert a month (2 of 3)": ("1.0 (0.0 to 3.0)", "met"),
        "at most 0.6 % of windows fail": ("0.5 % (0.2 % to 0.9 %)", "met"),
        "no daily window fails": ("0 (0 to 1) of 30", "missed"),
        "`a` moved by one deviation: in 95 % of windows": ("97 %", "met"),
        "`b` moved by one deviation: within 8 days": ("day 9", "missed"),
        "`c` moved by one deviation: within 8 days": ("day 8", "met"),
        "`a` stuck at one value: in 95 % of windows": ("90 %", "missed"),
        "20 % of labels flipped: within a day": ("day never", "missed"),
    }
    assert "data_drift 16" in quiet_table(calm)
    assert len(found_table(changed).splitlines()) == 2 + len(changed)


def test_a_column_that_moves_by_itself_is_seen_to_move_later() -> None:
    rng, days = np.random.default_rng(0), np.repeat(np.arange(60), 50)
    steady = rng.normal(0, 1, len(days))
    moving = rng.normal(0, 1, 60)[days] + rng.normal(0, 0.3, len(days))
    noise = rng.normal(0, 1, 62)
    alike = (noise[2:] + noise[1:-1] + noise[:-2])[days] + rng.normal(0, 0.3, len(days))
    assert days_until_seen(steady, days) == 1
    some, more = days_until_seen(moving, days), days_until_seen(alike, days)
    assert some is not None
    assert more is not None
    assert 8 <= some < 30 < more


def test_days_at_random_are_those_of_the_clock_of_the_traffic() -> None:
    morning = datetime(2013, 1, 7, 8, tzinfo=ZoneInfo("America/New_York"))
    moments = [(morning + timedelta(hours=hour)).timestamp() for hour in range(150)]
    times = RowTimes("when", "America/New_York", np.array(moments))
    here = by_local_clock(replace(load_bundled("iris"), times=times))
    shown = [morning + timedelta(hours=hour) for hour in range(150)]
    assert days_of(here).tolist() == [(one.date() - morning.date()).days for one in shown]
    assert times_of(here).zone == "UTC"
    assert (times_of(here).seconds % DAY_SECONDS // HOUR).tolist() == [one.hour for one in shown]


@pytest.fixture(scope="module")
def division(iris_artifact: Path) -> Division:
    from model.serving.predictor import load_predictor  # noqa: PLC0415 - only these tests need it

    manifest, reference = read_manifest(iris_artifact), read_reference(iris_artifact)
    pool = read_test(iris_artifact).sample(480, replace=True, random_state=0, ignore_index=True)
    rows = TimedRows(
        answer(pool[[*manifest.feature_names, LABEL]], load_predictor(iris_artifact)), np.arange(480.0) * 60
    )
    return Division(True, manifest, reference, rows, rows, 1, dict.fromkeys(manifest.feature_names, 1))


def test_other_rules_judge_many_windows_as_they_judge_each(division: Division) -> None:
    rows, seconds = division.judged
    shifted = rows.assign(
        **{column: rows[column] + seconds / HOUR / 4 for column in division.manifest.feature_names[:2]}
    )
    windows = measure_windows(shifted, seconds, HOUR, model_of(division.manifest, division.reference))
    together = by_baselines(division, TimedRows(shifted, seconds), windows, HOUR)
    for place in range(8):
        inside = shifted[place * 60 : (place + 1) * 60].reset_index(drop=True)
        alone = Baselines(division.manifest, division.reference, inside).fired(np.ones((60, 1), dtype=np.float32))
        assert {name: bool(fired[place]) for name, fired in together.items()} == {
            name: bool(alone[name][0]) for name in together
        }
    assert {fired.any() and not fired.all() for fired in together.values()} == {True}


def test_a_change_is_judged_by_its_own_check_and_column(division: Division, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Division, "most_mixed", division.manifest.feature_names[0])  # iris knows no traffic
    changed = {one.name: one for one in changes(division, seed=0)}
    judged = Judged(division, HOUR)
    outcomes = {name: judged.found(one) for name, one in changed.items()}
    moved = outcomes[f"`{division.manifest.feature_names[2]}` moved by one deviation"]
    assert (moved.share, moved.days) == (1.0, 1.0)
    flips = outcomes["20 % of labels flipped"]
    rows = division.judged.rows
    assert (changed["20 % of labels flipped"].given.rows[LABEL] != rows[LABEL]).mean() == pytest.approx(0.2, abs=0.05)
    assert flips.share > 0.5
    doubled = changed["doubled class share"].given.rows
    rare = rows[LABEL].value_counts().index[-1]
    assert (doubled[LABEL] == rare).mean() == pytest.approx(2 * (rows[LABEL] == rare).mean(), abs=0.05)
    assert [one.rule for one in judged.quiet()][:2] == ["ours", "ours, rows alone"]
    assert judged.quiet()[0].failed.mean() <= 0.2


def test_only_what_a_changed_column_touches_is_measured_again(
    division: Division, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Division, "most_mixed", division.manifest.feature_names[0])
    for change in changes(division, seed=0):
        columns = set(change.given.rows) - {PREDICTION}
        assert (LABEL in columns) == (change.feature is None)
        assert change.feature is None or columns == {change.feature}
