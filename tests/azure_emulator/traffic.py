"""Counts and a log of all that passes the proxy."""

import json
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from azure_emulator.exchange import Request

WAIT_SECONDS = 2
CREDENTIALS = ("authorization", "x-ms-copy-source-authorization", "x-identity-header")
SIGNATURE = re.compile(r"(?<=[?&])sig=[^&]*")
SIGNED = "(signed)"


@dataclass
class Count:
    """Requests, and the bytes of their bodies, from the client and to it."""

    requests: int = 0
    bytes_from_client: int = 0
    bytes_to_client: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.requests + other.requests,
            self.bytes_from_client + other.bytes_from_client,
            self.bytes_to_client + other.bytes_to_client,
        )


class Traffic:
    """Counts by host and method, and a line of JSON for each request.

    A line holds the time, host, method, path with query, the headers, the scheme of the login, the body (of blobs, its
    first 4,096 bytes), the status (0: no answer was sent), bytes from and to the client, and the fault that was
    injected. What a client logs in with is left out where it belongs, so that a test can look for it everywhere else:
    in the headers of CREDENTIALS, and, as the signature of a blob's URL, in the path or as the source of a copy.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._file = log.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Condition()
        self._open_requests = 0
        self._counts: defaultdict[tuple[str, str], Count] = defaultdict(Count)

    def begin(self) -> None:
        """A request has come in; it is recorded when it is over."""
        with self._lock:
            self._open_requests += 1

    def record(self, request: Request, status: int, bytes_to_client: int, fault: object = None) -> None:
        """Count and log a request that is over."""
        body = request.body.beginning if request.body.whole is None else request.body.whole
        headers = {name: value for name, value in request.headers.items() if name.lower() not in CREDENTIALS}
        target, login = request.target, request.headers.get("Authorization", "").partition(" ")[0]
        if request.kind == "blob":
            target, signed = SIGNATURE.subn(SIGNED, target)
            login = login or (SIGNED if signed else "")
            source = next((name for name in headers if name.lower() == "x-ms-copy-source"), None)
            if source:
                headers[source] = SIGNATURE.sub(SIGNED, headers[source])
        line = {
            "time": time.time(),
            "host": request.host,
            "method": request.method,
            "target": target,
            "headers": headers,
            "login": login,
            "body": body.decode(errors="backslashreplace"),
            "status": status,
            "bytes_from_client": request.body.read_bytes,
            "bytes_to_client": bytes_to_client,
            "fault": None if fault is None else repr(fault),
        }
        with self._lock:
            self._open_requests -= 1
            self._lock.notify_all()
            key = (request.host, request.method)
            self._counts[key] += Count(1, request.body.read_bytes, bytes_to_client)
            if not self._file.closed:
                self._file.write(json.dumps(line) + "\n")

    def count(self, host: str | None = None, method: str | None = None) -> Count:
        """The sum over a host and a method; None stands for all."""
        with self._lock:
            self._wait()
            chosen = [c for (h, m), c in self._counts.items() if host in (None, h) and method in (None, m)]
        return sum(chosen, Count())

    def reset(self) -> None:
        """Count from zero again; the log goes on."""
        with self._lock:
            self._wait()
            self._counts.clear()

    def requests(self, host: str | None = None) -> list[dict]:
        """The log's lines, of one host or of all."""
        with self._lock:
            self._wait()
            lines = [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [line for line in lines if host in (None, line["host"])]

    def _wait(self) -> None:
        """A client has its answer a moment before the request is recorded: wait for that."""
        self._lock.wait_for(lambda: not self._open_requests, timeout=WAIT_SECONDS)

    def close(self) -> None:
        """Close the log."""
        with self._lock:
            self._file.close()
