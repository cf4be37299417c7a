"""The lines of JSON that a training logs, one an iteration; readable without torch."""

import json
from pathlib import Path
from typing import Any

NAME = "log.jsonl"


def read_log(output: str | Path) -> list[dict[str, Any]]:
    """Return the records of a training's output, in order; none where it has not begun.

    What follows the last newline is half a line, of a killed training, and is left out.
    """
    path = Path(output) / NAME
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    return [json.loads(line) for line in lines[:-1]]
