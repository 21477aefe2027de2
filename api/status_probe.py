"""Owns the look at what surrounds the API: Evidently UI, the lease, the progress of the snapshots.

It has a thread of its own, so that neither a request nor the renewal of the lease waits for a slow answer.
"""

import logging
import time
from collections.abc import Callable
from threading import Event, Thread

import httpx

from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.reader import SnapshotProgress

logger = logging.getLogger(__name__)

MAX_ANSWER_SECONDS = 2.0
STOP_SECONDS = 5.0


class StatusProbe:
    """Looks every ``every_seconds`` and shows what it finds as metrics.

    ``evidently_up`` says whether Evidently UI answered at the last look; None until there was one.
    """

    def __init__(
        self,
        metrics: Metrics,
        evidently_url: str,
        lease_held: Callable[[], bool],
        progress: Callable[[], SnapshotProgress],
        every_seconds: float,
    ) -> None:
        self._metrics = metrics
        self._version_url = f"{evidently_url.rstrip('/')}/api/version"
        self._lease_held = lease_held
        self._progress = progress
        self._every_seconds = every_seconds
        self.evidently_up: bool | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="status-probe", daemon=True)

    def start(self) -> None:
        """Start looking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def look(self, client: httpx.Client) -> None:
        """Look once."""
        held = False
        try:
            self._metrics.observe_progress(self._progress())
            held = self._lease_held()
        except LogUnavailable as error:
            logger.debug("the log could not be looked at: %s", error)  # requests and health checks say it loudly
        self.evidently_up = self._evidently_answers(client)
        self._metrics.observe_status(time.time(), lease_held=held, evidently_up=self.evidently_up)

    def _evidently_answers(self, client: httpx.Client) -> bool:
        try:
            return client.get(self._version_url).is_success
        except (httpx.HTTPError, httpx.InvalidURL):
            return False

    def _run(self) -> None:
        with httpx.Client(timeout=MAX_ANSWER_SECONDS, trust_env=False) as client:
            while True:
                try:
                    self.look(client)
                except Exception:  # the thread must outlive any fault; its silence is itself an alert
                    logger.exception("the surroundings could not be looked at")
                if self._stopping.wait(self._every_seconds):
                    return
