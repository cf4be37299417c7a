"""Record that a training ended, or that the same command continues it."""

from pathlib import Path

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.files import write_json
from pretrain_llama.run.evaluations import MARKER
from pretrain_llama.run.folder import FINISHED, UNFINISHED, RunFolder, check_not_rewritten
from pretrain_llama.run.history import History


def forget_end(output: Path) -> None:
    """Remove what an earlier start recorded of its end."""
    for name in (FINISHED, UNFINISHED, MARKER):
        (output / name).unlink(missing_ok=True)


def record_end(folder: RunFolder, checkpoints: Path, iteration: int, reason: str | None) -> None:
    """Write finished.json, or continue.json, with an event; on the first process.

    Args:
        folder: of the run.
        checkpoints: of its training.
        iteration: that was trained last.
        reason: why it ended before its last iteration.

    Raises:
        OperatorError: the run folder became another meanwhile.
    """
    history = History(folder.output)
    newest = torch_dist.newest(checkpoints)
    end = {"iteration": iteration, "checkpoint": str(newest.relative_to(folder.path))}
    if iteration >= folder.training["iterations"]:
        check_not_rewritten(folder)
        history.note("finished", iteration=iteration)
        write_json(folder.output / FINISHED, end)
    else:
        history.note("stopped", iteration=iteration, reason=reason)
        write_json(folder.output / UNFINISHED, end | {"reason": reason})
        print(f"{reason}: saved iteration {iteration}; the same command continues", flush=True)
