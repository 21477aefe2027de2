"""The windows of a simulated past, those whose snapshot is still kept, and the snapshots to post for them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from api.snapshots.retention_tiers import DEFAULT_TIERS, parse_tiers, windows_to_remove
from evidently_workspace.window import Window
from model.artifact.store import read_manifest, read_reference
from model.explain.explainer import load_explainer

INTERVAL = timedelta(minutes=5)
EPISODE_WINDOWS, EPISODE_EVERY_WINDOWS = 24, 2880
"""Checks fail for two hours every ten days."""


@dataclass(frozen=True, slots=True)
class PastWindow:
    """One window: its number since the beginning, its end, and its failed checks."""

    number: int
    end: datetime
    failed_checks: tuple[str, ...]

    @property
    def window(self) -> Window:
        """The same as the snapshot names it."""
        return Window(self.end - INTERVAL, self.end)


def past(span: timedelta, now: datetime) -> list[PastWindow]:
    """Return every window of the span that ends now, oldest first."""
    count = span // INTERVAL
    return [PastWindow(n, now - (count - 1 - n) * INTERVAL, _failed(n)) for n in range(count)]


def kept(windows: Sequence[PastWindow], now: datetime) -> list[PastWindow]:
    """Return the windows that keep their snapshot under the default tiers, oldest first."""
    removed = {window.number for window in windows_to_remove(windows, now, parse_tiers(DEFAULT_TIERS))}
    return [window for window in windows if window.number not in removed]


def _failed(number: int) -> tuple[str, ...]:
    return ("data_drift",) if number % EPISODE_EVERY_WINDOWS < EPISODE_WINDOWS else ()


ROWS, DRIFT = 200, 1.5
EXPLAINED_ROWS = 200
ANY_WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 5, tzinfo=UTC))
"""Of the measured windows; each copy gets a window of its own."""


@dataclass(frozen=True)
class Bodies:
    """Measured snapshots as JSON objects: of windows without failed checks, and of windows with some."""

    passed: list[dict[str, Any]]
    failed: list[dict[str, Any]]

    def of(self, past_window: PastWindow) -> bytes:
        """Return the body of a window: that of a measured one, with this window's times and key."""
        measured = self.failed if past_window.failed_checks else self.passed
        body = measured[past_window.number % len(measured)]
        window: Window = past_window.window
        timed = {"timestamp": window.evidently_timestamp.isoformat(), "name": window.title}
        return json.dumps({**body, **timed, "metadata": {**body["metadata"], "window": window.key}}).encode()


def measure_bodies(artifact: Path, count: int, report: Callable[[int], None]) -> Bodies:
    """Measure windows of rows drawn from the reference, a fourth of them drifted, until there are `count` of them."""
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    manifest, reference, explainer = read_manifest(artifact), read_reference(artifact), load_explainer(artifact)
    bodies = Bodies([], [])
    for number in range(count):
        report(number)
        current = reference.sample(ROWS, replace=True, random_state=number)
        if number % 4 == 0:
            current[list(manifest.feature_names)] += DRIFT
        labelled = reference.sample(ROWS, replace=True, random_state=count + number)
        taken = take_snapshot(
            ANY_WINDOW,
            current,
            labelled,
            reference,
            manifest,
            min_rows=30,
            min_labels=30,
            attributions=explainer.attributions(current.head(EXPLAINED_ROWS)),
        )
        (bodies.failed if taken.failed_checks else bodies.passed).append(json.loads(taken.body))
    if not bodies.passed or not bodies.failed:
        raise RuntimeError("all measured windows passed their checks, or none did; use a higher --measured")
    return bodies
