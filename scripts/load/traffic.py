"""The scenarios by name, and the requests of each."""

from collections.abc import Iterator
from pathlib import Path

from model.artifact.store import read_manifest
from scripts.load.malformed import bad_requests
from scripts.load.pool import Pool, read_pool
from scripts.load.scenarios import (
    Call,
    Scenario,
    bad_quality,
    concept_drift,
    data_drift,
    prediction_calls,
    steady,
    target_drift,
)
from scripts.load.target import Target

BAD_REQUESTS = "bad_requests"

SCENARIOS: dict[str, Scenario] = {
    "steady": steady,
    "data_drift": data_drift,
    "target_drift": target_drift,
    "concept_drift": concept_drift,
    "bad_quality": bad_quality,
}

NAMES = (*SCENARIOS, BAD_REQUESTS)


def make_calls(name: str, pool: Pool, *, seed: int, batch: int = 1, label_share: float = 1.0) -> Iterator[Call]:
    """Return the requests of a scenario; raises NoSuchTrafficError if the pool does not allow it."""
    if name == BAD_REQUESTS:
        return bad_requests(pool, seed)
    return prediction_calls(SCENARIOS[name](pool, seed), batch=batch, label_share=label_share, seed=seed)


def pool_for(target: Target, folder: Path) -> Pool:
    """Return the hold-out rows of the model that is served; raises ModelMismatchError or ArtifactError."""
    target.require(read_manifest(folder).version, str(folder))
    return read_pool(folder, target.model.features, target.model.classes)
