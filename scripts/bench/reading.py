"""The reading benchmark: the time and memory in which the snapshot worker reads one window from a longer log."""

import argparse
import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from uuid import uuid4

from api.prediction_log.database import Database
from api.prediction_log.layouts import LayoutStore, RowLayout
from api.prediction_log.reader import read_predictions
from api.prediction_log.records import PredictionRecord
from api.prediction_log.writer import LogWriter
from scripts.command_line import whole_from

COMMIT_ROWS = 10_000
VERSION = "bench"


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--rows", type=whole_from(1000), default=100_000, help="rows of the window (default: %(default)s)"
    )
    parser.add_argument(
        "--features", type=whole_from(1), default=30, help="features of each row (default: %(default)s)"
    )
    parser.add_argument("--cap", type=whole_from(100), default=20_000, help="rows of the sample (default: %(default)s)")
    parser.add_argument("--database-url", help="an empty database to fill; by default a temporary SQLite file")


def run_reading(options: argparse.Namespace) -> int:
    """Fill a log with three windows, then read all rows and a sample of the middle one, each in a new process."""
    with TemporaryDirectory(prefix="vigie-reading-") as folder:
        url = options.database_url or f"sqlite:///{folder}/log.db"
        start, end = asyncio.run(_fill(url, options.rows, options.features))
        print(f"{3 * options.rows:,} rows of {options.features} features are logged; a window has {options.rows:,}\n")
        print("| read | rows | seconds | CPU seconds of the process | memory grown by |")
        print("|---|---|---|---|---|")
        for what, most in (("whole", options.rows), (f"sampled, cap {options.cap:,}", options.cap)):
            print(f"| {what} | {_read_apart(url, start, end, most)} |", flush=True)
    return 0


async def _fill(url: str, rows: int, features: int) -> tuple[datetime, datetime]:
    """Log three windows of rows and return the bounds of the middle one."""
    database = Database(url)
    database.migrate()
    layout = RowLayout.of(VERSION, [f"feature_number_{number}" for number in range(features)], ("a", "b"))
    answered = partial(_answered, LayoutStore(database).id_of(layout))
    writer = LogWriter(database, 10 * COMMIT_ROWS, respond=answered)
    writer.start()
    bounds = []
    for _ in range(3):
        bounds.append(datetime.now(UTC))
        for begin in range(0, rows, COMMIT_ROWS):
            await writer.log_responses([layout.features] * min(COMMIT_ROWS, rows - begin))
    await writer.close()
    database.dispose()
    return bounds[1], bounds[2]


def _answered(layout: int | None, rows: Sequence[Sequence[str]]) -> tuple[Sequence[PredictionRecord], Sequence[bytes]]:
    """Replace the model: the cells of a row are the names of its features."""
    return [_record(layout, len(names)) for names in rows], [b""] * len(rows)


def _record(layout: int | None, features: int) -> PredictionRecord:
    values = json.dumps([random.random() for _ in range(features)])
    key = random.getrandbits(31)
    return PredictionRecord(str(uuid4()), key, "", values, "a", "[0.7,0.3]", layout=layout)


def _read_apart(url: str, start: datetime, end: datetime, most: int) -> str:
    program = [sys.executable, "-m", "scripts.bench.reading", url, start.isoformat(), end.isoformat(), str(most)]
    found = subprocess.run(program, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return found.stdout.strip()


def _read(url: str, start: datetime, end: datetime, most: int) -> str:
    database = Database(url)
    read_predictions(database, start, start, VERSION, most)  # opens the connection and builds the query
    before, began, worked = peak_bytes(), perf_counter(), process_time()
    rows = read_predictions(database, start, end, VERSION, most).rows
    took, cpu = perf_counter() - began, process_time() - worked
    return f"{len(rows):,} | {took:.2f} | {cpu:.2f} | {(peak_bytes() - before) / 2**20:.0f} MiB"


def peak_bytes() -> int:
    """Return the peak memory of this program; getrusage would include that of its parent process."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


if __name__ == "__main__":
    print(
        _read(sys.argv[1], datetime.fromisoformat(sys.argv[2]), datetime.fromisoformat(sys.argv[3]), int(sys.argv[4]))
    )
