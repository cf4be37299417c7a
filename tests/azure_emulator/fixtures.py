"""Fixtures: `azurite`, a store for all tests of a run, and `azure`, emulated Azure for one test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from azure_emulator.azurite import Azurite
from azure_emulator.service import CONTAINER, EmulatedAzure


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A running Azurite; a machine without node skips its tests, unless it is CI's."""
    if shutil.which("node") is None and not os.environ.get("CI"):
        pytest.skip("node is not installed")
    with Azurite(tmp_path_factory.mktemp("azurite")) as store:
        yield store


@pytest.fixture
def azure(azurite: Azurite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedAzure]:
    """Emulated Azure with the empty containers `vendor` and `results`; this process and its children are led to it."""
    azurite.clear()
    with azurite.client() as client:
        client.create_container("vendor")
        client.create_container(CONTAINER)
    with EmulatedAzure(tmp_path / "azure", azurite) as service:
        for name in os.environ:
            if name.startswith(("AZURE_", "SNAKEMAKE_", "PRETRAIN_LLAMA_", "IDENTITY_", "MSI_")):
                monkeypatch.delenv(name)
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
            monkeypatch.delenv(name.lower(), raising=False)
        yield service
