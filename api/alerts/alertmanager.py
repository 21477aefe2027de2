"""Owns the one call to Alertmanager, and what is said when it fails."""

import logging
from collections.abc import Sequence
from enum import StrEnum
from http import HTTPStatus

import httpx

from api.alerts.message import Alert

logger = logging.getLogger(__name__)

PATH = "/api/v2/alerts"
TIMEOUT_SECONDS = 5.0
SHOWN_OF_ANSWER = 300


class PostOutcome(StrEnum):
    """What came of one post."""

    SENT = "sent"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"


class Alertmanager:
    """Posts alerts to the Alertmanager at ``url``; one that is down is logged when that begins and when it ends."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._trouble: PostOutcome | None = None

    def post(self, alerts: Sequence[Alert]) -> PostOutcome:
        """Post alerts, all at once. Never raises: whoever calls repeats them anyway."""
        try:
            answer = httpx.post(self._url + PATH, json=list(alerts), timeout=TIMEOUT_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return self._note(PostOutcome.UNAVAILABLE, f"no answer ({type(error).__name__}: {error})")
        said = f"{answer.status_code} {answer.text[:SHOWN_OF_ANSWER]}".strip()
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._note(PostOutcome.UNAVAILABLE, said)
        if answer.status_code != HTTPStatus.OK:
            return self._note(PostOutcome.REJECTED, said)
        return self._note(PostOutcome.SENT, said)

    def _note(self, outcome: PostOutcome, said: str) -> PostOutcome:
        trouble = None if outcome == PostOutcome.SENT else outcome
        if trouble is not None and trouble != self._trouble:
            logger.warning("Alertmanager does not take alerts, which are repeated until it does: %s", said)
        elif trouble is None and self._trouble is not None:
            logger.info("Alertmanager takes alerts again")
        self._trouble = trouble
        return outcome
