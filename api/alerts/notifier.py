"""Notifies Alertmanager of what fires and what is over, and logs what changed."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus

import httpx

from api.alerts.payload import Alert, Wording, alert_of, summary
from api.alerts.rules import RULES, AlertRule, CheckState, Quorum, state_of
from api.errors import LogUnavailable
from api.metrics import Metrics
from api.prediction_log.windows import WindowStore

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


class AlertRounds:
    """While the lease is held, calls ``tell`` at once, then at every ``period`` and whenever it is woken."""

    def __init__(self, tell: Callable[[], None], period: timedelta) -> None:
        self._tell = tell
        self._period_seconds = period.total_seconds()
        self._held = False
        self._stopping = False
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; nothing is told before the lease is held."""
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def hold(self, held: bool) -> None:
        """Say whether this process holds the lease."""
        gained = held and not self._held
        self._held = held
        if gained:
            self._woken.set()

    def wake(self) -> None:
        """Tell now; a call while ``tell`` is under way has it done once more."""
        self._woken.set()

    def stop(self, grace_seconds: float) -> None:
        """End the thread; a post under way gets a few seconds, then goes down with the process."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(grace_seconds)

    def _run(self) -> None:
        while not self._stopping:
            self._woken.wait(self._period_seconds)
            self._woken.clear()
            if self._held and not self._stopping:
                self._tell()


HISTORY = 100
"""Windows that are read back for each check: enough to know when an alert began, or ended."""
OVER_FOR = timedelta(minutes=15)
"""How long the end of an alert is repeated, as Prometheus does: Alertmanager may have been down when it came."""


class AlertNotifier:
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
            self._metrics.count_alert_post("failed")

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
            self._metrics.count_alert_post(self._alertmanager.post(alerts))
