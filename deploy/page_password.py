"""The service that checks the password of the public pages: the front asks it about each request to a page."""

import base64
import hmac
import os
import sys
import time
from binascii import Error
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from math import ceil
from pathlib import Path
from typing import Any

import uvicorn

USER = "vigie"
PASSWORD_FILE = Path("/run/secrets/page_password")
PORT = 8002
BURST = 10
"""Wrong passwords that an address may send at once."""
SECONDS_PER_GUESS = 6.0
"""After that, an address may send one more each time that these have passed."""
MAX_ADDRESSES = 10_000
"""Of more addresses, those whose last wrong password is the oldest are forgotten."""
COMPOSE_FILE = "COMPOSE_FILE=docker-compose.yml:docker-compose.public.yml"

Headers = dict[bytes, bytes]


class PasswordCheck:
    """Knows the password, and how many wrong ones each address may still send."""

    def __init__(self, password: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = f"{USER}:{password}".encode()
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when an address has its whole allowance back

    def status(self, authorization: str, address: str) -> tuple[HTTPStatus, int]:
        """Return what a request is answered, and after how many seconds another try makes sense.

        An address without allowance is refused unread, whatever it sends. A request without any password costs nothing.
        """
        now, network = self._clock(), _network(address)
        debt = max(self._full_at.get(network, now) - now, 0.0)
        missing = debt - (BURST - 1) * SECONDS_PER_GUESS
        if missing > 0:
            return HTTPStatus.TOO_MANY_REQUESTS, ceil(missing)
        if not authorization:
            return HTTPStatus.UNAUTHORIZED, 0
        if hmac.compare_digest(_decoded(authorization), self._credentials):
            return HTTPStatus.NO_CONTENT, 0
        self._full_at[network] = now + debt + SECONDS_PER_GUESS
        self._full_at.move_to_end(network)
        if len(self._full_at) > MAX_ADDRESSES:
            self._full_at.popitem(last=False)
        return HTTPStatus.UNAUTHORIZED, 0


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 a whole subnet, which one caller has to itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return str(int(parsed) >> 64)
    return str(parsed)


def _decoded(authorization: str) -> bytes:
    scheme, _, value = authorization.partition(" ")
    try:
        return base64.b64decode(value.strip(), validate=True) if scheme.lower() == "basic" else b""
    except (Error, ValueError):
        return b""


class App:
    """The ASGI application around a PasswordCheck."""

    def __init__(self, check: PasswordCheck) -> None:
        self._check = check

    async def __call__(
        self,
        scope: dict[str, Any],
        _receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer 204 where the front may go on, else what it tells the caller."""
        headers: Headers = dict(scope["headers"])
        if scope["path"] == "/health":
            status, wait = HTTPStatus.OK, 0
        else:
            # the front replaces what a caller writes there; the last address is the one that it saw
            address = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip()
            status, wait = self._check.status(headers.get(b"authorization", b"").decode("latin-1"), address)
        answer = [(b"cache-control", b"no-store")]
        body = b""
        if status >= HTTPStatus.BAD_REQUEST:
            answer.append((b"content-type", b"application/problem+json"))
            body = b'{"type": "about:blank", "title": "%s", "status": %d}' % (status.phrase.encode(), status)
        if status == HTTPStatus.UNAUTHORIZED:
            answer.append((b"www-authenticate", b'Basic realm="restricted", charset="UTF-8"'))
        if wait:
            answer.append((b"retry-after", b"%d" % wait))
        await send({"type": "http.response.start", "status": status, "headers": answer})
        await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve, unless half of the set-up is missing: then say which half, and end, so that nothing is exposed."""
    if os.environ.get("VIGIE_FRONT") != "only":
        sys.exit(f"the profile public needs docker-compose.public.yml too: in .env, set\n{COMPOSE_FILE}")
    if not os.environ.get("VIGIE_SITE"):
        sys.exit("set VIGIE_SITE in .env: the name by which others reach this machine, or localhost")
    password = PASSWORD_FILE.read_text(encoding="utf-8").rstrip("\n")
    if not password:
        sys.exit(f"{PASSWORD_FILE} is empty")
    app = App(PasswordCheck(password))
    uvicorn.run(
        app,
        host="0.0.0.0",  # noqa: S104 - the container's own address
        port=PORT,
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
