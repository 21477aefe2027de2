"""Posts alerts on the model's health to Alertmanager, while they fire and when they end, and logs the changes."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

import httpx

from api.alerts.payload import Alert, Wording, alert_of, summary
from api.alerts.rules import INCOMPLETE, CheckState, Quorum, state_of, without_muted
from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.alarm_changes import AlarmChange, AlarmChanges
from api.prediction_log.windows import WindowStore
from api.settings import Settings
from evidently_workspace.checks import CHECKS, Check

logger = logging.getLogger(__name__)

PATH = "/api/v2/alerts"
TIMEOUT_SECONDS = 5.0
SHOWN_OF_RESPONSE = 300
SEVERITIES = ("critical", "warning")


class PostOutcome(StrEnum):
    """The outcome of one post."""

    SENT = "sent"
    UNAVAILABLE = "unavailable"
    REJECTED = "rejected"


class Alertmanager:
    """Posts alerts to the Alertmanager at ``url``; logs when its failures begin and when they end."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._failure: PostOutcome | None = None

    def post(self, alerts: Sequence[Alert]) -> PostOutcome:
        """Post alerts, all at once. Never raises: the caller repeats them anyway."""
        try:
            response = httpx.post(self._url + PATH, json=list(alerts), timeout=TIMEOUT_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return self._note(PostOutcome.UNAVAILABLE, f"no answer ({type(error).__name__}: {error})")
        text = f"{response.status_code} {response.text[:SHOWN_OF_RESPONSE]}".strip()
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self._note(PostOutcome.UNAVAILABLE, text)
        if response.status_code != HTTPStatus.OK:
            return self._note(PostOutcome.REJECTED, text)
        return self._note(PostOutcome.SENT, text)

    def _note(self, outcome: PostOutcome, text: str) -> PostOutcome:
        failure = None if outcome == PostOutcome.SENT else outcome
        if failure is not None and failure != self._failure:
            logger.warning("Alertmanager does not accept alerts; they are repeated until it does: %s", text)
        elif failure is None and self._failure is not None:
            logger.info("Alertmanager accepts alerts again")
        self._failure = failure
        return outcome


HISTORY = 100
"""Windows that are read back for each check: enough to know when an alert began, or ended."""
OVER_FOR = timedelta(minutes=15)
"""How long the end of an alert is repeated, as Prometheus does: Alertmanager may have been down when it ended."""


class AlertNotifier:
    """Says which checks of one model version fire.

    Windows of other versions do not count: to train again is the answer to most of these alerts. Without an
    Alertmanager the changes are logged here.
    """

    def __init__(
        self,
        store: WindowStore,
        model_version: str,
        *,
        changes: AlarmChanges | None = None,
        quorum: Quorum,
        wording: Wording,
        alertmanager: Alertmanager | None,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._changes = changes
        self._model_version = model_version
        self._quorum = quorum
        self.wording = wording
        self._alertmanager = alertmanager
        self._metrics = metrics
        self._firing: set[str] = set()

    def follow(self, model_version: str) -> None:
        """Look at the windows of this version from the next time on."""
        self._model_version = model_version

    def notify(self) -> None:
        """Post what fires and what has just ended. Raises LogUnavailable; the next call makes up for a failed one."""
        try:
            states = self.states()
            self._log_changes(states)
            self._post(states)
        except LogUnavailable:
            raise
        except Exception:
            self._metrics.count_alert_post("failed")
            raise

    @property
    def model_version(self) -> str:
        """The version whose windows count."""
        return self._model_version

    def states(self) -> list[tuple[Check, CheckState]]:
        """Return where each check stands that fires, or fired a short while ago. Raises LogUnavailable."""
        return list(self._states())

    def mutes(self) -> list[AlarmChange]:
        """Return the mutes that hold, and those that ended a short while ago. Raises LogUnavailable."""
        return [] if self._changes is None else self._changes.mutes(ended=True)

    def _states(self) -> Iterator[tuple[Check, CheckState]]:
        mutes = self.mutes()
        for check in (*CHECKS, INCOMPLETE):
            history = self._store.measured(check.measures, self._model_version, max(HISTORY, 2 * self._quorum.windows))
            state = state_of(check.name, without_muted(history, mutes), self._quorum)
            if state is not None:
                yield check, state

    def _log_changes(self, states: Sequence[tuple[Check, CheckState]]) -> None:
        firing = {check.name for check, state in states if state.firing}
        severities = Counter[str](check.severity for check, state in states if state.firing)
        self._metrics.observe_model_alerts({severity: severities[severity] for severity in SEVERITIES})
        for check, state in states:
            if state.firing != (check.name in self._firing):
                turn = "fires" if state.firing else "is over"
                logger.warning("%s %s: %s", check.alertname, turn, summary(check, state, self.wording.model))
        self._firing = firing

    def _post(self, states: Sequence[tuple[Check, CheckState]]) -> None:
        now = datetime.now(UTC)
        alerts = [
            alert_of(check, state, self.wording, now)
            for check, state in states
            if state.firing or now - state.since < OVER_FOR
        ]
        if alerts and self._alertmanager is not None:
            self._metrics.count_alert_post(self._alertmanager.post(alerts))


def build_notifier(
    settings: Settings,
    store: WindowStore,
    changes: AlarmChanges,
    *,
    version: str,
    wording: Wording,
    metrics: Metrics,
) -> AlertNotifier:
    """Return what notifies of one model, from its settings."""
    return AlertNotifier(
        store,
        version,
        changes=changes,
        quorum=Quorum(settings.alert_windows_failed, settings.alert_windows),
        wording=wording,
        alertmanager=Alertmanager(settings.alertmanager_url) if settings.alertmanager_url else None,
        metrics=metrics,
    )
