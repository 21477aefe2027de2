"""The command that says what the alarms would have done on past rows: python -m scripts.backtest."""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console
from rich.table import Table

from api.alerts.rules import Quorum
from api.installed_models import find_models
from api.prediction_log.database import Database
from api.settings import Settings
from api.wiring import places_of
from evidently_workspace.checks import CHECKS
from model.errors import DataError
from scripts.command_line import add_model, add_span, check_span, status_of, whole_from
from scripts.past_rows import Judged, Rules, judge_file, judge_log

if TYPE_CHECKING:
    from model.alarms.window_checks import Failure, JudgedWindow
    from model.artifact.traffic import TrafficAlarms

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
WEEK_SECONDS = 7 * 86_400
WORST = 5
MAX_NAMED = 8
OF_A_FILE = ("time", "time_zone", "target")
WITHOUT_COLUMN = ("prediction_drift", "target_drift")
"""Values that a snapshot records without a column."""


class AlertSpan(NamedTuple):
    """An alert that would have fired: its check, and the ends of the windows that started and ended it."""

    check: str
    start: datetime
    end: datetime | None


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.backtest") -> int:
    """Judge the rows, print what would have happened, and return 0, or 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    check_span(parser, options)
    if (wrong := _wrong_options(options)) is not None:
        parser.error(wrong)
    return status_of(lambda: _run(options))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Judge past rows as the API would have: cut them into windows, measure each, and say which checks "
        "would have failed and which alerts would have been sent. The rows are those of a CSV file (--csv, --time), or "
        "of the prediction log (--from, --to), which the VIGIE_ settings name. Nothing is changed.",
    )
    add = parser.add_argument
    add("--model-dir", type=Path, metavar="DIR", help="default: data/model; for the log VIGIE_MODEL_DIR")
    add_model(parser)
    add("--csv", type=Path, metavar="FILE", help="rows, with or without their labels")
    add("--time", metavar="COL", help="the column of FILE that says when each row happened")
    add("--time-zone", metavar="ZONE", help="of times in FILE without an offset (default: UTC)")
    add(
        "--target", metavar="COL", help="the column of FILE with the labels (default: the model's target, if it has it)"
    )
    add_span(parser, " in the log")
    one = whole_from(1)
    add("--interval", type=seconds_of, metavar="LENGTH", help="of a window, as 90s, 5min, 1h or 1d (default: 1h, *)")
    add("--min-rows", type=one, metavar="N", help="fewest rows of a window that is measured (default: 30, *)")
    add("--min-labels", type=one, metavar="N", help="the same for labels (default: as many, *)")
    add("--windows-failed", type=one, metavar="K", help="an alert fires at K failed windows (default: 2, *)")
    add("--windows", type=one, metavar="N", help="of the last N (default: 3, *)")
    add("--json", type=Path, metavar="OUT", help="write all windows, values and alerts there")
    parser.epilog = "* for the log, the default is what the VIGIE_ settings say."
    return parser


def seconds_of(text: str) -> int:
    """Return the seconds of a length such as 90s, 5min, 1h or 1d."""
    found = re.fullmatch(r"(\d{1,9})(s|min|m|h|d)", text.strip(), re.ASCII)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length such as 90s, 5min, 1h or 1d")
    return int(found[1]) * UNITS[found[2]]


def _wrong_options(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the options together; None where they fit."""
    if options.csv is not None:
        if options.start is not None or options.end is not None:
            return "--from and --to choose rows of the log; leave them out with --csv"
        return None if options.time is not None else "--csv needs --time, the column that says when each row happened"
    given = [name for name in OF_A_FILE if getattr(options, name) is not None]
    if given:
        return f"--{given[0].replace('_', '-')} is about a CSV file; give that with --csv"
    if options.start is None or options.end is None:
        return "give either --csv and --time, for a file, or --from and --to, for the log"
    return None


