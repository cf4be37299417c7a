"""Warn at a start of figures that jump although nothing is wrong, such as other validation sets."""

from pathlib import Path

from pretrain_llama.errors import listed
from pretrain_llama.files import sha256
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.history import History
from pretrain_llama.run.log_file import read_log

RATE_JUMP = 2.0  # times what it was, or its inverse


def warn_of_validation(folder: RunFolder, history: History) -> None:
    """Warn where validation sets are left out, or are others than before, as a delivery of vendor files makes them."""
    found, used = folder.validation_prefixes(), folder.validation_sets()
    if left_out := [prefix.name for prefix in found if prefix not in used]:
        print(f"WARNING: validation sets of fewer than two tokens are left out: {listed(left_out)}", flush=True)
    sets = {prefix.name: sha256(f"{prefix}.idx") for prefix in used}
    if changed := history.note_validation(sets):
        print(f"WARNING: validation sets changed, and with them their losses: {listed(changed)}", flush=True)


def warn_of_rate(output: Path, history: History, iteration: int, now: float) -> None:
    """Warn where a phase begins with a learning rate far from the last step's: of a longer cosine, say.

    Args:
        output: of the run.
        history: of the run.
        iteration: that was trained last.
        now: the learning rate of the next step.
    """
    before = next((step["learning_rate"] for step in read_log(output) if step["iteration"] == iteration), 0.0)
    if before and not 1 / RATE_JUMP <= now / before <= RATE_JUMP:
        history.note("learning_rate_jump", iteration=iteration, before=before, now=now)
        message = f"this phase begins with {now:.3g}, the step before it had {before:.3g}"
        print(f"WARNING: learning_rate_jump: {message}", flush=True)
