"""The API on a real socket, served by a thread of the test."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import uvicorn
from fastapi import FastAPI

from api.middleware.head_limit import BoundedHeadProtocol


@contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[int]:
    """Serve the app as `python -m api` does, and yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", http=BoundedHeadProtocol, ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = monotonic() + 30
    while not server.started and thread.is_alive() and monotonic() < deadline:
        sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
