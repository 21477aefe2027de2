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
    """The addresses of both databases, and the folders of the model, or of all models, and of the reports."""

    log_url: str
    workspace_url: str
    model_dir: Path
    reports_dir: Path
    models_dir: Path | None = None

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
        if self.models_dir is not None:
            return {"models": self.models_dir, "reports": self.reports_dir}
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
        settings.models_dir,
    )


def _workspace_url() -> str:
    file = os.environ.get(f"{DATABASE_VARIABLE}_FILE")
    if file is not None:
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ.get(DATABASE_VARIABLE, DEFAULT_DATABASE)


FORMAT = 1
LIST = "backup.json"
DATABASES = "databases"
PARTS = frozenset({DATABASES, "model", "models", "reports"})
MAX_LIST_BYTES = 256 * 1024 * 1024
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
        with tarfile.open(unfinished, "w", dereference=True) as tar:  # links become the files that they name
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

    Only files are unpacked, and only those that the list names: whatever else is in the archive, it is not a backup of
    ours. Raises BadBackup.
    """
    try:
        with tarfile.open(file, "r:") as tar:
            members = _plain_files(tar, file)
            listed = _read_list(tar, members, file)
            for name in listed["files"]:
                tar.extract(members[name], folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise BadBackup(f"{file} cannot be read as a backup: {error}") from error
    for name, expected in listed["files"].items():
        if _hash(folder / name) != expected:
            raise BadBackup(f"{file} is damaged: {name} has changed since the backup")
    return listed


def _plain_files(tar: tarfile.TarFile, file: Path) -> dict[str, tarfile.TarInfo]:
    """Return the members of an archive by name. Raises BadBackup where one is not a file, or a name occurs twice."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in tar:
        if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
            raise BadBackup(f"{file} is not a backup: {member.name} is not a plain file")
        if member.name in found:
            raise BadBackup(f"{file} is not a backup: {member.name} occurs twice")
        found[member.name] = member
    return found


def _read_list(tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], file: Path) -> dict[str, Any]:
    """Return the list of a backup, which names all of its members but itself. Raises BadBackup."""
    member = members.get(LIST)
    content = tar.extractfile(member) if member is not None and member.size <= MAX_LIST_BYTES else None
    try:
        listed = json.loads(content.read() if content else b"")
        files = listed["files"]
        names = {name for name, hashed in files.items() if isinstance(hashed, str)}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadBackup(f"{file} has no valid {LIST}: it is not a backup, or not complete") from error
    if listed.get("format") != FORMAT:
        raise BadBackup(
            f"{file} is a backup of format {listed.get('format')}, but this version reads only format {FORMAT}"
        )
    others = sorted(names ^ (members.keys() - {LIST}))
    if others:
        raise BadBackup(f"{file} is damaged: {others[0]} is in the archive or in its list, but not in both")
    strangers = sorted(name for name in names if name.partition("/")[0] not in PARTS)
    if strangers:
        raise BadBackup(f"{file} is not a backup: no backup has a file {strangers[0]}")
    return dict(listed)


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
