"""The command `python -m scripts.bench serving`: starts the servers, sends load to each, prints the tables."""

import argparse
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from model.artifact.store import read_manifest
from model.data.bundled import load_bundled
from model.training.fit import train_model
from scripts.bench.serving.measuring import (
    Comparison,
    Load,
    compare,
    measure_batches,
    measure_beside_snapshot,
    measure_memory,
    measure_starts,
    measure_workers,
    wrk_version,
)
from scripts.bench.serving.results import Results
from scripts.bench.serving.servers import PEERS, Cores, Server, noop, ours, peer_servers, pick_cores, running, tutorial
from scripts.bench.serving.stages import measure_stages
from scripts.command_line import above_zero, whole_from
from scripts.load.pool import read_rows

PARTS = ("compare", "stages", "batch", "memory", "start", "snapshot", "workers")
PAGE = Path(__file__).parents[3] / "docs/performance.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        metavar="PART",
        help=f"parts to measure among {', '.join(PARTS)} (default: all)",
    )
    parser.add_argument("--rounds", type=whole_from(1), default=3, help="rounds of each load (default: %(default)s)")
    parser.add_argument("--seconds", type=whole_from(1), default=3, help="length of a round (default: %(default)s)")
    parser.add_argument(
        "--memory-rows", type=whole_from(1000), default=1_000_000, help="rows to predict (default: %(default)s)"
    )
    parser.add_argument(
        "--snapshot-rows", type=whole_from(1000), default=50_000, help="rows of the window (default: %(default)s)"
    )
    parser.add_argument(
        "--snapshot-rate", type=above_zero, default=200, help="requests/s during a snapshot (default: %(default)s)"
    )
    parser.add_argument(
        "--postgresql", metavar="URL", help="an empty database: compares the API with its log there too"
    )
    parser.add_argument("--own-loader", action="store_true", help="use our own loader even if wrk is installed")
    parser.add_argument(
        "--against",
        nargs="*",
        choices=PEERS,
        default=[],
        metavar="PEER",
        help=f"other model servers among {', '.join(PEERS)} (default: none)",
    )
    parser.add_argument("--peers-python", type=Path, help="a Python in which they are installed (default: this one)")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/performance.md")


def run_serving(options: argparse.Namespace) -> int:
    """Measure what the options ask for, and print it."""
    console = Console(stderr=True)
    wrk = None if options.own_loader else wrk_version()
    cores = pick_cores()
    results = Results(_machine(cores), _command(options), f"{wrk or 'our own loader'}, for batches our own")
    with TemporaryDirectory(prefix="vigie-bench-") as place, console.status("training a model") as status:
        folder = Path(place)
        model_dir = folder / "model"
        train_model(load_bundled("iris"), model_dir)
        manifest = read_manifest(model_dir)
        rows = read_rows(model_dir, manifest.features)
        load = Load(rows, folder, cores.loader, wrk is not None)
        run = _Run(options, results, load, model_dir, cores)
        for part in options.parts:
            status.update(f"measuring: {part}")
            run.measure(part)
    print(results.markdown())
    if options.write:
        _write(results.markdown())
    return 0


@dataclass(frozen=True)
class _Run:
    """One run of the command: what to measure and with what."""

    options: argparse.Namespace
    results: Results
    load: Load
    model_dir: Path
    cores: Cores

    def measure(self, part: str) -> None:
        """Measure one part and keep what it found."""
        match part:
            case "compare":
                self._compare()
            case "snapshot":
                rows, rate = self.options.snapshot_rows, self.options.snapshot_rate
                self.results.beside = measure_beside_snapshot(self.model_dir, self.load, rows=rows, rate=rate)
            case "workers":
                self._measure_workers()
            case "stages":
                self.results.stages = measure_stages(self.model_dir, self.load.folder, self.load.rows)
            case "start":
                self.results.starts["Vigie, median of 3"] = measure_starts(self.model_dir, self.load.folder, 3)
            case _:
                # not pinned: the log's thread may use the second core, as it does in use
                for server in self._ours() if part == "batch" else self._ours()[:1]:
                    with running(server, self.load.folder, None) as api:
                        if part == "batch":
                            self.results.batches[server.name] = measure_batches(api, self.load, self.options.seconds)
                        else:
                            self.results.memory = measure_memory(api, self.load, self.options.memory_rows)

    def _ours(self) -> list[Server]:
        """Return the API with its log on SQLite, and on PostgreSQL where the options name a database."""
        url = self.options.postgresql
        logs = [{}, {"VIGIE_DATABASE_URL": url}] if url else [{}]
        return [ours(self.model_dir, self.load.folder, **settings) for settings in logs]

    def _measure_workers(self) -> None:
        url, options = self.options.postgresql, self.options
        if url is None:
            self.results.missing.append("several processes, which need a log on PostgreSQL (--postgresql)")
            return
        found = measure_workers(self.model_dir, self.load, url, rounds=options.rounds, seconds=options.seconds)
        self.results.workers = found

    def _compare(self) -> None:
        folder, options = self.load.folder, self.options
        servers = [noop(self.model_dir), *self._ours(), tutorial(self.model_dir, folder / "log.csv")]
        peers, missing = peer_servers(options.against, options.peers_python, self.model_dir, folder)
        self.results.missing += missing
        everyone = [*servers, *peers]
        for found in compare(everyone, self.load, self.cores, rounds=options.rounds, seconds=options.seconds):
            if isinstance(found, Comparison):
                self.results.comparisons.append(found)
            else:
                self.results.starts[found.server.name] = found.start_seconds


def _machine(cores: Cores) -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.*)$", info, re.MULTILINE)
    name = found[1] if found else platform.machine()
    pinned = "servers on one core, load on another" if cores.server is not None else "one core for all"
    return f"{os.cpu_count()} cores of {name}, Linux {platform.release()}, Python {platform.python_version()}; {pinned}"


def _command(options: argparse.Namespace) -> str:
    words = ["python -m scripts.bench serving"]
    if options.parts != list(PARTS):
        words += ["--parts", *options.parts]
    words += [f"--rounds {options.rounds}", f"--seconds {options.seconds}"]
    if options.postgresql:
        words += ["--postgresql URL"]
    if options.against:
        words += ["--against", *options.against]
    return " ".join(words)


def _write(tables: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{PAGE} has no {BEGIN} and {END} to write between")
    PAGE.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")
