"""The command that says what the alarms would have done on past rows: python -m scripts.backtest."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from api.alerts.rules import Quorum
from evidently_workspace.checks import CHECKS
from model.artifact.manifest import LABEL, PREDICTION, PROBABILITY_PREFIX, ClassifierManifest, Manifest
from model.artifact.store import read_manifest, read_reference
from model.errors import DataError
from scripts.command_line import status_of

if TYPE_CHECKING:
    import pandas as pd

    from model.alarms.window_checks import JudgedWindow

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
WEEK_SECONDS = 7 * 86_400
WORST = 5
NOT_CHECKED = "attribution_drift"


class AlertSpan(NamedTuple):
    """An alert that would have fired: its check, and the ends of the windows that started and ended it."""

    check: str
    start: datetime
    end: datetime | None


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.backtest") -> int:
    """Judge the rows, print what would have happened, and return 0, or 2 after an error."""
    options = build_parser(prog).parse_args(arguments)
    return status_of(lambda: _run(options))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Judge past rows as the API would have: cut them into windows, measure each, and say which checks "
        "would have failed and which alerts would have been sent.",
    )
    parser.add_argument(
        "--model-dir", type=Path, default=Path("data/model"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE", help="rows with their labels")
    parser.add_argument("--time", required=True, metavar="COL", help="the column that says when each row happened")
    parser.add_argument("--time-zone", default="UTC", metavar="ZONE", help="of times without an offset (default: UTC)")
    parser.add_argument("--target", metavar="COL", help="the column with the labels (default: the model's target)")
    parser.add_argument(
        "--interval", type=seconds_of, default="1h", metavar="LENGTH", help="of a window, as 90s, 5min, 1h or 1d"
    )
    parser.add_argument(
        "--min-rows", type=int, default=30, metavar="N", help="fewest rows of a window that is measured"
    )
    parser.add_argument("--windows-failed", type=int, default=2, metavar="K", help="an alert fires at K failed windows")
    parser.add_argument("--windows", type=int, default=3, metavar="N", help="of the last N (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all windows, values and alerts there")
    return parser


def seconds_of(text: str) -> int:
    """Return the seconds of a length such as 90s, 5min, 1h or 1d."""
    found = re.fullmatch(r"(\d+)(s|min|m|h|d)", text.strip())
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length such as 90s, 5min, 1h or 1d")
    return int(found[1]) * UNITS[found[2]]


def _run(options: argparse.Namespace) -> int:
    console = Console()
    manifest = read_manifest(options.model_dir)
    with console.status("reading and predicting the rows"):
        rows, seconds = _scored_rows(options, manifest)
    with console.status(f"measuring windows of {options.interval} s"):
        from model.alarms.window_checks import check_windows  # noqa: PLC0415 - imports pandas; --help needs none

        reference = read_reference(options.model_dir)
        windows = check_windows(rows, seconds, options.interval, manifest, reference, min_rows=max(1, options.min_rows))
    if not windows:
        raise DataError(f"no window of {options.interval} s has {options.min_rows} rows; give a longer --interval")
    alerts = alerts_of(windows, Quorum(options.windows_failed, options.windows))
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(windows, alerts), indent=1) + "\n", encoding="utf-8")
    _show(console, windows, alerts, manifest)
    return 0


def _scored_rows(options: argparse.Namespace, manifest: Manifest) -> "tuple[pd.DataFrame, Any]":
    """Return the rows of the file as the log would have them: with the model's predictions, and their labels."""
    from model.data.csv_file import TimeColumn, read_columns  # noqa: PLC0415 - as above
    from model.data.encoding import rows_of  # noqa: PLC0415 - as above
    from model.serving.predictor import load_predictor  # noqa: PLC0415 - as above

    time = TimeColumn(options.time, options.time_zone)
    target = options.target or manifest.target
    columns = read_columns(options.csv, target, only=manifest.feature_names, time=time, task=manifest.task)
    known = manifest.classes if isinstance(manifest, ClassifierManifest) else None
    dataset = columns.dataset(known)
    assert dataset.times is not None  # noqa: S101 - for the type checker: a time column was given
    predicted = load_predictor(options.model_dir).predict(rows_of(dataset.frame, manifest.features))
    frame = dataset.frame.assign(**{LABEL: dataset.labels})
    if isinstance(manifest, ClassifierManifest):
        frame[PREDICTION] = [manifest.class_names[place] for place in predicted.argmax(axis=1)]
        for place, name in enumerate(manifest.class_names):
            frame[f"{PROBABILITY_PREFIX}{name}"] = predicted[:, place]
    else:
        frame[PREDICTION] = predicted
    return frame, dataset.times.seconds


