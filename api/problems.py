"""Problem responses: every error of the API as application/problem+json (RFC 9457)."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.errors import (
    MAX_ERRORS,
    BodyTooLarge,
    DependencyError,
    FieldError,
    NoSuchModel,
    NotFound,
    PayloadError,
    StateError,
    UnknownEncoding,
    UnreadableBody,
    VigieError,
)

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message", "type"],
                "properties": {name: {"type": "string"} for name in ("field", "message", "type")},
            },
        },
    },
}

_FIELD_ERROR = {"field": "sepal_length", "message": "Input should be a valid number", "type": "float_type"}
_EXAMPLE_DETAILS = {
    HTTPStatus.BAD_REQUEST: "There was an error parsing the body",
    HTTPStatus.UNAUTHORIZED: "this call needs an API key; send one as Authorization: Bearer KEY, or as X-API-Key: KEY",
    HTTPStatus.FORBIDDEN: "the key 'shop' lacks the scope admin, which this call needs",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not arrive within 30 s; send fewer rows, or check the connection",
    HTTPStatus.TOO_MANY_REQUESTS: "the key 'shop' sent more rows than its limit allows; try again in 3 s",
    HTTPStatus.NOT_FOUND: "there is no report of this name; it may have expired",
    HTTPStatus.CONFLICT: "nothing was logged since the last window; send predictions first",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than the limit of 16,777,216 bytes; send fewer rows",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the body has the Content-Encoding 'br'; send it plain, or packed with gzip",
    HTTPStatus.UNPROCESSABLE_ENTITY: "sepal_length: Input should be a valid number",
    HTTPStatus.SERVICE_UNAVAILABLE: "the prediction log does not answer: database is locked",
}


def problem_responses(*statuses: int, detail: str | None = None) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for its OpenAPI entry; ``detail`` is an example."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "example": _example(HTTPStatus(status), detail)}},
        }
        for status in statuses
    }


def _example(status: HTTPStatus, detail: str | None) -> dict[str, Any]:
    detail = detail or _EXAMPLE_DETAILS[status]
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return body | ({"errors": [_FIELD_ERROR]} if status == HTTPStatus.UNPROCESSABLE_ENTITY else {})


def problem(
    status: int, detail: str, errors: tuple[FieldError, ...] = (), headers: dict[str, str] | None = None
) -> JSONResponse:
    """Build the response to one error."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors:
        body["errors"] = [{"field": e.field, "message": e.message, "type": e.type} for e in errors[:MAX_ERRORS]]
    return JSONResponse(body, status, headers, media_type=MEDIA_TYPE)


def unexpected_problem() -> JSONResponse:
    """Build the response to an unexpected error; it does not reveal the cause to the caller."""
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the API failed; see its log for the cause")


_STATUSES: dict[type[Exception], HTTPStatus] = {
    NotFound: HTTPStatus.NOT_FOUND,
    NoSuchModel: HTTPStatus.NOT_FOUND,
    UnreadableBody: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnknownEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


Refuse = Callable[[str, Scope], object]
"""Counts a refused request, by the reason and what the server knows of it."""


def install_problem_handlers(app: FastAPI, refuse: Refuse) -> None:
    """Make every error of the app a problem; ``refuse`` is called with the reason of each error in a payload."""

    async def payload(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, PayloadError)  # noqa: S101 - Starlette registers handlers without this type
        refuse(error.errors[0].type if error.errors else "payload", request.scope)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), error.errors)

    async def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        # the first part of a location says which part of the request it is in, such as "query"
        items = [{**item, "loc": item["loc"][1:]} for item in error.errors()]
        return await payload(request, PayloadError.of([FieldError.from_pydantic(item) for item in items]))

    async def domain(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, BodyTooLarge):
            refuse("body_too_large", request.scope)
        if isinstance(error, DependencyError):
            headers = {"Retry-After": str(error.retry_after_seconds)}
            return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=headers)
        return problem(_STATUSES.get(type(error), HTTPStatus.CONFLICT), str(error))

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        path = request.url.path
        if error.status_code == HTTPStatus.NOT_FOUND and len(path) > 1 and path.endswith("/"):
            return problem(HTTPStatus.NOT_FOUND, f"there is nothing at {path}; leave out the slash at its end")
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, str(error.detail), headers=headers)

    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return unexpected_problem()

    app.add_exception_handler(PayloadError, payload)
    app.add_exception_handler(RequestValidationError, validation)
    for kind in (StateError, NotFound, DependencyError, VigieError):
        app.add_exception_handler(kind, domain)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)
