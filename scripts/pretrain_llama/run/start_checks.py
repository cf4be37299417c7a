"""Check a run folder on every process, before anything is allocated."""

from pathlib import Path

from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.errors import ConfigError, DataError, OperatorError
from pretrain_llama.files import allow_open_files, sha256
from pretrain_llama.names import Counts, parse_counted
from pretrain_llama.run.folder import RunFolder, mixture_path
from pretrain_llama.run.packages import check_trainer
from pretrain_llama.run.ranks import Ranks
from pretrain_llama.run.sizes import check_sizes, process_count
from pretrain_llama.run.trainers import check_program, check_trainer_settings
from pretrain_llama.tokenization.engines import read_pieces
from pretrain_llama.tokenization.indexed import IndexedReader, read_counts


def check_run(folder: RunFolder, own: Ranks, program: str) -> None:
    """Check program, sizes, processes, tokenizer and data.

    Args:
        folder: of the run.
        own: this process's ranks; the first one of each node looks at the data.
        program: file of the one that was started.

    Raises:
        ConfigError: another program trains the run, or its trainer cannot do what it asks; or sizes do not fit the
            model, each other, or the number of processes.
        DataError: the tokenizer, or a pair of data, is not what the run was made from.
        OperatorError: another megatron-core is installed than the trainer needs; too few open files are allowed; there
            is no checkpoint, or not the one of its passport.
    """
    check_trainer(folder)
    check_program(folder.run, program, folder.path)
    check_trainer_settings(folder.run, folder.architecture, f"{folder.path / 'run.yaml'}")
    _check_processes(folder, own.world_size)
    tokenizer = _check_tokenizer(folder)
    check_sizes(folder.run, folder.architecture, tokenizer, f"{folder.path / 'run.yaml'}")
    sets = folder.validation_prefixes()
    allow_open_files(len(folder.probabilities) + len(sets))
    if own.local == 0:
        pretrained_checkpoint(folder)
        passport.check(folder.path / "checkpoint")
        for name in folder.probabilities:
            _check_pair(folder, name)
        for prefix in sets:
            IndexedReader(prefix)


def _check_processes(folder: RunFolder, processes: int) -> None:
    parallel, needed = folder.run["parallel"], process_count(folder.run)
    if processes == needed:
        return
    parts = parallel["tensor"] * parallel["pipeline"]
    action = f"start {needed} processes"
    if processes % parts == 0:
        action += f", or set data: {processes // parts}"
    raise ConfigError(
        f"{processes} processes do not make tensor {parallel['tensor']} x pipeline {parallel['pipeline']} x data "
        f"{parallel['data']}",
        where=f"{folder.path / 'run.yaml'}: parallel",
        action=action,
    )


def _check_tokenizer(folder: RunFolder) -> int:
    """Return the number of the tokenizer's ids."""
    identity = folder.tokenizer_identity
    of_mixture = folder.mixture["tokenizer"]
    if of_mixture not in (None, identity):
        raise DataError(
            f"the shards are of tokenizer {of_mixture}, the run's is {identity}",
            where=mixture_path(folder.path),
            action="write the run folder again: snakemake --forcerun write_run_folder",
        )
    files = folder.manifest["files"]
    path = folder.path / next(name for name in ("tokenizer.model", "tokenizer.json") if name in files)
    if not path.exists() or sha256(path) != files[path.name]:
        raise DataError(
            f"the tokenizer is not the one that the run folder was written with, {identity}",
            where=path,
            action="bring it back; a run with another tokenizer needs data tokenized with it, and is another run",
        )
    return max(read_pieces(path)) + 1


def _check_pair(folder: RunFolder, counted_name: str) -> None:
    prefix, stated = folder.prefix(counted_name), parse_counted(counted_name).counts
    try:
        found = read_counts(prefix)
    except FileNotFoundError:
        found = Counts(0, 0, 0)
    if found != stated:
        raise DataError(
            f"a shard of {stated} holds {found}",
            where=prefix,
            action="bring its .bin and .idx back: snakemake --forcerun write_run_folder",
        )


def pretrained_checkpoint(folder: RunFolder) -> Path:
    """Return the weights that a training starts from.

    Raises:
        OperatorError: they are not there.
    """
    pretrained = torch_dist.latest(folder.path / "checkpoint")
    if pretrained is None:
        raise OperatorError(
            "the run folder has no converted checkpoint",
            where=folder.path / "checkpoint",
            action="write the run folder again: snakemake --forcerun write_run_folder",
        )
    return pretrained
