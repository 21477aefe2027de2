"""Measures requests: rate, latency and size by route, those in progress, and GET /metrics itself."""

from collections.abc import Iterable, Iterator
from http import HTTPMethod
from time import perf_counter
from typing import Any, NamedTuple

from fastapi import FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    Summary,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_fastapi_instrumentator import metrics as instrumentations
from prometheus_fastapi_instrumentator.routing import get_route_name
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics_folder import metrics_folder, remove_dead_workers

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds; 0.1 is the objective for a prediction, and only an edge can be counted exactly."""
BUILD = "vigie_build_info"
"""Its labels say what serves; of what serves no more nothing is shown."""
METHODS = frozenset(HTTPMethod)


def is_measured(path: str) -> bool:
    """Whether requests to the path are measured: all but health checks and scrapes."""
    return path != "/metrics" and not path.startswith("/health/")


class _Series(NamedTuple):
    """The instrumentator's metrics for one kind of request."""

    requests: Counter
    request_bytes: Summary
    response_bytes: Summary
    seconds: Histogram
    seconds_of_route: Histogram


class RequestMeasures:
    """ASGI middleware that feeds the instrumentator's metrics, and a gauge of the requests under way.

    The metrics, and how a path becomes a route's template, are the instrumentator's. Its own middleware matches the
    path against every route and looks each metric up by its labels, for each request, which costs more than to predict
    does; here both are remembered, for paths that are templates themselves.
    """

    def __init__(self, app: ASGIApp, metrics: "_Series", in_progress: Gauge) -> None:
        self._app = app
        self._in_progress = in_progress
        self._metrics = metrics
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

        self._in_progress.inc()
        began = perf_counter()
        try:
            await self._app(scope, receive, measured_send)
        finally:
            seconds = perf_counter() - began
            self._in_progress.dec()
            series = self._series_of(scope["method"], f"{status[0]}xx", route)
            series.requests.inc()
            series.request_bytes.observe(_content_length(scope["headers"]))
            series.response_bytes.observe(response_bytes)
            series.seconds.observe(seconds)
            series.seconds_of_route.observe(seconds)

    def _find_route(self, scope: Scope) -> str:
        path: str = scope["path"]
        route = get_route_name(Request(scope), should_include_root_path=False)
        if route == path:  # as many as there are routes without a parameter
            self._routes[path] = route
        return route or "none"

    def _series_of(self, method: str, status: str, route: str) -> _Series:
        if method not in METHODS:
            method = "other"
        key = (method, status, route)
        series = self._series.get(key)
        if series is None:
            requests, request_bytes, response_bytes, seconds, seconds_of_route = self._metrics
            series = self._series[key] = _Series(
                requests.labels(method=method, status=status, handler=route),
                request_bytes.labels(handler=route),
                response_bytes.labels(handler=route),
                seconds,
                seconds_of_route.labels(method=method, handler=route),
            )
        return series


def measure_requests(app: FastAPI, registry: CollectorRegistry, in_progress: Gauge) -> None:
    """Measure the app's requests on the registry, and serve the registry at /metrics."""
    app.add_middleware(RequestMeasures, metrics=_instrumentator_metrics(registry), in_progress=in_progress)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(_whole(registry)), headers={"Content-Type": CONTENT_TYPE_LATEST})


class _Watched(CollectorRegistry):
    """Registers with another registry, and keeps what was registered, by name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry
        self.found: dict[str, Any] = {}

    def register(self, collector: Collector) -> None:
        self._registry.register(collector)
        self.found.update({family.name: collector for family in collector.collect()})


def _instrumentator_metrics(registry: CollectorRegistry) -> _Series:
    watched = _Watched(registry)
    made = instrumentations.default(
        latency_lowr_buckets=LATENCY_BUCKETS, latency_highr_buckets=LATENCY_BUCKETS, registry=watched
    )
    if made is None:  # it says so of a registry that has these metrics already
        raise ValueError("one registry can measure one app only")
    return _Series(
        watched.found["http_requests"],
        watched.found["http_request_size_bytes"],
        watched.found["http_response_size_bytes"],
        watched.found["http_request_duration_highr_seconds"],
        watched.found["http_request_duration_seconds"],
    )


def _content_length(headers: Iterable[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


class _SharedMetrics(MultiProcessCollector):
    """The values of all workers, less what none of them serves any more: a worker can set a series, not remove it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():  # type: ignore[no-untyped-call]
            if family.name == BUILD:
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
