"""API keys: their fields, the file that lists their SHA-256, and how the API reads them."""

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from secrets import token_urlsafe
from time import monotonic
from typing import Any, Protocol

from api.errors import BadKeys

SCOPES = ("predict", "feedback", "read", "metrics", "admin")
"""What a key may be used for; no scope includes another."""
PREFIX = "vigie_"
"""Every key starts with it, so that a scan for secrets finds a leaked one."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""The names that models may have: they stand in addresses, in file names and in labels of metrics."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FIELDS = frozenset({"name", "sha256", "scopes", "created", "expires", "rows_per_second", "models"})


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: its name, its scopes, when it expires, and the models that it is for; None stands for all of them."""

    name: str
    sha256: str
    scopes: frozenset[str]
    created: datetime
    expires: datetime | None = None
    rows_per_second: float | None = None
    models: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Check the fields. Raises BadKeys."""
        if not _NAME.fullmatch(self.name):
            raise BadKeys("name: use 1 to 64 of a to z, 0 to 9, '_', '-' and '.'; the first must be a letter or digit")
        if not _DIGEST.fullmatch(self.sha256):
            raise BadKeys("sha256: use 64 digits of 0 to 9 and a to f; create keys with: python -m scripts.keys")
        if not self.scopes or not self.scopes <= set(SCOPES):
            raise BadKeys(f"scopes: use one or more of {', '.join(SCOPES)}")
        if self.rows_per_second is not None and not 0 < self.rows_per_second < float("inf"):
            raise BadKeys("rows_per_second: use a number above 0")
        if self.models is not None and not (self.models and all(MODEL_NAME.fullmatch(name) for name in self.models)):
            raise BadKeys("models: use one or more names of models, or leave it out for all models")

    def line(self) -> str:
        """Return the line of the key in a key file."""
        fields: dict[str, Any] = {
            "name": self.name,
            "sha256": self.sha256,
            "scopes": sorted(self.scopes),
            "created": self.created.isoformat(),
        }
        if self.expires is not None:
            fields["expires"] = self.expires.isoformat()
        if self.rows_per_second is not None:
            fields["rows_per_second"] = self.rows_per_second
        if self.models is not None:
            fields["models"] = sorted(self.models)
        return json.dumps(fields)


class KeyRing:
    """Finds the key of a request."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest = {key.sha256: key for key in keys}

    def __len__(self) -> int:
        """Return how many keys there are, expired ones too."""
        return len(self._by_digest)

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key, or None. The lookup is by hash, so its time reveals nothing about any key."""
        digest = digest_of(presented)
        key = self._by_digest.get(digest)
        return key if key is not None and compare_digest(key.sha256, digest) else None


def new_key() -> str:
    """Return a new key of 256 random bits."""
    return PREFIX + token_urlsafe(32)


def digest_of(key: bytes) -> str:
    """Return the SHA-256 of a key, which is all that is stored of it."""
    return sha256(key).hexdigest()


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Parse the lines of a key file; blank ones are skipped. Raises BadKeys, which names the line but quotes none."""
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            keys.append(_parse(line))
        except BadKeys as error:
            raise BadKeys(f"line {number}: {error}") from None
        if keys[-1].name in {key.name for key in keys[:-1]}:
            raise BadKeys(f"line {number}: another key has the name {keys[-1].name} already")
    return tuple(keys)


def _parse(line: str) -> ApiKey:
    try:
        fields = json.loads(line)
    except ValueError:  # its message would quote the line, which may hold a key by mistake
        fields = None
    if not isinstance(fields, dict):
        raise BadKeys("not a JSON object; create keys with: python -m scripts.keys create NAME --scope predict")
    if missing := {"name", "sha256", "scopes", "created"} - fields.keys():
        raise BadKeys(f"missing fields: {', '.join(sorted(missing))}")
    if fields.keys() - _FIELDS:
        raise BadKeys(f"unknown field; the fields are {', '.join(sorted(_FIELDS))}")
    scopes, limit, models = fields["scopes"], fields.get("rows_per_second"), fields.get("models")
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        raise BadKeys("scopes: use a list of texts")
    if models is not None and not (isinstance(models, list) and all(isinstance(name, str) for name in models)):
        raise BadKeys("models: use a list of texts")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
        raise BadKeys("rows_per_second: use a number above 0")
    return ApiKey(
        name=_text(fields, "name"),
        sha256=_text(fields, "sha256"),
        scopes=frozenset(scopes),
        created=_time(fields, "created"),
        expires=_time(fields, "expires") if fields.get("expires") is not None else None,
        rows_per_second=limit,
        models=None if models is None else frozenset(models),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise BadKeys(f"{name}: use a text")
    return value


def _time(fields: dict[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(fields, name))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadKeys(f"{name}: use a time with its UTC offset, such as 2026-11-23T08:00:00+00:00")
    return moment


logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""A change of the file takes effect after at most this time."""

_State = tuple[int, int, int]


class KeySource(Protocol):
    """Finds the key of a request."""

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key, or None."""


class KeyFile:
    """The keys of a file, which is read again when its time of change, size or inode changes.

    If the changed file cannot be read or parsed, the keys read before stay valid: otherwise a typing error would lock
    out every caller. The reason is logged once, and ``observe`` is called with ``False``: a key that was revoked in
    such a file is still accepted, so there is an alert. Raises BadKeys if the first read fails.
    """

    def __init__(
        self, path: Path, observe: Callable[[int, bool], object], clock: Callable[[], float] = monotonic
    ) -> None:
        self._path = path
        self._observe = observe
        self._clock = clock
        self._checked_at = clock()
        self._state = self._file_state()
        self._ring = self._read()
        self._observe(len(self._ring), True)

    def find(self, presented: bytes) -> ApiKey | None:
        """Return the key, or None."""
        now = self._clock()
        if now - self._checked_at >= CHECK_SECONDS:
            self._checked_at = now
            self._refresh()
        return self._ring.find(presented)

    def _refresh(self) -> None:
        state = self._file_state()
        if state == self._state:
            return
        self._state = state
        try:
            self._ring = self._read()
        except BadKeys as error:
            logger.error("%s; the %d keys read before stay valid until the file is corrected", error, len(self._ring))  # noqa: TRY400 - the traceback would add nothing
            self._observe(len(self._ring), False)
        else:
            logger.info("%s now has %d API keys", self._path, len(self._ring))
            self._observe(len(self._ring), True)

    def _file_state(self) -> _State | None:
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
