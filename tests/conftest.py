"""What tests of several packages share: a real small model, and a place for pictures."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def iris_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained as a user would train it."""
    folder = tmp_path_factory.mktemp("iris") / "model"
    command = [sys.executable, "-m", "model.train", "--dataset", "iris", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=250)
    return folder


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Where screenshots are kept."""
    folder = ROOT / "test-artefacts"
    folder.mkdir(exist_ok=True)
    return folder
