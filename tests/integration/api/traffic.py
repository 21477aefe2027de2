"""Callers that go on while the API fails, and remember what it acknowledged."""

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import psycopg

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
BATCH_ROWS = 5
NOBODY = 1
"""A port on which no Evidently UI listens, for tests that are about the log."""


class Traffic:
    """Several callers, each with a connection of its own: single rows and batches in turn, until they are stopped.

    The rows of one call share a value of ``sepal_length`` that no other call has, by which the log tells which call a
    row came from. A call that gets no answer, or a 503, is not repeated.
    """

    def __init__(self, url: str, callers: int) -> None:
        self._url = url
        self._numbers = count()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def await_acknowledged(self, rows: int, seconds: float = 60) -> None:
        """Return once that many rows were acknowledged."""
        deadline = monotonic() + seconds
        while len(self.acknowledged) < rows:
            assert monotonic() < deadline, f"{len(self.acknowledged)} of {rows} rows were acknowledged"
            sleep(0.005)

    def _call(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._stop.is_set():
                number = next(self._numbers)
                row = SETOSA | {"sepal_length": 4 + number / 1_000_000}
                single = number % 4 != 0
                path, body = ("/predict", row) if single else ("/predict/batch", {"rows": [row] * BATCH_ROWS})
                try:
                    answer = client.post(path, json=body)
                except httpx.HTTPError:
                    sleep(0.01)  # the API is away; asking all the time would only slow its start
                    continue
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    found = [answer.json()] if single else answer.json()["predictions"]
                    self.acknowledged.extend(item["prediction_id"] for item in found)


@contextmanager
def traffic(url: str, callers: int) -> Iterator[Traffic]:
    """Callers for as long as the block lasts."""
    running = Traffic(url, callers)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def logged_rows(database_url: str) -> list[tuple[str, str]]:
    """Return id and features of every logged prediction, the features by name."""
    query = """
        SELECT p.id, p.features, l.features FROM predictions p LEFT JOIN row_layouts l ON l.id = p.layout
    """
    rows: list[Any]
    if database_url.startswith("sqlite"):
        with closing(sqlite3.connect(Path(database_url.removeprefix("sqlite:///")))) as connection:
            rows = connection.execute(query).fetchall()
    else:
        with psycopg.connect(database_url) as connection:
            rows = connection.execute(query).fetchall()
    return [(str(key), features if names is None else _named(names, features)) for key, features, names in rows]


def _named(names: str, values: str) -> str:
    return json.dumps(dict(zip(json.loads(names), json.loads(values), strict=True)))
