"""The addresses of VIGIE_NOTIFY_URLS, and sending messages to them with Apprise.

Addresses hold passwords, so nothing here is shown but the place of an address in the list and the kind of its service.
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import cached_property

from pydantic import SecretStr

from api.errors import BadAddresses

SERVICE = r"[A-Za-z][A-Za-z0-9+.-]*"
SEPARATOR = re.compile(rf"\s+|,\s*(?={SERVICE}://)")
"""Addresses hold commas too, such as those between several people."""
SERVICES = "https://appriseit.com/services/"
STATUS = re.compile(r"\berror=(\d{3})\b")
NO_ANSWER = "it did not answer, or refused the message"


@dataclass(frozen=True, slots=True)
class Message:
    """What is told; ``kind`` is one of Apprise's: failure, warning, info or success."""

    title: str
    body: str
    kind: str


class Address:
    """One address; ``place`` counts from 1. Raises BadAddresses where it cannot be used."""

    def __init__(self, place: int, url: SecretStr) -> None:
        import apprise  # noqa: PLC0415 - more than a second of CPU, which only those who use it need to pay

        self.place = place
        self.service, separator, _ = url.get_secret_value().partition("://")
        self._url = url
        named = f"VIGIE_NOTIFY_URLS: address {place}"
        if not separator or not re.fullmatch(SERVICE, self.service):
            raise BadAddresses(
                f"{named} does not begin with a service and ://, such as mailto:// or slack://; {SERVICES} lists them. "
                "Separate addresses with spaces, line ends or commas"
            )
        _keep_addresses_out_of_the_log()
        asset = apprise.AppriseAsset(app_id="Vigie", app_desc="Vigie", app_url="", plugin_paths=[])
        target = apprise.Apprise.instantiate(url.get_secret_value(), asset=asset)
        if target is None:
            begins = f"{named} begins with {self.service}://, but"
            if self.service.lower() not in apprise.NotificationManager():  # type: ignore[no-untyped-call] # as it ships
                raise BadAddresses(f"{begins} Apprise knows no such service; {SERVICES} lists them")
            raise BadAddresses(f"{begins} the rest of it is incomplete or wrong; {SERVICES} says how it is written")
        self._target = target

    def __str__(self) -> str:
        """Return what may be shown of it."""
        return f"address {self.place} ({self.service})"

    def digest(self, salt: str) -> str:
        """Return what stands for the address in the log; it is slow to guess a password from."""
        url = self._url.get_secret_value().encode()
        return hashlib.scrypt(url, salt=salt.encode(), n=2**14, r=8, p=1, dklen=16).hex()

    def send(self, message: Message) -> str | None:
        """Send a message; return None, or why it was not accepted. Never raises."""
        _REASONS.found = NO_ANSWER
        try:
            accepted = self._target.notify(
                body=message.body, title=message.title, notify_type=message.kind, body_format="text"
            )
        except Exception as error:  # noqa: BLE001 - plugins of others; the text may hold the address
            return f"sending failed with {type(error).__name__}"
        return None if accepted else _REASONS.found


class Addresses:
    """The addresses of the setting, in its order. Apprise is imported at the first use of them."""

    def __init__(self, setting: SecretStr) -> None:
        self._setting = setting

    @cached_property
    def all(self) -> list[Address]:
        """The addresses. Raises BadAddresses, which does not quote them."""
        parts = [part.strip(",") for part in SEPARATOR.split(self._setting.get_secret_value())]
        urls = list(dict.fromkeys(part for part in parts if part))
        if not urls:
            raise BadAddresses("VIGIE_NOTIFY_URLS holds no address")
        return [Address(place, SecretStr(url)) for place, url in enumerate(urls, 1)]

    def check(self) -> None:
        """Raise BadAddresses where one of them cannot be used."""
        _ = self.all

    def __str__(self) -> str:
        """Return what may be shown of them."""
        return f"{len(self.all)}: {', '.join(address.service for address in self.all)}"


def check_addresses(setting: SecretStr | None) -> None:
    """Raise BadAddresses where one of the addresses cannot be used, if there are any."""
    if setting is not None:
        Addresses(setting).check()


class _Reasons(logging.Handler):
    """Notes the status of a refusal from Apprise's log, which may show addresses and goes nowhere else."""

    found = NO_ANSWER

    def emit(self, record: logging.LogRecord) -> None:
        """Note the status, if the line has one."""
        if status := STATUS.search(record.getMessage()):
            self.found = f"it answered with status {status[1]}"


_REASONS = _Reasons()


def _keep_addresses_out_of_the_log() -> None:
    """Let nothing of Apprise and urllib3 into the program's log: they write addresses there."""
    apprise_log = logging.getLogger("apprise")
    apprise_log.propagate, apprise_log.handlers = False, [_REASONS]
    apprise_log.setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
