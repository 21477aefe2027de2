"""POST /predict, /predict/batch and /feedback, and their part of the OpenAPI schema."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic

from fastapi import APIRouter
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from api.errors import BodyTooLarge, PayloadError, UnknownEncoding, UnreadableBody
from api.hosted_models import HostedModels
from api.problems import problem_responses
from api.schemas import FeedbackReceipt
from api.security.rate_limit import charge_rows
from api.serving.data_plane import DataPlane
from api.serving.request_bodies import LARGE_BYTES, Body, ListBody, RequestBody
from api.serving.schemas import Batch, Feedback, Row, batch_type, row_type, task_types
from model.artifact.manifest import Manifest

REFUSED_BYTES_PER_ROW = 100
"""A refused body takes a row of its caller's rate limit for each of so many bytes."""


def prediction_routes(models: HostedModels, max_rows: int, max_bytes: int) -> list[BaseRoute]:
    """Build the routes, which serve without FastAPI: its handling of a request costs more than to predict.

    Those of all models are the same few routes, so that a call to one takes no longer because there are others.
    """
    endpoints = _Endpoints(models, max_rows, max_bytes)
    return [
        Route(f"{prefix}/{call}", OfModel(endpoints, call), methods=["POST"])
        for prefix in ("", "/models/{model}")
        for call in ("predict", "predict/batch", "feedback")
    ]


class _Endpoints:
    """The calls of each model that take rows or labels, built when one of them is first called."""

    def __init__(self, models: HostedModels, max_rows: int, max_bytes: int) -> None:
        self._models, self._max_rows, self._max_bytes = models, max_rows, max_bytes
        self._built: dict[str, dict[str, JsonEndpoint[Any]]] = {}

    def find(self, model: str | None, call: str) -> "JsonEndpoint[Any]":
        """Return a call of the model of that name, or of the default one. Raises NoSuchModel or ModelDisabled."""
        found = self._models.find(model)
        if found.name not in self._built:
            self._built[found.name] = model_calls(found.serving.plane, self._max_rows, self._max_bytes)
        return self._built[found.name][call]


class OfModel:
    """ASGI app: serves a call of the model that the path names, or of the default one."""

    def __init__(self, endpoints: _Endpoints, call: str) -> None:
        self._endpoints = endpoints
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._endpoints.find(scope["path_params"].get("model"), self._call)(scope, receive, send)


def model_calls(plane: DataPlane, max_rows: int, max_bytes: int) -> "dict[str, JsonEndpoint[Any]]":
    """Build the calls of one model, by name.

    They stay when the model is reloaded, as `ModelReloader` refuses a version with other fields or labels. What else a
    row may bring along, and how its texts are read, follows the version that serves.
    """
    bodies = _ServedBodies(plane, max_rows)

    async def predict(body: Row) -> bytes:
        return (await plane.predict([body.cells()]))[0]

    async def predict_batch(body: Batch) -> bytes:
        responses = await plane.predict([one.cells() for one in body.rows])
        return b'{"predictions":[' + b",".join(responses) + b"]}"

    async def feedback(body: Feedback) -> bytes:
        receipt = await plane.store_labels([(one.prediction_id, one.label) for one in body.labels])
        shown = FeedbackReceipt(accepted=receipt.accepted, unknown=list(receipt.unknown))
        return shown.model_dump_json().encode()

    return {
        "predict": JsonEndpoint(lambda: bodies.current().row, predict, max_bytes),
        "predict/batch": JsonEndpoint(lambda: bodies.current().rows, predict_batch, max_bytes),
        "feedback": JsonEndpoint(lambda: bodies.current().labels, feedback, max_bytes),
    }


class _Bodies:
    """The request bodies of one version of the model."""

    def __init__(self, manifest: Manifest, max_rows: int) -> None:
        row, label_types = row_type(manifest), task_types(manifest)
        self.row = RequestBody(row)
        self.rows = ListBody(batch_type(row, max_rows), "rows", row, max_rows)
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
    """ASGI app: reads the body of a request, and sends the JSON that ``respond`` returns for it.

    A body that was packed with gzip may have ``max_bytes`` unpacked.
    """

    def __init__(
        self, body: Callable[[], RequestBody[Body]], respond: Callable[[Body], Awaitable[bytes]], max_bytes: int
    ) -> None:
        self._body = body
        self._respond = respond
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await _receive_body(receive)
        if encoding := _encoding(scope):
            body = await self._unpack(body, encoding)
        content = await self._respond(await self._read(body, is_json=_is_json(scope)))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

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
    router = APIRouter(
        prefix=prefix, tags=[model or "predictions"], responses=problem_responses(400, 408, 413, 415, 422, 503)
    )

    @router.post(
        "/predict", summary="Predict one row", responses=_example(types.example), response_model=types.prediction
    )
    def predict(body: row) -> None:  # type: ignore[valid-type] # made at run time
        ...

    @router.post(
        "/predict/batch",
        summary="Predict several rows",
        responses=_example({"predictions": [types.example]}),
        response_model=types.predictions,
    )
    def predict_batch(body: batch) -> None:  # type: ignore[valid-type] # as above
        ...

    @router.post("/feedback", summary="Send the labels of earlier predictions", response_model=FeedbackReceipt)
    def feedback(body: types.feedback) -> None:  # type: ignore[name-defined] # as above
        ...

    return router.routes


def _example(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}}
