"""A real Evidently UI in a process of its own, and windows of a really trained model."""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from evidently_workspace.client import EvidentlyClient
from evidently_workspace.results import WindowSnapshot
from evidently_workspace.window import Window
from model.artifact.manifest import Manifest
from model.artifact.store import read_estimates, read_manifest, read_reference
from model.explain.explainer import load_explainer
from tests.integration.conftest import RunningUI
from tests.postgres import MISSING, fresh_database


@pytest.fixture
def client(ui: RunningUI) -> Iterator[EvidentlyClient]:
    with EvidentlyClient(ui.url, ui.secret) as connected:
        yield connected


@pytest.fixture(scope="session")
def manifest(iris_artifact: Path) -> Manifest:
    return read_manifest(iris_artifact)


@pytest.fixture(scope="session")
def windows() -> Callable[[int], Window]:
    """The n-th window of five minutes after some Monday's start."""
    start, length = datetime(2026, 11, 23, tzinfo=UTC), timedelta(minutes=5)
    return lambda n: Window(start + n * length, start + (n + 1) * length)


@pytest.fixture(scope="session")
def snap(iris_artifact: Path, manifest: Manifest, windows) -> Callable[..., WindowSnapshot]:
    """Take the snapshot of the n-th window, its rows drawn from the reference and moved by `shift`."""
    from evidently_workspace.snapshot import take_snapshot  # noqa: PLC0415 - takes seconds

    reference, explainer = read_reference(iris_artifact), load_explainer(iris_artifact)
    estimates = read_estimates(iris_artifact)

    def take(n: int, rows: int, *, shift: float = 0.0, labelled: int | None = None, **rest: object) -> WindowSnapshot:
        current = reference.sample(rows, replace=True, random_state=n)
        current[list(manifest.feature_names)] += shift
        labels = reference.sample(rows if labelled is None else labelled, replace=True, random_state=n + 1_000)
        rest.setdefault("attributions", explainer.attributions(current.head(200)))
        rest.setdefault("estimates", estimates)
        return take_snapshot(windows(n), current, labels, reference, manifest, min_rows=30, min_labels=30, **rest)

    return take


@pytest.fixture(scope="session")
def imported_evidently() -> None:
    """Import Evidently once and before all else: its import uses deprecated parts of its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_module("evidently_workspace.ui.config")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, imported_evidently: None
) -> Iterator[Engine]:
    from evidently_workspace.ui.database import TunedDatabaseComponent, prepare_tables  # noqa: PLC0415 - takes seconds

    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('storage') / 'evidently.db'}"
    else:
        server = request.getfixturevalue("postgres")
        if server is None:
            pytest.skip(MISSING)
        url = fresh_database(server, f"storage_{uuid4().hex}").replace("://", "+psycopg://")
    engine = TunedDatabaseComponent(url=url).get_engine()
    prepare_tables(engine)
    yield engine
    engine.dispose()
