"""The many benchmark: many models in one API, its memory and its start, and a call to one model beside the others."""

import argparse
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from model.artifact.store import read_manifest
from scripts.bench.serving.servers import Running, ours, running
from scripts.command_line import whole_from

NAME = "model-000"
WARM_UP = 300
Started = tuple[Running, float]
"""An API that runs, and the CPU seconds that its start took."""


def add_many(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subject."""
    parser.add_argument("--models", type=whole_from(2), default=50, help="models in one API (default: %(default)s)")
    parser.add_argument("--calls", type=whole_from(100), default=2000, help="calls in a round (default: %(default)s)")
    parser.add_argument("--rounds", type=whole_from(1), default=5, help="rounds of each API (default: %(default)s)")
    parser.add_argument("--model-dir", type=Path, help="the artifact to copy; by default one is trained on iris")


def run_many(options: argparse.Namespace) -> int:
    """Start an API with one model and one with many, and call one model of each by turns."""
    with TemporaryDirectory(prefix="vigie-many-") as name:
        folder = Path(name)
        artifact = options.model_dir or _trained(folder / "iris")
        body = json.dumps({one.name: one.example for one in read_manifest(artifact).features}).encode()
        with _api(folder / "one", artifact, 1) as one, _api(folder / "many", artifact, options.models) as many:
            measured = _measured([one[0], many[0]], body, options.calls, options.rounds)
            print("| models | ready after (s) | CPU until then (s) | memory (MB) | call to one (ms) | its CPU (ms) |")
            print("|---|---|---|---|---|---|")
            for (api, cpu_seconds), models, (wall, cpu) in zip((one, many), (1, options.models), measured, strict=True):
                start = f"{api.start_seconds:.1f} | {cpu_seconds:.1f} | {api.resident_bytes / 1e6:.0f}"
                print(f"| {models} | {start} | {wall * 1e3:.2f} | {cpu * 1e3:.2f} |")
        (wall, cpu), (wall_beside, cpu_beside) = measured
        print(
            f"\nBeside {options.models - 1} others, a call takes {wall_beside / wall:.2f} times as long as alone, and "
            f"{cpu_beside / cpu:.2f} times the CPU."
        )
    return 0


def _measured(apis: Sequence[Running], body: bytes, calls: int, rounds: int) -> list[tuple[float, float]]:
    """Call the APIs by turns; return the median time of a call to each, and the CPU that it takes there, in seconds."""
    for api in apis:
        _call(api, body, WARM_UP)
    found: list[list[tuple[float, float]]] = [[] for _ in apis]
    for _ in range(rounds):
        for times, api in zip(found, apis, strict=True):
            before = api.cpu_seconds
            seconds = _call(api, body, calls)
            times.append((seconds, (api.cpu_seconds - before) / calls))
    return [(median(wall for wall, _ in times), median(cpu for _, cpu in times)) for times in found]


def _trained(folder: Path) -> Path:
    command = [sys.executable, "-m", "model.train", "--dataset", "iris", "--out", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@contextmanager
def _api(folder: Path, artifact: Path, models: int) -> Iterator[Started]:
    for number in range(models):
        shutil.copytree(artifact, folder / "models" / f"model-{number:03}")
    with running(ours(artifact, folder, VIGIE_MODELS_DIR=str(folder / "models")), folder, None) as api:
        yield api, api.cpu_seconds


def _call(api: Running, body: bytes, calls: int) -> float:
    """Return the median time of a call to predict one row, in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    headers = {"Content-Type": "application/json"}
    seconds = []
    for _ in range(calls):
        began = perf_counter()
        connection.request("POST", f"/models/{NAME}/predict", body, headers)
        answer = connection.getresponse()
        answer.read()
        seconds.append(perf_counter() - began)
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the API answered {answer.status}")
    connection.close()
    return median(seconds)
