"""Check that a run folder may be rewritten under its training's identity, and whether anything is left to train."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pretrain_llama.checkpoints import torch_dist
from pretrain_llama.configuration import load_run
from pretrain_llama.files import read_json, write_json
from pretrain_llama.launch.ended import check_ended
from pretrain_llama.run import checkpoint_files, lock
from pretrain_llama.run.folder import FINISHED, RunFolder, mixture_path
from pretrain_llama.run.history import History
from pretrain_llama.run.identity import identity, identity_of, recorded_hashes
from pretrain_llama.run.phases import check_change, check_length


@contextmanager
def standing_still(folder: Path) -> Iterator[None]:
    """Keep trainings from starting in a run folder for the length of a block.

    Raises:
        OperatorError: one goes on, here or as a job.
    """
    output = folder / "output"
    if not output.exists():
        yield
        return
    with lock.held(output, 0, "a training of this run goes on: its run folder cannot be written again under it"):
        check_ended(folder)
        yield


def check_rewriting(
    run: Path, indexed: Path, tokenizer: Path, checkpoint: Path, tokenized: str | None, folder: Path
) -> list[str]:
    """Check that a run folder may be rewritten from its parts, around folder/mixture, under its training's identity.

    Args:
        run: config/runs/<run>.
        indexed: folder of the counted .bin and .idx files.
        tokenizer: its file, in a folder named by its identity.
        checkpoint: folder of the converted checkpoint.
        tokenized: folder of the shards' receipts, or its location in a store.
        folder: of the run.

    Returns:
        the parts of its identity that change.

    Raises:
        OperatorError: a part changed that may not, by the run's on_change; gives the differences.
        ConfigError: a new phase would have nothing to train.
    """
    phases = History(folder / "output").phases()
    if not phases:
        return []
    chosen, mixture = load_run(run), read_json(mixture_path(folder))["probabilities"]
    blake3 = recorded_hashes(tokenized, mixture) if tokenized else {}
    now = identity_of(mixture, indexed, checkpoint, chosen, tokenizer.parent.name, blake3)
    changed = check_change(phases, now, chosen["on_change"], folder / "output")
    if changed and chosen["on_change"] == "new_phase" and (newest := _newest(folder)):
        check_length(newest[0], chosen["training"]["iterations"], f"{run / 'run.yaml'}: training")
    return changed


def _newest(folder: Path) -> tuple[int, Path] | None:
    """Return the iteration and the path of a run's newest checkpoint; None where none was finished."""
    found = torch_dist.numbered(folder / "output" / "checkpoints").items()
    return next((item for item in found if checkpoint_files.read_manifest(item[1])), None)


def is_finished(folder: RunFolder) -> bool:
    """Say whether a run, as it is now, was trained to its end; if so, mark it as finished.

    Snakemake deletes output/finished.json before it launches a run whose folder was written again, though the same.
    """
    history = History(folder.output)
    phases, newest = history.phases(), next(iter(torch_dist.numbered(folder.output / "checkpoints").items()), None)
    if not phases or not newest or not history.events("finished"):
        return False
    iteration, checkpoint = newest
    if iteration < folder.training["iterations"] or not checkpoint_files.read_manifest(checkpoint):
        return False
    if phases[-1].identity != identity(folder.path, folder.run, folder.tokenizer_identity, folder.manifest["blake3"]):
        return False
    end = {"iteration": iteration, "checkpoint": str(checkpoint.relative_to(folder.path))}
    write_json(folder.output / FINISHED, end)
    print(f"trained to its end before, iteration {iteration}, and unchanged since: nothing is started", flush=True)
    return True
