"""Check a job.yaml offline: what azure-ai-ml says of it, where that is installed, and what it misses."""

import logging
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from pretrain_llama.errors import ConfigError
from pretrain_llama.launch import secrets
from pretrain_llama.launch.azureml_job import COMPUTE, IGNORED, LIVE_TENSORBOARD
from pretrain_llama.run.sizes import process_count
from pretrain_llama.settings import RunSettings

REFERENCE = re.compile(r"\$\{\{\s*(?P<kind>\w+)\.(?P<name>[\w-]+)\s*\}\}")
LAUNCHERS = re.compile(r"\b(torchrun|torch\.distributed\.(run|launch)|accelerate|deepspeed|mpirun|srun)\b")
# Shared memory for each process of a node; NCCL's documentation, "Troubleshooting", asks for 1 GB in a container.
SHM_BYTES_PER_PROCESS = 1 << 30
MAPPINGS = ("inputs", "outputs", "resources", "distribution", "environment_variables", "services", "identity")
UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# Limits of a job's code: learn.microsoft.com, "Manage and increase quotas for resources with Azure Machine Learning".
CODE_FILES, CODE_BYTES = 2000, 300_000_000


def check_job(folder: Path, run: RunSettings) -> list[str]:
    """Check the job.yaml of a run folder; return the checks that could not be made.

    Args:
        folder: of the run.
        run: run.yaml.

    Raises:
        ConfigError: something is wrong; lists all of it.
    """
    path = folder / "job.yaml"
    try:
        job = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError):
        job = None
    if not isinstance(job, dict):
        raise ConfigError("no job of Azure Machine Learning", where=path, action="write the run folder again")
    problems, unknown = [*problems_of(job, folder, run)], []
    try:
        problems += _problems_of_sdk(path)
    except ImportError:
        unknown.append("azure-ai-ml is not installed, so it did not read the job: make azureml")
    if problems:
        raise ConfigError(
            f"the job has {len(problems)} problems:\n    " + "\n    ".join(problems),
            where=path,
            action="correct `launch` in the run's run.yaml, and write the run folder again; or job.yaml itself",
        )
    return unknown


def _problems_of_sdk(path: Path) -> Iterator[str]:
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)  # it warns of its own experimental classes
    from azure.ai.ml import load_job
    from azure.ai.ml.exceptions import ValidationException
    from marshmallow.exceptions import ValidationError

    try:
        load_job(path)
    except (ValidationError, ValidationException) as error:
        # Its message holds JSON in JSON; the innermost says {"key": ["what is wrong"]}.
        said = re.findall(r'"(\w+)": \[\s*"((?:[^"\\]|\\.)+)"', str(error).replace("\\n", " ").replace('\\"', '"'))
        for key, problem in said or [("job", " ".join(str(error).split())[:300])]:
            yield f"azure-ai-ml, {key}: {secrets.redact(problem)}"


def problems_of(job: dict[str, Any], folder: Path, run: RunSettings) -> Iterator[str]:
    """Yield what azure-ai-ml does not look at, each problem with the next action.

    Args:
        job: job.yaml.
        folder: that it lies in.
        run: run.yaml.
    """
    wrong = [key for key in MAPPINGS if not isinstance(job.get(key, {}), dict)]
    if wrong:
        yield f"{', '.join(wrong)}: a mapping of keys to values expected; correct the indentation"
        return
    command = str(job.get("command", ""))
    yield from _references(job, command)
    if match := LAUNCHERS.search(command):
        yield (
            f"command: {match[0]} would start processes in each of those that AzureML has already started; call "
            "python itself"
        )
    yield from _processes(job, run)
    yield from _shared_memory(job)
    yield from _paths(job, folder)
    yield from _tensorboard(job, command)
    yield from _secrets(job)
    if job.get("compute") in (None, f"azureml:{COMPUTE}") and not os.environ.get(COMPUTE):
        yield f"compute: none is given; set launch.azureml.compute in run.yaml, or {COMPUTE} in the environment"
    if run["on_change"] == "restart":
        yield (
            "on_change: restart keeps an earlier output under another name, which a mounted output does not allow; "
            "set refuse or new_phase in run.yaml"
        )


def _references(job: dict[str, Any], command: str) -> Iterator[str]:
    used = set()
    for match in REFERENCE.finditer(command):
        kind, name = match["kind"], match["name"]
        known = job.get(kind) or {}
        used.add((kind, name))
        if kind not in ("inputs", "outputs"):
            yield f"command: {match[0]} is neither an input nor an output"
        elif name not in known:
            yield f"command: {match[0]} is not defined; the {kind} are {', '.join(known) or 'none'}"
    for kind in ("inputs", "outputs"):
        for name in job.get(kind) or {}:
            if (kind, name) not in used:
                yield f"{kind}.{name}: the command does not use it; write ${{{{{kind}.{name}}}}}, or remove it"


