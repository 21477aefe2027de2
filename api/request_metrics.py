"""Owns how requests are measured: rate, latency and size by route, those in progress, and GET /metrics itself.

Every label is bounded, whatever a client sends: the route is a template or "none", the method is one of HTTP's or
"other". Health checks and scrapes are left out, as their steady stream would hide what clients see.
"""

from collections.abc import Callable
from http import HTTPMethod

from fastapi import FastAPI, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_fastapi_instrumentator import Instrumentator
from prometheus_fastapi_instrumentator import metrics as instrumentations
from starlette.types import ASGIApp, Receive, Scope, Send

from api.metrics_folder import forget_dead_workers, metrics_folder

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds; 0.1 is the objective for a prediction, and only an edge can be counted exactly."""
UNMEASURED = (r"^/metrics$", r"^/health/")
METHODS = frozenset(HTTPMethod)


def is_measured(path: str) -> bool:
    """Whether requests to the path are measured: all but health checks and scrapes."""
    return path != "/metrics" and not path.startswith("/health/")


class RequestsInProgress:
    """ASGI middleware that keeps a gauge of the requests under way, other than health checks and scrapes."""

    def __init__(self, app: ASGIApp, gauge: Gauge) -> None:
        self._app = app
        self._gauge = gauge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not is_measured(scope["path"]):
            await self._app(scope, receive, send)
            return
        self._gauge.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._gauge.dec()


def measure_requests(app: FastAPI, registry: CollectorRegistry, in_progress: Gauge) -> None:
    """Measure the app's requests on the registry, and serve the registry at /metrics."""
    instrumentator = Instrumentator(excluded_handlers=list(UNMEASURED))
    instrumentator.add(_bounded_instrumentation(registry)).instrument(app)
    app.add_middleware(RequestsInProgress, gauge=in_progress)

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(_whole(registry)), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _bounded_instrumentation(registry: CollectorRegistry) -> Callable[[instrumentations.Info], None]:
    measure = instrumentations.default(
        latency_lowr_buckets=LATENCY_BUCKETS, latency_highr_buckets=LATENCY_BUCKETS, registry=registry
    )
    if measure is None:  # it says so of a registry that has these metrics already
        raise ValueError("one registry can measure one app only")

    def bounded(info: instrumentations.Info) -> None:
        if info.method not in METHODS:
            info.method = "other"
        measure(info)

    return bounded


def _whole(registry: CollectorRegistry) -> CollectorRegistry:
    """Return the registry that has the values of all workers."""
    folder = metrics_folder()
    if folder is None:
        return registry
    forget_dead_workers(folder)
    shared = CollectorRegistry()
    MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared
