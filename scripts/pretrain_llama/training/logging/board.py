"""Write TensorBoard events to a local disk, and copy them to storage that outlasts the machine.

AzureML shows a folder on the disk of the node (`services: tensor_board`, `log_dir`); a mounted output stores a file
only when it is closed. So events go to a local folder, in files that are closed at a few megabytes, and a thread copies
what is new. A copy is also made before each checkpoint, so a resumed training logs again whatever a killed one lost.
"""

import shutil
import sys
import threading
import time
from pathlib import Path

from pretrain_llama.errors import OperatorError
from pretrain_llama.training.logging.layout import Layout

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise OperatorError(
        f"TensorBoard is not there: {error}", where=sys.executable, action="install the packages of requirements.lock"
    ) from error

SCALARS_PER_FILE = 50_000  # about 4 MB: a mounted container stores a file anew each time that it has grown
COPY_EVERY_SECONDS = 30.0
FLUSH_SECONDS = 1


class Board:
    """Scalars as TensorBoard events, in a folder that is read meanwhile."""

    def __init__(self, kept: Path, iteration: int, live: Path | None = None) -> None:
        """Go on with the events after an iteration; later ones, of a killed training, are no longer shown.

        Args:
            kept: folder that outlasts the training.
            iteration: of the checkpoint that the training goes on from.
            live: local folder to write to first; None writes to `kept`.
        """
        self._kept, self._live = kept, live or kept
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # around the copies: the thread's and those for checkpoints
        self._live.mkdir(parents=True, exist_ok=True)
        if live:
            copy_events(kept, live)
            copy_events(live, kept)
        self._writer = self._open(purge_step=iteration + 1)
        self._thread = threading.Thread(target=self._copy_now_and_then, daemon=True)
        if live:
            self._thread.start()

    def add(self, scalars: dict[str, float], iteration: int) -> None:
        """Write scalars by tag."""
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, iteration)
        self._written += len(scalars)
        if self._written > SCALARS_PER_FILE:
            self._writer.close()
            self._writer = self._open()

    def describe(self, layout: Layout, readme: str, iteration: int) -> None:
        """Write how scalars are grouped, and what the run is, in Markdown."""
        self._writer.add_custom_scalars(layout)
        if readme:
            self._writer.add_text("run", readme, iteration)

    def add_text(self, tag: str, text: str, iteration: int) -> None:
        """Write a text as it is; TensorBoard takes texts for Markdown, so it is indented to be code."""
        self._writer.add_text(tag, "\n".join(f"    {line}" for line in text.split("\n")), iteration)

    def keep(self) -> None:
        """Make the copy complete up to now."""
        self._writer.flush()
        if self._live != self._kept:
            with self._lock:
                copy_events(self._live, self._kept)

    def close(self) -> None:
        """End with a complete copy."""
        self._stopped.set()
        self._writer.close()
        if self._thread.is_alive():
            self._thread.join()
        self.keep()

    def _open(self, purge_step: int | None = None) -> SummaryWriter:
        """Open another file; its name begins with the second, by which TensorBoard orders what it reads."""
        self._written = 0
        names = [path.name for path in self._live.glob("events.out.tfevents.*")]
        newest = max((int(name.split(".")[3]) for name in names), default=0)
        if newest == int(time.time()):
            time.sleep(1)
        return SummaryWriter(str(self._live), purge_step=purge_step, flush_secs=FLUSH_SECONDS)

    def _copy_now_and_then(self) -> None:
        while not self._stopped.wait(COPY_EVERY_SECONDS):
            try:
                with self._lock:
                    copy_events(self._live, self._kept)
            except OSError as error:  # a mount that is gone for a moment; the next copy makes up for it
                print(f"warning: TensorBoard's events could not be copied to {self._kept}: {error}", flush=True)


def copy_events(source: Path, target: Path) -> None:
    """Append to the event files in target what those in source have more: events are only ever added to a file.

    A reader of the copy sees it grow; a kill leaves part of an event, which the next copy completes.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("events.out.tfevents.*")):
        with open(target / path.name, "ab") as copy, open(path, "rb") as original:
            original.seek(copy.tell())
            shutil.copyfileobj(original, copy)
