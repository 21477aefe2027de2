"""Which requests API and Evidently UI refuse because of their host name, or of the site whose page sent them.

A browser sends requests for any page that its user visits. A page of another site can post a form to a server on the
user's machine, and can even read what it answers if the page's host name starts to mean that machine.
"""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
WITHOUT_EFFECT = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_PAGES = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site: one of our pages sent the request, or the user did. No page can set this header."""

Headers = Iterable[tuple[bytes, bytes]]


class WebOrigin(NamedTuple):
    """What a request says of where it goes and where it comes from; empty where it does not say."""

    host: bytes
    origin: bytes
    site: bytes

    @classmethod
    def of(cls, headers: Headers) -> "WebOrigin":
        """Read the headers of a request."""
        host = origin = site = b""
        for name, value in headers:
            if name == b"host":
                host = host or value
            elif name == b"origin":
                origin = value
            elif name == b"sec-fetch-site":
                site = value
        return cls(host, origin, site)

    @property
    def host_name(self) -> str:
        """The host name without its port."""
        host = self.host.decode("latin-1").lower()
        return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]

    def is_foreign(self, allowed: frozenset[bytes]) -> bool:
        """Whether a page of another origin than ours sent the request, and not one of the ``allowed`` origins."""
        if self.site in OWN_PAGES or self.origin in allowed:
            return False
        if self.site:
            return True
        return self.origin != b"" and self.origin.partition(b"://")[2] != self.host


def allowed_hosts(named: Iterable[str], listens_on: str, public_url: str | None) -> frozenset[str] | None:
    """Return the host names to answer to, None for any.

    Those that are ``named``; else those of this machine and of ``public_url`` for a server that only this machine can
    reach; else any.
    """
    if names := frozenset(name.lower() for name in named):
        return names
    if listens_on not in LOOPBACK:
        return None
    return frozenset((*LOCAL_NAMES, *([host_of(public_url)] if public_url else [])))


def host_of(url: str) -> str:
    """Return the host name in an address, as a Host header has it."""
    host = urlsplit(url).hostname or ""
    return f"[{host}]" if ":" in host else host


def origin_of(url: str) -> str:
    """Return the origin of an address, as an Origin header has it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
