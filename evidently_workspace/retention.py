"""Which windows keep their snapshot: the older, the further apart. Pure, so that a year can be tried in a moment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AgedWindow(Protocol):
    """What a window must tell: when it ended (aware UTC) and which of its checks failed (none: it was quiet)."""

    @property
    def end(self) -> datetime: ...  # noqa: D102 - a protocol's members are named by its docstring

    @property
    def failed_checks(self) -> Sequence[Any]: ...  # noqa: D102 - see above


AnyWindow = TypeVar("AnyWindow", bound=AgedWindow)


@dataclass(frozen=True, slots=True)
class Tier:
    """One window per `spacing` (UTC-aligned; None: every window) until windows are `until` old (None: for ever).

    A window with failed checks leaves the tier at the age `until_failed`, by default at `until` as well.
    """

    spacing: timedelta | None
    until: timedelta | None
    until_failed: timedelta | None = None

    def holds(self, age: timedelta, *, failed: bool) -> bool:
        """Whether a window of that age is still in this tier or a finer one."""
        until = self.until_failed if failed and self.until_failed is not None else self.until
        return until is None or age < until


DEFAULT_TIERS = (
    Tier(None, timedelta(hours=24), timedelta(days=7)),
    Tier(timedelta(hours=1), timedelta(days=7), timedelta(days=30)),
    Tier(timedelta(hours=6), timedelta(days=90)),
    Tier(timedelta(days=1), None),
)
"""Every window for 24 h, hourly for 7 days, six-hourly for 90 days, daily for ever; with failed checks every window
for 7 days and hourly for 30. At a five-minute interval that is about 1,040 snapshots after a quiet year, and about
3,100 after one in which every window failed."""


def windows_to_remove(
    windows: Iterable[AnyWindow], now: datetime, tiers: Sequence[Tier] = DEFAULT_TIERS
) -> list[AnyWindow]:
    """Return the windows whose snapshot goes by now, oldest first.

    Of each stretch of `spacing` the first window with failed checks stays, else the first of all. The first one is the
    oldest, so it is still the first when the others reach the tier, and it is also the one that a longer stretch keeps:
    what is applied twice, or late, or half, ends the same. Windows older than the last tier all go.
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
            kept = leading.get(stretch)
            if kept is None or (window.failed_checks and not kept.failed_checks):
                leading[stretch] = window
                if kept is not None:
                    removed.append(kept)
            else:
                removed.append(window)
    return sorted(removed, key=lambda window: window.end)


def _tier_of(window: AgedWindow, now: datetime, tiers: Sequence[Tier]) -> Tier | None:
    age = now - window.end
    return next((tier for tier in tiers if tier.holds(age, failed=bool(window.failed_checks))), None)
