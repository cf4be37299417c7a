"""The run folder: all that a training needs and was made from. The launchers and the trainer only read it.

run.yaml             the run, every default written out
manifest.json        identity of the run, SHA-256 of the small files, sizes of the large ones, what stands around each
                     document (tokenization/frame.py), versions
mixture/             selection probabilities
data/                the sampled shards, .bin and .idx
validation/          held-out documents, {language}_{domain}.bin and .idx; only where some were held out
checkpoint/          the converted weights to start from, with their config.json
tokenizer.model      or tokenizer.json
huggingface/         the small files of its exports: config.json, the tokenizer as transformers reads it
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
from pretrain_llama.files import read_json, sha256
from pretrain_llama.mixture.mixture import FILE
from pretrain_llama.settings import OperationSettings, RunSettings, TrainingSettings
from pretrain_llama.tokenization.frame import FrameToken
from pretrain_llama.tokenization.indexed import read_counts

# Computes the mixture of a run folder again, from what it was written with; bash completes the names. Snakemake does
# not see that: where choices stay changed, it takes the mixture for theirs.
DERIVING = (
    "python code/scripts/compute_probabilities.py --signature sources/data_signature.json"
    " --data-ratio sources/data_ratio.* --language-probability sources/lang_prob.* --exclude sources/exclude_iterator.*"
    " --run-config sources/run.yaml --output-dir mixture"
)
SMALL_FILES = "huggingface"  # see exports/small_files.py
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
    run: RunSettings
    manifest: dict[str, Any]
    mixture: dict[str, Any]
    architecture: Architecture

    @property
    def training(self) -> TrainingSettings:
        """The hyperparameters of run.yaml."""
        return self.run["training"]

    @property
    def operation(self) -> OperationSettings:
        """How the training is run and watched, of run.yaml."""
        return self.run["operation"]

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability with which a sequence is drawn from each shard, by counted name."""
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
        """The folder that the training writes to."""
        return self.path / "output"

    def validation_prefixes(self) -> list[Path]:
        """Return the paths of the validation sets, without .bin and .idx."""
        return sorted(path.with_suffix("") for path in self.validation.glob("*.idx"))

    def validation_sets(self) -> list[Path]:
        """Return the validation sets that have something to predict."""
        return [prefix for prefix in self.validation_prefixes() if has_targets(prefix)]

    def prefix(self, counted_name: str) -> Path:
        """Return the path of a shard, without .bin and .idx."""
        return self.path / "data" / counted_name


def has_targets(validation: Path) -> bool:
    """Say whether a validation set, given by its path without .bin and .idx, has a token to predict from another."""
    return read_counts(validation).tokens > 1


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


def read_frame(path: str | Path) -> dict[str, FrameToken | None]:
    """Return the tokens around the documents of a run, by role, bos and eos; None where there is none.

    Raises:
        OperatorError: the run folder is not complete, or does not say it.
    """
    manifest = read_manifest(path)
    if manifest.get("frame") is None:
        raise OperatorError(
            "the run folder does not say what stands around its documents: an earlier version wrote it, or its shards "
            "have no receipts",
            where=Path(path) / "manifest.json",
            action="write it again, of shards that were tokenized here: snakemake --forcerun write_run_folder "
            "results/runs/<run>/manifest.json",
        )
    return {role: token and FrameToken(**token) for role, token in manifest["frame"].items()}


def small_files_of(path: Path) -> Path:
    """Return the folder of the small files of a run's exports.

    Raises:
        OperatorError: an earlier version wrote the run folder, without them.
    """
    if not (path / SMALL_FILES / "config.json").exists():
        raise OperatorError(
            "the run folder has no config and tokenizer for exports: an earlier version wrote it",
            where=path / SMALL_FILES,
            action=f"write it again: snakemake results/runs/{path.resolve().name}/manifest.json "
            "--forcerun write_run_folder",
        )
    return path / SMALL_FILES


def open_to_train(path: str | Path) -> RunFolder:
    """Open a run folder for its training, once its mixture is known to be the one that it was written with.

    Raises:
        OperatorError: it is not complete, or its mixture was computed again since.
    """
    path, recorded = Path(path), read_manifest(path)["files"]
    mixture, name = mixture_path(path), path.resolve().name
    if not mixture.exists() or sha256(mixture) != recorded[str(mixture.relative_to(path))]:
        raise OperatorError(
            "the mixture was computed again, or edited, since the run folder was written with it",
            where=mixture,
            action=f"to take the new one, write the run folder again: snakemake results/runs/{name}/manifest.json; to "
            f"put the old one back, undo the change in config/runs/{name}, then snakemake mixture; or, without "
            f"Snakemake, in {path}: {DERIVING}",
        )
    return open_run_folder(path)


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


def check_not_rewritten(folder: RunFolder) -> None:
    """Check that a run folder is still the one that was opened.

    Otherwise, a finished run would carry the wrong identity.

    Raises:
        OperatorError: another one replaced it.
    """
    if read_manifest(folder.path)["identity"] != folder.manifest["identity"]:
        raise OperatorError(
            "the run folder was written again while it was trained; the newest checkpoint is of the one before",
            where=folder.path,
            action="type the same command again: it names what changed, and does what on_change of run.yaml says",
        )
