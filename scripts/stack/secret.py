"""The secret that guards writes to a data folder's Evidently UI."""

import os
import secrets
from pathlib import Path


def ensure_secret(path: Path) -> Path:
    """Return the file, after writing a random secret into it if there was none; only its owner can read it.

    The file is created with mode 600 from the start, so there is no moment in which others could open it, and
    it appears under its name only when it is whole.
    """
    if path.exists() and path.stat().st_size:
        return path
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    draft.replace(path)
    return path
