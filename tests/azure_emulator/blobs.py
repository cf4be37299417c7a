"""The blob host: a relay to Azurite that streams bodies, and accepts an identity for a copy's source."""

import datetime
import http.client
import select
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from azure.storage.blob import BlobSasPermissions, generate_blob_sas

from azure_emulator import hierarchy
from azure_emulator.azurite import Azurite
from azure_emulator.exchange import CHUNK_BYTES, Answer, Request, ServiceError
from azure_emulator.login import read_token

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "content-length"}
SOURCE, SOURCE_AUTHORIZATION = "x-ms-copy-source", "x-ms-copy-source-authorization"
SOURCE_SAS_MINUTES = 15
IDLE_SECONDS = 3  # Azurite closes a connection after 5
TIMEOUT_SECONDS = 120


class BlobRelay:
    """Passes requests on to Azurite, over connections that it keeps.

    With `hierarchical`, which tests may set, it is an account with a hierarchical namespace, as far as hierarchy.py has
    it.
    """

    def __init__(self, azurite: Azurite) -> None:
        self._azurite, self.hierarchical = azurite, False
        self._context = ssl.create_default_context(cafile=str(azurite.certificate))
        self._lock = threading.Lock()
        self._idle: list[tuple[float, http.client.HTTPSConnection]] = []

    def answer(self, request: Request) -> Answer:
        """Relay a request; the answer's body streams.

        Raises:
            ServiceError: Azurite is gone, or an identity for the source of a copy is no token.
            ConnectionError: the client went away in the middle of the body.
        """
        if self.hierarchical:
            hierarchy.check(self._azurite, request)
        answer = self._relay(request)
        if self.hierarchical and answer.status in (201, 202):
            hierarchy.make_folders(self._azurite, request)
        return answer

    def _relay(self, request: Request) -> Answer:
        headers = self._headers(request)
        connection = self._connection()
        try:
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders()
            self._send_body(connection, request)
            response = connection.getresponse()
        except http.client.HTTPException as error:
            connection.close()
            raise ServiceError(500, "InternalError", f"Azurite: {error!r}") from error
        except BaseException:
            connection.close()
            raise
        kept = {name: value for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP}
        if (length := response.getheader("Content-Length")) is not None:
            kept["Content-Length"] = length
        return Answer(response.status, kept, self._body(connection, response))

    def _headers(self, request: Request) -> list[tuple[str, str]]:
        changed = self._source_with_sas(request) if SOURCE_AUTHORIZATION in request.headers else {}
        headers = [
            (name, changed.get(name.lower(), value))
            for name, value in request.headers.items()
            if name.lower() not in HOP_BY_HOP and (name.lower() != SOURCE_AUTHORIZATION)
        ]
        if request.body.length_bytes is None:
            return [*headers, ("Transfer-Encoding", "chunked")]
        return [*headers, ("Content-Length", str(request.body.length_bytes))]

    def _source_with_sas(self, request: Request) -> dict[str, str]:
        """Azurite takes no identity for the source of a copy, but a signature: give it one that reads this blob."""
        claims = read_token(request.headers[SOURCE_AUTHORIZATION])
        if claims.get("aud") != "https://storage.azure.com":
            raise ServiceError(403, "CannotVerifyCopySource", f"the source's token is for {claims.get('aud')}")
        url = urlsplit(request.headers[SOURCE])
        container, _, blob = unquote(url.path).lstrip("/").partition("/")
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=SOURCE_SAS_MINUTES)
        sas = generate_blob_sas(
            self._azurite.account,
            container,
            blob,
            account_key=self._azurite.key,
            permission=BlobSasPermissions(read=True),
            expiry=expiry,
        )
        return {SOURCE: url._replace(query="&".join(filter(None, [url.query, sas]))).geturl()}

    def _connection(self) -> http.client.HTTPSConnection:
        with self._lock:
            while self._idle:
                since, connection = self._idle.pop()
                closed_by_azurite = select.select([connection.sock], [], [], 0)[0]
                if time.monotonic() - since < IDLE_SECONDS and not closed_by_azurite:
                    return connection
                connection.close()
        return http.client.HTTPSConnection(
            "127.0.0.1", self._azurite.port, context=self._context, timeout=TIMEOUT_SECONDS
        )

    def _send_body(self, connection: http.client.HTTPSConnection, request: Request) -> None:
        chunked = request.body.length_bytes is None
        for chunk in request.body.chunks():
            connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunked else chunk)
        if chunked:
            connection.send(b"0\r\n\r\n")

    def _body(self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the answer's body; give the connection back at its end."""
        try:
            while chunk := response.read(CHUNK_BYTES):
                yield chunk
            with self._lock:
                self._idle.append((time.monotonic(), connection))
        finally:
            if not response.isclosed():
                connection.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            for _, connection in self._idle:
                connection.close()
            self._idle.clear()
