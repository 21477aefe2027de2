"""A real API on a real socket, for the client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from api.settings import Settings
from tests.in_process import serving
from tests.logging_rows import Logged, reader_of


@pytest.fixture(scope="module")
def settings(iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("api")
    return Settings(
        model_dir=iris_artifact,
        database_url=f"sqlite:///{folder}/log.db",
        reports_dir=folder / "reports",
        snapshots=False,
    )


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with serving(create_app(settings)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def stored(settings: Settings, url: str) -> Logged:
    return reader_of(settings.database_url.get_secret_value())
