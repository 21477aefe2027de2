"""Trained artifacts, each made once for all workers of a run, and kept for later runs while nothing changes them."""

import hashlib
import random
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


def trained_on_segments(kept_in: Path) -> Path:
    """Return the artifact of rows that are divided by a feature, `colour`, and by metadata, `shop`."""
    rng = random.Random(0)
    lines = ["size,colour,shop,sold"]
    for _ in range(1_500):
        size, colour, shop = rng.gauss(0, 1), rng.choice(["red", "red", "red", "blue"]), rng.choice(["north", "south"])
        sold = "yes" if size + (0.5 if colour == "red" else 0) + rng.gauss(0, 0.4) > 0 else "no"
        lines.append(f"{size:.3f},{colour},{shop},{sold}")
    kept_in.mkdir(parents=True, exist_ok=True)
    file, schema = kept_in / "divided.csv", kept_in / "divided.yaml"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    schema.write_text("metadata: [shop]\nsegments: [colour, shop]\ndrop: [shop]\n", encoding="utf-8")
    options = ("--target", "sold", "--estimator", "logistic_regression", "--alarms", "rows", "--schema", str(schema))
    return made_artifact(kept_in, "model.train", "divided", "--csv", str(file), *options)


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
