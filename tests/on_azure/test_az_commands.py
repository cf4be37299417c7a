"""Every command of the Azure CLI that pages and messages name is one that the CLI's own help knows."""

import re

import pytest

from az_commands import AZ, faults, of_messages, of_pages
from project import ROOT

NAMED = [*of_pages(), *of_messages()]
WITH_CLI = pytest.mark.skipif(not AZ.exists(), reason="the Azure CLI is not installed: make azure-cli")


def test_commands_are_found() -> None:
    named = {" ".join(words[:4]) for _, words in NAMED}
    assert {"az login", "az batch pool delete", "az deployment group create", "az storage blob set-tier"} <= named
    assert len(NAMED) > 30


@WITH_CLI
@pytest.mark.parametrize(("place", "words"), NAMED, ids=[f"{place}: {' '.join(words)[:60]}" for place, words in NAMED])
def test_a_command_is_one_of_the_cli(place: str, words: list[str]) -> None:
    assert faults(words) == []


@WITH_CLI
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("az batch pool remove --pool-id x", "no command: az batch pool remove"),
        ("az batch pool delete --pool x --yes", "az batch pool delete has no --pool"),
        ("az batch pool delete --yes", "az batch pool delete needs --pool-id"),
        ("az storage blob list --container-name x --auth-mode me", "'me' is none of key, login"),
        ("az ml compute create --name x", "az ml compute create: --name"),
    ],
)
def test_a_wrong_command_is_found(command: str, says: str) -> None:
    assert says in "; ".join(faults(command.split()))


def test_commands_in_messages_stand_in_backquotes() -> None:
    """Otherwise nothing would look at them."""
    naked = re.compile(r"(?<![`\w])az (login|account|storage|batch|ml|acr|group|deployment)\b")
    paths = [path for folder in ("scripts", "envs") for path in (ROOT / folder).rglob("*.py")]
    assert [str(path) for path in paths if naked.search(path.read_text())] == []


def test_storage_is_asked_as_a_person_and_not_with_a_key() -> None:
    storage = [words for _, words in NAMED if words[:3] in (["az", "storage", "blob"], ["az", "storage", "container"])]
    storage = [words for words in storage if any(word.startswith("--") for word in words)]
    assert len(storage) > 3
    assert [words for words in storage if "--auth-mode login" not in " ".join(words)] == []
    assert "AZURE_STORAGE_AUTH_MODE=login" in (ROOT / "envs" / "azure" / "main.bicep").read_text()
