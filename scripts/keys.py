"""The command `python -m scripts.keys`: creates, lists and revokes the API's keys, whose file holds only hashes."""

import argparse
import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

from api.errors import BadKeys
from api.security.keys import SCOPES, ApiKey, digest_of, new_key, parse_keys
from scripts.command_line import above_zero, whole_from

DESCRIPTION = (
    "Create, list and revoke API keys. The file holds only their hashes. The API reads it within a second of a change."
)
DEFAULT_FILE = Path("secrets/api/keys.jsonl")
"""In a folder of its own, for containers to mount: one that mounts the file alone never sees its replacement."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m scripts.keys") -> int:
    """Run the command and return its exit status; 1 after an error about the file or the name."""
    options = _parse(arguments, prog)
    try:
        if options.command == "create":
            _create(options)
        elif options.command == "revoke":
            revoke_key(options.file, options.name)
            print(f"revoked {options.name}", file=sys.stderr)
        else:
            _list(options.file)
    except (BadKeys, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def create_key(
    file: Path,
    name: str,
    scopes: Sequence[str],
    expires: datetime | None = None,
    rows_per_second: float | None = None,
    *,
    models: Sequence[str] | None = None,
) -> str:
    """Add a key to the file and return it; the file keeps only its hash. Raises BadKeys or OSError."""
    key = new_key()
    record = ApiKey(
        name=name,
        sha256=digest_of(key.encode()),
        scopes=frozenset(scopes),
        created=datetime.now(UTC).replace(microsecond=0),
        expires=expires,
        rows_per_second=rows_per_second,
        models=None if models is None else frozenset(models),
    )

    def add(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        if name in {kept.name for kept in keys}:
            raise BadKeys(f"{file} already has a key named {name}; revoke it first, or choose another name")
        return (*keys, record)

    _change(file, add)
    return key


def revoke_key(file: Path, name: str) -> None:
    """Remove a key from the file. Raises BadKeys or OSError."""

    def remove(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        kept = tuple(key for key in keys if key.name != name)
        if len(kept) == len(keys):
            raise BadKeys(f"{file} has no key named {name}")
        return kept

    _change(file, remove)


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """Return the keys of the file; none where it is missing. Raises BadKeys or OSError."""
    try:
        return parse_keys(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (BadKeys, UnicodeDecodeError) as error:
        why = error if isinstance(error, BadKeys) else "not text in UTF-8"
        raise BadKeys(f"{file}: {why}") from None


def _change(file: Path, change: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
    """Replace the whole file at once; of two simultaneous changes, one waits for the other."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(file.parent):
        _replace(file, "".join(f"{key.line()}\n" for key in change(read_keys(file))))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, text: str) -> None:
    # The owner of the file, or of its folder, must still be able to read it: `make secrets`, run by root, gives the
    # folder to the user that the containers run as.
    owner = file.stat() if file.exists() else file.parent.stat()
    temporary = None
    try:
        with NamedTemporaryFile(
            "w", dir=file.parent, prefix=f".{file.name}.", delete=False, encoding="utf-8"
        ) as opened:
            temporary = Path(opened.name)  # made with mode 600
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
                os.fchown(opened.fileno(), owner.st_uid, owner.st_gid)
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except BaseException:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
        raise


def _create(options: argparse.Namespace) -> None:
    expires = None
    if options.expires_in_days is not None:
        expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=options.expires_in_days)
    key = create_key(options.file, options.name, options.scope, expires, options.rows_per_second, models=options.model)
    print(key)
    print(
        f"added {options.name} to {options.file}, for {', '.join(sorted(set(options.scope)))}"
        f"{' of ' + ', '.join(options.model) if options.model else ''}"
        f"{f', until {expires.isoformat()}' if expires else ''}; the key above will not be shown again",
        file=sys.stderr,
    )
    if models_dir := os.environ.get("VIGIE_MODELS_DIR"):
        for name in options.model or ():
            if not (Path(models_dir) / name).is_dir():
                print(
                    f"note: {models_dir} has no model {name}; until it does, the key opens nothing of it",
                    file=sys.stderr,
                )


def _list(file: Path) -> None:
    keys = read_keys(file)
    if not keys:
        print(f"no keys in {file}", file=sys.stderr)
    now = datetime.now(UTC)
    for key in keys:
        until = (
            "" if key.expires is None else f"  {'expired' if key.expires <= now else 'until'} {key.expires.isoformat()}"
        )
        limit = "" if key.rows_per_second is None else f"  {key.rows_per_second:g} rows/s"
        models = "" if key.models is None else f"  of {','.join(sorted(key.models))}"
        print(
            f"{key.name:<24} {','.join(sorted(key.scopes)):<36} since {key.created.isoformat()}{until}{limit}{models}"
        )


def _parse(arguments: Sequence[str] | None, prog: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=prog, description=DESCRIPTION)
    chosen = Path(os.environ.get("VIGIE_API_KEYS_FILE") or DEFAULT_FILE)
    parser.add_argument(
        "--file", type=Path, default=chosen, help="file of the keys, the API's VIGIE_API_KEYS_FILE (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="create a key, print it once, and store its hash")
    create.add_argument("name", help="name of the key, such as who will use it")
    create.add_argument(
        "--scope", action="append", choices=SCOPES, required=True, help="what the key may do; may be repeated"
    )
    create.add_argument(
        "--expires-in-days", type=whole_from(1, 36_500), help="days until the key expires (default: never)"
    )
    create.add_argument(
        "--rows-per-second", type=above_zero, help="rate limit of this key (default: the API's setting)"
    )
    create.add_argument(
        "--model", action="append", metavar="NAME", help="a model that the key is for; may be repeated (default: all)"
    )
    commands.add_parser("list", help="list names and scopes")
    commands.add_parser("revoke", help="remove a key").add_argument("name")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
