"""The results of the serving benchmark, as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from scripts.bench.detection_tables import markdown
from scripts.bench.serving.measuring import CONNECTIONS_OF_WORKERS, BesideSnapshot, Comparison, Memory, Shared
from scripts.bench.serving.servers import NOOP, ON_POSTGRESQL, OURS, TUTORIAL
from scripts.bench.serving.stages import STAGES, Stages

GOAL_NOOP, GOAL_TUTORIAL, GOAL_BATCH_RATE, GOAL_P99 = 0.8, 30, 50_000, 1.5
GOAL_CONNECTIONS = 32
GOAL_POSTGRESQL = 0.8


@dataclass
class Results:
    """The measurements by part; None or empty where a part was not measured."""

    machine: str
    command: str
    loader: str
    comparisons: list[Comparison] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    stages: Stages = field(default_factory=dict)
    batches: dict[str, dict[int, tuple[float, float]]] = field(default_factory=dict)
    memory: Memory | None = None
    starts: dict[str, float] = field(default_factory=dict)
    beside: BesideSnapshot | None = None
    workers: list[Shared] = field(default_factory=list)

    def rate(self, name: str, connections: int) -> float | None:
        """Return the requests a second of a server, None where it was not measured."""
        found = (one.rate for one in self.comparisons if (one.name, one.connections) == (name, connections))
        return next(found, None)

    def markdown(self) -> str:
        """Return all tables, the ratios first."""
        parts = [f"Machine: {self.machine}. Command: `{self.command}`. Load: {self.loader}.", _ratios(self)]
        if self.comparisons:
            parts += ["### One row a request", _comparison_table(self)]
        parts += [f"Not measured: {one}." for one in self.missing]
        if self.stages:
            parts += ["### Where the time goes", _stage_table(self.stages)]
        if self.batches:
            parts += ["### Batches", _batch_table(self.batches)]
        if self.memory is not None:
            parts += ["### Memory", _memory_table(self.memory)]
        if self.starts:
            lines = [[name, f"{seconds:.1f} s"] for name, seconds in self.starts.items()]
            parts += ["### From start to ready", markdown(["server", "time"], lines)]
        if self.beside is not None:
            parts += ["### While a snapshot is taken", _beside_table(self.beside)]
        if self.workers:
            title = f"### Several processes on one PostgreSQL, {CONNECTIONS_OF_WORKERS} connections"
            parts += [title, _workers_table(self.workers)]
        return "\n\n".join(filter(None, parts))


def _ratios(results: Results) -> str:
    lines = []
    ours = results.rate(OURS, GOAL_CONNECTIONS)
    for name, goal in ((NOOP, GOAL_NOOP), (TUTORIAL, GOAL_TUTORIAL)):
        other = results.rate(name, GOAL_CONNECTIONS)
        if ours is not None and other:
            what = f"requests a second, Vigie to {name}, {GOAL_CONNECTIONS} connections"
            lines.append([what, f"at least {goal:g}", f"{ours / other:.2f}", _met(ours / other >= goal)])
    lines += _postgresql_ratios(results)
    if results.batches:
        best = max(rate for rate, _ in results.batches[OURS].values())
        lines.append(
            [
                "logged rows a second in batches",
                f"at least {GOAL_BATCH_RATE:,}",
                f"{best:,.0f}",
                _met(best >= GOAL_BATCH_RATE),
            ]
        )
    if results.beside is not None:
        ratio = results.beside.beside.p99 / results.beside.without.p99
        lines.append(
            [
                "p99 while a snapshot is taken, to p99 without",
                f"at most {GOAL_P99:g}",
                f"{ratio:.2f}",
                _met(ratio <= GOAL_P99),
            ]
        )
    if results.memory is not None:
        grown = results.memory.resident[-1] / results.memory.resident[0]
        what = f"memory after {results.memory.rows[-1]:,} rows, to that after {results.memory.rows[0]:,}"
        lines.append([what, "flat", f"{grown:.2f}", ""])
    return markdown(["ratio or rate", "goal", "measured", "met"], lines) if lines else ""


def _postgresql_ratios(results: Results) -> list[list[str]]:
    """Return what the log on PostgreSQL takes in, to what it takes in on SQLite."""
    found = []
    here, there = (results.rate(name, GOAL_CONNECTIONS) for name in (OURS, ON_POSTGRESQL))
    if here and there:
        found.append((f"requests a second, PostgreSQL to SQLite, {GOAL_CONNECTIONS} connections", there / here))
    if ON_POSTGRESQL in results.batches:
        best = [max(rate for rate, _ in results.batches[name].values()) for name in (ON_POSTGRESQL, OURS)]
        found.append(("logged rows a second in batches, PostgreSQL to SQLite", best[0] / best[1]))
    goal = GOAL_POSTGRESQL
    return [[what, f"at least {goal:g}", f"{ratio:.2f}", _met(ratio >= goal)] for what, ratio in found]


def _met(is_met: bool) -> str:
    return "yes" if is_met else "no"


def _comparison_table(results: Results) -> str:
    head = ["server", "connections", "requests/s", "p50 ms", "p99 ms", "CPU us a request", f"to {NOOP}"]
    lines = []
    for one in results.comparisons:
        limit = results.rate(NOOP, one.connections)
        lines.append(
            [
                one.name,
                str(one.connections),
                f"{one.rate:,.0f}",
                f"{one.p50 * 1e3:.2f}",
                f"{one.p99 * 1e3:.2f}",
                f"{one.cpu * 1e6:,.0f}",
                f"{one.rate / limit:.2f}" if limit else "",
            ]
        )
    return markdown(head, lines)


def _stage_table(stages: Stages) -> str:
    head = ["stage, CPU us a row", *(f"{size:,} in a group" for size in stages)]
    columns = [stages[size] for size in stages]
    lines = [[name, *(f"{column[place] * 1e6:.1f}" for column in columns)] for place, name in enumerate(STAGES)]
    return markdown(head, lines)


def _batch_table(batches: dict[str, dict[int, tuple[float, float]]]) -> str:
    lines = [
        [name, f"{size:,}", f"{rate:,.0f}", f"{p50 * 1e3:.1f}"]
        for name, sizes in batches.items()
        for size, (rate, p50) in sizes.items()
    ]
    return markdown(["server", "rows a request", "logged rows/s", "p50 ms"], lines)


def _memory_table(memory: Memory) -> str:
    pairs = zip(memory.rows, memory.resident, strict=True)
    return markdown(["rows predicted", "resident MiB"], [[f"{rows:,}", f"{size / 2**20:.1f}"] for rows, size in pairs])


def _beside_table(found: BesideSnapshot) -> str:
    during = f"while {found.rows:,} rows are measured ({found.seconds:.0f} s)"
    both: Sequence[tuple[str, float, float]] = (
        ("no snapshot", found.without.p50, found.without.p99),
        (during, found.beside.p50, found.beside.p99),
    )
    lines = [[name, f"{found.rate:g}/s", f"{p50 * 1e3:.2f}", f"{p99 * 1e3:.2f}"] for name, p50, p99 in both]
    return markdown(["", "rate", "p50 ms", "p99 ms"], lines)


def _workers_table(found: Sequence[Shared]) -> str:
    head = ["processes", "requests/s", "p50 ms", "p99 ms", "CPU us a request, API", "PostgreSQL"]
    lines = [
        [
            str(one.workers),
            f"{one.rate:,.0f}",
            f"{one.p50 * 1e3:.1f}",
            f"{one.p99 * 1e3:.1f}",
            f"{one.cpu * 1e6:,.0f}",
            "-" if one.postgresql_cpu is None else f"{one.postgresql_cpu * 1e6:,.0f}",
            "-" if one.postgresql_cpu is None else f"{1 / (one.cpu + one.postgresql_cpu):,.0f}",
        ]
        for one in found
    ]
    return markdown([*head, "requests a CPU second of both"], lines)
