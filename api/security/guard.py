"""Owns what stands before the routes: security headers, host names, other origins, keys and rate limits."""

from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.error_boundary import ErrorBoundary
from api.metrics import Metrics
from api.problems import problem_responses
from api.security.access import AccessRules
from api.security.gate import Gate
from api.security.headers import HostCheck, SecurityHeaders
from api.security.key_source import KeyFile, KeySource, read_setting
from api.security.rates import RateLimits
from api.settings import Settings, comma_separated

SCHEMES: dict[str, Any] = {
    "Bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same, in a header of its own.",
    },
}


def install_guard(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Add the middleware; what is added last sees a request first. Raises BadKeys where the keys cannot be read."""
    keys = _keys(settings, metrics)
    if keys is not None:
        rules = AccessRules(open_docs=settings.open_docs, guard_metrics=settings.guard_metrics)
        limits = RateLimits(settings.rate_limit_rows_per_second)
        app.add_middleware(Gate, keys=keys, rules=rules, limits=limits, deny=metrics.deny)
        _describe(app, rules)
    app.add_middleware(ErrorBoundary)  # inside what adds headers to every answer
    if settings.cors_origins is not None:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=comma_separated(settings.cors_origins),
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", "Content-Type", "X-API-Key"),
        )
    if settings.allowed_hosts is not None:
        app.add_middleware(HostCheck, hosts=comma_separated(settings.allowed_hosts), deny=metrics.deny)
    app.add_middleware(SecurityHeaders)


def _keys(settings: Settings, metrics: Metrics) -> KeySource | None:
    if settings.api_keys_file is not None:
        return KeyFile(settings.api_keys_file, metrics.observe_keys)
    if settings.api_keys is not None:
        return read_setting(settings.api_keys.get_secret_value(), metrics.observe_keys)
    return None


def _describe(app: FastAPI, rules: AccessRules) -> None:
    """Say in the OpenAPI schema which calls need a key, so that Swagger UI asks for one."""
    plain = app.openapi

    def with_keys() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schema.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, calls in schema["paths"].items():
                for method, call in calls.items():
                    _describe_call(call, rules.needed(method.upper(), path))
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = with_keys  # type: ignore[method-assign] # FastAPI's own way to change the schema


def _describe_call(call: dict[str, Any], scopes: frozenset[str] | None) -> None:
    if scopes is None:
        return
    needed = f"Needs an API key with the scope {' or '.join(sorted(scopes))}."
    call["description"] = "\n\n".join(filter(None, (call.get("description"), needed)))
    call["security"] = [{name: []} for name in SCHEMES]
    for status, answer in problem_responses(401, 403, 429).items():
        call["responses"].setdefault(str(status), answer)
