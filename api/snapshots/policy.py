"""Owns how long things are kept, as plain values."""

from dataclasses import dataclass
from datetime import timedelta

from evidently_workspace.retention import Tier


@dataclass(frozen=True, slots=True)
class Policy:
    """Snapshots go by tiers; logged rows and reports by age. A report goes with its snapshot at the latest.

    ``reports_failed`` is for the reports of windows with failed checks.
    """

    tiers: tuple[Tier, ...]
    rows: timedelta
    reports: timedelta
    reports_failed: timedelta
