"""Security headers of every response, and the check of a request's host name and origin."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from evidently_workspace.ui.web_origin import WITHOUT_EFFECT, WebOrigin

POLICY = "content-security-policy"
NOTHING = "default-src 'none'; frame-ancestors 'none'"
"""For JSON and other responses that are not pages."""
REPORT = (
    "sandbox allow-scripts allow-downloads allow-popups; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'none'"
)
"""For a report, which shows logged values and contains scripts: it runs in a sandbox without an origin, and can neither
load nor send anything."""
FIXED = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
UNKNOWN_HOST = "this host name is not one of VIGIE_ALLOWED_HOSTS"
FOREIGN_ORIGIN = (
    "a page of another origin may not make this call; to allow it, name its origin in VIGIE_CORS_ORIGINS, and if this "
    "page is the API's own behind a proxy, its address in VIGIE_PUBLIC_URL"
)
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_policy(html: str) -> str:
    """Return the policy of one of our pages: its inline scripts, by their hash, and files of this API may run.

    ``html`` must be the page before any value is put into it: each script in it is allowed to run.
    """
    hashes = (b64encode(sha256(script.encode()).digest()).decode() for script in _INLINE_SCRIPT.findall(html))
    scripts = " ".join(["'self'", *(f"'sha256-{one}'" for one in hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class SecurityHeaders:
    """ASGI middleware: adds the headers to every response, but keeps the policy of a response that has one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._with_policy = [*FIXED, (POLICY.encode(), NOTHING.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                has_policy = any(name == b"content-security-policy" for name, _ in headers)
                message["headers"] = headers + (list(FIXED) if has_policy else self._with_policy)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class OriginCheck:
    """ASGI middleware: refuses unknown host names (421), and other sites' pages that would change something (403).

    ``hosts`` are the names to answer to, None for any: links are built from them. ``origins`` are those whose pages may
    make any call.
    """

    def __init__(
        self, app: ASGIApp, hosts: frozenset[str] | None, origins: Iterable[str], deny: Callable[[str], object]
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._origins = frozenset(origin.encode() for origin in origins)
        self._deny = deny

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; health checks may use any host name."""
        if scope["type"] == "http" and not scope["path"].startswith("/health/"):
            refusal = self._check(scope)
            if refusal is not None:
                reason, status, detail = refusal
                self._deny(reason)
                await problem(status, detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> tuple[str, int, str] | None:
        request = WebOrigin.of(scope["headers"])
        if self._hosts is not None and request.host_name not in self._hosts:
            return "unknown_host", HTTPStatus.MISDIRECTED_REQUEST, UNKNOWN_HOST
        if scope["method"] not in WITHOUT_EFFECT and request.is_foreign(self._origins):
            return "foreign_origin", HTTPStatus.FORBIDDEN, FOREIGN_ORIGIN
        return None


class PathPrefix:
    """ASGI middleware: takes the ``prefix`` off the path, where a proxy left it there, and remembers it for links."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if path == self._prefix or path.startswith(f"{self._prefix}/"):
                path = path[len(self._prefix) :] or "/"
            scope = {**scope, "path": path, "root_path": self._prefix}
        await self._app(scope, receive, send)


class PlainRouting:
    """ASGI middleware: has HEAD answered as GET without a body, and gives routes the path as they expect it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        prefix = scope.get("root_path")
        if prefix:  # Starlette's routes take it off again, also where a path of ours happens to begin with it
            scope = {**scope, "path": prefix + scope["path"]}
        if scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
