"""The command `python -m scripts.secrets`: makes the secret files of Docker Compose, and the .env with their owner."""

import argparse
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from api.errors import BadKeys
from scripts.keys import create_key, read_keys, revoke_key

DESCRIPTION = (
    "Make the files that Docker Compose gives to the containers as secrets, and the .env that names their owner. "
    "Files that exist are kept."
)
NOBODY = "http://127.0.0.1:9/nobody-is-told-yet"
"""Stands in the file until an operator enters a receiver; meanwhile the alert about failing notifications fires."""
CONTAINER_ID = 10001
"""The user of the containers if root starts them; other users start them as themselves."""

KEYS = {"api_key": ("predict", "feedback", "read"), "front_key": ("read",)}
"""Files with an API key, and its scopes: one for the first caller, one for the front, which shows pages with it."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.secrets") -> int:
    """Make the missing files and print their names."""
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    parser.add_argument("--folder", type=Path, default=Path(), help="folder of the checkout (%(default)s)")
    folder: Path = parser.parse_args(arguments).folder
    try:
        made = make_secrets(folder)
    except OSError as error:
        sys.stderr.write(f"cannot make the secrets: {error}\n")
        return 1
    print("made " + ", ".join(made) if made else "all secrets exist already")
    return 0


def make_secrets(folder: Path) -> list[str]:
    """Write the secrets and .env that are missing, and return their names. Raises OSError."""
    user, group = owner()
    kept = folder / "secrets"
    for inner in (kept, kept / "alertmanager", kept / "api"):
        inner.mkdir(mode=0o700, exist_ok=True)
        if user != os.geteuid():
            os.chown(inner, user, group)
    password = secrets.token_urlsafe(24)
    contents = {
        "evidently_secret": secrets.token_urlsafe(32),
        "grafana_admin_password": secrets.token_urlsafe(24),
        "page_password": secrets.token_urlsafe(24),
        "postgres_password": password,
        "postgres_log_url": f"postgresql://vigie:{password}@postgres/vigie",
        "postgres_workspace_url": f"postgresql://vigie:{password}@postgres/evidently",
        "postgres_account": f"postgres:x:{user}:{group}::/var/lib/postgresql:/bin/sh\n",
        "alertmanager/webhook_url": NOBODY,
        "alertmanager/deadman_url": NOBODY,
        "alertmanager/smtp_password": secrets.token_urlsafe(24),
        "sqlite_log_url": "sqlite:////data/log/vigie.db",
        "sqlite_workspace_url": "sqlite:////data/workspace/evidently.db",
    }
    if (kept / "postgres_password").exists():
        for name in ("postgres_log_url", "postgres_workspace_url"):
            if not (kept / name).exists():
                raise OSError(
                    f"{kept / name} is missing; remove {kept}/postgres_* and run this again to make all of them"
                )
    made = [f"secrets/{name}" for name, content in contents.items() if write_new(kept / name, content, user, group)]
    made += [f"secrets/{name}" for name in KEYS if make_key(kept, name, user, group)]
    env = f"VIGIE_UID={user}\nVIGIE_GID={group}\n"
    return made + ([".env"] if write_new(folder / ".env", env, os.geteuid(), os.getegid()) else [])


def make_key(folder: Path, name: str, user: int, group: int) -> bool:
    """Make one of KEYS unless its file exists: the key in a file, its hash where the API looks. Return whether it did.

    A key whose file was removed is replaced: the old one is no longer valid. Raises OSError.
    """
    if (folder / name).exists():
        return False
    hashes = folder / "api" / "keys.jsonl"
    holder = name.removesuffix("_key")
    try:
        if holder in {key.name for key in read_keys(hashes)}:
            revoke_key(hashes, holder)
        return write_new(folder / name, create_key(hashes, holder, KEYS[name]), user, group)
    except BadKeys as error:
        raise OSError(str(error)) from error


def owner() -> tuple[int, int]:
    """Return the user and group that own the secrets, and that the containers run as."""
    if os.geteuid() == 0:
        return CONTAINER_ID, CONTAINER_ID
    return os.geteuid(), os.getegid()


def write_new(path: Path, content: str, user: int, group: int) -> bool:
    """Write a file that only its owner can read, unless it exists; return whether it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if user != os.geteuid():
            os.fchown(descriptor, user, group)
        file.write(content)
    return True


if __name__ == "__main__":
    sys.exit(main())
