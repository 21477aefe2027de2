"""Draws windows of each kind of traffic, and records which of them the checks and the baselines call changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evidently_workspace.checks import CHECKS, CheckName
from model.alarms.window_checks import failed_checks
from model.alarms.window_values import Name, measure_counts, model_of
from model.artifact.manifest import Manifest
from model.artifact.store import read_reference
from model.data.dataset import AnyDataset
from model.explain.explainer import load_explainer
from model.serving.predictor import load_predictor
from model.statistics.attribution import MAX_EXPLAINED_ROWS, attribution_distance, attribution_ndcg
from model.training.fit import train_model
from scripts.bench.baselines import Baselines
from scripts.bench.datasets import halves, part
from scripts.bench.traffic import Traffic, make_traffic

WINDOW_ROWS = (50, 200, 1_000)
ALL_ROWS, UNSEEN_ROWS = "rows of the whole data set", "rows that no training or calibration has seen"
_CELLS = 400_000

Fired = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """Which windows of one kind alarmed, (windows,), by check and by baseline."""

    source: str
    traffic: str
    check: CheckName | None
    window_rows: int
    ours: dict[CheckName, Fired]
    baselines: dict[str, Fired]

    @property
    def any_check(self) -> Fired:
        """Return which windows failed any check."""
        return np.asarray(np.any(list(self.ours.values()), axis=0))


class VectorisedChecks:
    """The checks of a snapshot on windows drawn from some rows, as the alarms of past rows are judged.

    `rows` as in the log, each with its label; `phi` (rows, features) their attributions, None where the model has
    none. A window is a column of counts (rows, windows): how often it holds each row.
    """

    def __init__(
        self, manifest: Manifest, reference: pd.DataFrame, rows: pd.DataFrame, phi: NDArray[np.float64] | None
    ) -> None:
        self._manifest, self._reference, self._rows, self._phi = manifest, reference, rows, phi
        self._model = model_of(manifest, reference)

    def fired(self, counts: NDArray[np.float32], rng: np.random.Generator) -> dict[CheckName, Fired]:
        """Return for each check which of the windows fail it, in the order of CHECKS."""
        windows = measure_counts(self._rows, counts, self._model)
        if self._phi is not None and self._manifest.attributions is not None:
            for name, values in self._attributions(self._phi, counts, rng).items():
                windows.values[name], windows.sizes[name] = values, windows.rows.astype(np.float64)
        failed = failed_checks(windows, self._manifest, self._reference)
        none = np.zeros(counts.shape[1], dtype=bool)
        always = {"data_drift", "concept_drift", "attribution_drift", "data_quality", "performance"}
        return {one.name: failed.get(one.name, none) for one in CHECKS if one.name in failed or one.name in always}

    def _attributions(
        self, phi: NDArray[np.float64], counts: NDArray[np.float32], rng: np.random.Generator
    ) -> dict[Name, NDArray[np.float64]]:
        known, rows = self._manifest.attributions, int(counts[:, 0].sum())
        assert known is not None  # noqa: S101 - for the type checker: the caller asked
        if rows > MAX_EXPLAINED_ROWS:
            # the snapshot explains a random part of the window's rows
            picked = [rng.multivariate_hypergeometric(one, MAX_EXPLAINED_ROWS) for one in counts.T.astype(np.int64)]
            counts = np.array(picked, dtype=np.float32).T
        reference = np.array(list(known.mean_absolute.values()))
        means = counts.T.astype(np.float64) @ phi
        return {
            Name("attribution_distance", None): attribution_distance(reference, means),
            Name("attribution_ndcg", None): attribution_ndcg(reference, means),
        }


def replay(dataset: AnyDataset, *, windows: int, splits: int, seed: int) -> Iterator[Outcome]:
    """Train and yield the outcome of every kind of traffic and window size.

    First the model of the whole data set meets windows of all its rows; then, `splits` times, a model of one half
    meets windows of the other half.
    """
    yield from _replay_model(dataset, dataset, ALL_ROWS, windows, seed)
    for number in range(splits):
        known, unseen = (part(dataset, rows) for rows in halves(dataset, seed + number))
        yield from _replay_model(known, unseen, UNSEEN_ROWS, windows, seed + number)


def _replay_model(known: AnyDataset, rows: AnyDataset, source: str, windows: int, seed: int) -> Iterator[Outcome]:
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        manifest = train_model(known, folder, seed=seed)
        predictor, reference, explainer = load_predictor(folder), read_reference(folder), load_explainer(folder)
    rng = np.random.default_rng(seed)
    for traffic in make_traffic(rows, predictor, reference, seed):
        # attributions cost more than all else, and of changed windows only the check that should fire is reported
        phi = explainer.attributions(traffic.rows) if traffic.check is None else None
        methods = (
            VectorisedChecks(manifest, reference, traffic.rows, phi),
            Baselines(manifest, reference, traffic.rows),
        )
        for size in WINDOW_ROWS:
            ours, theirs = _fired(traffic, size, windows, methods, rng)
            yield Outcome(source, traffic.name, traffic.check, size, ours, theirs)


def _fired(
    traffic: Traffic, size: int, windows: int, methods: tuple[VectorisedChecks, Baselines], rng: np.random.Generator
) -> tuple[dict[CheckName, Fired], dict[str, Fired]]:
    ours, theirs = [], []
    chunk = max(1, _CELLS // len(traffic.rows))
    for start in range(0, windows, chunk):
        counts = draw_windows(traffic, size, min(chunk, windows - start), rng)
        ours.append(methods[0].fired(counts, rng))
        theirs.append(methods[1].fired(counts))
    return (
        {check: np.concatenate([fired[check] for fired in ours]) for check in ours[0]},
        {baseline: np.concatenate([fired[baseline] for fired in theirs]) for baseline in theirs[0]},
    )


def draw_windows(traffic: Traffic, size: int, windows: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return counts (rows, windows) of windows of `size` rows drawn with replacement."""
    return np.ascontiguousarray(rng.multinomial(size, traffic.weights, size=windows).T, dtype=np.float32)
