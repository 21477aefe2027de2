"""Owns when a process looks whether it is to serve another version: at every beat, on a thread of its own."""

import logging
from threading import Event, Thread

from api.errors import LogUnavailable
from api.model_roll import ModelRoll

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0


class ModelFollower:
    """Has the roll follow what was announced, every ``every_seconds``."""

    def __init__(self, roll: ModelRoll, every_seconds: float) -> None:
        self._roll = roll
        self._every_seconds = every_seconds
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="model-follower", daemon=True)

    def start(self) -> None:
        """Start looking. Raises LogUnavailable."""
        self._roll.begin()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_seconds):
            try:
                self._roll.follow()
            except LogUnavailable as error:
                logger.debug("the announced version could not be read: %s", error)  # requests say it loudly
            except Exception:  # the thread must outlive any fault, or this process would never roll again
                logger.exception("the announced version could not be taken up")