def _run(options: argparse.Namespace) -> int:
    installation = find_models(Settings()) if options.csv is None else None
    model = None if installation is None else installation.choose(options.model)
    settings = None if model is None else model.settings
    rules = _rules(options, settings)
    folder = options.model_dir or (settings.model_dir if settings else Path("data/model"))
    progress = Console(stderr=True)  # so that what is printed can be kept as it is
    if installation is None or model is None:
        judged = judge_file(options, rules, folder, progress)
    else:

        def id_in(database: Database) -> int:
            return places_of(installation, database)[model.name].model_id

        judged = judge_log(
            options, rules, folder, model.settings, progress=progress, id_in=id_in, drift_floors=model.drift_floors
        )
    if not judged.windows:
        enough = f"{rules.min_rows} rows or {rules.min_labels} labels"
        raise DataError(f"no window of {rules.seconds} s has {enough}; give a longer --interval")
    alerts = alerts_of(judged.windows, rules.quorum)
    if options.json is not None:
        options.json.write_text(json.dumps(_as_json(judged, alerts), indent=1) + "\n", encoding="utf-8")
    _show(Console(), judged, alerts)
    return 0


def _rules(options: argparse.Namespace, settings: Settings | None) -> Rules:
    """Return what the options say, or else the settings of the service, or else the defaults of a file."""
    of_service = settings or Settings.model_construct(snapshot_interval_seconds=UNITS["h"])
    min_rows = options.min_rows or of_service.snapshot_min_rows
    min_labels = options.min_labels or (of_service.snapshot_min_labels if settings else min_rows)
    quorum = Quorum(
        options.windows_failed or of_service.alert_windows_failed, options.windows or of_service.alert_windows
    )
    if quorum.failed > quorum.windows:
        raise DataError(f"{quorum.failed} of {quorum.windows} windows can never fail; lower --windows-failed")
    return Rules(options.interval or of_service.snapshot_interval_seconds, min_rows, min_labels, quorum)


def alerts_of(windows: "Sequence[JudgedWindow]", quorum: Quorum) -> list[AlertSpan]:
    """Return the alerts that k failed windows of the last n would have fired, in the order of time.

    As in the API, the windows that count for a check are those that computed it.
    """
    spans: list[AlertSpan] = []
    for check in CHECKS:
        computed = [window for window in windows if _computed(window, check.name)]
        failed = [_fails(window, check.name) for window in computed]
        since: datetime | None = None
        for place, window in enumerate(computed):
            fires = sum(failed[max(0, place + 1 - quorum.windows) : place + 1]) >= quorum.failed
            if fires and since is None:
                since = window.end
            elif not fires and since is not None:
                spans.append(AlertSpan(check.name, since, window.end))
                since = None
        if since is not None:
            spans.append(AlertSpan(check.name, since, None))
    return sorted(spans, key=lambda span: span.start)


def _computed(window: "JudgedWindow", check: str) -> bool:
    """Whether a window has a value that this check judges; one without any values is taken to have all."""
    from model.alarms.window_checks import CHECK_OF  # noqa: PLC0415 - imports pandas; --help needs none

    return not window.values or any(CHECK_OF.get(name.name) == check for name in window.values)


def _fails(window: "JudgedWindow", check: str) -> bool:
    return any(failure.check == check for failure in window.failures)


def _summary(judged: Judged, alerts: Sequence[AlertSpan]) -> dict[str, Any]:
    windows = judged.windows
    weeks = (windows[-1].end - windows[0].start).total_seconds() / WEEK_SECONDS
    computed = {check.name: sum(_computed(window, check.name) for window in windows) for check in CHECKS}
    return {
        "windows": len(windows),
        "weeks": round(weeks, 3),
        "failed_windows": sum(bool(window.failures) for window in windows),
        "failed_windows_by_check": {
            check: sum(_fails(window, check) for window in windows) for check, count in computed.items() if count
        },
        "computed_windows_by_check": computed,
        "alerts": len(alerts),
        "alerts_a_week": round(len(alerts) / weeks, 3) if weeks > 0 else None,
        "not_checked": [check for check, count in computed.items() if not count],
        **judged.facts,
    }


