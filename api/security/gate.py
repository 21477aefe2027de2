"""Owns the gate before the routes: who calls, whether the key is for this call, and whether it calls too much."""

import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from http import HTTPStatus
from math import ceil

from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from api.security.access import AccessRules
from api.security.key_source import KeySource
from api.security.keys import ApiKey
from api.security.rates import RateLimits

BEARER = 'Bearer realm="Vigie"'
BASIC = 'Basic realm="Vigie: any name, and an API key as the password", charset="UTF-8"'
WITHOUT_EFFECT = frozenset({"GET", "HEAD"})

Refusal = tuple[str, int, str, dict[str, str]]
"""The reason to count, then status, detail and headers of the answer."""


class Gate:
    """ASGI middleware: answers 401, 403 or 429 to what may not pass, before anything of its body is read.

    A key comes as ``Authorization: Bearer``, as ``X-API-Key``, or, so that a browser can open the pages, as the
    password of HTTP's basic scheme. A browser adds that one by itself, whichever site made it send the request, so it
    counts for reading only. ``deny`` is told the reason of each refusal.
    """

    def __init__(
        self, app: ASGIApp, keys: KeySource, rules: AccessRules, limits: RateLimits, deny: Callable[[str], object]
    ) -> None:
        self._app = app
        self._keys = keys
        self._rules = rules
        self._limits = limits
        self._deny = deny

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "lifespan":
            refusal = self._judge(scope)
            if refusal is not None:
                reason, status, detail, headers = refusal
                self._deny(reason)
                await problem(status, detail, headers=headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _judge(self, scope: Scope) -> Refusal | None:
        method: str = scope.get("method", "")
        needed = self._rules.needed(method, scope["path"])
        if needed is None:
            return None
        presented, wants_page = _presented(scope, basic=method in WITHOUT_EFFECT)
        key = self._keys.find(presented) if presented is not None else None
        if key is None or _has_expired(key):
            return _unauthorized(presented, key, wants_page=wants_page)
        if needed.isdisjoint(key.scopes):
            return _forbidden(key, needed)
        seconds = ceil(self._limits.wait_seconds(key))
        return _limited(key, seconds) if seconds else None


def _presented(scope: Scope, *, basic: bool) -> tuple[bytes | None, bool]:
    """Return the key that the request carries, if any, and whether a person at a browser waits for a page."""
    authorization = named = None
    wants_page = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"x-api-key":
            named = value
        elif name == b"accept":
            wants_page = b"text/html" in value
    wants_page = wants_page and basic
    if authorization is None:
        return named, wants_page
    scheme, _, credentials = authorization.partition(b" ")
    scheme, credentials = scheme.lower(), credentials.strip()
    if scheme == b"bearer":
        return credentials, wants_page
    if scheme == b"basic" and basic and named is None:
        return _password(credentials), wants_page
    return named, wants_page


def _password(credentials: bytes) -> bytes | None:
    try:
        return b64decode(credentials, validate=True).partition(b":")[2] or None
    except Base64Error:
        return None


def _has_expired(key: ApiKey) -> bool:
    return key.expires is not None and key.expires.timestamp() <= time.time()


def _unauthorized(presented: bytes | None, key: ApiKey | None, *, wants_page: bool) -> Refusal:
    challenge = f'{BEARER}, error="invalid_token"'
    if presented is None:
        reason, challenge = "no_key", BEARER
        detail = "this call needs an API key; send one as Authorization: Bearer KEY, or as X-API-Key: KEY"
    elif key is None:
        reason, detail = "unknown_key", "this API key is not known, or was revoked"
    else:
        reason, detail = "expired_key", "this API key has expired"
    # only a browser's own request for a page is asked for a password: a script's would get a dialog over its page
    return reason, HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": BASIC if wants_page else challenge}


def _forbidden(key: ApiKey, needed: frozenset[str]) -> Refusal:
    scopes = sorted(needed)
    challenge = f'{BEARER}, error="insufficient_scope", scope="{" ".join(scopes)}"'
    detail = f"this call needs an API key with the scope {' or '.join(scopes)}; the key {key.name} has it not"
    return "missing_scope", HTTPStatus.FORBIDDEN, detail, {"WWW-Authenticate": challenge}


def _limited(key: ApiKey, seconds: int) -> Refusal:
    detail = f"the key {key.name} sends more rows than its limit allows; try again in {seconds} s"
    return "rate_limited", HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(seconds)}
