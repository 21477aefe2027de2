"""The command `python -m scripts.secrets`: makes and rotates the secret files of Docker Compose, and keeps its .env."""

import argparse
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from api.errors import BadKeys
from scripts.keys import create_key, read_keys, revoke_key

DESCRIPTION = (
    "Make the files that Docker Compose gives to the containers as secrets, and the .env that names their owner. "
    "Files that exist are kept. A digest of each file goes into .env, so that Docker Compose replaces the containers "
    "whose secrets changed."
)
NOBODY = "http://127.0.0.1:9/nobody-is-told-yet"
"""Stands in the file until an operator enters a receiver; meanwhile the alert about failing notifications fires."""
CONTAINER_ID = 10001
"""The user of the containers if root starts them; other users start them as themselves."""

KEYS = {"api_key": ("predict", "feedback", "read"), "front_key": ("read",)}
"""Files with an API key, and its scopes: one for the first caller, one for the front, which shows pages with it."""
DATABASES = {"log": "vigie", "workspace": "evidently"}
"""The databases on PostgreSQL, by what they hold. Each has a role, which owns it, and a password."""
ROTATABLE = (
    "evidently_secret",
    "grafana_admin_password",
    "page_password",
    *(f"postgres_{holds}_password" for holds in DATABASES),
    *KEYS,
)
"""The secrets that `--rotate` replaces. The others are yours, or hold no secret."""

RECEIVERS = ("slack_url", "teams_url", "pagerduty_key")
"""Files in secrets/alertmanager that you write yourself: each switches a receiver of alerts on."""

ENGINE_SOCKET = Path("/var/run/docker.sock")
DIGEST_PREFIX = "VIGIE_DIGEST_"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.secrets") -> int:
    """Make the missing files and print their names."""
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    parser.add_argument("--folder", type=Path, default=Path(), help="folder of the checkout (%(default)s)")
    parser.add_argument("--rotate", metavar="NAME", choices=ROTATABLE, help="replace one: " + ", ".join(ROTATABLE))
    options = parser.parse_args(arguments)
    folder: Path = options.folder
    try:
        made = rotate(folder, options.rotate) if options.rotate else make_secrets(folder)
        update_env(folder)
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
    contents = {
        "evidently_secret": secrets.token_urlsafe(32),
        "grafana_admin_password": secrets.token_urlsafe(24),
        "page_password": secrets.token_urlsafe(24),
        "postgres_password": secrets.token_urlsafe(24),
        "postgres_account": f"postgres:x:{user}:{group}::/var/lib/postgresql:/bin/sh\n",
        "digest_key": secrets.token_urlsafe(32),
        "alertmanager/webhook_url": NOBODY,
        "alertmanager/deadman_url": NOBODY,
        "alertmanager/smtp_password": secrets.token_urlsafe(24),
        "notify_urls": "",  # nobody is told by the API itself until someone writes addresses into it
        "sqlite_log_url": "sqlite:////data/log/vigie.db",
        "sqlite_workspace_url": "sqlite:////data/workspace/evidently.db",
    }
    if (kept / "postgres_password").exists():
        for name in ("postgres_log_url", "postgres_workspace_url"):
            if not (kept / name).exists():
                raise OSError(
                    f"{kept / name} is missing; remove {kept}/postgres_* and run this again to make all of them"
                )
    for receiver in RECEIVERS:
        hand_over(kept / "alertmanager" / receiver, user, group)
    made = [f"secrets/{name}" for name, content in contents.items() if write_new(kept / name, content, user, group)]
    made += [f"secrets/{name}" for holds in DATABASES for name in make_role(kept, holds, user, group)]
    made += [f"secrets/{name}" for name in KEYS if make_key(kept, name, user, group)]
    env = f"VIGIE_UID={user}\nVIGIE_GID={group}\n"
    return made + ([".env"] if write_new(folder / ".env", env, os.geteuid(), os.getegid()) else [])


def rotate(folder: Path, name: str) -> list[str]:
    """Replace one of ROTATABLE, make what is missing, and return the names of the files written. Raises OSError.

    If the process dies in between, the next `make_secrets` completes the work.
    """
    make_secrets(folder)
    kept = folder / "secrets"
    if name in KEYS:
        (kept / name).unlink()
        return make_secrets(folder)
    replace(kept / name, secrets.token_urlsafe(32), *owner())
    return [f"secrets/{name}", *make_secrets(folder)]


def make_role(folder: Path, holds: str, user: int, group: int) -> list[str]:
    """Make the password of a database's role and the address with it; return the names of the files written.

    An address of ours with another password or role is replaced: the password was changed, or the file is of an earlier
    version, in which one superuser had both databases. An address of your own is kept. Raises OSError.
    """
    password_file, url_file = folder / f"postgres_{holds}_password", folder / f"postgres_{holds}_url"
    made = [password_file.name] if write_new(password_file, secrets.token_urlsafe(24), user, group) else []
    password = password_file.read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"[\w-]+", password, re.ASCII):
        raise OSError(f"{password_file} may hold letters, digits, - and _ only, because it is part of an address")
    url = f"postgresql://vigie_{holds}:{password}@postgres/{DATABASES[holds]}"
    if write_new(url_file, url, user, group):
        return [*made, url_file.name]
    ours = rf"postgresql://vigie(_{holds})?:[\w-]+@postgres/{DATABASES[holds]}\s*"
    current = url_file.read_text(encoding="utf-8")
    if current.strip() != url and re.fullmatch(ours, current, re.ASCII):
        replace(url_file, url, user, group)
        made.append(url_file.name)
    return made


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


def hand_over(path: Path, user: int, group: int) -> None:
    """Make a file that you wrote readable for the containers and for nobody else, if there is one. Raises OSError."""
    if path.is_file() and not path.is_symlink():
        path.chmod(0o600)
        if user != os.geteuid():
            os.chown(path, user, group, follow_symlinks=False)


def replace(path: Path, content: str, user: int, group: int) -> None:
    """Write a file that only its owner can read in place of another, all at once."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    write_new(draft, content, user, group)
    draft.replace(path)


def update_env(folder: Path) -> None:
    """Write the digests of the secrets into .env, and the group of the engine's socket if it is not there yet.

    The digests are keyed, so they tell nobody whether a guess of a secret is right. Raises OSError.
    """
    kept, env = folder / "secrets", (folder / ".env").resolve()
    key = (kept / "digest_key").read_bytes()
    files = sorted(path for path in kept.iterdir() if path.is_file() and re.fullmatch(r"[a-z_]+", path.name))
    files += [path for name in RECEIVERS if (path := kept / "alertmanager" / name).is_file()]
    before = env.read_text(encoding="utf-8")
    lines = [line for line in before.splitlines() if not line.startswith(DIGEST_PREFIX)]
    if sys.platform == "linux" and "VIGIE_DOCKER_GID=" not in before and ENGINE_SOCKET.exists():
        lines.append(f"VIGIE_DOCKER_GID={ENGINE_SOCKET.stat().st_gid}")
    for path in files:
        digest = hashlib.blake2b(path.read_bytes(), key=key[:64], digest_size=8).hexdigest()
        lines.append(f"{DIGEST_PREFIX}{path.name.upper()}={digest}")
    after = "\n".join(lines) + "\n"
    if after != before:
        old = env.stat()
        replace(env, after, old.st_uid, old.st_gid)
        env.chmod(stat.S_IMODE(old.st_mode))


if __name__ == "__main__":
    sys.exit(main())
