"""What people are told without Alertmanager: one message about a model, in plain words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from api.alerts.delivery import Message
from api.alerts.payload import Wording, named_in, newest_failures
from api.alerts.rules import INCOMPLETE, CheckState, failed_parts
from api.prediction_log.alarm_changes import AlarmChange
from api.prediction_log.notifications import KnownAlert
from evidently_workspace.checks import CHECKS

REMIND_AFTER = {"critical": timedelta(hours=4), "warning": timedelta(hours=12)}
"""When an alert that goes on is told again, by the worst severity: as often as our Alertmanager does."""
CHECK_OF = {check.name: check for check in (*CHECKS, INCOMPLETE)}
States = Mapping[str, CheckState]


@dataclass(frozen=True, slots=True)
class News:
    """What an address should be told of a model's checks, by their names."""

    begun: list[str] = field(default_factory=list)
    ongoing: list[str] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    is_reminder: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.begun or self.over or self.is_reminder)


def news_for(known: Mapping[str, KnownAlert], states: States, since_told: timedelta | None) -> News:
    """Return what is new to an address that was told of the ``known`` alerts, the last time ``since_told`` ago."""
    firing = [name for name, state in states.items() if state.firing]
    told = {name for name, alert in known.items() if alert.told}
    severe = any(CHECK_OF[name].severity == "critical" for name in firing)
    wait = REMIND_AFTER["critical" if severe else "warning"]
    return News(
        begun=[name for name in firing if name not in told],
        ongoing=[name for name in firing if name in told],
        over=[name for name in known if name not in firing],
        is_reminder=bool(firing) and since_told is not None and since_told >= wait,
    )


def message_of(
    news: News,
    known: Mapping[str, KnownAlert],
    states: States,
    wording: Wording,
    model_version: str,
    *,
    mutes: Sequence[AlarmChange] = (),
) -> Message:
    """Return the message that tells the news; what goes on is repeated in it, so that the newest message says all."""
    said = [
        *(_firing(name, states[name], wording) for name in news.begun),
        *(_firing(name, states[name], wording) for name in news.ongoing),
        *(_over(name, known[name], states.get(name), model_version, _mute(name, mutes)) for name in news.over),
        "\n".join(_links(news, states, wording)),
    ]
    return Message(f"{wording.model}: {_headline(news)}", "\n\n".join(said), _kind(news))


def _headline(news: News) -> str:
    if news.begun:
        return f"{_listed(news.begun)} began"
    if news.is_reminder:
        return f"{_listed(news.ongoing)} still there"
    rest = f", {_listed(news.ongoing)} still there" if news.ongoing else ""
    return f"{_listed(news.over)} over{rest}"


def _kind(news: News) -> str:
    firing = [*news.begun, *news.ongoing]
    if not firing:
        return "success"
    return "failure" if any(CHECK_OF[name].severity == "critical" for name in firing) else "warning"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(CHECK_OF[name].title.lower() if name in CHECK_OF else name.replace("_", " ") for name in names)


def _firing(name: str, state: CheckState, wording: Wording) -> str:
    check = CHECK_OF[name]
    window = state.newest_failed
    since = f"{check.title} since {_time(state.fired_at)}, in {state.failed} of the last {state.considered} windows."
    if check == INCOMPLETE:
        parts = "; ".join(failed_parts(window)[:3])
        return f"{since}\nParts of the snapshots fail, so nobody sees what they should show: {parts}."
    failures = newest_failures(check, window)
    how_bad = f"The newest that failed, {_span(window.start, window.end)}: {named_in(check, failures)}."
    cause = f"\nCause: {failures[0]['cause']}." if failures[0].get("cause") else ""
    return f"{since}\n{how_bad}{cause}\nNext step: {wording.next_steps.after(failures[0], window.start)}"


def _mute(name: str, mutes: Sequence[AlarmChange]) -> AlarmChange | None:
    """Return the mute that holds now and may have ended the alert of a check."""
    now = datetime.now(UTC)
    held = [mute for mute in mutes if mute.until is not None and mute.until > now and mute.check in {None, name}]
    return held[-1] if held else None


def _over(name: str, alert: KnownAlert, state: CheckState | None, model_version: str, mute: AlarmChange | None) -> str:
    title = CHECK_OF[name].title if name in CHECK_OF else name
    if mute is not None and mute.until is not None:
        what = f"column {mute.column}" if mute.column else "the check"
        return f"{title} alerts no more: {mute.made_by} muted {what} until {_time(mute.until)} ({mute.reason})."
    began = f"{title}, which began {_time(alert.fired_at)}, is over"
    if alert.model_version != model_version:
        return f"{began}: version {model_version} of the model serves now, in place of {alert.model_version}."
    return f"{began}." if state is None else f"{began} since {_time(state.since)}."


def _links(news: News, states: States, wording: Wording) -> Iterator[str]:
    reports = {
        report: window
        for name in (*news.begun, *news.ongoing)
        if (report := wording.links.report(window := states[name].newest_failed)) is not None
    }
    for report, window in reports.items():
        yield f"Report of {_span(window.start, window.end)}: {report}"
    yield f"Dashboard: {wording.links.project()}"
    yield f"Start page: {wording.links.home}"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(start: datetime, end: datetime) -> str:
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    day = "" if start.date() == end.date() else "%Y-%m-%d "
    return f"{start:%Y-%m-%d %H:%M} to {end:{day}%H:%M} UTC"
