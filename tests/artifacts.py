"""Trained artifacts, each made once for all workers of a run, and kept for later runs while nothing changes them."""

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from time import time

from tests.servers import locked

ROOT = Path(__file__).parent.parent
KEPT_SECONDS = 2 * 86_400


def trained_artifact(kept_in: Path, *arguments: str) -> Path:
    """Return the artifact that `python -m model.train` makes of these arguments, from ``kept_in`` if it is there."""
    return made_artifact(kept_in, "model.train", "-".join(arguments).strip("-") or "model", *arguments)


def made_artifact(kept_in: Path, module: str, words: str, *arguments: str) -> Path:
    """Return the artifact that a module makes of these arguments, from ``kept_in`` if it is there under these words."""
    folder = kept_in / f"{words}-{hashlib.sha256(repr((what_trains(), arguments)).encode()).hexdigest()[:16]}"
    kept_in.mkdir(parents=True, exist_ok=True)
    with locked(kept_in / f"{words}.lock"):
        if not folder.exists():
            _remove_old(kept_in)
            command = [sys.executable, "-m", module, *arguments, "--out", str(folder)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=250)
    return folder


@cache
def what_trains() -> str:
    """Return a hash of the code that trains, of the locked packages and of the Python that runs them."""
    found = hashlib.sha256(sys.version.encode())
    for file in (*sorted((ROOT / "model").rglob("*.py")), ROOT / "requirements.lock"):
        found.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return found.hexdigest()


def _remove_old(kept_in: Path) -> None:
    for folder in kept_in.iterdir():
        if folder.is_dir() and folder.stat().st_mtime < time() - KEPT_SECONDS:
            shutil.rmtree(folder)
