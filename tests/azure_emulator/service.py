"""Emulated Azure as a whole: start it, point clients at it, look at what they did."""

import os
import ssl
import sys
import threading
from pathlib import Path

from azure_emulator import login
from azure_emulator import subscription as names
from azure_emulator.azurite import Azurite
from azure_emulator.batch import Batch
from azure_emulator.blobs import BlobRelay
from azure_emulator.faults import Faults
from azure_emulator.management import Management
from azure_emulator.proxy import Proxy
from azure_emulator.registry import Registry
from azure_emulator.tasks import Cluster
from azure_emulator.traffic import Traffic

CONTAINER = "results"
# An `az` where a person may be logged in is not asked: it would answer with the person's own token.
NO_AZ = "#!/bin/sh\necho \"Please run 'az login' to setup account.\" >&2\nexit 1\n"


class EmulatedAzure:
    """All services on one proxy; use as a context manager.

    Attributes:
        environment: the variables that a user fills in, and those that lead clients here. Give them to a program.
        faults: what is to go wrong.
        traffic: counts, and the log of requests.
        cluster, batch, management, registry, blobs: their state, to look at or to change (quota, images, tasks).
        refused: hosts that clients asked for and that are not emulated.

    Args:
        folder: for logs and the tasks' folders.
        azurite: a running store.
        node_environment: variables that every task gets, as an image would set them; tests may add to it.
        limits: `most_slots`, `most_tasks`, `task_limit_s` of the tasks, see Cluster.
    """

    def __init__(
        self,
        folder: Path,
        azurite: Azurite,
        node_environment: dict[str, str] | None = None,
        **limits: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.azurite = folder, azurite
        self.node_environment = node_environment or {}
        self.faults, self.traffic = Faults(), Traffic(folder / "requests.jsonl")
        self.cluster = Cluster(folder, self.faults, self._task_environment, **limits)
        self.management = Management(self.cluster, lambda: self.batch.images)
        self.batch = Batch(self.cluster, self.management.quota)
        self.registry = Registry()
        self.blobs = BlobRelay(azurite)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(azurite.certificate, azurite.certificate_key)
        services = {
            "management": self.management.answer,
            "batch": self.batch.answer,
            "blob": self.blobs.answer,
            "registry": self.registry.answer,
            "login": login.answer,
        }
        self._proxy = Proxy(services, context, self.faults, self.traffic)
        self.refused = self._proxy.refused
        self._bin = folder / "bin"
        self._bin.mkdir()
        (self._bin / "az").write_text(NO_AZ)
        (self._bin / "az").chmod(0o755)

    def __enter__(self) -> "EmulatedAzure":
        self._thread = threading.Thread(target=self._proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()
        self._proxy.shutdown()
        self._proxy.server_close()
        self.blobs.close()
        self.traffic.close()

    @property
    def _here(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_port}"

    @property
    def _route(self) -> dict[str, str]:
        """What leads a client here, and gives it an identity."""
        path = [str(self._bin), str(Path(sys.executable).parent), os.environ["PATH"]]
        return {
            "PATH": os.pathsep.join(path),
            "HTTPS_PROXY": self._here,
            "HTTP_PROXY": self._here,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": str(self.azurite.certificate),
            "IDENTITY_ENDPOINT": f"{self._here}/msi/token",
            "IDENTITY_HEADER": login.IDENTITY_HEADER,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a user's shell."""
        return self._route | {
            "AZURE_STORAGE_ACCOUNT_NAME": names.STORAGE_ACCOUNT,
            "PRETRAIN_LLAMA_STORE": f"az://{CONTAINER}/pretrain",
            "SNAKEMAKE_AZURE_BATCH_ACCOUNT_URL": f"https://{names.BATCH_HOST}",
            "SNAKEMAKE_AZURE_BATCH_SUBSCRIPTION_ID": names.SUBSCRIPTION,
            "SNAKEMAKE_AZURE_BATCH_RESOURCE_GROUP_NAME": names.RESOURCE_GROUP,
            "SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_RESOURCE_ID": names.IDENTITY,
            "SNAKEMAKE_AZURE_BATCH_MANAGED_IDENTITY_CLIENT_ID": names.IDENTITY_CLIENT_ID,
            "PRETRAIN_LLAMA_IMAGE": f"{names.REGISTRY}/pretrain-llama-data:1",
            "SNAKEMAKE_AZURE_BATCH_CONTAINER_REGISTRY_URL": names.REGISTRY,
        }

    def _task_environment(self) -> dict[str, str]:
        identity = {"IDENTITY_ENDPOINT": f"{self._here}{login.NODES}"}
        return self._route | identity | {"LANG": "C.UTF-8"} | self.node_environment
