"""A stand-in for azure-ai-ml at its border: what our programs call, against a workspace that is a folder.

STAND_IN_WORKSPACE/states holds the states that a job goes through, a word each; STAND_IN_WORKSPACE/output what its
output is by then; what was called is appended to STAND_IN_WORKSPACE/calls. It proves nothing about AzureML itself.
"""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml


def load_job(path: Path) -> SimpleNamespace:
    """The SDK takes the prefix off the name of a compute (ArmStr._deserialize), and puts it on again to submit."""
    job = {"compute": None} | yaml.safe_load(Path(path).read_text())
    return SimpleNamespace(**job | {"compute": job["compute"] and job["compute"].removeprefix("azureml:")})


class MLClient:
    def __init__(self, credential: Any, subscription: str, group: str, workspace: str) -> None:
        self._folder = Path(os.environ["STAND_IN_WORKSPACE"])
        self._note("connect", [type(credential).__name__, subscription, group, workspace])
        self.jobs = self

    def _note(self, what: str, with_what: Any) -> None:
        with open(self._folder / "calls", "a") as file:
            file.write(json.dumps([what, with_what]) + "\n")

    def create_or_update(self, job: SimpleNamespace) -> SimpleNamespace:
        if (self._folder / "refuses").exists():
            raise RuntimeError((self._folder / "refuses").read_text())
        self._note("submit", {"compute": job.compute, "command": job.command})
        count = (self._folder / "calls").read_text().count('"submit"')
        return SimpleNamespace(name=f"brave_lamp_{count}", studio_url=f"https://ml.azure.com/runs/brave_lamp_{count}")

    def get(self, name: str) -> SimpleNamespace:
        left = (self._folder / "states").read_text().split()
        state, left = left[0], left[1:] or left
        (self._folder / "states").write_text(" ".join(left))
        self._note("get", name)
        if state == "UNREACHABLE":
            raise ConnectionError("no route to https://x?sv=1&sig=" + "a" * 43)
        return SimpleNamespace(status=state)

    def download(self, name: str, *, download_path: str, output_name: str) -> None:
        self._note("download", [name, output_name])
        target = Path(download_path, "named-outputs", output_name)
        shutil.copytree(self._folder / "output", target)
        (self._folder / "output" / "continue.json").unlink(missing_ok=True)
        (self._folder / "output" / "finished.json").write_text("{}")
