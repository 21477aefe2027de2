"""Folders that are replaced as a whole: after a crash either the old or the new one is there."""

import ctypes
import os
import shutil
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # Linux renameat2(2)
_RENAME_SWAP = 2  # macOS renamex_np(2)


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
