"""Azurite, the blob store of the tests: on loopback, in memory, gone with the process that started it."""

import base64
import os
import re
import secrets
import shutil
import subprocess
import threading
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from azure_emulator.certificates import make_certificate
from azure_emulator.subscription import KINDS, STORAGE_ACCOUNT

HERE = Path(__file__).parent
PROGRAM = HERE / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
START_SECONDS = 600  # for what hangs; it takes one where the machine is idle


class Azurite:
    """A running blob store with one account and an empty memory; use as a context manager.

    It ends with the block, with the process that started it (guard.js reads its stdin), or after `lifetime_s`.

    Args:
        folder: for the certificate and the log.
        lifetime_s: seconds that it may live at most.
        memory_mb: megabytes that all blobs together may take.

    Raises:
        FileNotFoundError: Azurite or node is not installed.
        RuntimeError: it did not start; its last lines are in the message.
    """

    def __init__(self, folder: Path, lifetime_s: int = 3600, memory_mb: int = 8192) -> None:
        self.folder = folder.absolute()  # node starts in it, and opens the certificate from there
        self.lifetime_s, self.memory_mb = lifetime_s, memory_mb
        self.account, self.key = STORAGE_ACCOUNT, base64.b64encode(secrets.token_bytes(64)).decode()
        self.port = 0
        self.certificate, self.certificate_key = make_certificate(self.folder, list(KINDS))

    @property
    def connection_string(self) -> str:
        """For clients that speak to Azurite itself, with the account's key."""
        endpoint = f"https://127.0.0.1:{self.port}/{self.account}"
        parts = {"DefaultEndpointsProtocol": "https", "AccountName": self.account, "AccountKey": self.key}
        return "".join(f"{name}={value};" for name, value in (parts | {"BlobEndpoint": endpoint}).items())

    def client(self) -> BlobServiceClient:
        """A client with the account's key that passes no proxy, to set the scene and to look behind it."""
        return BlobServiceClient.from_connection_string(
            self.connection_string, connection_verify=str(self.certificate), use_env_settings=False
        )

    def clear(self) -> None:
        """Delete every container."""
        with self.client() as client:
            for container in client.list_containers():
                client.delete_container(container.name)

    def __enter__(self) -> "Azurite":
        node = shutil.which("node")
        if node is None or not PROGRAM.is_file():
            missing = "node" if node is None else PROGRAM
            raise FileNotFoundError(f"{missing} is not installed; next: install node, and run: make azurite")
        options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        options += ["--oauth", "basic", "--cert", str(self.certificate), "--key", str(self.certificate_key)]
        options += ["--extentMemoryLimit", str(self.memory_mb), "--blobHost", "127.0.0.1", "--blobPort", "0"]
        environment = {
            "PATH": os.environ["PATH"],
            "AZURITE_ACCOUNTS": f"{self.account}:{self.key}",
            "LIFETIME_SECONDS": str(self.lifetime_s),
        }
        self._process = subprocess.Popen(
            [node, "--require", str(HERE / "guard.js"), str(PROGRAM), *options],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._wait_until_it_listens()
        return self

    def _wait_until_it_listens(self) -> None:
        """Read the port from its output, which a thread goes on to read, so that it never blocks."""
        listens, lines = threading.Event(), []

        def read() -> None:
            for line in self._process.stdout:
                lines.append(line)
                if match := re.search(r"listens on https://127\.0\.0\.1:(\d+)", line):
                    self.port = int(match[1])
                    listens.set()
            listens.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        listens.wait(START_SECONDS)
        if not self.port:
            self.__exit__()
            raise RuntimeError("Azurite did not start: " + "".join(lines[-20:]))

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdin.close()
        self._process.stdout.close()
