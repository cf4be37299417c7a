"""The run folder: all that a training needs and was made from. The launchers and the trainer only read it.

run.yaml             the run, every default written out
manifest.json        identity of the run, SHA-256 of the small files, sizes of the large ones, versions
mixture/             selection probabilities
data/                the sampled shards, .bin and .idx
validation/          held-out documents, {language}_{domain}.bin and .idx; only where some were held out
checkpoint/          the converted weights to start from, with their config.json
tokenizer.model      or tokenizer.json
sources/             what a person decided: configuration, table of corpora, rates, lock of dependencies; the data
                     signature, and what was changed since the git commit
code/                scripts/ and config/schemas/, as they were
environment/         what an image is built from
launch.sh            starts or resumes the training, from anywhere
launch.sbatch        the same on Slurm, job.yaml on AzureML, megatron_lm_arguments.sh with Megatron-LM
README.md            how to reproduce the run
output/              what the training writes
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain_llama import configuration
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import read_json
from pretrain_llama.mixture.mixture import FILE

FINISHED, UNFINISHED = "finished.json", "continue.json"  # in output/: how a training ended


@dataclass(frozen=True)
class RunFolder:
    """A run folder, opened.

    Attributes:
        run: run.yaml, with defaults.
        manifest: manifest.json, what the folder was written as.
        mixture: probabilities.json, what the training samples.
    """

    path: Path
    run: dict[str, Any]
    manifest: dict[str, Any]
    mixture: dict[str, Any]
    architecture: Architecture

    @property
    def training(self) -> dict[str, Any]:
        """The hyperparameters of run.yaml."""
        return self.run["training"]

    @property
    def operation(self) -> dict[str, Any]:
        """How the training is run and watched, of run.yaml."""
        return self.run["operation"]

    @property
    def probabilities(self) -> dict[str, float]:
        """With which a sequence is drawn from each shard, by counted name."""
        return self.mixture["probabilities"]

    @property
    def tokenizer_identity(self) -> str:
        """The name of the tokenizer, with its hash."""
        return self.manifest["identity"]["tokenizer"]

    @property
    def validation(self) -> Path:
        """The held-out sets, {language}_{domain}.bin and .idx; a run may have none."""
        return self.path / "validation"

    @property
    def output(self) -> Path:
        """Where the training writes."""
        return self.path / "output"

    def validation_prefixes(self) -> list[Path]:
        """Return the paths of the validation sets, without .bin and .idx."""
        return sorted(path.with_suffix("") for path in self.validation.glob("*.idx"))

    def prefix(self, counted_name: str) -> Path:
        """Return the path of a shard, without .bin and .idx."""
        return self.path / "data" / counted_name


def mixture_path(folder: Path) -> Path:
    """Return where the mixture of a run folder lies."""
    return folder / "mixture" / FILE


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Return the manifest of a run folder.

    Raises:
        OperatorError: it is not complete.
    """
    manifest = Path(path) / "manifest.json"
    if not manifest.exists():
        raise OperatorError(
            "no complete run folder: manifest.json is missing",
            where=path,
            action="write it: snakemake results/runs/<run>/manifest.json",
        )
    return read_json(manifest)


def open_run_folder(path: str | Path) -> RunFolder:
    """Open a run folder.

    Raises:
        OperatorError: it is not complete.
    """
    path, manifest = Path(path), read_manifest(path)
    return RunFolder(
        path,
        configuration.load_run(path),
        manifest,
        read_json(mixture_path(path)),
        read_architecture(path / "checkpoint"),
    )