def alerts_of(windows: "Sequence[JudgedWindow]", quorum: Quorum) -> list[AlertSpan]:
    """Return the alerts that k failed windows of the last n would have fired, in the order of time."""
    spans: list[AlertSpan] = []
    for check in CHECKS:
        failed = [any(failure.check == check.name for failure in window.failures) for window in windows]
        since: datetime | None = None
        for place, window in enumerate(windows):
            fires = sum(failed[max(0, place + 1 - quorum.windows) : place + 1]) >= quorum.failed
            if fires and since is None:
                since = window.end
            elif not fires and since is not None:
                spans.append(AlertSpan(check.name, since, window.end))
                since = None
        if since is not None:
            spans.append(AlertSpan(check.name, since, None))
    return sorted(spans, key=lambda span: span.start)


def _summary(windows: "Sequence[JudgedWindow]", alerts: Sequence[AlertSpan]) -> dict[str, Any]:
    weeks = (windows[-1].end - windows[0].start).total_seconds() / WEEK_SECONDS
    failed = {
        check.name: sum(any(failure.check == check.name for failure in window.failures) for window in windows)
        for check in CHECKS
        if check.name != NOT_CHECKED
    }
    return {
        "windows": len(windows),
        "weeks": round(weeks, 3),
        "failed_windows": sum(bool(window.failures) for window in windows),
        "failed_windows_by_check": failed,
        "alerts": len(alerts),
        "alerts_a_week": round(len(alerts) / weeks, 3) if weeks > 0 else None,
        "not_checked": [NOT_CHECKED],
    }


def _as_json(windows: "Sequence[JudgedWindow]", alerts: Sequence[AlertSpan]) -> dict[str, Any]:
    return {
        "windows": [
            {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "rows": window.rows,
                "failed_checks": [failure._asdict() for failure in window.failures],
                "values": [
                    {"name": name.name, "column": name.column, "value": value} for name, value in window.values.items()
                ],
            }
            for window in windows
        ],
        "alerts": [
            {"check": alert.check, "from": alert.start.isoformat(), "to": alert.end.isoformat() if alert.end else None}
            for alert in alerts
        ],
        "summary": _summary(windows, alerts),
    }


def _show(console: Console, windows: "Sequence[JudgedWindow]", alerts: Sequence[AlertSpan], manifest: Manifest) -> None:
    summary = _summary(windows, alerts)
    table = Table(title=f"{summary['windows']:,} windows, {summary['weeks']:.1f} weeks", title_justify="left")
    for header in ("check", "failed windows", "share", "alerts", "a week"):
        table.add_column(header, justify="left" if header == "check" else "right")
    for check, failed in summary["failed_windows_by_check"].items():
        count = sum(alert.check == check for alert in alerts)
        a_week = f"{count / summary['weeks']:.2f}" if summary["weeks"] > 0 else ""
        table.add_row(check, f"{failed:,}", f"{failed / len(windows):.1%}", f"{count:,}", a_week)
    console.print(table)
    worst = sorted((window for window in windows if window.failures), key=lambda one: len(one.failures), reverse=True)
    for window in worst[:WORST]:
        named = ", ".join(
            f"{one.check} {one.column or ''} {one.value:.3g} (threshold {one.threshold:.3g})".replace("  ", " ")
            for one in window.failures[:3]
        )
        more = f" and {len(window.failures) - 3} more" if len(window.failures) > 3 else ""
        console.print(f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}: {named}{more}", highlight=False)
    if manifest.traffic is None:
        console.print(
            "These alarms were calibrated on rows drawn at random, so hours, weekdays and weather count as drift. "
            "Train with --time to calibrate them on windows cut in time."
        )
    console.print("Attribution drift is not judged here.")


if __name__ == "__main__":
    sys.exit(main())
