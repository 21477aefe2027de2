"""The subject `estimation` of the benchmark: error of the estimates and coverage of their intervals, on dated rows."""

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console

from model.artifact.estimates import Estimates
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, Feature
from model.data.dataset import AnyDataset, Dataset, describe_column
from model.data.encoding import number_features, rows_of
from model.data.split import Shares, split_in_time
from model.serving.engines import answers_of, with_predictions
from model.serving.onnx import convert
from model.statistics.estimation import intervals, true_scores, window_moments
from model.training.fit import fit
from model.training.fit_estimates import MIN_ROWS, fit_estimates
from model.training.out_of_fold import score, score_out_of_fold
from model.training.pipelines import named_recipe
from scripts.bench.alarms import HOW_TO_INSTALL, PACKAGE, TABLES, days_of, load_dated, rows_where
from scripts.bench.detection_tables import markdown
from scripts.command_line import whole_from

PROGRAM = Path(__file__).with_name("nannyml_program.py")
FIT_AND_ESTIMATE_SECONDS = 3_600
SIZES = (500, 5_000)


class Case(NamedTuple):
    """Rows as they are logged: those that estimates are fitted on, and those that are estimated, cut into windows.

    `seconds` (rows,) are the times of the known rows, `interval` the length of a window in seconds, where there are
    times; `window` (rows,) numbers the windows of the estimated rows.
    """

    name: str
    known: pd.DataFrame
    seconds: np.ndarray[Any, np.dtype[np.float64]] | None
    rows: pd.DataFrame
    window: np.ndarray[Any, np.dtype[np.int64]]
    interval: int | None
    features: tuple[Feature, ...]
    class_names: tuple[str, ...] | None


class Shipped(NamedTuple):
    """Tables in NannyML's package: the start of their names, the ends, and what their columns are called."""

    prefix: str
    ends: tuple[str, str, str]
    label: str
    prediction: str
    probabilities: dict[str, str]
    features: tuple[str, ...] = ()


_CARDS = ("highstreet_card", "prepaid_card", "upmarket_card")
_CARS = ("car_age", "km_driven", "price_new", "accident_count", "door_count", "fuel", "transmission")
SHIPPED = {
    "car_loan": Shipped(
        "synthetic_car_loan",
        ("reference.csv", "analysis.csv", "analysis_target.csv"),
        "repaid",
        "y_pred",
        {"1": "y_pred_proba"},
    ),
    "employment": Shipped(
        "employment_MA",
        ("reference.pq", "analysis.pq", "analysis_target.pq"),
        "employed",
        "prediction",
        {"1": "predicted_probability"},
    ),
    "cards": Shipped(
        "mc",
        ("reference.csv", "analysis.csv", "analysis_gt.csv"),
        "y_true",
        "y_pred",
        {name: f"y_pred_proba_{name}" for name in _CARDS},
    ),
    "used_cars": Shipped(
        "regression_synthetic",
        ("reference.csv", "analysis.csv", "analysis_targets.csv"),
        "y_true",
        "y_pred",
        {},
        _CARS,
    ),
}
"""Of these employment is real: the census of Massachusetts, 2015 known, 2016 to 2018 estimated."""
NAMES = (*SHIPPED, *TABLES)


