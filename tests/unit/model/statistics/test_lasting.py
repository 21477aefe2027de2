"""Changes that last: found by several days together, and hardly ever where days only differ as they always did."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pytest

from model.artifact.traffic import DAY_SECONDS, TrafficLevel
from model.statistics.lasting import (
    Gathered,
    LastingChange,
    LevelStatistic,
    blocks_looked_at,
    fit_levels,
    gatherer,
    lasting_changes,
    variance_factor,
    with_newest,
    without_hours,
)

HOUR = 3_600
NEW_YORK = ZoneInfo("America/New_York")
HISTORY = 59
Numbers = np.ndarray


def days_of(count: int, rng: np.random.Generator, columns: int = 1, alike: float = 0.0) -> Numbers:
    """Means of days with standard deviation 1, each of which resembles the one before, (days, columns)."""
    noise = rng.normal(size=(count + 50, columns))
    days = np.zeros_like(noise)
    for place in range(1, len(days)):
        days[place] = alike * days[place - 1] + np.sqrt(1 - alike**2) * noise[place]
    return days[50:]


def levels_of(days: Numbers, alerts: float = 0.5, **how: object) -> list[TrafficLevel]:
    statistics = [
        LevelStatistic("mean", str(place), column, np.full(len(days), 800.0), **({"smallest_effect": 0.0} | how))
        for place, column in enumerate(days.T)
    ]
    return fit_levels(statistics, np.arange(len(days)) * DAY_SECONDS, DAY_SECONDS, alerts)


def changes_by_day(levels: list[TrafficLevel], days: Numbers) -> list[list[LastingChange]]:
    """What is found after each day after the history."""
    starts = np.arange(len(days)) * DAY_SECONDS
    values = {("mean", str(place)): column for place, column in enumerate(days.T)}
    gathered = gatherer(values, {key: np.full(len(days), 800.0) for key in values}, starts, DAY_SECONDS)
    return [lasting_changes(levels, gathered(int(start)), DAY_SECONDS) for start in starts[HISTORY:]]


@pytest.mark.parametrize("alike", [0.0, 0.6])
def test_days_that_go_on_differing_as_they_did_seldom_alarm(alike: float) -> None:
    rng = np.random.default_rng(0)
    alerts, months = 0, 0
    for _ in range(10):
        days = days_of(HISTORY + 60, rng, columns=14, alike=alike)
        failed = [bool(found) for found in changes_by_day(levels_of(days[:HISTORY]), days)]
        alerts += sum(now and not before for before, now in zip([False, *failed], failed, strict=False))
        months += 2
    assert alerts / months <= 0.5


@pytest.mark.parametrize(("shift", "within"), [(1.0, 42), (2.0, 10), (-2.0, 10), (6.0, 2)])
def test_a_change_that_one_day_cannot_show_is_found_after_some(shift: float, within: int) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        days = days_of(HISTORY + within, rng)
        days[HISTORY:] += shift
        changes = [change for of_day in changes_by_day(levels_of(days[:HISTORY]), days) for change in of_day]
        found.append(bool(changes) and all(np.sign(change.value) == np.sign(shift) for change in changes))
    assert sum(found) >= 18


def test_a_change_that_is_over_is_soon_no_news() -> None:
    days = days_of(HISTORY + 40, np.random.default_rng(2))
    days[HISTORY : HISTORY + 20] += 3.0
    found = [bool(one) for one in changes_by_day(levels_of(days[:HISTORY]), days)]
    assert all(found[3:20])
    assert not any(found[34:])


def test_a_single_storm_does_not_count_as_a_change_that_lasts() -> None:
    rng = np.random.default_rng(3)
    rain = np.maximum(0, rng.standard_t(3, size=(HISTORY + 20, 1)) - 1.5)
    rain[HISTORY + 5] = rain[:HISTORY].max()
    (level,) = levels_of(rain[:HISTORY])
    assert not any(changes_by_day([level], rain))
    as_if_normal = level.model_copy(update={"tail": 0.0})
    assert any(changes_by_day([as_if_normal], rain))


def test_less_than_the_smallest_effect_is_not_worth_an_alarm() -> None:
    steady = 0.01 * days_of(HISTORY + 28, np.random.default_rng(4))
    steady[HISTORY:] += 0.05
    assert changes_by_day(levels_of(steady[:HISTORY]), steady)[-1]
    assert not any(changes_by_day(levels_of(steady[:HISTORY], smallest_effect=0.1), steady))


@pytest.mark.parametrize(("direction", "found"), [("above", False), ("below", True), ("both", True)])
def test_a_score_alarms_on_its_bad_side_only(direction: str, found: bool) -> None:
    days = days_of(HISTORY + 10, np.random.default_rng(5))
    days[HISTORY:] -= 3.0
    assert bool(changes_by_day(levels_of(days[:HISTORY], direction=direction), days)[-1]) == found


def test_days_that_resemble_each_other_say_less() -> None:
    assert variance_factor(1, 0.5) == 1.0
    assert variance_factor(4, 0.0) == 0.25
    assert variance_factor(2, 0.5) == 0.75
    rng = np.random.default_rng(6)
    (free,), (alike,) = (levels_of(days_of(400, rng, alike=one)) for one in (0.0, 0.6))
    assert free.autocorrelation < 0.15
    assert alike.autocorrelation == pytest.approx(0.6, abs=0.1)
    assert free.critical == pytest.approx(3.2, abs=0.3)  # one statistic; each further one raises it


def test_fewer_rows_than_the_history_had_stray_further() -> None:
    (level,) = levels_of(days_of(HISTORY, np.random.default_rng(7)))
    empty = np.zeros(blocks_looked_at(DAY_SECONDS))
    once = np.arange(len(empty)) == 0
    for rows, found in ((800.0, True), (80.0, False)):
        gathered = {("mean", "0"): Gathered(empty + once * rows, empty + once * rows * 8.0)}
        assert bool(lasting_changes([level], gathered, DAY_SECONDS)) == found


def test_too_short_a_history_has_no_levels() -> None:
    assert levels_of(days_of(7, np.random.default_rng(8))) == []


def test_the_oldest_day_may_be_known_in_part_and_is_left_out() -> None:
    """A service that started at night: its night is no day."""
    (level,) = levels_of(0.01 * days_of(HISTORY, np.random.default_rng(9)))
    hours = np.arange(30) * HOUR
    night = np.where(hours < 10 * HOUR, 5.0, 0.0)
    gathered = gatherer({("mean", "0"): night}, {("mean", "0"): np.full(30, 33.0)}, hours, HOUR)
    assert not lasting_changes([level], gathered(int(hours[9])), HOUR)
    (change,) = lasting_changes([level], gathered(int(hours[26])), HOUR)
    assert (change.days, change.measure) == (1, "mean of a day")


def test_the_newest_window_and_those_before_it_make_the_sums_of_all() -> None:
    rng = np.random.default_rng(10)
    starts, key = np.arange(0, 40 * DAY_SECONDS, HOUR), ("mean", "x")
    values, rows = rng.normal(size=len(starts)), rng.integers(30, 90, len(starts)).astype(np.float64)
    values[::17] = np.nan
    newest = len(starts) - 3
    whole = gatherer({key: values}, {key: rows}, starts, HOUR)(int(starts[newest]))
    before = gatherer({key: values[:newest]}, {key: rows[:newest]}, starts[:newest], HOUR)(int(starts[newest]))
    joined = with_newest(before, {key: (float(values[newest]), int(rows[newest]))}, HOUR)
    np.testing.assert_allclose(joined[key].rows, whole[key].rows)
    np.testing.assert_allclose(joined[key].totals, whole[key].totals)
    day = slice(newest - 23, newest + 1)
    assert whole[key].rows[0] == rows[day][np.isfinite(values[day])].sum()


@pytest.mark.parametrize(
    ("name", "column", "about", "measure"),
    [
        ("mean", "temp", "temp", "mean of 7 days"),
        ("label_share", "yes", "label", "share of yes, mean of 7 days"),
        ("prediction_mean", None, "prediction", "mean of 7 days"),
        ("concept_gap", None, None, "gap, mean of 7 days"),
        ("accuracy", None, None, "accuracy, mean of 7 days"),
    ],
)
def test_a_change_says_what_it_is_about(name: str, column: str | None, about: str | None, measure: str) -> None:
    change = LastingChange(name, column, 1.0, 0.5, 7)
    assert (change.about, change.measure) == (about, measure)


def hourly_levels(values: Numbers, starts: npt.NDArray[np.int64], zone: tzinfo = NEW_YORK) -> list[TrafficLevel]:
    statistic = LevelStatistic("mean", "x", values, np.full(len(values), 33.0), 0.0)
    return fit_levels([statistic], starts, HOUR, 0.5, zone)


def found_by_hour(
    levels: list[TrafficLevel], values: Numbers, starts: npt.NDArray[np.int64]
) -> list[list[LastingChange]]:
    key = ("mean", "x")
    known = without_hours(levels, {key: values}, starts, NEW_YORK)
    gathered = gatherer(known, {key: np.full(len(values), 33.0)}, starts, HOUR)
    return [lasting_changes(levels, gathered(int(start)), HOUR) for start in starts]


def test_a_morning_after_an_outage_is_compared_with_mornings() -> None:
    """The value follows the hour, so a morning is unlike the mean of a day; summer time begins meanwhile."""
    rng = np.random.default_rng(9)
    starts = 1_362_700_800 + np.arange(40 * 24) * HOUR  # 8 March 2013 in UTC; clocks went forward on the 10th
    local = np.array([datetime.fromtimestamp(int(one), NEW_YORK).hour for one in starts])
    value = np.cos(local / 12 * np.pi) + np.repeat(0.05 * rng.normal(size=40), 24)
    history, on = np.arange(len(starts)) < 25 * 24, np.ones(len(starts), dtype=bool)
    on[30 * 24 + 9 : 32 * 24 + 3] = False
    (level,) = hourly_levels(value[history], starts[history])
    assert len(level.hours) == 24
    assert level.hours[0] == pytest.approx(1.0, abs=0.05)
    found = found_by_hour([level], value[on], starts[on])
    assert [place for place, changes in enumerate(found) if changes and place >= 25 * 24] == []
    moved = np.where(starts >= starts[33 * 24], value + 0.5, value)
    after = found_by_hour([level], moved[on], starts[on])
    first = next(place for place, changes in enumerate(after) if changes)
    assert starts[33 * 24] <= starts[on][first] < starts[34 * 24]


def test_hours_that_differ_by_chance_alone_are_not_taken_off() -> None:
    rng, starts = np.random.default_rng(10), np.arange(30 * 24) * HOUR
    found = [hourly_levels(rng.normal(size=len(starts)), starts, UTC)[0].hours for _ in range(50)]
    assert sum(bool(one) for one in found) <= 1


def test_an_hour_without_a_window_is_between_its_neighbours() -> None:
    starts = np.arange(30 * 24) * HOUR
    hours = starts // HOUR % 24
    value = np.cos(hours / 12 * np.pi) + np.random.default_rng(11).normal(size=len(starts)) * 0.01
    kept = ~np.isin(hours, (0, 5))
    (level,) = hourly_levels(value[kept], starts[kept], UTC)
    for missing in (0, 5):
        before, after = level.hours[missing - 1], level.hours[missing + 1]
        assert level.hours[missing] == pytest.approx((before + after) / 2, abs=0.001)
