"""The command that sets the alarms from the service's own windows: python -m scripts.calibrate."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from api.alerts.rules import Quorum
from api.installed_models import find_models
from api.prediction_log.alarms import AlarmAction, AlarmLog, AlarmVersion
from api.prediction_log.own_references import OwnReferences
from api.settings import Settings
from api.snapshots.learning import ServiceAlarms, span_days, usual_interval, windows_in
from api.wiring import build_database, build_service_alarms, places_of
from evidently_workspace.checks import CHECKS
from model.alarms.policy import AlarmPolicy
from model.artifact.manifest import Manifest
from model.artifact.store import read_manifest
from model.artifact.traffic import TrafficAlarms, TrafficThreshold
from model.errors import DataError
from scripts.backtest import WEEK_SECONDS, alerts_of
from scripts.command_line import above_zero, add_model, add_span, check_span, status_of
from scripts.past_rows import reference_of

if TYPE_CHECKING:
    import pandas as pd

    from api.snapshots.logged_frames import DrawnReference
    from model.alarms.window_checks import JudgedWindow
    from model.alarms.window_values import Windows

MAX_SHOWN = 40
WEEK_DAYS = 7


@dataclass(frozen=True, slots=True)
class Judged:
    """What some alarms would have done in the stretch: the verdict on each window, and the number of alerts a week."""

    windows: "Sequence[JudgedWindow]"
    alerts_a_week: float


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.calibrate") -> int:
    """Calibrate, show or take back; return 0, or 2 after an error."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    if options.reference and options.start is None and options.end is None:
        parser.error("--reference needs --from and --to, the stretch whose rows become the reference")
    chosen = [options.undo, options.learn_again, options.list, options.start is not None or options.end is not None]
    if sum(chosen) != 1 or (chosen[-1] and (options.start is None or options.end is None)):
        parser.error("give --from and --to, or one of --undo, --learn-again and --list")
    if options.dry_run and not chosen[-1]:
        parser.error("--dry-run goes with --from and --to alone")
    check_span(parser, options)
    return status_of(lambda: _run(options, Settings()))


def build_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Set the alarms of the served model from windows of the service that were as they should be. The "
        "VIGIE_ settings name the model and the log. The next window is judged by the new alarms; nothing is trained, "
        "and no restart is needed.",
    )
    add = parser.add_argument
    add_span(parser, " of the stretch")
    add_model(parser)
    add("--reference", action="store_true", help="let rows of the stretch be the reference, too: the new normal")
    add("--dry-run", action="store_true", help="only show the thresholds, and what each would have done")
    add("--false-alerts-a-month", type=above_zero, metavar="X", help="budget of false alerts (default: the model's)")
    add("--undo", action="store_true", help="let the alarms hold that held before the newest")
    add("--learn-again", action="store_true", help="forget all windows so far, and learn from those that come")
    add("--list", action="store_true", help="list all alarms that the log has made for this version of the model")
    return parser


def _run(options: argparse.Namespace, common: Settings) -> int:
    console = Console()
    installation = find_models(common)
    model = installation.choose(options.model)
    settings = model.settings
    manifest = read_manifest(settings.model_dir)
    database = build_database(settings)
    database.migrate()
    log = AlarmLog(database, places_of(installation, database)[model.name].model_id)
    alarms = build_service_alarms(settings, database, log.model_id)
    if options.list:
        console.print(_listed(log, manifest))
    elif options.undo:
        undone = log.undo(manifest.version)
        if undone is None:
            raise DataError(f"the log has made no alarms for version {manifest.version} that could be taken back")
        console.print(f"alarms version {undone.id}: {_origin(undone)}; the next window is judged by them")
        _say_reference(alarms.current(manifest)[0], console)
    elif options.learn_again:
        added = log.add(manifest.version, AlarmAction.RESTARTED, None)
        console.print(f"alarms version {added.id}: the windows before {added.made_at:%Y-%m-%d %H:%M} UTC are forgotten")
        _say_reference(alarms.current(manifest)[0], console)
    else:
        _calibrate(options, settings, _Service(manifest, alarms.current(manifest)[0], log, alarms), console)
    return 0


