"""The outcomes as tables in Markdown: false alarms, power, delay."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from evidently_workspace.checks import CheckName
from scripts.bench.baselines import BONFERRONI, PRESET, PRESET_DATASET
from scripts.bench.replay import ALL_ROWS, UNSEEN_ROWS, Outcome
from scripts.bench.traffic import IN_CONTROL

SEQUENCE = 20
"""Length of a sequence of windows in which an alarm is waited for."""
FAILED, AMONG = 2, 3
"""An alert fires when 2 of the last 3 windows failed, as in the API's settings."""

Fired = NDArray[np.bool_]


def false_alarm_table(outcomes: Sequence[Outcome]) -> str:
    """Return false alarms per 1,000 windows in control, ours and the baselines', by kind of rows and window size."""
    in_control = [outcome for outcome in outcomes if outcome.traffic == IN_CONTROL]
    head = [
        "quiet windows of",
        "rows",
        "windows",
        "any of our checks",
        PRESET,
        PRESET_DATASET,
        BONFERRONI,
        "our checks",
    ]
    lines = []
    for source, size in _keys((outcome.source, outcome.window_rows) for outcome in in_control):
        chosen = [outcome for outcome in in_control if (outcome.source, outcome.window_rows) == (source, size)]
        ours = np.concatenate([outcome.any_check for outcome in chosen])
        theirs = [_per_thousand(_by_baseline(chosen, name)) for name in (PRESET, PRESET_DATASET, BONFERRONI)]
        rates = {check: _per_thousand(_by_check(chosen, check)) for check in chosen[0].ours}
        named = ", ".join(f"{check} {rate}" for check, rate in rates.items() if float(rate))
        lines.append([source, f"{size:,}", f"{len(ours):,}", _per_thousand(ours), *theirs, named])
    return markdown(head, lines)


def detection_table(outcomes: Sequence[Outcome]) -> str:
    """Return how many changed windows were found, and after how many windows an alert fires."""
    changed = [outcome for outcome in outcomes if outcome.check]
    head = ["change", "rows", "found by", "found, whole", "found, unseen", "windows until the alert, whole", "unseen"]
    head += ["concept drift fired too, whole", PRESET, BONFERRONI]
    lines = []
    for name, size in _keys((outcome.traffic, outcome.window_rows) for outcome in changed):
        both = [outcome for outcome in changed if (outcome.traffic, outcome.window_rows) == (name, size)]
        lines.append([name, f"{size:,}", *_detection_cells(both)])
    return markdown(head, lines)


def _detection_cells(outcomes: Sequence[Outcome]) -> list[str]:
    check = outcomes[0].check
    whole, unseen = (
        [outcome for outcome in outcomes if outcome.source == source] for source in (ALL_ROWS, UNSEEN_ROWS)
    )
    return [
        str(check),
        _percent(_found(whole)),
        _percent(_found(unseen)),
        delay(whole),
        delay(unseen),
        "" if check == "concept_drift" else _percent(_by_check(whole, "concept_drift")),
        *(_percent(_by_baseline(whole, name)) for name in (PRESET, BONFERRONI)),
    ]


def delay(outcomes: Sequence[Outcome]) -> str:
    """Return the median number of windows until the alert of the right check fires."""
    waits = [wait for outcome in outcomes for wait in windows_until_alert(_found([outcome])).tolist()]
    if not waits:
        return ""
    median = float(np.median(waits))
    return f"{median:.0f}" if median <= SEQUENCE else f"over {SEQUENCE}"


def windows_until_alert(fired: Fired) -> NDArray[np.float64]:
    """Return after how many windows 2 of the last 3 had failed, for each sequence of 20; infinite if never."""
    sequences = fired[: len(fired) // SEQUENCE * SEQUENCE].reshape(-1, SEQUENCE)
    before = np.concatenate([np.zeros((len(sequences), AMONG - 1), dtype=bool), sequences], axis=1)
    recent = np.lib.stride_tricks.sliding_window_view(before, AMONG, axis=1).sum(axis=2) >= FAILED
    return np.where(recent.any(axis=1), recent.argmax(axis=1) + 1.0, np.inf)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are aligned, so that it can be read as it is."""
    table = [list(head), *(list(line) for line in lines)]
    widths = [max(len(line[place]) for line in table) for place in range(len(head))]
    rows = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in table
    ]
    rows.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(rows)


def _found(outcomes: Sequence[Outcome]) -> Fired:
    return _joined([outcome.ours[outcome.check] for outcome in outcomes if outcome.check])


def _by_check(outcomes: Sequence[Outcome], check: CheckName) -> Fired:
    return _joined([outcome.ours[check] for outcome in outcomes])


def _by_baseline(outcomes: Sequence[Outcome], name: str) -> Fired:
    return _joined([outcome.baselines[name] for outcome in outcomes])


def _joined(fired: Sequence[Fired]) -> Fired:
    return np.concatenate(fired) if fired else np.zeros(0, dtype=bool)


def _per_thousand(fired: Fired) -> str:
    return f"{1000 * fired.mean():.1f}" if len(fired) else ""


def _percent(fired: Fired) -> str:
    return f"{100 * fired.mean():.1f} %" if len(fired) else ""


def _keys(keys: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(keys))
