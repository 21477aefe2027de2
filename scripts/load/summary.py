"""The counts and latencies of a load, and how they are shown."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

LATE_SECONDS = 0.05
_EXAMPLES = 5

TRANSPORT_ERROR = "transport error"


def percentile(ordered: "array[float] | list[float]", share: float) -> float:
    """Return the first of the ascending values with at least `share` of them up to it (nearest rank)."""
    if not ordered:
        raise ValueError("no values")
    # round() first: 0.99 * 100 is 99.00000000000001 in binary and would step one rank too far.
    rank = -(-round(share * len(ordered), 9) // 1)
    return ordered[max(int(rank), 1) - 1]


@dataclass
class LabelCounts:
    """Labels by their outcome: `failed` had no answer 200, `unsent` still waited when the load was stopped."""

    sent: int = 0
    accepted: int = 0
    unknown: int = 0
    failed: int = 0
    unsent: int = 0


@dataclass
class Summary:
    """Everything that is counted while a load runs. Latencies in seconds, from the time a request was due."""

    scenario: str
    planned: int
    statuses: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    labels: LabelCounts = field(default_factory=LabelCounts)
    late: int = 0
    dropped: int = 0
    unexpected: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    elapsed_seconds: float = 0.0
    interrupted: bool = False

    @property
    def answered(self) -> int:
        """Return how many requests got an answer, whatever its status."""
        return sum(count for status, count in self.statuses.items() if status != TRANSPORT_ERROR)

    @property
    def sent(self) -> int:
        """Return how many requests were sent."""
        return sum(self.statuses.values())

    @property
    def achieved_rate(self) -> float:
        """Return answered requests per second, from the first due time to the last answer."""
        return self.answered / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def failures(self) -> int:
        """Return how many requests had a transport error or an unexpected answer."""
        return sum(self.unexpected.values())

    def record(self, status: str, latency_seconds: float, lateness_seconds: float) -> None:
        """Count one request that was sent."""
        self.statuses[status] += 1
        self.latencies.append(latency_seconds)
        self.late += lateness_seconds > LATE_SECONDS

    def record_failure(self, what: str, example: str) -> None:
        """Count an unexpected answer or error, and keep the first few as examples."""
        self.unexpected[what] += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(example)

    def latency_seconds(self) -> dict[str, float]:
        """Return p50, p90, p99 and max over every request that was sent, failures included; empty if none."""
        ordered = sorted(self.latencies)
        if not ordered:
            return {}
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {name: percentile(ordered, share) for name, share in shares.items()}

    def exit_status(self) -> int:
        """Return 130 after an interruption, 1 if anything failed, else 0."""
        if self.interrupted:
            return 130
        return 1 if self.failures else 0


def as_json(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON values; latencies in seconds, the rate in requests a second."""
    labels = summary.labels
    return {
        "scenario": summary.scenario,
        "requests": {
            "planned": summary.planned,
            "sent": summary.sent,
            "answered": summary.answered,
            "late": summary.late,
            "dropped": summary.dropped,
            "unexpected": summary.failures,
        },
        "statuses": dict(sorted(summary.statuses.items())),
        "latency_seconds": summary.latency_seconds(),
        "achieved_rate": summary.achieved_rate,
        "elapsed_seconds": summary.elapsed_seconds,
        "labels": vars(labels),
        "rows": dict(sorted(summary.rows.items())),
        "unexpected": dict(summary.unexpected.most_common()),
        "examples": summary.examples,
        "interrupted": summary.interrupted,
    }


def show(summary: Summary, console: Console) -> None:
    """Print the summary as tables, and the failures below them."""
    table = Table(title=f"Load: {summary.scenario}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for section in (_requests(summary), _latencies(summary), _labels(summary), _rows(summary)):
        for name, value in section:
            table.add_row(name, value)
        table.add_section()
    console.print(table)
    for what, count in summary.unexpected.most_common():
        console.print(f"[red]unexpected[/] {count:,} x ", end="")
        console.print(what, markup=False)
    for example in summary.examples:
        console.print(f"  for example: {example}", markup=False, style="dim")
    if summary.interrupted:
        console.print("stopped early; the counts are those of the requests until then")


def _requests(summary: Summary) -> list[tuple[str, str]]:
    lines = [("requests sent", f"{summary.sent:,} of {summary.planned:,}")]
    lines += [(f"  status {status}", f"{count:,}") for status, count in sorted(summary.statuses.items())]
    lines += [
        (f"sent late (over {LATE_SECONDS * 1000:.0f} ms)", f"{summary.late:,}"),
        ("dropped (no free connection in time)", f"{summary.dropped:,}"),
        ("achieved rate", f"{summary.achieved_rate:,.1f}/s"),
    ]
    return lines


def _latencies(summary: Summary) -> list[tuple[str, str]]:
    return [(f"latency {name}", f"{value * 1000:,.1f} ms") for name, value in summary.latency_seconds().items()]


def _labels(summary: Summary) -> list[tuple[str, str]]:
    labels = summary.labels
    if not labels.sent and not labels.unsent:
        return []
    lines = [
        ("labels sent", f"{labels.sent:,}"),
        ("  accepted", f"{labels.accepted:,}"),
        ("  unknown", f"{labels.unknown:,}"),
    ]
    lines += [
        (f"  {name}", f"{count:,}") for name, count in (("failed", labels.failed), ("unsent", labels.unsent)) if count
    ]
    return lines


def _rows(summary: Summary) -> list[tuple[str, str]]:
    return [(f"rows: {kind}", f"{count:,}") for kind, count in sorted(summary.rows.items())]
