"""Read and write a training's logs of JSON lines; needs no torch.

    log.jsonl           an iteration a line
    validation.jsonl    an evaluation a line: loss and perplexity of each validation set
    samples.jsonl       an evaluation a line: the prompts of run.yaml, each with what the model made of it
    consumption.jsonl   now and then, and at the end: tokens and epochs of each language and domain, of all phases

Where a step had no number, its loss is NaN, which Python's json reads.
"""

import json
import os
from pathlib import Path
from typing import Any

from pretrain_llama import stores
from pretrain_llama.files import write_text

NAME, VALIDATION, CONSUMPTION = "log.jsonl", "validation.jsonl", "consumption.jsonl"
SAMPLES = "samples.jsonl"


def read_log(output: str | Path, name: str = NAME) -> list[dict[str, Any]]:
    """Return the records of a training's output, in order; none where it has not begun.

    What follows the last newline is half a line, of a killed training, and is left out.
    """
    content = stores.read_small(f"{output}/{name}") or b""
    return [json.loads(line) for line in content.decode().split("\n")[:-1]]


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record to a file of such lines; it replaces half a line that a kill or a full disk left at the end."""
    with open(path, "a+b") as file:
        file.seek(0)
        content = file.read()
        if not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        file.write((json.dumps(record) + "\n").encode())


class LineFile:
    """One of these files, being written."""

    def __init__(self, output: Path, name: str, iteration: int) -> None:
        """Open the file; what was logged after an iteration is dropped, since it will be done again."""
        kept = [record for record in read_log(output, name) if record["iteration"] <= iteration]
        write_text(output / name, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = (output / name).open("a", encoding="utf-8", buffering=1)

    def write(self, record: dict[str, Any]) -> None:
        """Add a line; it is in the hands of the operating system when this returns."""
        self._file.write(json.dumps(record) + "\n")

    def keep(self) -> None:
        """Have the file system store what is written (fsync); a mounted blob container uploads only then."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Store and close."""
        self.keep()
        self._file.close()