def _failed(failure: "Failure") -> dict[str, Any]:
    """Return a failure; `measure` is there for a segment, and where several windows together show it."""
    found = failure._asdict()
    del found["statistic"]  # the check and its measure say it
    return found if failure.measure else {name: value for name, value in found.items() if name != "measure"}


def _as_json(judged: Judged, alerts: Sequence[AlertSpan]) -> dict[str, Any]:
    return {
        "windows": [
            {
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "rows": window.rows,
                "failed_checks": [_failed(failure) for failure in window.failures],
                "values": list(_values(window)),
            }
            for window in judged.windows
        ],
        "alerts": [
            {"check": alert.check, "from": alert.start.isoformat(), "to": alert.end.isoformat() if alert.end else None}
            for alert in alerts
        ],
        "summary": _summary(judged, alerts),
    }


def _values(window: "JudgedWindow") -> Iterator[dict[str, Any]]:
    """Yield the values as `GET /snapshots/metrics` names them."""
    for name, value in window.values.items():
        yield {"name": name.name, "column": None if name.name in WITHOUT_COLUMN else name.column, "value": value}


def _show(console: Console, judged: Judged, alerts: Sequence[AlertSpan]) -> None:
    summary, windows = _summary(judged, alerts), judged.windows
    table = Table(title=f"{summary['windows']:,} windows, {summary['weeks']:.1f} weeks", title_justify="left")
    for header in ("check", "failed windows", "share", "alerts", "a week"):
        table.add_column(header, justify="left" if header == "check" else "right")
    for check, failed in summary["failed_windows_by_check"].items():
        count = sum(alert.check == check for alert in alerts)
        a_week = f"{count / summary['weeks']:.2f}" if summary["weeks"] > 0 else ""
        share = failed / summary["computed_windows_by_check"][check]
        table.add_row(check, f"{failed:,}", f"{share:.1%}", f"{count:,}", a_week)
    for check in summary["not_checked"]:
        table.add_row(check, "not checked", "", "", "")
    console.print(table)
    worst = sorted((window for window in windows if window.failures), key=lambda one: len(one.failures), reverse=True)
    for window in worst[:WORST]:
        named = ", ".join(map(failure_text, window.failures[:3]))
        more = f" and {len(window.failures) - 3} more" if len(window.failures) > 3 else ""
        console.print(
            f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}: {named}{more}",
            highlight=False,
            markup=False,
        )
    for note in judged.notes:
        console.print(note, highlight=False, markup=False)
    traffic = judged.manifest.traffic
    if traffic is not None and traffic.gross:
        console.print(learning_note(traffic), highlight=False, markup=False)
    if traffic is None:
        console.print(
            "These alarms were calibrated on rows drawn at random, so hours, weekdays and weather count as drift. "
            "Train with --time to calibrate them on windows cut in time."
        )
    console.print("Attribution drift is not judged here.")


def failure_text(failure: "Failure") -> str:
    """Return a failure as text; a segment, and what several windows together show, say so."""
    about = " ".join(filter(None, [failure.check, failure.column]))
    together = f", {failure.measure}, from several windows:" if failure.measure else ""
    if failure.measure == "segment":
        together = " (segment)"
    return f"{about}{together} {failure.value:.3g} (threshold {failure.threshold:.3g})"


def learning_note(traffic: "TrafficAlarms") -> str:
    """Return which statistics still have to be learned."""
    learned = [f"{one.name} of {one.column}" if one.column else one.name for one in traffic.gross]
    more = f" and {len(learned) - MAX_NAMED:,} more" if len(learned) > MAX_NAMED else ""
    return (
        f"What is usual is still to be learned of {', '.join(learned[:MAX_NAMED])}{more}: only gross changes of these "
        "alarm."
    )


if __name__ == "__main__":
    sys.exit(main())