def _processes(job: dict[str, Any], run: RunSettings) -> Iterator[str]:
    nodes = (job.get("resources") or {}).get("instance_count", 1)
    distribution = job.get("distribution") or {}
    per_node, parallel = distribution.get("process_count_per_instance", 1), run["parallel"]
    if distribution.get("type") != "pytorch":
        yield "distribution: pytorch sets the ranks that the trainer asks for; write type: pytorch"
    if not isinstance(nodes, int) or not isinstance(per_node, int):
        return  # which azure-ai-ml says
    if nodes * per_node != process_count(run):
        yield (
            f"distribution: {nodes} nodes x {per_node} processes are {nodes * per_node}, and tensor "
            f"{parallel['tensor']} x pipeline {parallel['pipeline']} x data {parallel['data']} are "
            f"{process_count(run)}; make them equal"
        )


def _shared_memory(job: dict[str, Any]) -> Iterator[str]:
    per_node = (job.get("distribution") or {}).get("process_count_per_instance", 1)
    size = str((job.get("resources") or {}).get("shm_size", "64m"))  # docker's default
    match = re.fullmatch(r"(\d+)([kmg])", size)
    if not match:
        yield f"resources.shm_size: {size!r} is no size; write one as in 64g"
    elif isinstance(per_node, int) and int(match[1]) * UNITS[match[2]] < per_node * SHM_BYTES_PER_PROCESS:
        yield f"resources.shm_size: {size} is too little for NCCL among {per_node} processes; give {per_node}g or more"


def _paths(job: dict[str, Any], folder: Path) -> Iterator[str]:
    paths = {"code": job.get("code")}
    if isinstance(job.get("environment"), dict) and "build" in job["environment"]:
        build = job["environment"]["build"]
        paths["environment.build.path"] = build.get("path")
        dockerfile = folder / str(build.get("path")) / build.get("dockerfile_path", "Dockerfile")
        if not dockerfile.is_file():
            yield f"environment.build: {dockerfile} is not there"
    for name, value in (job.get("inputs") or {}).items():
        if isinstance(value, dict):
            paths[f"inputs.{name}.path"] = value.get("path")
    for name, path in paths.items():
        if not path or "://" in path or path.startswith("azureml:"):
            continue
        if not path.startswith((".", "/")):
            yield f"{name}: azure-ai-ml reads {path!r} as the name of an asset; for a folder, write ./{path}"
        location = (folder / path).resolve()
        if not location.exists():
            yield f"{name}: {path} is not there"
        elif not location.is_relative_to(folder.resolve()):
            yield f"{name}: {path} lies outside of the run folder, and would be uploaded from there"
    yield from _code(folder)


def _code(folder: Path) -> Iterator[str]:
    ignored = folder / ".amlignore"
    missing = set(IGNORED.split()) - set(ignored.read_text().split() if ignored.exists() else [])
    if missing:
        yield f".amlignore: lacks {', '.join(sorted(missing))}, which would be uploaded as code"
    parts = [path for path in folder.iterdir() if not any(fnmatch(f"/{path.name}/", name) for name in IGNORED.split())]
    files = [file for part in parts for file in ([part] if part.is_file() else part.rglob("*")) if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if len(files) > CODE_FILES or size > CODE_BYTES:
        yield (
            f"code: {len(files):,} files of {size:,} bytes; AzureML takes {CODE_FILES:,} of {CODE_BYTES:,}: move what "
            "does not belong to the run folder"
        )


def _tensorboard(job: dict[str, Any], command: str) -> Iterator[str]:
    boards = [service for service in (job.get("services") or {}).values() if service.get("type") == "tensor_board"]
    if not boards:
        yield "services: no tensor_board shows the training while it runs; add one"
    for board in boards:
        log_dir = str(board.get("log_dir", ""))
        if log_dir not in command or "${{" in log_dir:
            yield (
                f"services: TensorBoard reads {log_dir!r}, and the command writes elsewhere; write log_dir: "
                f"{LIVE_TENSORBOARD}, on the node's own disk: a mounted file is stored only when it is closed"
            )
        if board.get("nodes") != "all":
            yield "services: TensorBoard runs on the first node alone; write nodes: all"


def _secrets(job: dict[str, Any]) -> Iterator[str]:
    for key, value in _leaves(job, ""):
        name = key.rpartition(".")[2]
        if secrets.looks_secret(value) or (key.startswith("environment_variables.") and secrets.names_a_secret(name)):
            yield (
                f"{key}: looks like a secret, which everybody in the workspace could read (its value is not shown); "
                "give the job's identity the right instead, or keep it in the workspace's key vault"
            )


def _leaves(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{index}]")
    else:
        yield key, str(value)
