"""What docs/azureml.md says to write into files is what azure-ai-ml reads, and what a run folder asks for."""

import importlib.util
import os
import re

import pytest
import yaml

from project import ROOT

PAGE = (ROOT / "docs" / "azureml.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)]
WITH_SDK = pytest.mark.skipif(
    importlib.util.find_spec("azure.ai") is None and not os.environ.get("CI"), reason="make azureml"
)


def block(name: str) -> dict:
    """The file of a name."""
    (found,) = [block for block in BLOCKS if block.get("name") == name]
    return found


def asked() -> dict:
    """What the page's run.yaml says of AzureML."""
    (run,) = [block for block in BLOCKS if "launch" in block]
    return run["launch"]["azureml"]


@WITH_SDK
def test_the_cluster_is_one_that_the_sdk_reads() -> None:
    from azure.ai.ml import load_compute

    wanted = block("gpu-cluster")
    cluster = load_compute(source=None, params_override=[wanted])
    assert (cluster.type, cluster.size, cluster.identity.type) == ("amlcompute", wanted["size"], "system_assigned")
    assert (cluster.min_instances, cluster.max_instances) == (0, 4)


@WITH_SDK
@pytest.mark.parametrize(
    ("name", "kind"), [("shards", "AzureBlobDatastore"), ("checkpoints", "AzureDataLakeGen2Datastore")]
)
def test_a_datastore_is_one_that_the_sdk_reads_and_holds_no_key(name: str, kind: str) -> None:
    from azure.ai.ml import load_datastore

    store = load_datastore(source=None, params_override=[block(name)])
    assert type(store).__name__ == kind
    assert type(store.credentials).__name__ == "NoneCredentialConfiguration"


def test_what_a_run_names_is_made_before() -> None:
    """The cluster and the datastores; and whose identity it works as."""
    wanted = asked()
    assert wanted["compute"] == block("gpu-cluster")["name"]
    stores = {re.match(r"azureml://datastores/([^/]+)/", wanted[key])[1] for key in ("data", "output")}
    assert stores == {block("shards")["name"], block("checkpoints")["name"]}
    assert wanted["identity"] == "managed" and block("gpu-cluster")["identity"] == {"type": "system_assigned"}
    commands = [f"az ml datastore create --file {store}.yml" for store in stores]
    commands += ["az ml compute create --file gpu-cluster.yml", 'az role assignment create --role "Storage Blob Data']
    assert [command for command in commands if command not in PAGE] == []
