"""The measurements: rounds of load on each server, batches, memory, start-up, and the API during a snapshot."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import httpx

from evidently_workspace.ui.options import SECRET_VARIABLE
from scripts.bench.serving.loader import Plan, Seen
from scripts.bench.serving.servers import (
    Cores,
    Running,
    Server,
    cpu_seconds_of,
    ours,
    postgres_processes,
    running,
)

SCRIPT = """
local bodies, number = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
request = function()
  number = number + 1
  return wrk.format("POST", "%s", headers, bodies[number %% #bodies + 1])
end
done = function(summary, latency)
  local line = '{"requests": %%d, "microseconds": %%d, "refused": %%d, "broken": %%d, "p50": %%f, "p99": %%f}'
  io.stderr:write(line:format(summary.requests, summary.duration, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def wrk_version() -> str | None:
    """Return the version of wrk; None where it is not installed."""
    program = shutil.which("wrk")
    if program is None:
        return None
    output = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stdout  # its status is 1
    return " ".join(output.split()[:2])


def run_wrk(plan: Plan, core: int | None) -> Seen:
    """Carry out a plan that has a duration and no rate. Raises ConnectionError if answers were lost."""
    script = Path(plan.bodies).with_suffix(f".{plan.path.strip('/').replace('/', '-')}.lua")
    script.write_text(SCRIPT % (plan.bodies, plan.path), encoding="utf-8")
    command = [
        "wrk",
        "-t1",
        f"-c{plan.connections}",
        f"-d{round(plan.seconds or 1)}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
    ]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    done = subprocess.run(
        [*pinned, *command, f"http://127.0.0.1:{plan.port}"], capture_output=True, text=True, check=True
    )
    counts = json.loads(done.stderr)
    if counts["broken"]:
        raise ConnectionError(f"wrk lost {counts['broken']} answers of port {plan.port}")
    seconds = (counts[name] / 1e6 for name in ("microseconds", "p50", "p99"))
    return Seen(counts["requests"], counts["refused"], *seconds)


CONNECTIONS = (1, 8, 32, 128)
WORKERS = (1, 2, 4)
CONNECTIONS_OF_WORKERS = 32
BATCH_ROWS = (1, 100, 10_000)
WARM_UP_SECONDS = 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """How load is made: with wrk or our own loader, on which core, with which rows, and the folder for files."""

    rows: Sequence[Row]
    folder: Path
    core: int | None
    wrk: bool

    def bodies(self, name: str, contents: Sequence[Any]) -> str:
        """Write bodies, one a line, and return the path of the file."""
        path = self.folder / f"{name}.bodies"
        path.write_text("\n".join(json.dumps(content) for content in contents), encoding="utf-8")
        return str(path)

    def run(self, plan: Plan) -> Seen:
        """Carry out one plan. Raises RuntimeError if an answer was not 200, or if there was none."""
        if self.wrk and plan.rate is None and plan.requests is None:
            return _accepted(run_wrk(plan, self.core), plan)
        return self.run_own(plan)

    def run_own(self, plan: Plan) -> Seen:
        """Carry out one plan with our own loader, because wrk counts nothing if few answers come in its time."""
        command = [sys.executable, "-m", "scripts.bench.serving.loader", json.dumps(asdict(plan))]
        pinned = [] if self.core is None else ["taskset", "-c", str(self.core)]
        done = subprocess.run([*pinned, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return _accepted(Seen(**json.loads(done.stdout)), plan)


def _accepted(seen: Seen, plan: Plan) -> Seen:
    if seen.refused:
        raise RuntimeError(
            f"{seen.refused} of {seen.requests} requests to port {plan.port} were refused: {seen.refusal}"
        )
    return seen


@dataclass(frozen=True)
class Comparison:
    """The medians over the rounds of one server at one number of connections.

    `rate` is in requests a second, latencies in seconds, `cpu` in seconds of its process for a request.
    """

    name: str
    connections: int
    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Memory:
    """Resident bytes of the API after predictions, at the given numbers of rows."""

    rows: tuple[int, ...]
    resident: tuple[int, ...]


def compare(
    servers: Sequence[Server], load: Load, cores: Cores, *, rounds: int, seconds: float
) -> Iterator[Comparison | Running]:
    """Load each server in turn, round after round; yield each when it has started, then the medians.

    All run at once, so that each round meets the same machine; those that are not loaded wait.
    """
    with ExitStack() as stack:
        alive = [stack.enter_context(running(server, load.folder, cores.server)) for server in servers]
        yield from alive
        found: dict[tuple[str, int], list[tuple[Seen, float]]] = {}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                for one in alive:
                    found.setdefault((one.server.name, connections), []).append(
                        _loaded(one, load, connections, seconds)
                    )
    for (name, connections), seen in found.items():
        yield Comparison(
            name,
            connections,
            median(one.rate for one, _ in seen),
            median(one.p50 for one, _ in seen),
            median(one.p99 for one, _ in seen),
            median(cpu for _, cpu in seen),
        )


def _loaded(one: Running, load: Load, connections: int, seconds: float) -> tuple[Seen, float]:
    bodies = load.bodies(one.server.name.replace(" ", "-"), [one.server.body(row) for row in load.rows])
    plan = Plan(one.port, one.server.path, bodies, connections, WARM_UP_SECONDS)
    load.run(plan)
    while True:
        before = one.cpu_seconds
        seen = load.run(replace(plan, seconds=seconds))
        if seen.requests:
            return seen, (one.cpu_seconds - before) / seen.requests
        seconds *= 2  # the slowest, with the most connections, may answer nobody in so short a time


@dataclass(frozen=True)
class Shared:
    """The medians over the rounds of the API with several processes, which share one log and one port.

    As `Comparison`, with the CPU seconds for a request of all of the API's processes and of all of PostgreSQL's; the
    latter is None where that runs on another machine.
    """

    workers: int
    rate: float
    p50: float
    p99: float
    cpu: float
    postgresql_cpu: float | None


def measure_workers(
    model_dir: Path, load: Load, url: str, *, rounds: int, seconds: float, counts: Sequence[int] = WORKERS
) -> list[Shared]:
    """Load APIs of so many processes in turn, round after round; no process but the loader is pinned."""
    bodies = load.bodies("workers", load.rows)
    with ExitStack() as stack:
        alive = {}
        for workers in counts:
            (folder := load.folder / f"workers-{workers}").mkdir()
            server = ours(model_dir, folder, VIGIE_DATABASE_URL=url, VIGIE_WORKERS=str(workers))
            alive[workers] = stack.enter_context(running(server, folder, None))
        found: dict[int, list[tuple[Seen, float, float]]] = {workers: [] for workers in alive}
        for _ in range(rounds):
            for workers, api in alive.items():
                plan = Plan(api.port, "/predict", bodies, CONNECTIONS_OF_WORKERS, WARM_UP_SECONDS)
                load.run(plan)
                found[workers].append(_shared(api, load, replace(plan, seconds=seconds), url))
    return [
        Shared(
            workers,
            median(seen.rate for seen, _, _ in rows),
            median(seen.p50 for seen, _, _ in rows),
            median(seen.p99 for seen, _, _ in rows),
            median(cpu for _, cpu, _ in rows),
            median(cpu for _, _, cpu in rows) or None,
        )
        for workers, rows in found.items()
    ]


def _shared(api: Running, load: Load, plan: Plan, url: str) -> tuple[Seen, float, float]:
    processes = postgres_processes(url)
    before, there = api.cpu_seconds_with_children, cpu_seconds_of(*processes)
    seen = load.run(plan)
    ours_took, theirs = api.cpu_seconds_with_children - before, cpu_seconds_of(*processes) - there
    return seen, ours_took / seen.requests, theirs / seen.requests


def measure_batches(api: Running, load: Load, seconds: float) -> dict[int, tuple[float, float]]:
    """Return rows a second and the median latency in seconds, by the rows of a batch, over four connections."""
    found = {}
    for size in BATCH_ROWS:
        bodies = load.bodies(f"batch-{size}", [_batch(load.rows, size, start) for start in range(3)])
        plan = Plan(api.port, "/predict/batch", bodies, 4, WARM_UP_SECONDS)
        load.run_own(plan)
        seen = load.run_own(replace(plan, seconds=seconds))
        found[size] = (seen.rate * size, seen.p50)
    return found


def measure_memory(api: Running, load: Load, rows: int) -> Memory:
    """Return the resident memory after a tenth, half and all of the rows: a tenth alone, the others 100 at a time."""
    single = load.bodies("memory", load.rows)
    batch = load.bodies("memory-batch", [_batch(load.rows, 100, 0)])
    marks, resident = [], []
    done = 0
    for share, path, size in ((0.1, "/predict", 1), (0.5, "/predict/batch", 100), (1.0, "/predict/batch", 100)):
        requests = max(32, round((share * rows - done) / size))
        load.run(Plan(api.port, path, single if size == 1 else batch, 32, requests=requests))
        done += requests * size
        marks.append(done)
        resident.append(api.resident_bytes)
    return Memory(tuple(marks), tuple(resident))


def measure_starts(model_dir: Path, folder: Path, times: int) -> float:
    """Return the median seconds from the start of the process until the API is ready, on an existing log."""
    found = []
    for _ in range(times):
        with running(ours(model_dir, folder), folder, None) as api:
            found.append(api.start_seconds)
    return median(found)


@dataclass(frozen=True)
class BesideSnapshot:
    """Latency at a fixed rate, without a snapshot and while one of `rows` is made, which took `seconds`."""

    rate: float
    without: Seen
    beside: Seen
    rows: int
    seconds: float


def measure_beside_snapshot(model_dir: Path, load: Load, *, rows: int, rate: float) -> BesideSnapshot:
    """Fill a window, measure at a fixed rate, close the window, and measure again until its snapshot is posted.

    No process is pinned but the loader: the API and its snapshot worker share the machine as they would in use.
    """
    folder = load.folder / "beside"
    folder.mkdir()
    database = f"sqlite:///{folder / 'evidently.db'}"
    ui = Server(
        "Evidently UI",
        [sys.executable, "-m", "evidently_workspace.ui", "--port", "{port}", "--database", database],
        ready="/api/version",
        environment={SECRET_VARIABLE: "bench"},
    )
    with ExitStack() as stack:
        evidently = stack.enter_context(running(ui, folder, None))
        settings = {
            "VIGIE_EVIDENTLY_URL": evidently.url,
            SECRET_VARIABLE: "bench",
            "VIGIE_SNAPSHOTS": "true",
            "VIGIE_SNAPSHOT_INTERVAL_SECONDS": "86400",
            "VIGIE_SNAPSHOT_MAX_ROWS": str(rows),
            "VIGIE_HEARTBEAT_SECONDS": "0.5",
        }
        api = stack.enter_context(running(ours(model_dir, folder, **settings), folder, None))
        client = stack.enter_context(httpx.Client(base_url=api.url, trust_env=False, timeout=60))
        _fill(client, load.rows, 1_000)
        _await_posted(client, _close_window(client))  # the worker has imported what it needs
        _fill(client, load.rows, rows)
        bodies = load.bodies("beside", load.rows)
        plan = Plan(api.port, "/predict", bodies, 32, seconds=8, rate=rate)
        load.run(replace(plan, seconds=1))
        without = load.run(plan)
        began = perf_counter()
        start = _close_window(client)
        beside = load.run(plan)
        taken = perf_counter() - began
        window = _await_posted(client, start)
        return BesideSnapshot(rate, without, beside, window["rows"], max(taken, perf_counter() - began))


def _fill(client: httpx.Client, rows: Sequence[Row], count: int) -> None:
    for start in range(0, count, 10_000):
        batch = _batch(rows, min(10_000, count - start), start)
        client.post("/predict/batch", json=batch).raise_for_status()


def _batch(rows: Sequence[Row], size: int, start: int) -> dict[str, Any]:
    return {"rows": [rows[(start + number) % len(rows)] for number in range(size)]}


def _close_window(client: httpx.Client) -> str:
    return str(client.post("/snapshots").raise_for_status().json()["start"])


def _await_posted(client: httpx.Client, start: str) -> dict[str, Any]:
    deadline = perf_counter() + 180
    while perf_counter() < deadline:
        windows = client.get("/snapshots").raise_for_status().json()["windows"]
        window: dict[str, Any] = next(one for one in windows if one["start"] == start)
        if window["status"] == "posted":
            return window
        sleep(0.2)
    raise RuntimeError(f"the snapshot was not posted: {window}")
