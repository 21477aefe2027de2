"""The models of the demo beside that of the story: steady traffic, for a model served here or in another program."""

import asyncio
import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from model.artifact.store import MANIFEST_FILE, read_manifest
from model.errors import ArtifactError, ModelError
from scripts.demo.phases import SnapshotWindow, read_windows, windows_between
from scripts.load.errors import LoadError
from scripts.load.run import Plan, run_load
from scripts.load.target import probe
from scripts.load.traffic import make_calls, pool_for
from vigie.client import AsyncClient, ClientError

RATE = 5.0
"""Rows a second of each."""
PREDICTION = "predicted_progression"
_RIDGE = 1.0
_LABEL_DELAY_SECONDS = 1.0
_CONCURRENCY = 4
_FALSE_ALARMS = 0.2
"""The share of its windows in which steady traffic may fail a check by chance, before the demo says so."""


@dataclass(frozen=True)
class OtherModel:
    """A model by its name, which is that of a bundled data set. One that is watched has no pipeline here."""

    name: str
    folder: Path
    is_watched: bool = False

    def commands(self) -> list[list[str]]:
        """Return the command that makes its artifact, none where a watched one is there."""
        if not self.is_watched:
            options = ["--if-missing", "--dataset", self.name, "--out", str(self.folder)]
            return [[sys.executable, "-m", "model.train", *options]]
        if self._is_there():
            return []
        options = ["--reference", str(self.reference), "--prediction", PREDICTION, "--target", "progression"]
        options += ["--name", self.name, "--alarms", "rows", "--out", str(self.folder)]
        return [[sys.executable, "-m", "model.watch", *options]]

    @property
    def reference(self) -> Path:
        """The file of rows with predictions that a watched model is made from, beside the folders of the models."""
        return self.folder.parent / f"{self.name}.csv"

    def prepare(self) -> None:
        """Write the file that a watched model is made from; raises OSError."""
        if self.is_watched and not self._is_there():
            write_reference(self.reference)

    def _is_there(self) -> bool:
        try:
            return (self.folder / MANIFEST_FILE).exists() and read_manifest(self.folder).answer_columns is not None
        except ArtifactError:
            return False


@dataclass
class OtherOutcome:
    """What became of another model's traffic: rows that were accepted, errors, and its windows by their start."""

    model: OtherModel
    rows: int = 0
    errors: list[str] = field(default_factory=list)
    span: tuple[datetime, datetime] | None = None
    windows: dict[datetime, SnapshotWindow] = field(default_factory=dict)

    def expected(self, interval_seconds: int) -> list[tuple[datetime, datetime]]:
        """Return the windows that its traffic touches."""
        return [] if self.span is None else windows_between(*self.span, interval_seconds)

    def is_settled(self, interval_seconds: int) -> bool:
        """Return whether every window that its traffic touches has its final status."""
        seen = self.windows
        return all(start in seen and seen[start].settled for start, _ in self.expected(interval_seconds))

    @property
    def failed_checks(self) -> list[str]:
        """The names of the checks that a window failed."""
        return sorted({check for window in self.windows.values() for check in window.checks})

    def differences(self, interval_seconds: int) -> list[str]:
        """Return a line for each thing that is not as steady traffic should be."""
        lines = list(self.errors)
        measured = sum(window.rows or 0 for window in self.windows.values())
        if measured != self.rows:
            lines.append(f"{self.rows:,} rows were accepted, but its windows have {measured:,}")
        first, last = self.span or (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC))
        full = [pair for pair in self.expected(interval_seconds) if pair[0] >= first and pair[1] <= last]
        seen = [self.windows[start] for start, _ in full if start in self.windows]
        lines += [
            f"window {one.start:%H:%M:%S} is {one.status}: {one.reason or 'no reason given'}"
            for one in seen
            if one.status != "posted"
        ]
        if not seen:
            lines.append("no window has its traffic")
        failed = [f"{one.start:%H:%M:%S} {', '.join(one.checks)}" for one in seen if one.checks]
        if len(failed) > max(1.0, _FALSE_ALARMS * len(seen)):
            lines.append(f"{len(failed)} of {len(seen)} windows of steady traffic failed checks: {'; '.join(failed)}")
        return [f"{self.model.name}: {line}" for line in lines]