@dataclass(frozen=True, slots=True)
class _Service:
    """The artifact's manifest, the one with the alarms that hold now, and the log that both belong to."""

    manifest: Manifest
    current: Manifest
    log: AlarmLog
    alarms: ServiceAlarms

    @property
    def reference_id(self) -> int | None:
        """Return the reference that windows are measured against now; None for that of the artifact."""
        return None if self.current.own_reference is None else self.current.own_reference.id


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The windows of a stretch, of one length, as measured against the reference of now and against the new one.

    ``measured`` is how many the log knows of, whatever their length. Without ``drawn`` the reference stays.
    """

    interval: int
    now: "Windows"
    new: "Windows"
    measured: int
    drawn: "DrawnReference | None" = None


def _calibrate(options: argparse.Namespace, settings: Settings, service: _Service, console: Console) -> None:
    current = service.current
    reference = reference_of(service.alarms, current, settings.model_dir)
    stretch = _stretch(options, settings, service, reference, console)
    drawn = stretch.drawn
    with console.status("calibrating"):
        base = current if drawn is None else current.model_copy(update={"thresholds": drawn.thresholds})
        found = _fitted(options, stretch.new, stretch.interval, base)
        calibrated = found if current.traffic is None else current.traffic.replaced(found)
        new = base.model_copy(update={"traffic": calibrated})
        quorum = Quorum(settings.alert_windows_failed, settings.alert_windows)
        before = _judged(stretch.now, stretch.interval, current, reference, quorum)
        new_reference = reference if drawn is None else drawn.frame
        after = _judged(stretch.new, stretch.interval, new, new_reference, quorum)
    _show(console, current, found, before, after)
    _say_what_holds(console, found, len(stretch.now.starts), stretch.measured)
    if drawn is not None:
        console.print(f"The reference becomes {drawn.text}. Columns with 'now' compare with the one that holds now.")
        if current.overrides:
            console.print(
                "Thresholds that people set were set for the reference before, and hold on: scripts.threshold"
            )
    if options.dry_run:
        console.print("Nothing was changed. Without --dry-run the next window is judged by the new thresholds.")
        return
    version, content, log = service.manifest.version, calibrated.model_dump_json(), service.log
    if drawn is None:
        added = log.add(version, AlarmAction.CALIBRATED, content, service.reference_id)
    else:
        span = (options.start, min(options.end, log.database.read_now()))
        added = log.add_with_reference(version, content, span, drawn.rows, drawn.thresholds_json)
    console.print(f"alarms version {added.id}; the next window is judged by it. To take it back: --undo")


def _stretch(
    options: argparse.Namespace, settings: Settings, service: _Service, reference: "pd.DataFrame", console: Console
) -> _Stretch:
    """Return the windows of the stretch; what the log has no distances of is measured again, from its rows."""
    from api.snapshots.logged_frames import draw_reference, measure_stretch  # noqa: PLC0415 - imports pandas
    from model.alarms.learning import with_attributions  # noqa: PLC0415 - as above

    log, manifest = service.log, service.manifest
    with console.status("reading windows"):
        measured = log.measured(manifest.version, options.start, options.end)
        if not measured:
            raise DataError(_nothing(log, manifest))
        interval = usual_interval(measured)
        stored = windows_in(measured, interval, service.current, reference)
    if not options.reference and all(window.reference_id == service.reference_id for window in measured):
        return _Stretch(interval, stored, stored, len(measured))
    drawn = None
    if options.reference:
        with console.status("drawing the reference"):
            drawn = draw_reference(log.database, service.current, options.start, options.end, log.model_id)
    references = [(service.current, reference)]
    if drawn is not None:
        references.append((service.current.model_copy(update={"thresholds": drawn.thresholds}), drawn.frame))
    with Progress(*Progress.get_default_columns()[:3], TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("measuring the windows again", total=None)
        again = measure_stretch(
            (log.database, log.model_id),
            settings,
            (options.start, options.end),
            interval,
            references=references,
            progress=lambda done, of: bar.update(task, advance=done, total=of),
        )
    now, *new = (with_attributions(one, stored) for one in again)
    return _Stretch(interval, now, new[0] if new else now, max(len(measured), len(now.starts)), drawn)


def _fitted(options: argparse.Namespace, windows: "Windows", interval: int, current: Manifest) -> TrafficAlarms:
    from model.alarms.learning import learn  # noqa: PLC0415 - imports pandas; --help needs none

    traffic, budget = current.traffic, options.false_alerts_a_month
    policy = AlarmPolicy() if budget is None else AlarmPolicy(false_alerts_a_month=budget)
    wanted = policy.false_alarm_days if budget is not None or traffic is None else traffic.false_alarm_days
    zone = "UTC" if traffic is None else traffic.time_zone
    found = learn(windows, interval, current, false_alarm_days=wanted, zone=zone)
    if found is None:
        raise DataError(f"{len(windows.starts)} windows of {interval} s are too few; give a stretch with more of them")
    return found


def _judged(windows: "Windows", interval: int, manifest: Manifest, reference: "pd.DataFrame", quorum: Quorum) -> Judged:
    from model.alarms.window_checks import judge_windows  # noqa: PLC0415 - imports pandas; --help needs none

    judged = judge_windows(windows, interval, manifest, reference)
    weeks = (judged[-1].end - judged[0].start).total_seconds() / WEEK_SECONDS
    return Judged(judged, len(alerts_of(judged, quorum)) / weeks)


def _show(console: Console, current: Manifest, found: TrafficAlarms, before: Judged, after: Judged) -> None:
    table = Table(title="thresholds", title_justify="left")
    for header in ("statistic", "column", "threshold now", "new", "windows beyond now", "with the new"):
        table.add_column(header, justify="left" if header in {"statistic", "column"} else "right")
    rows = [_row(one, current, before, after) for one in found.thresholds]
    rows.sort(key=lambda row: (-int(row[4].replace(",", "")), row[0]))
    for row in rows[:MAX_SHOWN]:
        table.add_row(*row)
    if len(rows) > MAX_SHOWN:
        table.add_row(f"… {len(rows) - MAX_SHOWN} more", "", "", "", "", "")
    console.print(table)
    checks = Table(title=f"{len(before.windows):,} windows", title_justify="left")
    for header in ("check", "failed windows now", "with the new"):
        checks.add_column(header, justify="left" if header == "check" else "right")
    for check in CHECKS:
        counts = [
            sum(any(failure.check == check.name for failure in window.failures) for window in judged.windows)
            for judged in (before, after)
        ]
        checks.add_row(check.name, *(f"{count:,}" for count in counts))
    checks.add_row("alerts a week", f"{before.alerts_a_week:.2f}", f"{after.alerts_a_week:.2f}")
    console.print(checks)


def windows_beyond(threshold: TrafficThreshold, judged: Judged) -> int:
    """Return in how many windows the statistic of a threshold failed."""
    from model.alarms.window_checks import CHECK_OF  # noqa: PLC0415 - imports pandas; --help needs none

    column = threshold.column or (threshold.name if CHECK_OF[threshold.name] == "performance" else None)
    return sum(
        any(failure.statistic == threshold.name and failure.column == column for failure in window.failures)
        for window in judged.windows
    )


def _row(threshold: TrafficThreshold, current: Manifest, before: Judged, after: Judged) -> tuple[str, ...]:
    old = None
    if current.traffic is not None:
        old = current.traffic.threshold(threshold.name, threshold.column, threshold.interval_seconds)
    now = "by its rows" if old is None else _range(old) + (" (learning)" if old.is_gross else "")
    return (
        threshold.name,
        threshold.column or "",
        now,
        _range(threshold),
        f"{windows_beyond(threshold, before):,}",
        f"{windows_beyond(threshold, after):,}",
    )


def _range(threshold: TrafficThreshold) -> str:
    low, high = min(threshold.thresholds), max(threshold.thresholds)
    if len(threshold.thresholds) == 1:
        return f"{low:.3g}"
    return f"{low:.3g} to {high:.3g} by {threshold.cycle.replace('_', ' ')}"


def _say_what_holds(console: Console, found: TrafficAlarms, used: int, measured: int) -> None:
    days = span_days(found)
    console.print(
        f"From {used:,} windows in {days:.1f} days: in {found.false_alarm_days:.3g} days without a change, one window "
        "may fail all the same."
    )
    if used < measured:
        console.print(f"{measured - used:,} windows of another length were left out.")
    if days < WEEK_DAYS:
        console.print(
            "That is less than a week: what other hours and days are like is not known, and they may alarm.",
            style="yellow",
        )


def _nothing(log: AlarmLog, manifest: Manifest) -> str:
    span = log.learned_span(manifest.version, None)
    if span is None:
        return f"the log has no measured windows of version {manifest.version} yet"
    return (
        f"no measured window of version {manifest.version} lies in that stretch; the log has them from "
        f"{span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC"
    )


def _say_reference(current: Manifest, console: Console) -> None:
    own = current.own_reference
    console.print("windows are measured against " + ("the reference of the artifact" if own is None else own.text))


def _listed(log: AlarmLog, manifest: Manifest) -> Table:
    table = Table(title=f"alarms of {manifest.name} {manifest.version}", title_justify="left")
    for header in ("version", "from", "what happened", "windows from", "to", "reference"):
        table.add_column(header)
    trained = f"trained with --alarms {manifest.alarms}"
    table.add_row("", f"{manifest.created_at:%Y-%m-%d %H:%M}", trained, "", "", "artifact")
    for version in log.versions(manifest.version):
        alarms = None if version.content is None else TrafficAlarms.model_validate_json(version.content)
        span = ("", "") if alarms is None else (_day(alarms.start), _day(alarms.end))
        table.add_row(
            str(version.id),
            f"{version.made_at:%Y-%m-%d %H:%M}",
            version.action.value,
            *span,
            _reference_text(log, version),
        )
    return table


def _reference_text(log: AlarmLog, version: AlarmVersion) -> str:
    if version.reference_id is None:
        return "artifact"
    found = OwnReferences(log.database, log.model_id).find(version.reference_id)
    if found is None:
        return f"own {version.reference_id}, removed since"
    about = found.about
    return f"own {about.id}: {about.rows:,} rows from {_day(about.start)} to {_day(about.end)}"


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _origin(version: AlarmVersion) -> str:
    return "those of the artifact hold" if version.content is None else "the ones before the newest hold"


if __name__ == "__main__":
    sys.exit(main())
