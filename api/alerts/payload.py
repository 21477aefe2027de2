"""What an alert says: one object of Alertmanager's v2 API from the state of a check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from api.alerts.next_steps import NextSteps
from api.alerts.rules import INCOMPLETE, CheckState, failed_parts
from api.prediction_log.records import WindowRecord
from api.snapshots.health import SnapshotLinks
from evidently_workspace.checks import Check
from evidently_workspace.panels import written

NAMED_IN_SUMMARY = 5
"""Most columns that the summary names with their numbers; the annotation ``columns`` has them all."""

REPEATS_PER_LIFETIME = 4
"""Repeats that may fail in a row before Alertmanager considers an alert as over, as with Prometheus."""

Alert = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wording:
    """What an alert says besides the state of its check."""

    model: str
    links: SnapshotLinks
    lifetime: timedelta
    """How long an alert fires in Alertmanager when it is not repeated."""
    next_steps: NextSteps


def alert_of(check: Check, state: CheckState, wording: Wording, now: datetime) -> Alert:
    """Build the alert: firing until its lifetime from now has passed, or over since the window that ended it.

    Alertmanager identifies an alert by its labels, so these take few values; free text is in the annotations.
    """
    window = state.newest_failed
    report = wording.links.report(window)
    failures = newest_failures(check, window)
    annotations = {
        "summary": summary(check, state, wording.model),
        "window": f"{_rfc3339(window.start)}/{_rfc3339(window.end)}",
        "columns": ", ".join(_columns(failures)),
        "cause": failures[0].get("cause") or "" if failures else "",
        "next_step": wording.next_steps.after(failures[0], window.start) if failures else "",
        "report_url": report,
        "evidently_url": wording.links.evidently(window),
    }
    return {
        "labels": {
            "alertname": check.alertname,
            "check": check.name,
            "model": wording.model,
            "severity": check.severity,
        },
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _rfc3339(state.fired_at),
        "endsAt": _rfc3339(now + wording.lifetime if state.firing else state.since),
        "generatorURL": report or wording.links.home,
    }


def summary(check: Check, state: CheckState, model: str) -> str:
    """Return one sentence: how many windows failed, and by how much the newest of them did, the worst column first."""
    if check == INCOMPLETE:
        named = "; ".join(failed_parts(state.newest_failed)[:NAMED_IN_SUMMARY])
        return (
            f"Parts of the snapshot failed in {state.failed} of the last {state.considered} windows of {model}, so "
            f"nobody sees what they should show; the newest: {named}."
        )
    named = named_in(check, newest_failures(check, state.newest_failed))
    return (
        f"{check.title} in {state.failed} of the last {state.considered} windows of {model}; "
        f"the newest that failed: {named}."
    )


def named_in(check: Check, failures: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of some failures of a check with their numbers, and how many more there are."""
    named = ", ".join(_measured(check, failed) for failed in failures[:NAMED_IN_SUMMARY])
    more = len(failures) - NAMED_IN_SUMMARY
    return named + (f" and {more} more" if more > 0 else "")


def newest_failures(check: Check, window: WindowRecord) -> list[dict[str, Any]]:
    """Return the failures of a check in a window, the worst first."""
    failures = [failed for failed in window.failed_checks if failed["check"] == check.name]
    return sorted(failures, key=_excess, reverse=True)


def _excess(failed: dict[str, Any]) -> float:
    """Return by what share of its threshold a value is beyond it, above or below."""
    value, threshold = float(failed["value"]), float(failed["threshold"])
    return abs(value - threshold) / max(abs(threshold), 1e-9)


def _columns(failures: list[dict[str, Any]]) -> list[str]:
    """Return each column once, though it may have failed in several ways; a score such as accuracy is no column."""
    return list(dict.fromkeys(str(one["column"]) for one in failures if one["column"] not in {None, _measure(one)}))


def _measure(failed: Mapping[str, Any]) -> str | None:
    measure: str | None = failed.get("measure")
    return measure


def _measured(check: Check, failed: Mapping[str, Any]) -> str:
    names = dict.fromkeys(name for name in (failed["column"], _measure(failed)) if name) or check.measures[:1]
    return f"{' '.join(names)} {_written(failed['value'])} (threshold {_written(failed['threshold'])})"


def _written(value: float) -> str:
    return written(float(f"{value:.3g}"))


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
