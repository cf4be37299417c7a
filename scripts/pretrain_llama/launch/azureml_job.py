"""Write job.yaml: a command job of Azure Machine Learning (its CLI and SDK, version 2) that trains a run folder.

The job's code is the run folder without its large parts (.amlignore). These are inputs of the job, and mount_parts.py
links them into the folder, so that the trainer finds it as it is here. AzureML starts one process for each GPU, with
their ranks in the environment, so the command is plain python: torchrun would start as many of each.
"""

from typing import Any

from pretrain_llama.launch.layout import Layout
from pretrain_llama.run.trainers import program
from pretrain_llama.settings import AzuremlSettings, RunSettings

SCHEMA = "https://azuremlschemas.azureedge.net/latest/commandJob.schema.json"
# On the disk of each node, where the service below reads while it is written; ./logs is also what the portal shows.
LIVE_TENSORBOARD = "logs/tensorboard"
# Parts of the run folder that are inputs of the job, and no part of its code.
LARGE_PARTS = ("data", "checkpoint", "validation")
IGNORED = "".join(f"/{part}/\n" for part in (*LARGE_PARTS, "output*", "export")) + "__pycache__/\n"

IDENTITIES = {"user": "user_identity", "managed": "managed"}
COMPUTE = "AZUREML_COMPUTE"  # stands in job.yaml where no compute is chosen, and is the variable that names one then


def job(name: str, run: RunSettings, parts: list[str]) -> dict[str, Any]:
    """Return job.yaml as a dictionary.

    Args:
        name: of the run.
        run: run.yaml.
        parts: those of LARGE_PARTS that the run folder has.
    """
    chosen, layout = run["launch"]["azureml"], Layout.of(run)
    output = chosen["output"] or f"azureml://datastores/workspaceblobstore/paths/pretrain-llama/{name}/output"
    described = {
        "$schema": SCHEMA,
        "type": "command",
        "display_name": name,
        "experiment_name": chosen["experiment"],
        "code": ".",
        "command": _command(parts, program(run)),
        "environment": _environment(chosen["environment"]),
        "inputs": {part: _input(part, chosen) for part in parts},
        "outputs": {"output": {"type": "uri_folder", "mode": "rw_mount", "path": output}},
        "compute": f"azureml:{chosen['compute'] or COMPUTE}",
        "resources": {"instance_count": layout.nodes, "shm_size": chosen["shm_size"]},
        "distribution": {"type": "pytorch", "process_count_per_instance": layout.processes_per_node},
        "environment_variables": chosen["environment_variables"],
        "identity": {"type": IDENTITIES[chosen["identity"]]},
        "services": {"tensorboard": {"type": "tensor_board", "log_dir": LIVE_TENSORBOARD, "nodes": "all"}},
        "tags": {"run": name},
    }
    if chosen["timeout_hours"]:
        described["limits"] = {"timeout": round(3600 * chosen["timeout_hours"])}
    return described


def _command(parts: list[str], trains: str) -> str:
    mounts = " ".join(f"{part}=${{{{inputs.{part}}}}}" for part in parts)
    return (
        f"python code/scripts/mount_parts.py . {mounts} output=${{{{outputs.output}}}} && "
        f"python code/scripts/{trains} . --live-tensorboard {LIVE_TENSORBOARD}"
    )


def _environment(chosen: str | None) -> str | dict[str, Any]:
    if chosen is None:
        return {"build": {"path": "./environment"}}
    return chosen if chosen.startswith("azureml:") else {"image": chosen}


def _input(part: str, chosen: AzuremlSettings) -> dict[str, str]:
    # A path without "./" would be the name of a registered asset.
    return {
        "type": "uri_folder",
        "mode": chosen["data_mode"] if part != "checkpoint" else "ro_mount",
        "path": str(chosen.get(part) or "") or f"./{part}",
    }
