"""POST /predict, /predict/batch, /feedback and /models/{model}/log, and their part of the OpenAPI schema."""

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, Generic
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic.json_schema import SkipJsonSchema
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api.errors import (
    BodyTooLarge,
    FieldError,
    LogUnavailable,
    NotFound,
    PayloadError,
    ServedElsewhere,
    UnknownEncoding,
    UnreadableBody,
    shortened,
)
from api.hosted_models import HostedModel, HostedModels
from api.middleware.auth import KEY_NAME
from api.prediction_log.database import Database
from api.prediction_log.erasure import erase, erase_mentions
from api.prediction_log.records import OWN_ID_PATTERN
from api.problems import problem_responses
from api.routes.models import model_of_call
from api.schemas import FeedbackReceipt
from api.security.rate_limit import charge_rows
from api.serving.data_plane import DataPlane
from api.serving.logged_predictions import LogBody, LogReceipt, log_types
from api.serving.request_bodies import LARGE_BYTES, Body, ListBody, RequestBody
from api.serving.responses import IdentifiedRow
from api.serving.schemas import Batch, Feedback, OwnId, Row, batch_type, read_own_id, row_type, task_types
from api.snapshots.reports import blank_ids
from model.artifact.manifest import Manifest

MAX_UNPACKED_BODIES = 4
"""Most bodies that are unpacked and read at once; the others wait. Each may be as large as the limit."""
_OWN_ID = (
    "An id of the caller's own. The same id with the same row is answered as before, and not logged again; with "
    "another row it is refused."
)
_ERASED = "The id of the prediction, percent-encoded. The figures of its window stay."
_ID_IN_USE = problem_responses(
    409,
    detail="the prediction_id 'order-17' belongs to another row that was sent before; send that row again, or this one "
    "with an id of its own",
)
OF_MODEL = "/models/{model}"
"""Before the path of a call that names its model."""
PREDICTING = ("predict", "predict/batch")
REFUSED_BYTES_PER_ROW = 100
"""A refused body takes a row of its caller's rate limit for each of so many bytes."""


def prediction_routes(models: HostedModels, max_rows: int, max_bytes: int) -> list[BaseRoute]:
    """Build the routes, which serve without FastAPI: its handling of a request costs more than to predict.

    Those of all models are the same few routes, so that a call to one takes no longer because there are others.
    """
    endpoints = _Endpoints(models, max_rows, max_bytes)
    calls = [f"{prefix}/{call}" for prefix in ("", OF_MODEL) for call in (*PREDICTING, "feedback")]
    calls.append(f"{OF_MODEL}/log")  # who makes predictions elsewhere knows which model made them
    return [Route(path, OfModel(endpoints, path.removeprefix(OF_MODEL).strip("/")), methods=["POST"]) for path in calls]


class _Endpoints:
    """The calls of each model that take rows or labels, built when one of them is first called."""

    def __init__(self, models: HostedModels, max_rows: int, max_bytes: int) -> None:
        self._models, self._max_rows, self._max_bytes = models, max_rows, max_bytes
        self._unpacking = asyncio.Semaphore(MAX_UNPACKED_BODIES)
        self._built: dict[str, dict[str, JsonEndpoint[Any]]] = {}

    def find(self, model: str | None, call: str) -> "JsonEndpoint[Any]":
        """Return a call of the model of that name, or of the default one.

        Raises NoSuchModel, ModelDisabled, or ServedElsewhere where it should predict, and is only watched here.
        """
        found = self._models.find(model)
        if call in PREDICTING and found.serving.plane.manifest.is_watched:
            raise ServedElsewhere(
                f"the model {found.name} is served elsewhere and only watched here; send its predictions to "
                f"/models/{found.name}/log"
            )
        if found.name not in self._built:
            self._built[found.name] = model_calls(found.serving.plane, self._max_rows, self._max_bytes, self._unpacking)
        return self._built[found.name][call]


class OfModel:
    """ASGI app: serves a call of the model that the path names, or of the default one."""

    def __init__(self, endpoints: _Endpoints, call: str) -> None:
        self._endpoints = endpoints
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._endpoints.find(scope["path_params"].get("model"), self._call)(scope, receive, send)


