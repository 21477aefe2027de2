"""The file of a backup, a tar whose last member lists every other one with its SHA-256, and what goes into it."""

import argparse
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api import __version__
from api.prediction_log.copying import backend_of, copy_database
from api.settings import Settings
from evidently_workspace.ui.options import DATABASE_VARIABLE, DEFAULT_DATABASE


@dataclass(frozen=True)
class Places:
    """The addresses of both databases, and the folders of the model and the reports."""

    log_url: str
    workspace_url: str
    model_dir: Path
    reports_dir: Path

    @property
    def databases(self) -> dict[str, str]:
        """Return the databases' addresses by their name in a backup, in the order in which they are copied.

        The log comes first. A window that it records as posted then has its snapshot in the workspace, which is copied
        later; and a snapshot that is posted in between is found before its window is posted again.
        """
        return {"log": self.log_url, "workspace": self.workspace_url}

    @property
    def folders(self) -> dict[str, Path]:
        """Return the folders by their name in a backup."""
        return {"model": self.model_dir, "reports": self.reports_dir}


def add_workspace_url(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the database of Evidently UI."""
    parser.add_argument("--workspace-url", help=f"database of Evidently UI (default: {DATABASE_VARIABLE}[_FILE])")


def places(workspace_url: str | None = None) -> Places:
    """Return the places that the VIGIE_ settings name. Raises pydantic.ValidationError or OSError."""
    settings = Settings()
    return Places(
        settings.database_url.get_secret_value(),
        workspace_url or _workspace_url(),
        settings.model_dir,
        settings.reports_dir,
    )


def _workspace_url() -> str:
    file = os.environ.get(f"{DATABASE_VARIABLE}_FILE")
    if file is not None:
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ.get(DATABASE_VARIABLE, DEFAULT_DATABASE)


FORMAT = 1
LIST = "backup.json"
DATABASES = "databases"
_BLOCK = 1024 * 1024


class BadBackup(Exception):
    """A file that is not a complete backup."""


def write_backup(places: Places, file: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Write a backup, complete or not at all, and return its list. ``report`` is called with the name of each part.

    Raises api.errors.LogUnavailable where a database cannot be copied, OSError where the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        with tarfile.open(unfinished, "w") as tar:
            hashes = {}
            for name, url in places.databases.items():
                report(f"database of the {name}")
                copy = Path(folder) / name
                copy_database(url, copy)
                hashes[f"{DATABASES}/{name}"] = _add(tar, copy, f"{DATABASES}/{name}")
                copy.unlink()
            for name, source in places.folders.items():
                report(f"folder of the {name}")
                hashes |= dict(_add_folder(tar, source, name))
            listed = {
                "format": FORMAT,
                "vigie": __version__,
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "databases": {name: backend_of(url) for name, url in places.databases.items()},
                "files": hashes,
            }
            _add_bytes(tar, LIST, json.dumps(listed, indent=1).encode())
        unfinished.chmod(0o600)  # it contains every logged prediction
        unfinished.replace(file)
    return listed


def unpack_backup(file: Path, folder: Path) -> dict[str, Any]:
    """Unpack a backup into an empty folder and return its list; every file has been compared with its hash.

    Raises BadBackup.
    """
    try:
        with tarfile.open(file) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BadBackup(f"{file} cannot be read as a backup: {error}") from error
    try:
        listed: dict[str, Any] = json.loads((folder / LIST).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise BadBackup(f"{file} has no {LIST}: it is not a backup, or not complete") from error
    if listed.get("format") != FORMAT:
        raise BadBackup(
            f"{file} is a backup of format {listed.get('format')}, but this version reads only format {FORMAT}"
        )
    for name, expected in listed["files"].items():
        if not (folder / name).is_file() or _hash(folder / name) != expected:
            raise BadBackup(f"{file} is damaged: {name} has changed since the backup")
    return listed


def _add_folder(tar: tarfile.TarFile, source: Path, name: str) -> Iterator[tuple[str, str]]:
    """Add the files of a folder; one that expires meanwhile is left out."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            member = f"{name}/{path.relative_to(source).as_posix()}"
            try:
                yield member, _add(tar, path, member)
            except FileNotFoundError:
                continue


def _add(tar: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file under a name and return its SHA-256."""
    hashed = _hash(path)
    tar.add(path, name, recursive=False)
    return hashed


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
