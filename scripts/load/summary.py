"""What came of a load: counts by status, latencies from the scheduled time, labels, and the verdict."""

from array import array
from collections import Counter
from dataclasses import dataclass, field

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
    """Labels by what became of them; `failed` met no 200, `unsent` waited when the load was ended."""

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
        """Return how many requests met a transport error or an answer other than the one called for."""
        return sum(self.unexpected.values())

    def note(self, status: str, latency_seconds: float, lateness_seconds: float) -> None:
        """Count one request that was sent."""
        self.statuses[status] += 1
        self.latencies.append(latency_seconds)
        self.late += lateness_seconds > LATE_SECONDS

    def blame(self, what: str, example: str) -> None:
        """Count something that should not have happened and keep the first few examples."""
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