def model_calls(
    plane: DataPlane, max_rows: int, max_bytes: int, unpacking: asyncio.Semaphore
) -> "dict[str, JsonEndpoint[Any]]":
    """Build the calls of one model, by name.

    They stay when the model is reloaded, as `ModelReloader` refuses a version with other fields or labels. What else a
    row may bring along, and how its texts are read, follows the version that serves.
    """
    bodies = _ServedBodies(plane, max_rows)

    async def predict(body: Row, query: bytes) -> bytes:
        row = body.cells()
        if query and (ids := _own_ids(query)):
            row = IdentifiedRow(row, read_own_id(ids))
        return (await plane.predict([row]))[0]

    async def predict_batch(body: Batch, query: bytes) -> bytes:
        if query and _own_ids(query):
            message = "is for one row, at /predict; send prediction_ids in the body, one for each row"
            raise PayloadError.of([FieldError("prediction_id", message, "extra_forbidden")])
        responses = await plane.predict(body.cells())
        return b'{"predictions":[' + b",".join(responses) + b"]}"

    async def feedback(body: Feedback, _query: bytes) -> bytes:
        receipt = await plane.store_labels([(one.prediction_id, one.label) for one in body.labels])
        shown = FeedbackReceipt(accepted=receipt.accepted, unknown=list(receipt.unknown))
        return shown.model_dump_json().encode()

    async def log(body: LogBody, _query: bytes) -> bytes:
        return await plane.log(body)

    return {
        "predict": JsonEndpoint(lambda: bodies.current().row, predict, max_bytes, unpacking),
        "predict/batch": JsonEndpoint(lambda: bodies.current().rows, predict_batch, max_bytes, unpacking),
        "feedback": JsonEndpoint(lambda: bodies.current().labels, feedback, max_bytes, unpacking),
        "log": JsonEndpoint(lambda: bodies.current().logged, log, max_bytes, unpacking),
    }


def erasure_routes(models: HostedModels, database: Database, reports_dir: FilePath) -> APIRouter:
    """Build the route, which also erases predictions of a model that is disabled."""
    router = APIRouter(tags=["predictions"])
    named = Annotated[HostedModel, Depends(model_of_call(models))]

    @router.delete(
        "/predictions/{prediction_id:path}",
        status_code=204,
        summary="Erase a prediction and its label",
        responses=problem_responses(404, 503),
    )
    def erase_prediction(
        request: Request,
        model: named,
        prediction_id: Annotated[str, Path(description=_ERASED)],
    ) -> None:
        whom = f"the key {request.scope[KEY_NAME]!r}" if KEY_NAME in request.scope else "a caller without a key"
        if model.model_id is None:
            raise LogUnavailable(model.waits_for)
        is_id = re.fullmatch(OWN_ID_PATTERN, prediction_id, re.ASCII) is not None
        if not is_id or not _erase(database, prediction_id, whom, model.model_id, reports_dir):
            shown = repr(shortened(prediction_id))
            raise NotFound(f"there is no prediction with the id {shown}; it may have expired or been erased before")

    return router


def _erase(database: Database, prediction_id: str, whom: str, model_id: int, reports_dir: FilePath) -> bool:
    """Erase a prediction and what names it; return whether there was either. Raises LogUnavailable."""
    gone = erase(database, [prediction_id], by=whom, model_id=model_id)
    blank = partial(blank_ids, reports_dir)
    try:
        named = erase_mentions(database, [prediction_id], by=whom, blank=blank, model_id=model_id)
    except OSError as error:
        raise LogUnavailable(
            f"the prediction is erased, but a report that names it cannot be changed ({error}); erase it once more"
        ) from error
    return bool(gone or named)


class _Bodies:
    """The request bodies of one version of the model."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        row, label_types = row_type(manifest), task_types(manifest)
        self.row = RequestBody(row)
        self.rows = ListBody(batch_type(row, max_rows), "rows", row, max_rows)
        logged, several = log_types(manifest, row, max_rows)
        self.logged = ListBody(several, "predictions", logged, max_rows)
        self.labels = ListBody(label_types.feedback, "labels", label_types.label, max_rows)


class _ServedBodies:
    """The request bodies of the version that serves; built once for each."""

    def __init__(self, plane: DataPlane, max_rows: int) -> None:
        self._plane, self._max_rows = plane, max_rows
        self._manifest = plane.manifest
        self._bodies = _Bodies(self._manifest, max_rows)

    def current(self) -> _Bodies:
        """Return the request bodies of the version that serves now."""
        manifest = self._plane.manifest
        if manifest is not self._manifest:
            self._bodies, self._manifest = _Bodies(manifest, self._max_rows), manifest
        return self._bodies


class JsonEndpoint(Generic[Body]):
    """ASGI app: reads the body of a request, and sends the JSON that ``respond`` returns for it and the query.

    A body that was packed with gzip may have ``max_bytes`` unpacked; ``unpacking`` bounds how many are read at once.
    """

    def __init__(
        self,
        body: Callable[[], RequestBody[Body]],
        respond: Callable[[Body, bytes], Awaitable[bytes]],
        max_bytes: int,
        unpacking: asyncio.Semaphore,
    ) -> None:
        self._body = body
        self._respond = respond
        self._max_bytes = max_bytes
        self._unpacking = unpacking

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        content = await self._respond(await self._body_of(scope, receive), scope["query_string"])
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _body_of(self, scope: Scope, receive: Receive) -> Body:
        body, is_json = await _receive_body(receive), _is_json(scope)
        encoding = _encoding(scope)
        if not encoding:
            return await self._read(body, is_json=is_json)
        async with self._unpacking:
            return await self._read(await self._unpack(body, encoding), is_json=is_json)

    async def _unpack(self, body: bytes, encoding: bytes) -> bytes:
        """Return the body unpacked, on a thread; one that is too large then is charged as such."""
        try:
            return await asyncio.to_thread(unpacked, body, encoding, self._max_bytes)
        except BodyTooLarge:
            charge_rows(self._max_bytes // REFUSED_BYTES_PER_ROW)
            raise

    async def _read(self, body: bytes, *, is_json: bool) -> Body:
        """Return the validated body; one that is refused is charged by its size, as it took time to read."""
        reader = self._body()
        try:
            if len(body) > LARGE_BYTES:
                return await reader.read_large(body, is_json=is_json)
            return reader.read(body, is_json=is_json)
        except (PayloadError, UnreadableBody):
            charge_rows(len(body) // REFUSED_BYTES_PER_ROW)
            raise


def _own_ids(query: bytes) -> list[str]:
    """Return every ``prediction_id`` in the query of an address."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return [value for name, value in pairs if name == "prediction_id"]


