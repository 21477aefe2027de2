"""What is retained for how long: the tiers of snapshots, their text form, the policy, and what a run removed."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol, TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AgedWindow(Protocol):
    """What the tiers need of a window: its end (aware UTC) and which of its checks failed."""

    @property
    def end(self) -> datetime: ...  # noqa: D102 - a protocol's members are named by its docstring

    @property
    def failed_checks(self) -> Sequence[Any]: ...  # noqa: D102 - see above


AnyWindow = TypeVar("AnyWindow", bound=AgedWindow)


@dataclass(frozen=True, slots=True)
class Tier:
    """One window per `spacing` (UTC-aligned; None: every window) until windows are `until` old (None: for ever).

    A window with failed checks leaves the tier at the age `until_failed`, by default at `until` too.
    """

    spacing: timedelta | None
    until: timedelta | None
    until_failed: timedelta | None = None

    def holds(self, age: timedelta, *, failed: bool) -> bool:
        """Whether a window of that age is still in this tier or a finer one."""
        until = self.until_failed if failed and self.until_failed is not None else self.until
        return until is None or age < until


DEFAULT_TIERS = "all:24h:7d, 1h:7d:30d, 6h:90d, 1d"
"""Every window for 24 h, hourly for 7 days, six-hourly for 90 days, daily for ever; with failed checks every window
for 7 days and hourly for 30. At a five-minute interval that is about 1,040 snapshots after a quiet year, and about
3,100 after one in which every window failed."""


def windows_to_remove(windows: Iterable[AnyWindow], now: datetime, tiers: Sequence[Tier]) -> list[AnyWindow]:
    """Return the windows whose snapshot to remove now, oldest first.

    Of each stretch of `spacing` the first window with failed checks stays, or the first one if none failed. It is the
    oldest, so it is still the first when the others reach the tier, and a longer stretch retains it too: to apply this
    twice, late or in parts gives the same result. All windows older than the last tier are removed.
    """
    leading: dict[tuple[timedelta, int], AnyWindow] = {}
    removed: list[AnyWindow] = []
    for window in sorted(windows, key=lambda window: window.end):
        tier = _tier_of(window, now, tiers)
        if tier is None:
            removed.append(window)
        elif tier.spacing is not None:
            # A window ends on the boundary that belongs to it, so the stretch is open at its start.
            stretch = (tier.spacing, -((EPOCH - window.end) // tier.spacing))
            retained = leading.get(stretch)
            if retained is None or (window.failed_checks and not retained.failed_checks):
                leading[stretch] = window
                if retained is not None:
                    removed.append(retained)
            else:
                removed.append(window)
    return sorted(removed, key=lambda window: window.end)


def _tier_of(window: AgedWindow, now: datetime, tiers: Sequence[Tier]) -> Tier | None:
    age = now - window.end
    return next((tier for tier in tiers if tier.holds(age, failed=bool(window.failed_checks))), None)


UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
EVERY_WINDOW = "all"
FORM = "SPACING[:UNTIL[:UNTIL_FAILED]], such as 1h:7d:30d, with times in m, h or d"


def parse_tiers(text: str) -> tuple[Tier, ...]:
    """Read the tiers, finest first. Raises ValueError that names the tier and says what to do."""
    tiers = tuple(_tier(part.strip()) for part in text.split(","))
    for finer, coarser in pairwise(tiers):
        if finer.until is None:
            raise ValueError("only the last tier may be without an end; give each tier before it an end")
        if coarser.until is not None and coarser.until <= finer.until:
            raise ValueError(
                f"each tier must last longer than the one before: {coarser.until} is not after {finer.until}"
            )
        if coarser.spacing is None or (finer.spacing is not None and coarser.spacing <= finer.spacing):
            raise ValueError(
                f"each tier must be wider than the one before: {EVERY_WINDOW} comes first, then 1h, 6h, 1d"
            )
    return tiers


def _tier(part: str) -> Tier:
    fields = part.split(":")
    if not 1 <= len(fields) <= 3 or not fields[0]:
        raise ValueError(f"{part!r} is no tier: write {FORM}")
    spacing = None if fields[0] == EVERY_WINDOW else _duration(fields[0], part)
    until, until_failed = ([_duration(field, part) for field in fields[1:]] + [None, None])[:2]
    if until is not None and until_failed is not None and until_failed < until:
        raise ValueError(f"{part!r}: windows with failed checks cannot be kept for less time than the others")
    return Tier(spacing, until, until_failed)


def _duration(text: str, part: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text)
    if found is None:
        raise ValueError(f"{text!r} in {part!r} is no time: write {FORM}")
    return int(found[1]) * UNITS[found[2]]


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Snapshots are removed by tiers, logged rows and reports by age; a report at the latest with its snapshot.

    ``reports_failed`` is for the reports of windows with failed checks.
    """

    tiers: tuple[Tier, ...]
    rows: timedelta
    reports: timedelta
    reports_failed: timedelta


KINDS = ("snapshots", "values", "reports", "predictions", "labels", "rejections")
STORES = ("workspace", "reports", "log")


@dataclass(slots=True)
class Removals:
    """What one run of retention removed: counts by kind, and bytes by store.

    The workspace's bytes are those of the snapshots as they were posted, so at most this is freed; a planned run's
    bytes of the log are an estimate. ``unfinished`` says that the time was up before all was removed, ``errors`` say
    what could not be removed, each as a sentence. ``reposted`` counts the windows whose lost snapshot is made again.
    ``overdue`` is how much older than it may be the oldest row is that is left; None where the run did not look.
    """

    removed: Counter[str] = field(default_factory=Counter)
    freed_bytes: Counter[str] = field(default_factory=Counter)
    unfinished: bool = False
    reposted: int = 0
    overdue: timedelta | None = None
    errors: list[str] = field(default_factory=list)
