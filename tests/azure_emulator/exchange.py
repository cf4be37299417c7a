"""A request and its answer, as the emulated services see them."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import BinaryIO
from urllib.parse import parse_qsl, unquote, urlsplit

CHUNK_BYTES = 1 << 20


class Body:
    """The body of a request, read from the connection in chunks as it is needed; it keeps its beginning for the log."""

    KEPT_BYTES = 4096

    def __init__(self, stream: BinaryIO, headers: Message) -> None:
        self._stream = stream
        self._chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        self.length_bytes = None if self._chunked else int(headers.get("Content-Length") or 0)
        self.read_bytes = 0
        self.beginning = b""
        self.whole: bytes | None = None  # where a service reads all of it
        self.at_end = not self._chunked and not self.length_bytes

    def chunks(self, limit_bytes: int | None = None) -> Iterator[bytes]:
        """Yield what is left of the body; stop early when about `limit_bytes` have been read in all.

        Raises:
            ConnectionError: the client closed the connection before the body's end.
        """
        while not self.at_end and (limit_bytes is None or self.read_bytes < limit_bytes):
            chunk = self._read_chunk()
            self.read_bytes += len(chunk)
            if len(self.beginning) < self.KEPT_BYTES:
                self.beginning += chunk[: self.KEPT_BYTES - len(self.beginning)]
            if chunk:
                yield chunk

    def _read_chunk(self) -> bytes:
        if self._chunked:
            size = int(self._stream.readline().split(b";")[0] or b"-1", 16)
            chunk = self._stream.read(size) if size > 0 else b""
            self._stream.readline()
            self.at_end = size == 0
            complete = len(chunk) == size
        else:
            chunk = self._stream.read(min(CHUNK_BYTES, self.length_bytes - self.read_bytes))
            self.at_end = self.read_bytes + len(chunk) == self.length_bytes
            complete = bool(chunk)
        if not complete:
            raise ConnectionError("the client closed the connection in the middle of a body")
        return chunk

    def read(self) -> bytes:
        """Return all of it; for bodies known to be small."""
        if self.whole is None:
            self.whole = b"".join(self.chunks())
        return self.whole


@dataclass
class Request:
    """What a client asks; `kind` is that of its host, `target` the path with its query, as sent."""

    kind: str
    host: str
    method: str
    target: str
    headers: Message
    body: Body

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The query's values by name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> dict:
        """The body, as JSON."""
        return json.loads(self.body.read())


@dataclass
class Answer:
    """What a service answers; a body that comes in chunks has a length in the headers, or is sent chunked."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterator[bytes] = b""

    @classmethod
    def of_json(cls, value: object, status: int = 200, content_type: str = "application/json") -> "Answer":
        """Answer with a JSON value."""
        return cls(status, {"Content-Type": content_type}, json.dumps(value).encode())


class ServiceError(Exception):
    """A service's refusal, as its clients read it."""

    def __init__(self, status: int, code: str, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}

    def answer(self, kind: str) -> Answer:
        """The form that this kind of host gives to its errors."""
        if kind == "blob":
            xml = '<?xml version="1.0" encoding="utf-8"?>'
            xml += f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>"
            return Answer(
                self.status,
                {"Content-Type": "application/xml", "x-ms-error-code": self.code} | self.headers,
                xml.encode(),
            )
        values = {
            "batch": {"code": self.code, "message": {"lang": "en-US", "value": self.message}},
            "management": {"error": {"code": self.code, "message": self.message}},
            "registry": {"errors": [{"code": self.code, "message": self.message}]},
            "login": {"error": self.code, "error_description": self.message},
        }
        answer = Answer.of_json(values[kind], self.status)
        answer.headers |= self.headers
        return answer


# A service's table: method, pattern of the path, and the function that gets the request and the pattern's groups.
Routes = list[tuple[str, str, Callable[..., Answer]]]


def route(routes: Routes, request: Request) -> Answer:
    """Answer a request by the first route that fits.

    Raises:
        ServiceError: no route fits, or the one that does refuses.
    """
    for method, pattern, handler in routes:
        if method == request.method and (match := re.fullmatch(pattern, request.path)):
            return handler(request, *match.groups())
    raise ServiceError(404, "ResourceNotFound", f"{request.method} {request.path} is not emulated")