async def _receive_body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise UnreadableBody("There was an error parsing the body")  # the client has gone
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _encoding(scope: Scope) -> bytes:
    return b",".join(value for name, value in scope["headers"] if name == b"content-encoding").strip().lower()


def unpacked(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Return the body without its encoding. Raises BodyTooLarge, UnknownEncoding or UnreadableBody."""
    if encoding == b"identity":
        return body
    if encoding not in {b"gzip", b"x-gzip"}:
        name = encoding.decode("latin-1")
        raise UnknownEncoding(f"the body has the Content-Encoding {name!r}; send it plain, or packed with gzip")
    parts: list[bytes] = []
    left = max_bytes
    while body or not parts:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip
        try:
            parts.append(unpacker.decompress(body, left + 1))
        except zlib.error as error:
            raise UnreadableBody(f"the body is not what gzip makes: {error}") from error
        left -= len(parts[-1])
        if left < 0:
            raise BodyTooLarge(f"the body is larger than the limit of {max_bytes:,} bytes unpacked; send fewer rows")
        if not unpacker.eof:
            raise UnreadableBody("the body is not what gzip makes: its end is missing")
        body = unpacker.unused_data
    return b"".join(parts)


def _is_json(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value.startswith(b"application/json"):
                return True
            kind, _, subtype = value.partition(b";")[0].strip().lower().partition(b"/")
            return kind == b"application" and (subtype == b"json" or subtype.endswith(b"+json")) and b"/" not in subtype
    return False


def documented_routes(manifest: Manifest, max_rows: int, model: str | None = None) -> Sequence[BaseRoute]:
    """Describe the routes to FastAPI, only for the OpenAPI schema; these serve no request.

    They are those of a model under its name, or else those that name none.
    """
    types = task_types(manifest)
    row = row_type(manifest)
    batch = batch_type(row, max_rows)
    prefix = "" if model is None else f"/models/{model}"
    tags, errors = [model or "predictions"], problem_responses(400, 408, 413, 415, 422, 503)
    router = APIRouter(prefix=prefix, tags=list(tags), responses=errors)
    predicts = not manifest.is_watched

    @router.post(
        "/predict",
        summary="Predict one row",
        responses=_example(types.example) | _ID_IN_USE,
        response_model=types.prediction,
        include_in_schema=predicts,
    )
    def predict(
        body: row,  # type: ignore[valid-type] # made at run time
        prediction_id: Annotated[OwnId | SkipJsonSchema[None], Query(description=_OWN_ID)] = None,
    ) -> None: ...

    @router.post(
        "/predict/batch",
        summary="Predict several rows",
        responses=_example({"predictions": [types.example]}) | _ID_IN_USE,
        response_model=types.predictions,
        include_in_schema=predicts,
    )
    def predict_batch(body: batch) -> None:  # type: ignore[valid-type] # as above
        ...

    @router.post("/feedback", summary="Send the labels of earlier predictions", response_model=FeedbackReceipt)
    def feedback(body: types.feedback) -> None:  # type: ignore[name-defined] # as above
        ...

    return router.routes


def documented_log(manifest: Manifest, max_rows: int, model: str, tag: str) -> Sequence[BaseRoute]:
    """Describe the call that logs predictions made elsewhere, which there is under the name of a model alone."""
    _, body_type = log_types(manifest, row_type(manifest), max_rows)
    router = APIRouter(tags=[tag], responses=problem_responses(400, 408, 413, 415, 422, 503) | _ID_IN_USE)

    @router.post(f"/models/{model}/log", summary="Log predictions that were made elsewhere", response_model=LogReceipt)
    def log(body: body_type) -> None:  # type: ignore[valid-type] # made at run time
        ...

    return router.routes


def _example(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}
