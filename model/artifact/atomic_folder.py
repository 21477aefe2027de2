"""Folders that are replaced as a whole: after a crash either the old or the new one is there."""

import ctypes
import hashlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_STALE_SECONDS = 3600
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux renameat2(2)
_RENAME_SWAP = 2  # macOS renamex_np(2)


Content = bytes | Callable[[Path], None]
"""A file's bytes, or a function that writes the file at the path it is given."""


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder to fill, and put it in the place of `target` when the body ends without an error.

    The files must be written with `write_flushed`; then a crash at any point leaves what was at `target`, or the whole
    new folder. Raises OSError.
    """
    staging = target.with_name(f".{target.name}.new-{secrets.token_hex(4)}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        staging.mkdir()
        yield staging
        flush_folder(staging)
        put_in_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_flushed(path: Path, content: Content) -> str:
    """Write a file, force it to disk, and return the SHA-256 of what it holds. Raises OSError."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_in_place(finished: Path, target: Path) -> None:
    """Make `finished` the folder at `target`; a folder that was there is removed.

    Both must lie in the same parent. Where the system can exchange two names in one step (Linux, macOS) a
    reader always finds a whole folder. Elsewhere the old one is moved aside first; `recover` brings it back
    if the process dies between the two steps. Raises OSError.
    """
    recover(target)
    if not target.exists():
        finished.rename(target)
        flush_folder(target.parent)
        return
    previous = _previous(target)
    if _exchange(finished, target):
        previous = finished
    else:
        if previous.exists():
            shutil.rmtree(previous)
        target.rename(previous)
        finished.rename(target)
    flush_folder(target.parent)
    shutil.rmtree(previous, ignore_errors=True)


def recover(target: Path) -> None:
    """Bring back a folder that an interrupted `put_in_place` had moved aside."""
    previous = _previous(target)
    if not target.exists() and previous.exists():
        previous.rename(target)


def flush_folder(folder: Path) -> None:
    """Force the entries of a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_stale(target: Path) -> None:
    """Remove what a killed process left beside the target; a young one may still be being written."""
    for leftover in target.parent.glob(f".{target.name}.new-*"):
        if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)


def _previous(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    library = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        call = getattr(library, "renamex_np", None)
        return call is not None and bool(call(*names, _RENAME_SWAP) == 0)
    call = getattr(library, "renameat2", None)
    return call is not None and bool(call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
