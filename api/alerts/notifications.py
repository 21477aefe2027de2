"""Tells people about the alerts of each model through the addresses of VIGIE_NOTIFY_URLS, until each was told."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.alerts.delivery import Address, Addresses
from api.alerts.messages import message_of, news_for
from api.alerts.notifier import AlertNotifier
from api.alerts.rules import CheckState
from api.metrics import Metrics
from api.prediction_log.database import Database
from api.prediction_log.lease import Lease
from api.prediction_log.notifications import MAX_WAIT, KnownAlert, NotificationState, NotificationStore, may_send
from api.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelNews:
    """What is told of one model: the states of its checks, and what is known of them to whom."""

    notifier: AlertNotifier
    store: NotificationStore


class Notifications:
    """Sends what is new to each address, and tries again later what one does not accept.

    What was told is in the log, so it goes on after a restart and with another holder of the lease. ``log_id`` returns
    the id of the log; ``first_wait`` is the wait after a first failure, which doubles with each further one.
    """

    def __init__(
        self, addresses: Addresses, lease: Lease, metrics: Metrics, *, log_id: Callable[[], str], first_wait: timedelta
    ) -> None:
        self._addresses = addresses
        self._lease = lease
        self._metrics = metrics
        self._log_id = log_id
        self._first_wait = first_wait
        self._digests: dict[int, str] = {}
        self._failing: dict[int, str] = {}

    @property
    def addresses(self) -> Addresses:
        """The addresses."""
        return self._addresses

    def run(self, models: Callable[[], Sequence[ModelNews]]) -> None:
        """Send what is new of these models. Raises LogUnavailable; what was not recorded is sent again."""
        known = models()
        for address in self._addresses.all:
            for model in known:
                if not self._notify(address, model):
                    break  # it would keep the others waiting for each model
        for model in known:
            model.store.forget_others(self.digest(address) for address in self._addresses.all)

    def digest(self, address: Address) -> str:
        """Return what stands for an address in the log. Raises LogUnavailable."""
        if address.place not in self._digests:
            self._digests[address.place] = address.digest(self._log_id())
        return self._digests[address.place]

    def _notify(self, address: Address, model: ModelNews) -> bool:
        """Send what is new of one model; False where the address did not accept it."""
        state, now = model.store.state(self.digest(address), address.service)
        if not may_send(state, now):
            return True
        version = model.notifier.model_version
        states = {check.name: found for check, found in model.notifier.states()}
        news = news_for(state.known, states, None if state.told_at is None else now - state.told_at)
        if not news:
            return True
        claimed = model.store.claim(state, self._lease)
        if claimed is None:
            return True
        wording, mutes = model.notifier.wording, model.notifier.mutes()
        error = address.send(message_of(news, state.known, states, wording, version, mutes=mutes))
        firing = {
            name: KnownAlert(_began(state, name, found), version, told=error is None or name in news.ongoing)
            for name, found in states.items()
            if found.firing
        }
        # an alert that could not be told stays known: if it is over before it can be, both are told
        model.store.record(claimed, firing if error is None else {**state.known, **firing}, error, self._wait(claimed))
        self._note(address, model.notifier.wording.model, error)
        return error is None

    def _wait(self, claimed: NotificationState) -> timedelta:
        return min(self._first_wait * (1 << min(claimed.tries - 1, 20)), MAX_WAIT)

    def _note(self, address: Address, model: str, error: str | None) -> None:
        self._metrics.count_notification("sent" if error is None else "failed")
        if error is None:
            logger.info("%s was notified about the model %s", address, model)
            self._failing.pop(address.place, None)
        elif self._failing.get(address.place) != error:
            logger.warning("%s of VIGIE_NOTIFY_URLS was not notified, and is tried again: %s", address, error)
            self._failing[address.place] = error


def _began(state: NotificationState, name: str, found: CheckState) -> datetime:
    """Return when an alert began: as it was first told, because windows are not read back for ever."""
    known = state.known.get(name)
    return found.fired_at if known is None else min(known.fired_at, found.fired_at)


def build_notifications(settings: Settings, database: Database, lease: Lease, metrics: Metrics) -> Notifications | None:
    """Return what tells people without Alertmanager, None where nobody is to be told. Raises BadAddresses."""
    if settings.notify_urls is None:
        return None
    addresses = Addresses(settings.notify_urls)
    addresses.check()
    logger.info("alerts on model health are sent to the addresses of VIGIE_NOTIFY_URLS (%s)", addresses)
    return Notifications(addresses, lease, metrics, log_id=database.log_id, first_wait=settings.alert_repeat)
