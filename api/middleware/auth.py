"""Authentication before the routes: whose key it is, what its scopes allow, and its rate limit."""

import time
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.hosted_models import KEY_MODELS, PREFIX, HostedModels
from api.metrics import Metrics
from api.middleware.error_boundary import ErrorBoundary
from api.middleware.headers import OriginCheck, SecurityHeaders
from api.problems import problem, problem_responses
from api.security.keys import ApiKey, KeyFile, KeySource, read_setting
from api.security.rate_limit import RateLimits
from api.settings import Settings, comma_separated
from api.snapshots.reports import model_of_report

READ = frozenset({"read"})
PREDICT = frozenset({"predict"})
FEEDBACK = frozenset({"feedback"})
CARD = frozenset({"read", "predict"})
METRICS = frozenset({"metrics"})
ADMIN = frozenset({"admin"})

OPEN = ("/health/live", "/health/ready")
DOCUMENTATION = ("/docs", "/openapi.json")
ASSETS = "/static-offline-docs/"
REPORTS = "/reports/"
WINDOWS = "/snapshots/"
OF_NO_MODEL = frozenset({"/", "/models", "/metrics", *OPEN, *DOCUMENTATION})
"""A key that is bound to models may call these too; the first two show it only its own models."""


class ScopeRules:
    """The scopes that each call needs: any one of them is enough; None means that the call needs no key."""

    def __init__(self, *, open_docs: bool, guard_metrics: bool) -> None:
        documentation = None if open_docs else CARD
        self._rules: dict[tuple[str, str], frozenset[str] | None] = {
            ("POST", "/predict"): PREDICT,
            ("POST", "/predict/batch"): PREDICT,
            ("POST", "/feedback"): FEEDBACK,
            ("GET", "/model"): CARD,
            ("GET", "/models"): CARD,
            ("POST", "/log"): PREDICT,  # only under the name of a model
            ("GET", "/snapshots"): READ,
            ("GET", "/snapshots/metrics"): READ,
            ("GET", "/"): READ,
            ("GET", "/metrics"): METRICS if guard_metrics else None,
            **{("GET", path): None for path in OPEN},
            **{("GET", path): documentation for path in DOCUMENTATION},
        }
        self._prefixes = ((REPORTS, READ), (WINDOWS, READ), (ASSETS, documentation))

    def needed(self, method: str, path: str) -> frozenset[str] | None:
        """Return the scopes of which the call needs one, or None."""
        if method == "HEAD":
            method = "GET"
        if path.startswith(PREFIX):  # what the call without the name of a model needs
            rest = path[len(PREFIX) :].partition("/")[2]
            path = f"/{rest}" if rest else "/model"
            if path in OPEN or path in DOCUMENTATION or path.startswith((REPORTS, ASSETS)):
                return ADMIN
        try:
            return self._rules[method, path]
        except KeyError:
            if method == "GET":
                for prefix, scopes in self._prefixes:
                    if path.startswith(prefix):
                        return scopes
            return ADMIN


BEARER = 'Bearer realm="Vigie"'
BASIC = 'Basic realm="Vigie: any name, and an API key as the password", charset="UTF-8"'
WITHOUT_EFFECT = frozenset({"GET", "HEAD"})

KEY_NAME = "vigie.key_name"
"""Where the scope of a request has the name of its key."""

Refusal = tuple[str, int, str, dict[str, str]]
"""The reason to count, then status, detail and headers of the response."""


