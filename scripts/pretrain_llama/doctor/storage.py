"""Check the storage account: its answer, its clock, the container, and what the login may do with a blob."""

import time
import uuid
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from pretrain_llama.checklist import Failed, Passed, Report
from pretrain_llama.doctor.login import explain, status_and_code
from pretrain_llama.doctor.variables import Settings

ROLE = "Storage Blob Data Contributor"
MOST_SKEW_SECONDS = 300  # tokens and signatures are refused by services whose clock is further off
TIMEOUT_SECONDS = 10


class Container:
    """The container of the results, with a probe: a blob below the prefix that the checks write and delete."""

    def __init__(self, settings: Settings, credential: Any) -> None:
        from azure.storage.blob import ContainerClient, LinearRetry

        self.account, self.name, self.prefix = settings.storage_account, settings.container, settings.prefix
        self.probe = f"{self.prefix}/.doctor-{uuid.uuid4().hex}"
        self._skew_s: float | None = None
        self._refusal: Exception | None = None
        self._client = ContainerClient(
            f"https://{self.account}.blob.core.windows.net",
            self.name,
            credential,
            retry_policy=LinearRetry(backoff=1, retry_total=1, random_jitter_range=0),
            connection_timeout=TIMEOUT_SECONDS,
        )

    def reach(self) -> Passed:
        """Ask for the container; any answer shows that the account is there, and tells its time."""
        from azure.core.exceptions import AzureError

        try:
            self._client.get_container_properties(raw_response_hook=self._read_clock)
        except AzureError as error:
            self._refusal = error
            if status_and_code(error)[0] is None:
                raise explain(error, ROLE) from error
        return Passed("it answers")

    def _read_clock(self, response: Any) -> None:
        date = response.http_response.headers.get("Date")
        self._skew_s = None if date is None else time.time() - parsedate_to_datetime(date).timestamp()

    def compare_clocks(self) -> Passed:
        """Compare this machine's clock with the account's."""
        assert self._skew_s is not None, "asked for only once the account has told its time"
        if abs(self._skew_s) > MOST_SKEW_SECONDS:
            side = "ahead of" if self._skew_s > 0 else "behind"
            raise Failed(f"this machine is {abs(self._skew_s):.0f} s {side} the service", "set its clock, e.g. by NTP")
        return Passed(f"{abs(self._skew_s):.0f} s from the service's")

    def exists(self) -> Passed:
        """Read what the account answered about the container."""
        if self._refusal is None:
            return Passed("it exists")
        if status_and_code(self._refusal)[0] == 404:
            create = f"`az storage container create --auth-mode login --account-name {self.account} --name {self.name}`"
            raise Failed("it does not exist", create)
        raise explain(self._refusal, ROLE)

    def list_blobs(self) -> Passed:
        """Ask for the first page of a listing."""
        self.first_blob()
        return Passed(f"below {self.prefix}/")

    def first_blob(self, below: str = "") -> str | None:
        """Return the name of the first blob below the prefix and a folder in it; None if there is none."""
        prefix = f"{self.prefix}/{below}".strip("/")
        found = self._client.list_blobs(name_starts_with=prefix, include=["metadata"], results_per_page=100)
        # In an account with a hierarchy, each folder has a blob of its own.
        return next((blob.name for blob in found if not (blob.metadata or {}).get("hdi_isfolder")), None)

    def look_for_shards(self) -> Passed:
        """Tell whether a first run made something."""
        first = self.first_blob("results/shards/")
        return Passed(f"{first} and so on" if first else "nothing was made yet: docs/azure.md, step 8")

    def write(self) -> Passed:
        """Write the probe."""
        self._client.upload_blob(self.probe, self.probe.encode())
        return Passed(self.probe)

    def read(self) -> Passed:
        """Read the probe."""
        if self._client.download_blob(self.probe).readall() != self.probe.encode():
            raise Failed("it holds other bytes than were written", "find out what changes blobs in this container")
        return Passed("what was written came back")

    def delete(self) -> Passed:
        """Delete the probe.

        Raises:
            Failed: the login may not; the blob is left.
        """
        from azure.core.exceptions import AzureError

        try:
            self._client.delete_blob(self.probe)
        except AzureError as error:
            raise type(why := explain(error, ROLE))(f"{self.probe} is left", f"delete it; {why}") from error
        return Passed("it is gone")


def check_storage(report: Report, settings: Settings, credential: Any) -> Container | None:
    """Check the storage account and the container of the results; return it, if it exists."""
    needs = (settings.storage_account, settings.container, settings.prefix, credential)
    container = None if None in needs else Container(settings, credential)
    reached = report.check(f"storage account {settings.storage_account or ''}".strip(), Container.reach, container)
    here = container if reached else None
    report.check("clock", Container.compare_clocks, here)
    exists = report.check(f"container {settings.container or ''}".strip(), Container.exists, here)
    here = here if exists else None
    report.check("list blobs", _explained(Container.list_blobs), here)
    written = report.check("write a blob", _explained(Container.write), here)
    report.check("read a blob", _explained(Container.read), here, written)
    report.check("delete a blob", lambda c, _: c.delete(), here, written)
    return here


def check_first_run(report: Report, container: Container | None) -> None:
    """Check what a first run made."""
    report.check("first run", _explained(Container.look_for_shards), container)


def _explained(check: Callable[[Container], Passed]) -> Callable[..., Passed]:
    def run(container: Container, *_: object) -> Passed:
        from azure.core.exceptions import AzureError

        try:
            return check(container)
        except AzureError as error:
            raise explain(error, ROLE) from error

    return run