def add_estimation(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the subject."""
    parser.add_argument(
        "--nannyml", type=Path, metavar="PYTHON", help="the Python of an environment that has NannyML 0.13.1"
    )
    parser.add_argument("--seed", type=whole_from(0), default=0, help="seed (default: %(default)s)")
    parser.add_argument(
        "--datasets", nargs="+", choices=NAMES, default=list(NAMES), metavar="NAME", help=f"among {', '.join(NAMES)}"
    )


def run_estimation(options: argparse.Namespace) -> int:
    """Measure, print the table, and return the exit status."""
    console = Console(stderr=True)
    needs_package = any(name in TABLES for name in options.datasets)
    if needs_package and find_spec(PACKAGE) is None:
        console.print(f"the data are in the package {PACKAGE}, which is not installed: {HOW_TO_INSTALL}")
        return 2
    if options.nannyml is None and any(name in SHIPPED for name in options.datasets):
        console.print(f"{', '.join(SHIPPED)} are in NannyML's package; say where it is with --nannyml PYTHON")
        return 2
    lines: list[list[str]] = []
    for name in options.datasets:
        with console.status(name):
            cases = _shipped(name, options.nannyml) if name in SHIPPED else _dated(name, options.seed)
            for case in cases:
                lines += _compared(case, options.nannyml)
    head = ["data", "windows", "score", "error, ours", "NannyML's", "ratio", "within our interval", "its mean width"]
    print(markdown(head, lines))
    return 0


def _dated(name: str, seed: int) -> Iterator[Case]:
    """Train on the first days of a table, and yield its later ones in windows of each length."""
    dataset, table = load_dated(name), TABLES[name]
    days = days_of(dataset)
    last = days[days < table.calibrates].max()
    learned, later = rows_where(dataset, days <= last), rows_where(dataset, days > last)
    known, seconds, rows, features = _predicted(learned, later, seed)
    class_names = dataset.class_names if isinstance(dataset, Dataset) else None
    for interval in table.intervals:
        assert later.times is not None  # noqa: S101 - for the type checker: every table has times
        window = (later.times.seconds // interval).astype(np.int64)
        _, place, sizes = np.unique(window, return_inverse=True, return_counts=True)
        full = sizes[place] >= MIN_ROWS
        title = f"{name}, {interval // 3_600} h"
        yield Case(title, known, seconds, rows[full], window[full], interval, features, class_names)


def _predicted(
    learned: AnyDataset, later: AnyDataset, seed: int
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.float64]], pd.DataFrame, tuple[Feature, ...]]:
    """Train as `model.train` does; return the rows out of fold, their times, and the later rows as predicted."""
    assert learned.times is not None  # noqa: S101 - as above
    recipe = named_recipe("hist_gradient_boosting", learned.task)
    split = split_in_time(learned.times.seconds, learned.strata, Shares())
    pipeline, learned = fit(recipe, learned, split, seed)
    engines = convert(pipeline, learned)
    training = score_out_of_fold(learned, split.train, np.random.default_rng(seed), recipe, answer=engines.answer)
    parts = [training, *(score(learned, engines.serving, part) for part in (split.test, split.reference))]
    assert learned.times is not None  # noqa: S101 - as above
    seconds = learned.times.seconds[np.concatenate([split.train, split.test, split.reference])]
    names = learned.class_names if isinstance(learned, Dataset) else None
    answers = answers_of(engines.serving, rows_of(later.frame, learned.features))
    rows = with_predictions(later.frame.assign(**{LABEL: later.labels}), answers, names)
    return pd.concat(parts, ignore_index=True), seconds, rows, learned.features


def _shipped(name: str, python: Path) -> Iterator[Case]:
    """Yield the rows of a table that NannyML ships with, in windows of 500 and of 5,000 rows."""
    table, folder = SHIPPED[name], _data_folder(python)
    frames = [
        pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        for path in (folder / f"{table.prefix}_{end}" for end in table.ends)
    ]
    reference, analysis, target = frames
    analysis = analysis.assign(**{table.label: _target_of(analysis, target, table.label)})
    known, rows = _as_logged(reference, table), _as_logged(analysis, table)
    features = tuple(
        describe_column(one, "number" if pd.api.types.is_numeric_dtype(known[one]) else "category", known[one])
        for one in table.features
    )
    class_names = tuple(table.probabilities) or None
    if class_names is not None and len(class_names) == 1:
        class_names = ("0", "1")
    for size in SIZES:
        window = np.arange(len(rows)) // size
        yield Case(f"{name}, {size:,} rows", known, None, rows, window, None, features, class_names)


def _data_folder(python: Path) -> Path:
    code = "import importlib.util as u; print(u.find_spec('nannyml').submodule_search_locations[0])"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return Path(found.stdout.strip()) / "datasets" / "data"


def _target_of(analysis: pd.DataFrame, target: pd.DataFrame, label: str) -> pd.Series:
    if "id" in target:
        return analysis["id"].map(target.set_index("id")[label])
    return pd.Series(target[label].to_numpy(), index=analysis.index)


def _as_logged(frame: pd.DataFrame, table: Shipped) -> pd.DataFrame:
    columns = {name: frame[name] for name in table.features}
    if not table.probabilities:
        return pd.DataFrame({**columns, PREDICTION: frame[table.prediction], LABEL: frame[table.label]})
    answers = {PREDICTION: frame[table.prediction], LABEL: frame[table.label]}
    if len(table.probabilities) == 1:
        (probability,) = (frame[column] for column in table.probabilities.values())
        both = {f"{PROBABILITY_PREFIX}0": 1 - probability, f"{PROBABILITY_PREFIX}1": probability}
        return pd.DataFrame({**{name: one.astype(int).astype(str) for name, one in answers.items()}, **both})
    of_class = {f"{PROBABILITY_PREFIX}{name}": frame[column] for name, column in table.probabilities.items()}
    return pd.DataFrame({**answers, **of_class})


def _compared(case: Case, python: Path | None) -> Iterator[list[str]]:
    """Yield a line of the table for each score."""
    estimates = fit_estimates(case.known, case.features, case.class_names, case.seconds)
    assert estimates is not None  # noqa: S101 - for the type checker: there are rows enough
    numbers = np.unique(case.window)
    windows = [case.rows[case.window == number] for number in numbers]
    true = pd.DataFrame([true_scores(rows, case.class_names) for rows in windows], index=numbers)
    theirs = None if python is None else _by_nannyml(case, [str(name) for name in true], python)
    for name, one in _estimated(windows, case, estimates).items():
        defined = true[name].notna().to_numpy()
        if theirs is not None:
            defined &= theirs[name].reindex(numbers).notna().to_numpy()
        truth = true[name].to_numpy()[defined]
        value, low, high = (part[defined] for part in one)
        error = float(np.abs(value - truth).mean())
        other = np.nan
        if theirs is not None:
            other = float(np.abs(theirs[name].reindex(numbers).to_numpy()[defined] - truth).mean())
        held = float(((low <= truth) & (truth <= high)).mean())
        yield [
            case.name,
            f"{len(truth):,}",
            name,
            f"{error:.4g}",
            f"{other:.4g}" if np.isfinite(other) else "",
            f"{error / other:.3f}" if np.isfinite(other) else "",
            f"{held:.1%}",
            f"{float((high - low).mean()):.3g}",
        ]


def _estimated(windows: list[pd.DataFrame], case: Case, estimates: Estimates) -> dict[str, Any]:
    moments = [window_moments(rows, case.class_names, estimates) for rows in windows]
    return intervals(moments, estimates, case.interval)


def _by_nannyml(case: Case, scores: list[str], python: Path) -> pd.DataFrame:
    """Return NannyML's estimates of the same windows, fitted on the same rows."""
    spec: dict[str, Any] = {"scores": scores, "task": "regression" if case.class_names is None else "classification"}
    numbers = {feature.name for feature in number_features(case.features)}
    spec["features"] = [feature.name for feature in case.features]
    if case.class_names is not None:
        spec["probabilities"] = {name: f"{PROBABILITY_PREFIX}{name}" for name in case.class_names}
    with TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "spec.json").write_text(json.dumps(spec))
        for name, frame in (("reference", case.known), ("analysis", case.rows.assign(window=case.window))):
            changed = {one: frame[one].astype("category") for one in spec["features"] if one not in numbers}
            if case.class_names is not None and len(case.class_names) == 2:
                last = case.class_names[-1]
                changed |= {one: (frame[one] == last).astype(int) for one in (PREDICTION, LABEL)}
            frame.assign(**changed).to_parquet(folder / f"{name}.parquet", index=False)
        subprocess.run(
            [python, PROGRAM, folder],
            check=True,
            timeout=FIT_AND_ESTIMATE_SECONDS,
            env={**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"},
            stdout=subprocess.DEVNULL,
        )
        found = json.loads((folder / "estimates.json").read_text())
    return pd.DataFrame(found).set_index("window")