class AuthMiddleware:
    """ASGI middleware: refuses a request with 401, 403 or 429 before its body is read.

    A key is sent as ``Authorization: Bearer``, as ``X-API-Key``, or, so that a browser can open the pages, as the
    password of HTTP basic authentication. A browser sends that password with requests that other sites start, so it is
    accepted for reading only. ``deny`` is called with the reason of each refusal.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: KeySource,
        rules: ScopeRules,
        limits: RateLimits,
        deny: Callable[[str], object],
        *,
        models: HostedModels,
    ) -> None:
        self._app = app
        self._models = models
        self._keys = keys
        self._rules = rules
        self._limits = limits
        self._deny = deny

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "lifespan":
            refusal = self._check(scope)
            if refusal is not None:
                reason, status, detail, headers = refusal
                self._deny(reason)
                await problem(status, detail, headers=headers)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> Refusal | None:
        method: str = scope.get("method", "")
        needed = self._rules.needed(method, scope["path"])
        if needed is None:
            return None
        presented, wants_page = _presented(scope, basic=method in WITHOUT_EFFECT)
        key = self._keys.find(presented) if presented is not None else None
        if key is None or _has_expired(key):
            return _unauthorized(presented, key, wants_page=wants_page)
        scope[KEY_NAME] = key.name
        if needed.isdisjoint(key.scopes):
            return _forbidden(key, needed)
        if key.models is not None:
            scope[KEY_MODELS] = key.models
            if not self._may_call(key.models, scope["path"]):
                return _of_another_model(key)
        seconds = ceil(self._limits.wait_seconds(key))
        return _limited(key, seconds) if seconds else None

    def _may_call(self, bound: frozenset[str], path: str) -> bool:
        """Whether a key that is bound to these models may make the call: it is for one of them, or for no model."""
        if path in OF_NO_MODEL or path.startswith(ASSETS):
            return True
        if path.startswith(REPORTS):
            model = self._models.of_report(model_of_report(path.rpartition("/")[2]))
        else:
            model = self._models.of_path(path)
        return model is not None and model.name in bound


def _presented(scope: Scope, *, basic: bool) -> tuple[bytes | None, bool]:
    """Return the key of the request, if any, and whether a browser asked for a page."""
    authorization = header_key = None
    wants_page = False
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"x-api-key":
            header_key = value
        elif name == b"accept":
            wants_page = b"text/html" in value
    wants_page = wants_page and basic
    if authorization is None:
        return header_key, wants_page
    scheme, _, credentials = authorization.partition(b" ")
    scheme, credentials = scheme.lower(), credentials.strip()
    if scheme == b"bearer":
        return credentials, wants_page
    if scheme == b"basic" and basic and header_key is None:
        return _password(credentials), wants_page
    return header_key, wants_page


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
    # a browser shows a password dialog for the basic challenge, so scripts do not get it
    return reason, HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": BASIC if wants_page else challenge}


def _forbidden(key: ApiKey, needed: frozenset[str]) -> Refusal:
    scopes = sorted(needed)
    challenge = f'{BEARER}, error="insufficient_scope", scope="{" ".join(scopes)}"'
    detail = f"the key {key.name!r} lacks the scope {' or '.join(scopes)}, which this call needs"
    return "missing_scope", HTTPStatus.FORBIDDEN, detail, {"WWW-Authenticate": challenge}


def _of_another_model(key: ApiKey) -> Refusal:
    detail = f"the key {key.name!r} is bound to other models: {', '.join(sorted(key.models or ()))}"
    challenge = f'{BEARER}, error="insufficient_scope"'
    return "other_model", HTTPStatus.FORBIDDEN, detail, {"WWW-Authenticate": challenge}


def _limited(key: ApiKey, seconds: int) -> Refusal:
    detail = f"the key {key.name!r} sent more rows than its limit allows; try again in {seconds} s"
    return "rate_limited", HTTPStatus.TOO_MANY_REQUESTS, detail, {"Retry-After": str(seconds)}


SCHEMES: dict[str, Any] = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same API key, in the header X-API-Key.",
    },
}


def install_security(app: FastAPI, settings: Settings, metrics: Metrics, models: HostedModels) -> None:
    """Add the middleware; the last one added sees a request first. Raises BadKeys if the keys cannot be read."""
    keys = _keys(settings, metrics)
    if keys is not None:
        rules = ScopeRules(open_docs=settings.open_docs, guard_metrics=settings.guard_metrics)
        limits = RateLimits(settings.rate_limit_rows_per_second)
        app.add_middleware(AuthMiddleware, keys=keys, rules=rules, limits=limits, deny=metrics.deny, models=models)
        _describe(app, rules)
    app.add_middleware(ErrorBoundary)  # inside the middleware that adds headers to every response
    if settings.cors_origins is not None:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=comma_separated(settings.cors_origins),
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key"),
        )
    app.add_middleware(OriginCheck, hosts=settings.hosts, origins=settings.origins, deny=metrics.deny)
    app.add_middleware(SecurityHeaders)


def _keys(settings: Settings, metrics: Metrics) -> KeySource | None:
    if settings.api_keys_file is not None:
        return KeyFile(settings.api_keys_file, metrics.observe_keys)
    if settings.api_keys is not None:
        return read_setting(settings.api_keys.get_secret_value(), metrics.observe_keys)
    return None


def _describe(app: FastAPI, rules: ScopeRules) -> None:
    """Add to the OpenAPI schema which calls need a key, so that Swagger UI asks for one."""
    plain = app.openapi

    def with_keys() -> dict[str, Any]:
        schema = plain()
        components = schema.setdefault("components", {})
        if "securitySchemes" not in components:  # the schema is rebuilt for each version of the model
            components["securitySchemes"] = SCHEMES
            for path, calls in schema["paths"].items():
                for method, call in calls.items():
                    _describe_call(call, rules.needed(method.upper(), path))
        return schema

    app.openapi = with_keys  # type: ignore[method-assign] # as FastAPI documents it


def _describe_call(call: dict[str, Any], scopes: frozenset[str] | None) -> None:
    if scopes is None:
        return
    needed = f"Needs an API key with the scope {' or '.join(sorted(scopes))}."
    call["description"] = "\n\n".join(filter(None, (call.get("description"), needed)))
    call["security"] = [{name: []} for name in SCHEMES]
    for status, response in problem_responses(401, 403, 429).items():
        call["responses"].setdefault(str(status), response)
