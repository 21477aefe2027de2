"""The training and snapshot benchmarks: what many rows and many columns cost, each in a process of its own."""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scripts.bench.reading import peak_bytes
from scripts.command_line import whole_from

TARGET = "late"
LEVELS = (3, 5, 8, 12)


class Case(NamedTuple):
    """A made-up table, and how much training on it may take; `read_seconds` is part of a goal for large files only."""

    rows: int
    numbers: int
    categories: int
    seconds: float
    mebibytes: float
    read_seconds: float | None = None

    @property
    def title(self) -> str:
        """Return what the table's row says."""
        return f"{self.rows:,} rows x {self.numbers + self.categories} columns"


TRAINING = {
    "tall": Case(50_000, 6, 4, 30, 2048),
    "long": Case(336_000, 6, 4, 120, 2048, 10),
    "wide": Case(2_000, 500, 0, 60, 1024),
}
SNAPSHOTS = {"tall": Case(50_000, 26, 4, 15, 2048), "wide": Case(1_500, 300, 0, 15, 2048)}
SNAPSHOT_ROWS = {"tall": 20_000, "wide": 1_500}
INTERVAL = timedelta(minutes=5)


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--cases", nargs="+", choices=tuple(TRAINING), default=list(TRAINING), help="made-up tables (default: all)"
    )
    parser.add_argument("--rows", type=whole_from(200), help="rows of each table, instead of as many as the goals name")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="a file of your own instead")
    parser.add_argument("--target", metavar="COL", help="its column to predict")


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--cases", nargs="+", choices=tuple(SNAPSHOTS), default=list(SNAPSHOTS), help="made-up tables (default: all)"
    )
    parser.add_argument("--rows", type=whole_from(100), help="of the windows, instead of as many as the goals name")
    parser.add_argument("--trained-rows", type=whole_from(200), help="of the models, likewise")


def run_training(options: argparse.Namespace) -> int:
    """Train the default model on each table and print the CPU time and memory that it took."""
    if (options.csv is None) != (options.target is None):
        print("error: --csv and --target go together", file=sys.stderr)
        return 2
    print("| table | read, CPU s | trained, CPU s | peak memory | attributions | goal | met |")
    print("|---|---|---|---|---|---|---|")
    with TemporaryDirectory(prefix="vigie-training-") as name:
        folder = Path(name)
        if options.csv is not None:
            print(_training_row(options.csv.name, _apart("train", options.csv, options.target, folder / "own"), None))
            return 0
        for key in options.cases:
            case = TRAINING[key] if options.rows is None else TRAINING[key]._replace(rows=options.rows)
            path = folder / f"{key}.csv"
            make_table(case).to_csv(path, index=False)
            print(_training_row(case.title, _apart("train", path, TARGET, folder / key), case), flush=True)
    return 0


def run_snapshot(options: argparse.Namespace) -> int:
    """Train the default model on each table, take snapshots of a window and print the CPU time of their parts."""
    print("| window | rows explained | explaining, CPU s | measuring, CPU s | together | peak memory | goal | met |")
    print("|---|---|---|---|---|---|---|---|")
    with TemporaryDirectory(prefix="vigie-snapshot-") as name:
        for key in options.cases:
            folder, case = Path(name) / key, SNAPSHOTS[key]
            case = case if options.trained_rows is None else case._replace(rows=options.trained_rows)
            folder.mkdir()
            make_table(case).to_csv(folder / "rows.csv", index=False)
            _apart("train", folder / "rows.csv", TARGET, folder / "model")
            rows = options.rows or SNAPSHOT_ROWS[key]
            _print_snapshots(case, rows, _apart("snapshot", folder / "model", str(rows)))
    return 0


def _print_snapshots(case: Case, rows: int, found: dict[str, Any]) -> None:
    allowed, columns = min(case.seconds, INTERVAL.total_seconds() / 10), case.numbers + case.categories
    memory = found["peak"] / 2**20
    for place, one in enumerate(found["windows"]):
        spent = one["explaining"] + one["measuring"]
        met = "yes" if spent <= allowed and memory <= case.mebibytes else "no"
        cells = f"{one['rows']} | {one['explaining']:.1f} | {one['measuring']:.1f} | {spent:.1f} | {memory:,.0f} MiB"
        which = f"{rows:,} rows x {columns} columns, {'later' if place else 'first'}"
        print(f"| {which} | {cells} | at most {allowed:.0f} s and {case.mebibytes:,.0f} MiB | {met} |")
    print(
        f"| the model of {case.title}: loaded, its attributions proven, once a version | | {found['loading']:.1f} "
        "| | | | | |",
        flush=True,
    )


