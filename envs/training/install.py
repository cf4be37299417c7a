"""Install the packages of a lock into an image, around those of which the image has builds of its own.

    python install.py requirements.lock

NVIDIA's PyTorch images bring torch, Transformer Engine and flash attention, built for each other and for the image's
CUDA. Where there is a torch, these stay as they are: what else the lock names has to fit them, or pip ends with an
error. Elsewhere, all of the lock is installed.
"""

import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

# torch, what is built for it or it is built with (of numpy, the C interface), and CUDA's libraries.
BUILT_TOGETHER = re.compile(r"(pytorch-)?(torch|triton)|numpy|transformer-engine|flash-attn|apex|nvidia|cuda")


def kept() -> list[str]:
    """Return what stays, as pip's constraints; nothing where there is no torch."""
    there = {re.sub(r"[-_.]+", "-", found.name).lower(): found.version for found in distributions()}
    if "torch" not in there:
        return []
    return [f"{name}=={version}" for name, version in sorted(there.items()) if BUILT_TOGETHER.match(name)]


def main(lock: Path) -> None:
    constraints = kept()
    lines = lock.read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if not constraints or not BUILT_TOGETHER.match(line)]
    print("\n  ".join(["kept as they are in the image:", *(constraints or ["nothing"])]), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"wanted.txt": wanted, "kept.txt": constraints}.items():
            Path(folder, name).write_text("\n".join(content) + "\n", encoding="utf-8")
        # The image's own constraints fix more than has to stay.
        environment = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
        command = [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
        command += ["--requirement", f"{folder}/wanted.txt", "--constraint", f"{folder}/kept.txt"]
        sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
