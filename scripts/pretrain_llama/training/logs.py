"""What a training writes down: TensorBoard events, a line of JSON per iteration, a printed line now and then."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from pretrain_llama.files import write_text
from pretrain_llama.training import log_file


class TrainingLog:
    """The log of a run, kept by rank 0, which AzureML's TensorBoard service can see (it runs on the first node).

    On resumption, what was logged after the checkpoint is dropped, since it will be done again.
    """

    def __init__(self, output: Path, iteration: int, print_every: int) -> None:
        """Open the log.

        Args:
            output: writes output/log.jsonl and output/tensorboard.
            iteration: of the checkpoint that the training goes on from.
            print_every: iterations between printed lines.
        """
        self._path = output / log_file.NAME
        kept = [record for record in log_file.read_log(output) if record["iteration"] <= iteration]
        write_text(self._path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        self._board = SummaryWriter(str(output / "tensorboard"), purge_step=iteration + 1)
        self._print_every = print_every

    def write(self, record: dict[str, Any]) -> None:
        """Log one iteration: its number under "iteration", and scalars by name."""
        self._file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "iteration":
                self._board.add_scalar(name, value, record["iteration"])
        if record["iteration"] % self._print_every == 0 or record["iteration"] == 1:
            print(" | ".join(f"{name} {value:.6g}" for name, value in record.items()), flush=True)

    def close(self) -> None:
        """Flush everything."""
        self._file.close()
        self._board.close()
