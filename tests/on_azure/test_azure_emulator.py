"""Emulated Azure as a whole: hosts, logins, and a store that never outlives its tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ManagedIdentityCredential
from snakemake_storage_plugin_azurestream.login import credential

from azure_emulator import subscription as names
from azure_emulator.azurite import PROGRAM, Azurite
from azure_emulator.faults import Refuse, Where
from azure_emulator.login import NODES
from azure_emulator.service import EmulatedAzure
from processes import wait_for


def test_other_hosts_are_refused(azure: EmulatedAzure) -> None:
    for url in ("https://example.com/", "http://169.254.169.254/metadata", "https://other.blob.core.windows.net/"):
        proxies = {"http": azure.environment["HTTP_PROXY"], "https": azure.environment["HTTPS_PROXY"]}
        try:
            assert requests.get(url, timeout=10, proxies=proxies).status_code == 403
        except requests.exceptions.ProxyError as error:
            assert "no such host" in str(error)
    assert len(azure.refused) == 3


def test_an_unknown_identity_gets_no_token(azure: EmulatedAzure) -> None:
    scope = "https://storage.azure.com/.default"
    assert ManagedIdentityCredential(client_id=names.IDENTITY_CLIENT_ID).get_token(scope).token
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential(client_id="another").get_token(scope)
    answer = requests.get(azure.environment["IDENTITY_ENDPOINT"], params={"resource": "x"}, timeout=10)
    assert answer.status_code == 401


def test_a_node_has_to_name_its_identity(azure: EmulatedAzure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", azure.environment["IDENTITY_ENDPOINT"].replace("/msi/token", NODES))
    scope = "https://storage.azure.com/.default"
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(scope)
    monkeypatch.setenv("AZURE_CLIENT_ID", names.IDENTITY_CLIENT_ID)
    assert credential().get_token(scope).token


def test_a_login_can_be_refused(azure: EmulatedAzure) -> None:
    azure.faults.add(Refuse(400, "invalid_request"), Where("login"))
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token("https://storage.azure.com/.default")


def test_a_token_for_another_service_is_refused(azure: EmulatedAzure) -> None:
    token = ManagedIdentityCredential().get_token("https://storage.azure.com/.default").token
    url = f"https://{names.BATCH_HOST}/pools"
    answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (401, "InvalidAuthenticationToken")
    assert requests.get(url, timeout=10).status_code == 401


def test_azurite_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = """if True:
        import os, sys, pathlib
        from azure_emulator.azurite import Azurite
        store = Azurite(pathlib.Path(sys.argv[1])).__enter__()
        print(store._process.pid, flush=True)
        os.kill(os.getpid(), 9)"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, stdout=subprocess.PIPE, text=True)
    process = int(result.stdout)
    wait_for(lambda: not alive(process))


def alive(process: int) -> bool:
    """Whether it runs; one that has ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_azurite_ends_when_its_time_is_up(tmp_path: Path) -> None:
    with Azurite(tmp_path, lifetime_s=5) as store:
        assert store._process.wait(30) == 3


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="node is not installed; next: install node, and run: make azurite"):
        Azurite(tmp_path).__enter__()
    assert PROGRAM.is_file()


def test_a_store_that_does_not_start_says_why(tmp_path: Path) -> None:
    store = Azurite(tmp_path)
    store.certificate.write_text("no certificate")
    with pytest.raises(RuntimeError, match="Azurite did not start: "):
        store.__enter__()
