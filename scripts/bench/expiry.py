"""The expiring benchmark: how fast a running API removes old rows, and how that slows predictions."""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import httpx
import orjson
from rich.console import Console

from api.prediction_log.database import Database
from api.prediction_log.layouts import LayoutStore
from api.prediction_log.records import LabelRecord, WindowStatus
from api.prediction_log.windows import WindowStore
from api.prediction_log.writer import LogWriter
from api.serving.responses import responses_for
from model.data.bundled import load_bundled
from model.serving.predictor import load_predictor
from model.training.fit import train_model
from scripts.command_line import above_zero, whole_from
from scripts.ports import free_port
from scripts.stack.config import StackConfig
from scripts.stack.stack import Stack

COMMIT_ROWS = 10_000
LABELLED = 10
"""Every tenth row has a label, which is removed with it."""
AGE = timedelta(days=10)
KEEP_DAYS = "5"
POLL_SECONDS = 0.25
REMOVED = re.compile(r'^vigie_retention_removed_total\{kind="predictions"\} (\S+)$', re.MULTILINE)


class _PastDatabase(Database):
    """A log whose clock is ``AGE`` late, so that its rows are old."""

    def shown(self, _connection: Any) -> int:
        """Return that time."""
        return super().shown(_connection) - AGE // timedelta(microseconds=1)


def add_expiring(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument(
        "--rows", type=whole_from(1000), default=1_000_000, help="old rows in the log (default: %(default)s)"
    )
    parser.add_argument("--postgresql", metavar="URL", help="an empty database to log to, instead of a SQLite file")
    parser.add_argument("--rate", type=above_zero, default=50.0, help="predictions per second (default: %(default)s)")
    parser.add_argument("--duration", type=above_zero, default=60.0, help="seconds of each load (default: %(default)s)")


def run_expiring(options: argparse.Namespace) -> int:
    """Fill a log with old rows, start the stack on it, and send predictions during and after their removal."""
    console = Console(stderr=True)
    with TemporaryDirectory(prefix="vigie-expiring-") as name:
        folder = Path(name)
        url = options.postgresql or f"sqlite:///{folder / 'vigie.db'}"
        config = StackConfig(
            folder, folder / "model", api_port=free_port(), ui_port=free_port(), inherited=_environment(url)
        )
        train_model(load_bundled("iris"), config.model_dir)
        console.print(f"logging {options.rows:,} rows")
        began = perf_counter()
        asyncio.run(_fill(url, config.model_dir, options.rows))
        intake = options.rows / (perf_counter() - began)
        full = _log_bytes(url)
        with Stack(config, console):
            _await_removed(config.api_url, 1)
            began = perf_counter()
            during = _load(config, options)
            still = options.rows - _removed(config.api_url)
            _await_removed(config.api_url, options.rows)
            took = perf_counter() - began
            afterwards = _load(config, options)
        empty = _log_bytes(url)
    if still <= 0:
        print("error: the rows were gone before the load was over; take more rows, or a shorter load", file=sys.stderr)
        return 1
    print(f"{options.rows:,} rows expired in {took:,.0f} s: {options.rows / took:,.0f} a second")
    print(f"the log took them in, in batches of {COMMIT_ROWS:,}, at {intake:,.0f} a second")
    print(f"expiry to intake {options.rows / took / intake:.2f}")
    print(f"{full / options.rows:,.0f} bytes a row; {full / 1e6:,.0f} MB before that, {empty / 1e6:,.0f} MB after\n")
    print(f"| {options.rate:g} predictions a second | p50 | p99 | slowest |")
    print("|---|---|---|---|")
    for what, seen in (("while rows expire", during), ("after that", afterwards)):
        cells = " | ".join(f"{1000 * seen[key]:.1f} ms" for key in ("p50", "p99", "max"))
        print(f"| {what} | {cells} |")
    return 0


def _environment(url: str) -> dict[str, str]:
    own = {"VIGIE_LOG_KEEP_DAYS": KEEP_DAYS, "VIGIE_DATABASE_URL": url}
    return {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")} | own


def _log_bytes(url: str) -> int:
    database = Database(url)
    try:
        return database.size_bytes()
    finally:
        database.dispose()


async def _fill(url: str, model_dir: Path, rows: int) -> None:
    """Log old rows and labels, in windows that are finished."""
    database = _PastDatabase(url)
    database.migrate()
    predictor = load_predictor(model_dir)
    row = [feature.example for feature in predictor.manifest.features]
    responses = responses_for(predictor, layout_id=LayoutStore(database).id_of)
    writer = LogWriter(database, 10 * COMMIT_ROWS, respond=responses.respond)
    writer.start()
    for begin in range(0, rows, COMMIT_ROWS):
        answers = await writer.log_responses([row] * min(COMMIT_ROWS, rows - begin))
        names = [orjson.loads(answer)["prediction_id"] for answer in answers[::LABELLED]]
        await writer.log_labels([LabelRecord(name, "setosa") for name in names])
    await writer.close()
    store = WindowStore(database)
    store.close_now(timedelta(days=1))
    while (window := store.claim()) is not None:
        store.finish(window, [], {"status": WindowStatus.SKIPPED, "reason": "benchmark"})
    database.dispose()


def _removed(url: str) -> int:
    found = REMOVED.search(httpx.get(f"{url}/metrics", timeout=30).text)
    return 0 if found is None else int(float(found[1]))


def _await_removed(url: str, rows: int) -> None:
    while _removed(url) < rows:
        sleep(POLL_SECONDS)


def _load(config: StackConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Send predictions at the rate from a separate process, and return their latencies in seconds."""
    program = [sys.executable, "-m", "scripts.load", "--url", config.api_url, "--model-dir", str(config.model_dir)]
    program += ["--rate", str(options.rate), "--duration", str(options.duration), "--label-share", "0", "--json"]
    found = subprocess.run(program, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    latencies: dict[str, Any] = json.loads(found.stdout)["latency_seconds"]
    return latencies