def make_table(case: Case) -> pd.DataFrame:
    """Return made-up rows of a class that depends on some of the columns, not by straight lines, and on luck."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(case.rows, case.numbers)).round(4)
    levels = [rng.integers(0, LEVELS[place % len(LEVELS)], case.rows) for place in range(case.categories)]
    score = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + np.sin(2 * numbers[:, 3])
    for place, level in enumerate(levels):
        score += (level == 1) * numbers[:, 4] if place == 0 else rng.normal(size=level.max() + 1)[level] / 2
    columns: dict[str, Any] = {f"number_{place}": numbers[:, place] for place in range(case.numbers)}
    columns |= {f"category_{place}": np.char.add("level ", level.astype(str)) for place, level in enumerate(levels)}
    late = score + rng.normal(size=case.rows) > 0.5
    return pd.DataFrame(columns | {TARGET: np.where(late, "yes", "no")})


def _training_row(title: str, found: dict[str, float], case: Case | None) -> str:
    memory, attributions = found["peak"] / 2**20, "yes" if found["attributions"] else "no"
    goal, met = "", ""
    if case is not None:
        parts = [
            (found["trained"] + (0 if case.read_seconds else found["read"]), case.seconds),
            (memory, case.mebibytes),
        ]
        goal = f"{case.seconds:.0f} s and {case.mebibytes:,.0f} MiB"
        if case.read_seconds:
            parts.append((found["read"], case.read_seconds))
            goal = f"{case.read_seconds:.0f} s to read, {goal}"
        met = "yes" if found["attributions"] and all(spent <= most for spent, most in parts) else "no"
    cells = f"{found['read']:.1f} | {found['trained']:.1f} | {memory:,.0f} MiB | {attributions} | {goal} | {met}"
    return f"| {title} | {cells} |"


def _apart(*arguments: object) -> dict[str, Any]:
    program = [sys.executable, "-m", "scripts.bench.scale", *map(str, arguments)]
    found = subprocess.run(program, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    measured: dict[str, Any] = json.loads(found.stdout)
    return measured


def _train(path: Path, target: str, folder: Path) -> dict[str, float]:
    from model.data.csv_file import read_columns  # noqa: PLC0415 - loading takes seconds, which are not measured
    from model.training.fit import train_model  # noqa: PLC0415 - as above

    began = process_time()
    columns = read_columns(path, target)
    read = process_time() - began
    manifest = train_model(columns.dataset(), folder)
    trained = process_time() - began - read
    explained = manifest.attributions is not None
    return {"read": read, "trained": trained, "peak": peak_bytes(), "attributions": explained}


def measure_snapshots(folder: Path, rows: int) -> dict[str, Any]:
    """Return the CPU seconds of loading a model and of measuring three windows of `rows` rows."""
    from api.snapshots.window_models import WindowExplanations  # noqa: PLC0415 - as above
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - as above
    from evidently_workspace.window import Window  # noqa: PLC0415 - as above
    from model.artifact.store import read_manifest, read_reference  # noqa: PLC0415 - as above

    manifest, reference = read_manifest(folder), read_reference(folder)
    began = process_time()
    explanations = WindowExplanations(folder)
    loading, windows = process_time() - began, []
    now = datetime(2026, 11, 23, 8, tzinfo=UTC)
    for number in range(3):
        current = reference.sample(rows, replace=True, random_state=number)
        began = process_time()
        phi, missing = explanations.explain(current, INTERVAL)
        explained = process_time()
        window = Window(now + number * INTERVAL, now + (number + 1) * INTERVAL)
        limits: dict[str, Any] = {"min_rows": 30, "min_labels": 30}
        take_snapshot(
            window, current, current, reference, manifest, **limits, attributions=phi, attributions_missing=missing
        )
        measured = {"explaining": explained - began, "measuring": process_time() - explained}
        windows.append(measured | {"rows": 0 if phi is None else len(phi)})
    return {"loading": loading, "windows": windows, "peak": peak_bytes()}


if __name__ == "__main__":
    made = _train(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])) if sys.argv[1] == "train" else None
    print(json.dumps(made or measure_snapshots(Path(sys.argv[2]), int(sys.argv[3]))))
