"""Runs of a small workflow through the executor of envs/snakemake_plugins, against emulated Azure."""

import signal
import subprocess
import sys
from pathlib import Path

from azure_emulator import subscription as names
from azure_emulator.service import CONTAINER

SNAKEFILE = """
rule greet:
    output: "greeting.txt"
    shell: "echo hello from $AZ_BATCH_NODE_ID > {output}"
"""
STORE = f"az://{CONTAINER}/greetings"
OPTIONS = {
    "--executor": "azurebatch",
    "--jobs": "100",
    "--seconds-between-status-checks": "1",
    "--default-storage-provider": "azurestream",
    "--default-storage-prefix": STORE,
    "--storage-azurestream-account-name": names.STORAGE_ACCOUNT,
    "--azurebatch-pool-vm-size": "Standard_D2ds_v5",
    "--azurebatch-pool-node-count": "5",
    "--azurebatch-tasks-per-node": "2",
    "--container-image": f"{names.REGISTRY}/image:1",
    "--default-resources": "mem_mb=500",
}


class Run:
    """A snakemake that was started, as a user would, and goes on; its output is in `log`."""

    def __init__(self, folder: Path, snakefile: str = SNAKEFILE, *more: str) -> None:
        folder.mkdir()
        (folder / "Snakefile").write_text(snakefile)
        command = [sys.executable, "-m", "snakemake", *(word for option in OPTIONS.items() for word in option)]
        self._log = folder / "log.txt"
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                [*command, *more],
                cwd=folder,
                stdout=log,
                stderr=log,
                # What a shell starts in the background ignores Ctrl-C, and so do its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, with_signal: int | None = None) -> int:
        """Return the exit code."""
        if with_signal:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(120)
        finally:
            self.process.kill()
