"""Measures requests (rate, latency and size by route, and how many are in progress), and serves GET /metrics."""

from collections.abc import Collection, Iterable, Iterator
from http import HTTPMethod
from time import perf_counter
from typing import NamedTuple

from fastapi import FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    Metric,
    Summary,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics, RequestMetrics
from api.metrics_folder import metrics_folder, remove_dead_workers
from api.model_metrics import BUILD_INFO

METHODS = frozenset(HTTPMethod)
STATUSES = ("2xx", "4xx", "5xx")


def is_measured(path: str) -> bool:
    """Whether requests to the path are measured: all but health checks and scrapes."""
    return path != "/metrics" and not path.startswith("/health/")


class _Series(NamedTuple):
    """The series of one kind of request."""

    requests: Counter
    request_bytes: Summary
    response_bytes: Summary
    seconds_of_route: Histogram


class RequestMeasures:
    """ASGI middleware that measures each request.

    prometheus-fastapi-instrumentator finds the template of a path. Its own middleware matches the path against every
    route and looks up each metric by its labels, for each request, which costs more than to predict. Here both are
    remembered. The paths of the ``models`` are remembered too; those of models that do not exist are not.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics, models: Collection[str] = ()) -> None:
        self._app = app
        self._metrics = metrics
        self._models = frozenset(models)
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._routes: dict[str, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_measured(scope["path"]):
            await self._app(scope, receive, send)
            return
        route = self._routes.get(scope["path"]) or self._find_route(scope)
        status, response_bytes = "500", 0

        async def measured_send(message: Message) -> None:
            nonlocal status, response_bytes
            if message["type"] == "http.response.start":
                status = str(int(message["status"]))
                response_bytes = _content_length(message.get("headers", ()))
            await send(message)

        self._metrics.in_progress.inc()
        began = perf_counter()
        try:
            await self._app(scope, receive, measured_send)
        finally:
            seconds = perf_counter() - began
            self._metrics.in_progress.dec()
            series = self._series_of(scope["method"], f"{status[0]}xx", route)
            series.requests.inc()
            series.request_bytes.observe(_content_length(scope["headers"]))
            series.response_bytes.observe(response_bytes)
            self._metrics.seconds.observe(seconds)
            series.seconds_of_route.observe(seconds)

    def _find_route(self, scope: Scope) -> str:
        path: str = scope["path"]
        route = get_route_name(Request({**scope, "root_path": ""}), should_include_root_path=False)
        if route and (route == path or self._is_of_model(path, route)):
            self._routes[path] = route  # so many at most: a path with another parameter is not its own template
        return route or "none"

    def _is_of_model(self, path: str, route: str) -> bool:
        name = path.removeprefix("/models/").partition("/")[0]
        return name in self._models and route.replace("{model}", name, 1) == path

    def _series_of(self, method: str, status: str, route: str) -> _Series:
        if method not in METHODS:
            method = "other"
        key = (method, status, route)
        series = self._series.get(key)
        if series is None:
            metrics = self._metrics
            series = self._series[key] = _Series(
                metrics.requests.labels(method=method, status=status, handler=route),
                metrics.request_bytes.labels(handler=route),
                metrics.response_bytes.labels(handler=route),
                metrics.seconds_of_route.labels(method=method, handler=route),
            )
        return series


def measure_requests(app: FastAPI, metrics: Metrics, models: Collection[str] = ()) -> None:
    """Measure the app's requests, and serve all metrics at /metrics; call it after all other middleware is added.

    ``models`` are the names that may stand in the paths of the calls of models.
    """
    app.add_middleware(RequestMeasures, metrics=metrics.of_requests, models=models)

    @app.get("/metrics", include_in_schema=False)
    def show_metrics() -> Response:
        content = generate_latest(_whole(metrics.registry))
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST})


def show_routes_from_zero(app: FastAPI, metrics: Metrics) -> None:
    """Count the requests of every route from 0 on, so that the first answer of any kind is an increase.

    To be called after all routes are added. Prometheus cannot see what happened before a series appeared.
    """
    requests = metrics.of_requests.requests
    for route in _flat(app.routes):
        path, methods = getattr(route, "path", ""), getattr(route, "methods", None) or set()
        if is_measured(path):
            for method in methods - {HTTPMethod.HEAD}:
                for status in STATUSES:
                    requests.labels(method=method, status=status, handler=path)


def _flat(routes: Iterable[object]) -> Iterator[object]:
    """Yield the routes, and those of included routers, which FastAPI keeps as one route with several inside."""
    for route in routes:
        inside = getattr(route, "effective_route_contexts", None)
        if inside is None:
            yield route
        else:
            yield from inside()


def _content_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class _SharedMetrics(MultiProcessCollector):
    """The values of all workers, without versions that no worker serves: a worker can zero a series, not remove it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():  # type: ignore[no-untyped-call]
            if family.name == BUILD_INFO:
                family.samples = [sample for sample in family.samples if sample.value]
            yield family


def _whole(registry: CollectorRegistry) -> CollectorRegistry:
    """Return the registry that has the values of all workers."""
    folder = metrics_folder()
    if folder is None:
        return registry
    remove_dead_workers(folder)
    shared = CollectorRegistry()
    _SharedMetrics(shared)
    return shared
