"""The proxy that clients connect to: it ends TLS for emulated hosts, injects faults, counts, and refuses the rest."""

import contextlib
import email.utils
import http.server
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator

from azure_emulator.exchange import Answer, Body, Request, ServiceError
from azure_emulator.faults import Cut, Delay, Faults, Refuse, Shift
from azure_emulator.subscription import KINDS
from azure_emulator.traffic import Traffic

NO_BODY = (204, 304)


class ConnectionCut(Exception):
    """A fault closes the connection."""


class Proxy(http.server.ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1; `services` answer by the kind of host."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        services: dict[str, Callable[[Request], Answer]],
        context: ssl.SSLContext,
        faults: Faults,
        traffic: Traffic,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.services, self.context, self.faults, self.traffic = services, context, faults, traffic
        self.refused: list[str] = []  # hosts that are not emulated

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that close a connection are no errors; all others are told."""
        if not isinstance(sys.exc_info()[1], ConnectionError | ssl.SSLError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    disable_nagle_algorithm = True
    host: str | None = None
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Traffic writes the log."""

    def do_CONNECT(self) -> None:
        host = self.path.rpartition(":")[0]
        if host not in KINDS:
            self._refuse_host(host)
            return
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb", -1), self.connection.makefile("wb", 0)
        self.host, self.close_connection = host, False

    def _refuse_host(self, host: str) -> None:
        self.server.refused.append(host)
        self.send_error(403, "unreachable: no such host among the emulated ones")
        self.close_connection = True

    def _serve(self) -> None:
        kind = "login" if self.host is None else KINDS[self.host]
        if self.host is None and not self.path.startswith("/"):  # plain HTTP by way of the proxy
            self._refuse_host(self.path)
            return
        host = self.host or "127.0.0.1"
        request = Request(kind, host, self.command, self.path, self.headers, Body(self.rfile, self.headers))
        fault = self.server.faults.take(request)
        self._sent_bytes, status = 0, 0
        self.server.traffic.begin()
        try:
            answer = self._answer(request, fault)
            for _ in request.body.chunks():  # what the service did not read
                pass
            status = answer.status
            self._send(request, answer, fault)
        except (ConnectionCut, ConnectionError):
            self.close_connection = True
            self._close()
        finally:
            self.server.traffic.record(request, status, self._sent_bytes, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815

    def _answer(self, request: Request, fault: object) -> Answer:
        try:
            if isinstance(fault, Refuse):
                raise fault.error()
            if isinstance(fault, Delay):
                time.sleep(fault.seconds)
            if isinstance(fault, Cut) and fault.side == "request":
                for _ in request.body.chunks(fault.after_bytes):
                    pass
                raise ConnectionCut
            return self.server.services[request.kind](request)
        except ServiceError as error:
            return error.answer(request.kind)

    def _send(self, request: Request, answer: Answer, fault: object) -> None:
        cut_after = fault.after_bytes if isinstance(fault, Cut) else None
        if cut_after == 0:
            raise ConnectionCut
        chunks = iter([answer.body] if isinstance(answer.body, bytes) else answer.body)
        headers = dict(answer.headers)
        if isinstance(answer.body, bytes) and answer.status not in NO_BODY:
            headers.setdefault("Content-Length", str(len(answer.body)))
        now = time.time() + (fault.seconds if isinstance(fault, Shift) else 0)
        headers["Date"] = email.utils.formatdate(now, usegmt=True)
        empty = request.method == "HEAD" or answer.status in NO_BODY
        chunked = not empty and not any(name.lower() == "content-length" for name in headers)
        self.send_response_only(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._send_chunks(chunks, empty, chunked, cut_after)

    def _send_chunks(self, chunks: Iterator[bytes], empty: bool, chunked: bool, cut_after: int | None) -> None:
        for chunk in chunks:
            if cut_after is not None:
                chunk = chunk[: cut_after - self._sent_bytes]
            if chunk and not empty:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
                self._sent_bytes += len(chunk)
            if cut_after is not None and self._sent_bytes >= cut_after:
                raise ConnectionCut
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _close(self) -> None:
        """Close the connection at once, without TLS's farewell."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        """Close what do_CONNECT put in the place of the plain connection."""
        super().finish()
        self.connection.close()
