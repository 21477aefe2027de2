"""Owns a round of alerts: read the windows, tell Alertmanager what fires and what is over, log what changed."""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from api.alerts.alertmanager import Alertmanager
from api.alerts.checks import RULES, AlertRule
from api.alerts.message import Wording, alert_of, summary
from api.alerts.state import CheckState, Quorum, state_of
from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.window_store import WindowStore

logger = logging.getLogger(__name__)

HISTORY = 100
"""Windows that are read back for each check: enough to know when an alert began, or ended."""
OVER_FOR = timedelta(minutes=15)
"""How long the end of an alert is repeated, as Prometheus does: Alertmanager may have been down when it came."""


class AlertTeller:
    """Tells where the checks of one model version stand.

    Windows of another version count no more: training anew is the answer to most of these alerts. Without an
    Alertmanager the log is all that is told.
    """

    def __init__(
        self,
        store: WindowStore,
        model_version: str,
        *,
        quorum: Quorum,
        wording: Wording,
        alertmanager: Alertmanager | None,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._model_version = model_version
        self._quorum = quorum
        self._wording = wording
        self._alertmanager = alertmanager
        self._metrics = metrics
        self._firing: set[str] = set()

    def follow(self, model_version: str) -> None:
        """Tell of this version from the next round on."""
        self._model_version = model_version

    def tell(self) -> None:
        """Make one round. Never raises, as the next one makes up for it."""
        try:
            states = list(self._states())
            self._log_changes(states)
            self._post(states)
        except LogUnavailable as error:
            logger.warning("no alerts for now: %s", error)
        except Exception:
            logger.exception("alerts could not be told")
            self._metrics.alert_posts.labels("failed").inc()

    def _states(self) -> Iterator[tuple[AlertRule, CheckState]]:
        for rule in RULES:
            history = self._store.measured(rule.measures, self._model_version, max(HISTORY, 2 * self._quorum.windows))
            state = state_of(rule.check, history, self._quorum)
            if state is not None:
                yield rule, state

    def _log_changes(self, states: Sequence[tuple[AlertRule, CheckState]]) -> None:
        firing = {rule.check for rule, state in states if state.firing}
        for rule, state in states:
            if state.firing != (rule.check in self._firing):
                turn = "fires" if state.firing else "is over"
                logger.warning("%s %s: %s", rule.alertname, turn, summary(rule, state, self._wording.model))
        self._firing = firing

    def _post(self, states: Sequence[tuple[AlertRule, CheckState]]) -> None:
        now = datetime.now(UTC)
        alerts = [
            alert_of(rule, state, self._wording, now)
            for rule, state in states
            if state.firing or now - state.since < OVER_FOR
        ]
        if alerts and self._alertmanager is not None:
            self._metrics.alert_posts.labels(self._alertmanager.post(alerts)).inc()
