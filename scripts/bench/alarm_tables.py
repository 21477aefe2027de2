"""What was measured of alarms as tables in Markdown: each goal and what was reached, quiet windows, known changes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evidently_workspace.checks import CheckName
from model.artifact.traffic import DAY_SECONDS
from scripts.bench.detection_tables import markdown

Fired = NDArray[np.bool_]
Rule = str
Verdicts = Mapping[Rule, Fired]

OURS: Rule = "ours"
MONTH_DAYS = 30
MAX_ALERTS_A_MONTH, MAX_FAILED, MIN_FOUND, TIMES_ALLOWED = 1.0, 0.006, 0.95, 2
_HEAD = ["goal, on days held out", "windows", "reached", ""]


class Quiet(NamedTuple):
    """What one rule did on the windows of unchanged days: failed windows, alerts in how many days, and by check."""

    rule: Rule
    failed: Fired
    alerts: int
    days: int
    checks: Mapping[str, int]
    interval: int
    in_order: bool


class Found(NamedTuple):
    """How a change was found: windows that failed by each rule, and the days until ours failed, infinite if never.

    `allowed` are the days from which the change of a column can be seen, by how its daily means spread.
    """

    change: str
    check: CheckName
    failed: Verdicts
    days: float
    allowed: int | None
    interval: int
    in_order: bool

    @property
    def share(self) -> float:
        """Return the share of windows that fail."""
        return float(self.failed[OURS].mean())


def quiet_table(found: Sequence[Quiet]) -> str:
    """Return failed windows and alerts a month by length of window and rule; the range of the divisions in brackets."""
    head = ["windows", "days", "rule", "windows judged", "failed windows", "alerts a month (2 of 3)", "by check"]
    lines = []
    for key in dict.fromkeys((one.interval, one.in_order, one.rule) for one in found):
        chosen = [one for one in found if (one.interval, one.in_order, one.rule) == key]
        judged = sum(len(one.failed) for one in chosen)
        shares, alerts = [_share(one) for one in chosen], [_alerts(one) for one in chosen]
        checks = sum((Counter(one.checks) for one in chosen), Counter[str]())
        named = ", ".join(f"{check} {count:,}" for check, count in sorted(checks.items()))
        cells = [f"{judged:,}", _spread(shares, ".1%"), _spread(alerts, ".1f"), named]
        lines.append([_length(key[0]), _kind(key[1]), key[2], *cells])
    return markdown(head, lines)


def found_table(found: Sequence[Found]) -> str:
    """Return the share of windows in which each change was found, the days until it was, and what other rules found."""
    rules = list(dict.fromkeys(rule for one in found for rule in one.failed if rule != OURS))
    head = ["change", "found by", "windows", "days", "failed windows", "found on day", "can be seen from day", *rules]
    lines = []
    for change, interval, in_order in dict.fromkeys((one.change, one.interval, one.in_order) for one in found):
        chosen = [one for one in found if (one.change, one.interval, one.in_order) == (change, interval, in_order)]
        allowed = [one.allowed for one in chosen if one.allowed is not None]
        lines.append(
            [
                change,
                chosen[0].check,
                _length(interval),
                _kind(in_order),
                _spread([one.share for one in chosen], ".0%"),
                _days([one.days for one in chosen]),
                _days(allowed) if allowed else "",
                *(f"{np.median([one.failed[rule].mean() for one in chosen]):.0%}" for rule in rules),
            ]
        )
    return markdown(head, lines)


def goals_table(quiet: Sequence[Quiet], found: Sequence[Found]) -> str:
    """Return each goal beside what was reached, on days that were divided at random and on later days."""
    lines: list[list[str]] = []
    for in_order in dict.fromkeys(one.in_order for one in found):
        for interval in dict.fromkeys(one.interval for one in quiet):
            ours = [one for one in quiet if (one.rule, one.interval, one.in_order) == (OURS, interval, in_order)]
            changed = [one for one in found if (one.interval, one.in_order) == (interval, in_order)]
            where = f"{_length(interval)}, {_kind(in_order)}"
            goals = [*_quiet_goals(ours, interval), *_found_goals(changed)]
            lines += [[goal, where, reached, "met" if met else "missed"] for goal, reached, met in goals]
    return markdown(_HEAD, lines)


def _quiet_goals(ours: Sequence[Quiet], interval: int) -> Iterator[tuple[str, str, bool]]:
    if interval < DAY_SECONDS:
        alerts, shares = [_alerts(one) for one in ours], [_share(one) for one in ours]
        met = bool(np.median(alerts) <= MAX_ALERTS_A_MONTH)
        yield "at most one false alert a month (2 of 3)", _spread(alerts, ".1f"), met
        yield "at most 0.6 % of windows fail", _spread(shares, ".1%"), bool(np.median(shares) <= MAX_FAILED)
    else:
        failed = [float(one.failed.sum()) for one in ours]
        days = " and ".join(dict.fromkeys(str(one.days) for one in ours))
        reached = f"{_spread(failed, '.0f')} of {days}"
        yield "no daily window fails", reached, bool(np.median(failed) == 0)


def _found_goals(changed: Sequence[Found]) -> Iterator[tuple[str, str, bool]]:
    """Yield the goals of each change that has one, over its divisions."""
    for name in dict.fromkeys(one.change for one in changed):
        chosen = [one for one in changed if one.change == name]
        days, shares = [one.days for one in chosen], [one.share for one in chosen]
        allowed = [one.allowed for one in chosen if one.allowed is not None]
        if allowed and max(allowed) > 1:
            most = TIMES_ALLOWED * float(np.median(allowed))
            yield f"{name}: within {most:.0f} days", f"day {_days(days)}", bool(np.median(days) <= most)
        elif allowed or "stuck" in name:
            met = bool(np.median(shares) >= MIN_FOUND)
            yield f"{name}: in 95 % of windows", _spread(shares, ".0%"), met
        elif "flipped" in name:
            yield f"{name}: within a day", f"day {_days(days)}", bool(np.median(days) <= 1)


def _share(one: Quiet) -> float:
    return float(one.failed.mean())


def _alerts(one: Quiet) -> float:
    return one.alerts / one.days * MONTH_DAYS


def _spread(values: Sequence[float], form: str) -> str:
    return _ranged(values, lambda value: f"{value:{form}}".replace("%", " %"))


def _days(values: Sequence[float]) -> str:
    return _ranged(values, lambda value: f"{value:.0f}" if np.isfinite(value) else "never")


def _ranged(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Return the median, and the range of the divisions in brackets where they differ."""
    least, middle, most = shown(min(values)), shown(float(np.median(values))), shown(max(values))
    return middle if least == most else f"{middle} ({least} to {most})"


def _kind(in_order: bool) -> str:
    return "later ones" if in_order else "at random"


def _length(seconds: int) -> str:
    return f"{seconds // 3_600} h" if seconds < DAY_SECONDS else f"{seconds // DAY_SECONDS} d"
