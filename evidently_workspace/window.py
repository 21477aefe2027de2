"""The time window that one snapshot covers, and the names it goes by."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Window:
    """The half-open interval [start, end); both ends are aware UTC datetimes.

    Raises ValueError when an end is naive or not UTC, or when the window is empty.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse ends that are not UTC and windows without length."""
        for moment in (self.start, self.end):
            offset = moment.utcoffset()
            if offset is None or offset:
                raise ValueError(f"{moment!r} is not an aware UTC datetime")
        if self.start >= self.end:
            raise ValueError(f"the window from {self.start} to {self.end} is empty")

    @property
    def key(self) -> str:
        """Return the name under which the window's snapshot can be found, as "start/end" in ISO 8601 with a Z."""
        return f"{_iso(self.start)}/{_iso(self.end)}"

    @property
    def title(self) -> str:
        """Return the window as people read it: "2026-11-23 04:45 to 04:50 UTC"."""
        precision = "%H:%M" if self.start.second == self.end.second == 0 else "%H:%M:%S"
        day = "" if self.start.date() == self.end.date() else "%Y-%m-%d "
        return f"{self.start:%Y-%m-%d} {self.start:{precision}} to {self.end:{day}{precision}} UTC"

    @property
    def evidently_timestamp(self) -> datetime:
        """Return the end as a naive UTC datetime, the only kind that Evidently gets.

        Its storage keeps no time zone: one aware timestamp among naive ones makes every panel of the
        project fail with a 500 (Evidently 0.7.23).
        """
        return self.end.astimezone(UTC).replace(tzinfo=None)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
