"""Run the executor and the doctor against emulated Azure, make job.yaml's body, and keep what they send.

    python tests/azure_contract/record.py FOLDER

FOLDER gets requests.jsonl, a line for each request, and jobs.json, the bodies that azure-ai-ml makes of job.yaml, by
name of the case. It takes about half a minute.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "support")]

import yaml
from azure.ai.ml import load_job

from azure_emulator import subscription as names
from azure_emulator.azurite import Azurite
from azure_emulator.service import CONTAINER, EmulatedAzure
from executor_runs import Run
from pretrain_llama.configuration import load_run
from pretrain_llama.launch import azureml_job
from project import ROOT, run_script

# A rule on other machines, one with a limit, one with a variable, and one that fails.
SNAKEFILE = """
envvars: "GREETING"
rule all:
    input: "large.txt", "limited.txt", "greeted.txt"
rule large:
    output: "large.txt"
    resources: vm_size="Standard_D4ds_v5"
    shell: "echo $AZ_BATCH_NODE_ID > {output}"
rule limited:
    output: "limited.txt"
    resources: runtime=90
    shell: "sleep 3; echo {threads} > {output}"
rule greeted:
    output: "greeted.txt"
    shell: "echo $GREETING > {output}; exit 3"
"""
SUBNET = f"{names.GROUP_PATH}/providers/Microsoft.Network/virtualNetworks/net/subnets/nodes"
# What run.yaml may say of launch.azureml.
JOBS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "mounted": {"data": "azureml://datastores/shards/paths/indexed", "identity": "managed", "data_mode": "download"},
    "limited": {"timeout_hours": 5, "environment": "registry.azurecr.io/image:1", "environment_variables": {"A": "b"}},
}


def record_requests(folder: Path) -> None:
    """Run the executor and the doctor."""
    with Azurite(folder / "azurite") as store:
        with store.client() as client:
            client.create_container(CONTAINER)
            client.create_container("vendor")
        with EmulatedAzure(folder / "azure", store) as azure:
            os.environ.update(azure.environment | {"GREETING": "hello", "SNAKEMAKE_AZURE_BATCH_POOL_SUBNET_ID": SUBNET})
            run = Run(folder / "project", SNAKEFILE, "--keep-going")
            assert run.end() == 1, run.log
            assert run.log.count("Finished jobid") == 2, run.log
            doctor = run_script("check_azure.py", "--corpora", ROOT / "config" / "corpora.tsv")
            assert "cores" in doctor.stdout, doctor.stderr
        shutil.copy(azure.traffic.log, folder / "requests.jsonl")


def bodies_of_jobs() -> dict[str, Any]:
    """Return what azure-ai-ml sends to Azure Machine Learning of each job.yaml; the service gives ids to uploads."""
    found = {}
    for name, chosen in JOBS.items():
        run = load_run(ROOT / "config" / "runs" / "demo")
        run["launch"]["azureml"] |= {"compute": "gpu-cluster", **chosen}
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for part in (*azureml_job.LARGE_PARTS, "environment"):
                (folder / part).mkdir()
            (folder / "environment" / "Dockerfile").write_text("FROM scratch\n")
            described = azureml_job.job("demo", run, list(azureml_job.LARGE_PARTS))
            (folder / "job.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
            job = load_job(folder / "job.yaml")._to_job()
        job.environment, job.code = "azureml:environment:1", "azureml:code:1"
        found[name] = job._to_rest_object().as_dict()
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("azurite", "azure"):
        (folder / part).mkdir(parents=True)
    record_requests(folder)
    (folder / "jobs.json").write_text(json.dumps(bodies_of_jobs(), indent=1))


if __name__ == "__main__":
    main()
