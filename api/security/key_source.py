"""Owns where the keys come from: a setting, or a file that is looked at again while the API runs."""

import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol

from api.errors import BadKeys
from api.security.keys import ApiKey, KeyRing, parse_keys

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""A change of the file counts after at most this long."""

_State = tuple[int, int, int]


class KeySource(Protocol):
    """What finds the key that somebody presents."""

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key, or None."""


class KeyFile:
    """The keys of a file, read again when its time of change, size or inode is another.

    A file that cannot be read or understood takes effect at no time: the keys last read stay, ``observe`` is told, and
    the log says why, once. Otherwise a slip of the pen would lock every caller out. What is revoked in such a file is
    not revoked, so the state is a metric with an alert. Raises BadKeys where the first reading fails.
    """

    def __init__(
        self, path: Path, observe: Callable[[int, bool], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._path = path
        self._observe = observe
        self._clock = clock
        self._looked_at = clock()
        self._state = self._look()
        self._ring = self._read()
        self._observe(len(self._ring), True)

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key, or None."""
        now = self._clock()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._refresh()
        return self._ring.find(presented)

    def _refresh(self) -> None:
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            self._ring = self._read()
        except BadKeys as error:
            logger.error("%s; the %d keys read before stay valid until it is mended", error, len(self._ring))  # noqa: TRY400 - the traceback would add nothing
            self._observe(len(self._ring), False)
        else:
            logger.info("%s has %d API keys now", self._path, len(self._ring))
            self._observe(len(self._ring), True)

    def _look(self) -> _State | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ctime_ns, found.st_size, found.st_ino)

    def _read(self) -> KeyRing:
        try:
            return KeyRing(parse_keys(self._path.read_text(encoding="utf-8")))
        except OSError as error:
            raise BadKeys(f"VIGIE_API_KEYS_FILE names {self._path}, which cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadKeys(f"VIGIE_API_KEYS_FILE names {self._path}, which is not text in UTF-8") from None
        except BadKeys as error:
            raise BadKeys(f"VIGIE_API_KEYS_FILE names {self._path}, {error}") from None


def read_setting(text: str, observe: Callable[[int, bool], object]) -> KeySource:
    """Return the keys of VIGIE_API_KEYS, which has the lines of a key file. Raises BadKeys."""
    try:
        ring = KeyRing(parse_keys(text))
    except BadKeys as error:
        raise BadKeys(f"VIGIE_API_KEYS, {error}") from None
    observe(len(ring), True)
    return ring