async def send_steady(model: OtherModel, url: str, seconds: float, seed: int) -> OtherOutcome:
    """Send steady traffic for so long, and return what became of it, without the windows."""
    outcome, began = OtherOutcome(model), datetime.now(UTC)
    try:
        await (_log_elsewhere if model.is_watched else _predict)(outcome, url, seconds, seed)
    except (LoadError, ModelError, ClientError, OSError) as error:
        outcome.errors.append(str(error))
    outcome.span = began, datetime.now(UTC)
    return outcome


async def see_windows(outcome: OtherOutcome, client: httpx.AsyncClient, since: datetime) -> None:
    """Read its windows that start at ``since`` or later."""
    outcome.windows |= await read_windows(client, since, f"/models/{outcome.model.name}/snapshots")


async def _predict(outcome: OtherOutcome, url: str, seconds: float, seed: int) -> None:
    target = probe(url, model=outcome.model.name)
    calls = make_calls("steady", pool_for(target, outcome.model.folder), seed=seed)
    plan = Plan("steady", RATE, seconds, _LABEL_DELAY_SECONDS, _CONCURRENCY)
    summary = await run_load(target.url, calls, plan, asyncio.Event(), lambda _done, _doing: None)
    outcome.rows = summary.statuses["200"]
    outcome.errors += [f"{count} x {what}" for what, count in summary.unexpected.items()]


async def _log_elsewhere(outcome: OtherOutcome, url: str, seconds: float, seed: int) -> None:
    """Send each second what the program elsewhere has predicted in it, under ids of its own, with the labels."""
    rows = predicted_elsewhere()
    rng = np.random.default_rng((seed, 7))
    clock = asyncio.get_running_loop().time
    began, numbers = clock(), iter(range(1, round(seconds * RATE) + 1))
    async with AsyncClient(url, model=outcome.model.name) as client:
        for second in range(1, int(seconds) + 1):
            await asyncio.sleep(max(0.0, began + second - clock()))
            chosen = [rows[place] for place in rng.integers(len(rows), size=round(RATE))]
            some = [{**row, "prediction_id": f"visit-{next(numbers)}"} for row in chosen]
            outcome.rows += (await client.log(some))["accepted"]


def predicted_elsewhere() -> list[dict[str, Any]]:
    """Return what a program elsewhere predicts of patients, a ridge regression, and how their illness went on.

    It was fitted on every third row; these are the others. The call that logs predictions takes them as they are.
    """
    from model.data.bundled import load_bundled  # noqa: PLC0415 - it imports scikit-learn, which --help needs not

    data = load_bundled("diabetes")
    values = data.frame.to_numpy(dtype=np.float64)
    scaled = np.column_stack([np.ones(len(values)), (values - values.mean(axis=0)) / values.std(axis=0)])
    fitted = np.arange(len(values)) % 3 == 0
    known = scaled[fitted]
    weights = np.linalg.solve(known.T @ known + _RIDGE * np.eye(known.shape[1]), known.T @ data.numbers[fitted])
    answers = (scaled @ weights).round(1)
    features = data.frame.to_dict("records")
    return [
        {"features": features[place], "prediction": float(answers[place]), "label": float(data.numbers[place])}
        for place in np.flatnonzero(~fitted)
    ]


def write_reference(file: Path) -> None:
    """Write the rows of the program elsewhere as a CSV file, as its people would export them; raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = predicted_elsewhere()
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow([*rows[0]["features"], PREDICTION, "progression"])
        writer.writerows([*row["features"].values(), row["prediction"], row["label"]] for row in rows)


def describe(outcomes: Sequence[OtherOutcome], say: Callable[[str], None]) -> None:
    """Say what became of each of the models."""
    for one in outcomes:
        how = "predicted elsewhere, only watched" if one.model.is_watched else "served, steady"
        posted = sum(window.status == "posted" for window in one.windows.values())
        checks = ", ".join(one.failed_checks) or "none"
        say(f"{one.model.name} ({how}): {one.rows:,} rows, {posted} windows, failed checks: {checks}")
