"""Limits the head of a request in size and time, and how slowly a client may take its response."""

from asyncio import TimerHandle, Transport

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
MAX_HEAD_BYTES = 64 * 1024
WRITE_SECONDS = 30.0
MIN_WRITTEN_BYTES = 64 * 1024
"""A client must take so much of what waits for it in WRITE_SECONDS, or all of it."""
LAST_REQUEST_SECONDS = 1.0
"""For so long after the stop has begun, a request that was on its way is answered."""
MAX_UNREAD_BYTES = 64 * 1024 * 1024
"""So much may wait for all clients together: a report has megabytes, and clients may be slow by the rule above."""


class BoundedHeadProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose request line and headers take too long or are too large.

    A request to upgrade the connection, such as Java's clients send with their first request (h2c), is answered as if
    it did not ask for that; the parser would leave its body unread. The time starts with the connection, and for later
    requests with their first byte; uvicorn itself closes an idle connection. `api.middleware.body_limit` limits the
    time and size of the body. A connection whose client does not read its responses is closed too: otherwise they would
    stay in memory, and later requests on it in progress. Where much waits for many clients that read slowly, those
    connections are closed that have waited for longest. When the server stops, an idle connection takes one more
    request for a moment, and its response asks the client to close it: closed at once, it would lose what the client
    has already sent.
    """

    _timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _unwritten_bytes = 0
    paused_at: float | None = None
    _head_bytes = 0
    _in_head = False
    _in_body = False
    _stopping = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override] # as in the class above
        """Start to wait for the first request."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that writing pauses as soon as anything waits to be written
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._stop_write_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """End after the response in progress, or after one more request."""
        self._stopping = True
        if self.cycle is None or self.cycle.response_started:
            self.loop.call_later(LAST_REQUEST_SECONDS, self._close_idle)
        else:
            super().shutdown()

    def _close_idle(self) -> None:
        if not (self._in_head or self._in_body) and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def pause_writing(self) -> None:
        """Start to wait until the client has read."""
        super().pause_writing()
        self._unwritten_bytes = self.transport.get_write_buffer_size()
        self.paused_at = self.loop.time()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_written)
        self._bound_unread()

    def _bound_unread(self) -> None:
        """Close the connections that have waited for longest, until no more than `MAX_UNREAD_BYTES` wait."""
        protocols = (one for one in self.connections if isinstance(one, BoundedHeadProtocol))
        waiting = sorted((one.paused_at, id(one), one) for one in protocols if one.paused_at is not None)
        unread = sum(one.transport.get_write_buffer_size() for _, _, one in waiting)
        for _, _, one in waiting:
            if unread <= MAX_UNREAD_BYTES:
                break
            unread -= one.transport.get_write_buffer_size()
            one.abort()

    def resume_writing(self) -> None:
        """Stop to wait, as the client has read all."""
        self._stop_write_timer()
        super().resume_writing()

    def _check_written(self) -> None:
        unwritten = self.transport.get_write_buffer_size()
        if self._unwritten_bytes - unwritten < MIN_WRITTEN_BYTES:
            self.abort()
            return
        self._unwritten_bytes = unwritten
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_written)

    def abort(self) -> None:
        """Close the connection, and drop what waits for its client."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # else the response may go on in a transport that is closed
        self._stop_write_timer()
        self.transport.abort()

    def _stop_write_timer(self) -> None:
        self.paused_at = None
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def data_received(self, data: bytes) -> None:
        """Read on, and wait for the rest of a head that has started."""
        cycle, was_body = self.cycle, self._in_body
        self._parse(data)
        if self.transport.is_closing():
            return
        if self._in_body:
            if self.cycle.response_complete:  # the response is sent, so nobody reads this body
                self._wait()
            return
        # empty lines before a request do not start one
        idle = not was_body and self.cycle is cycle and (cycle is None or cycle.response_complete)
        if self._in_head or idle:
            self._wait()
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """Do as the method `data_received` of the class above, but go on after a request to upgrade."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)
        except HttpParserUpgrade as upgrade:
            self._read_on(data[upgrade.args[0] :])

    def _read_on(self, rest: bytes) -> None:
        """Read the body of a request to upgrade, and what follows it, with a parser that did not see the request."""
        lengths = [one for one in self.headers if one[0] in {b"content-length", b"transfer-encoding"}]
        self.parser = HttpRequestParser(BodyOf(self) if lengths else self)
        if lengths:
            head = b"".join(b"%b: %b\r\n" % one for one in lengths)
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % head)
        else:
            self.on_message_complete()
        if rest:
            self._parse(rest)

    def on_message_begin(self) -> None:
        """Enter the head."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Leave the head, and enter the body."""
        self._stop_waiting()
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Leave the body, and wait for the next request."""
        if self.parser.should_upgrade():  # the parser stops here, and the body is still to come
            return
        self._stop_waiting()
        self._in_body = False
        if self.cycle.response_complete:  # else the wait starts with the next request
            self._wait()
        super().on_message_complete()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class BodyOf:
    """What a parser calls that reads the body of a request whose head another one has read, and then whole requests."""

    def __init__(self, protocol: BoundedHeadProtocol) -> None:
        self._protocol = protocol
        self._in_repeated_head = True

    def on_message_begin(self) -> None:
        """Pass it on for later requests."""
        if not self._in_repeated_head:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Pass it on for later requests."""
        if not self._in_repeated_head:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Pass it on for later requests."""
        if not self._in_repeated_head:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass it on for later requests; the body comes next."""
        if self._in_repeated_head:
            self._in_repeated_head = False
        else:
            self._protocol.on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass it on."""
        self._protocol.on_body(body)

    def on_message_complete(self) -> None:
        """Pass it on."""
        self._protocol.on_message_complete()
