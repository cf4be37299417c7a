"""Convert checkpoints between Hugging Face and Megatron, as whole folders with their passports."""

import sys
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pretrain_llama.checkpoints import mapping, passport, torch_dist
from pretrain_llama.checkpoints.architecture import PASSPORT, Architecture, read_architecture
from pretrain_llama.checkpoints.config_file import CONFIG
from pretrain_llama.checkpoints.copying import OpenFiles, copy_tensors, write_rows
from pretrain_llama.checkpoints.huggingface import HuggingFaceLayout, HuggingFaceTensors, carry_files
from pretrain_llama.checkpoints.megatron_args import unlike_megatron_lm
from pretrain_llama.checkpoints.megatron_torch import MegatronTorchTensors
from pretrain_llama.checkpoints.new_rows import Kind, new_row
from pretrain_llama.checkpoints.opening import AnyTensors, open_tensors
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.checkpoints.torch_dist_layout import TorchDistLayout
from pretrain_llama.errors import OperatorError
from pretrain_llama.files import check_space, replacing_folder, sha256

FORMATS = {HuggingFaceTensors: "huggingface", TorchDistTensors: "torch_dist", MegatronTorchTensors: "megatron_torch"}


def to_megatron(
    source: Path,
    output: Path,
    tensor: int,
    pipeline: int,
    multiple: int,
    padding_rows: Kind,
    accepted: Collection[str] = frozenset(),
) -> None:
    """Write a Megatron checkpoint of a Llama; the folder appears when it is complete.

    Args:
        source: folder of config.json and of weights, in any format that `open_tensors` reads.
        output: folder of release/, its tracker, the passport, and what the source has of config and tokenizer.
        tensor: tensor parallel size that it is padded for.
        pipeline: pipeline parallel size, which has to divide the layers.
        multiple: each tensor parallel process holds a multiple of this many rows of the vocabulary.
        padding_rows: what they are filled with.
        accepted: names of Megatron-LM's arguments with the source that a person takes the responsibility for.

    Raises:
        ConfigError: the model is of another kind, or does not divide; or transformers refuses its config.json.
        DataError, OperatorError: the source is damaged, the disk too small, or the output something else.
    """
    check_output(output, source)
    architecture = replace(read_architecture(source), vocab_multiple=multiple)
    architecture.check_parallel(tensor, pipeline, str(source / "config.json"))
    tensors = open_tensors(source, architecture, accepted)
    from pretrain_llama.checkpoints.transformers_check import check_with_transformers  # imports torch: seconds

    check_with_transformers(source, architecture)
    for warning in _warnings(tensors, architecture):
        print(f"warning: {warning}", file=sys.stderr)
    with replacing_folder(output) as beside:
        (beside / "release").mkdir()
        layout = TorchDistLayout(beside / "release", tensors.specs, architecture, tensor, pipeline)
        check_space(output.parent, layout.bytes)
        layout.write_frame()
        digests, files = copy_tensors(tensors, layout, hashed_files(tensors), f"convert {source.name}")
        _pad(layout, architecture, padding_rows)
        carry_files(source, beside)
        padding = {
            "multiple": multiple,
            "tensor_parallel": tensor,
            "padded_vocab_size": architecture.padded_vocab_size(tensor),
            "rows": padding_rows,
        }
        passport.write(beside, described_source(tensors, files, source), architecture, tensors.specs, digests, padding)
        torch_dist.write_tracker(beside, "release")


def _warnings(tensors: AnyTensors, architecture: Architecture) -> Iterator[str]:
    """Yield warnings about a conversion that is correct."""
    if fixed := unlike_megatron_lm(architecture):
        yield (
            f"Megatron-LM's pretrain_gpt.py would rotate otherwise, {fixed}; the trainer here does not. Its arguments "
            "are not written into the folders of runs that start from this checkpoint"
        )
    if tensors.accepted:
        yield f"by your responsibility, as arguments of a plain Llama: {tensors.accepted}"
    if not tensors.has_arguments:
        yield f"no arguments of Megatron-LM lie in {tensors.location}: config.json alone says what is computed"


def _pad(layout: TorchDistLayout, architecture: Architecture, padding_rows: Kind) -> None:
    """Fill the rows that the vocabulary is padded with."""
    names = mapping.vocabulary_names(architecture)
    with OpenFiles() as opened:
        for name in names:
            region = layout.padding_region(name)
            if region:
                row = new_row(padding_rows, layout, name, is_output=name == names[-1], opened=opened)
                write_rows([region], region.row, np.repeat(row, region.rows, axis=0), opened)


def to_huggingface(tensors: AnyTensors, architecture: Architecture, like: Path, output: Path) -> None:
    """Write a Hugging Face folder; the folder appears when it is complete.

    Args:
        tensors: to write.
        architecture: of the model.
        like: folder of the config and tokenizer that go with it; write_small_files makes those of a run.
        output: folder of safetensors, config, tokenizer and passport.

    Raises:
        OperatorError: the checkpoint is cut short, the disk too small, or the output something else.
    """
    check_output(output, tensors.location, like)
    with replacing_folder(output) as beside:
        layout = HuggingFaceLayout(beside, tensors.specs)
        check_space(output.parent, sum(spec.bytes for spec in tensors.specs.values()))
        layout.write_frame()
        digests, files = copy_tensors(tensors, layout, hashed_files(tensors), f"write {output.name}")
        tokenizer = carry_files(like, beside, tensors.specs[mapping.EMBEDDING.huggingface[0]].dtype)
        source = described_source(tensors, files, like)
        passport.write(beside, source, architecture, tensors.specs, digests, tokenizer=tokenizer)


def hashed_files(tensors: AnyTensors) -> dict[Path, list[str]]:
    """Return the files that are hashed as they are read, with the tensors in each; see `copy_tensors`."""
    return tensors.files if isinstance(tensors, HuggingFaceTensors) else {}


def described_source(tensors: AnyTensors, files: dict[Path, str], config_folder: Path) -> dict[str, Any]:
    """Return the passport's description of the source."""
    hashed = {path.name: digest for path, digest in files.items()}
    small = [config_folder / CONFIG, tensors.location / torch_dist.METADATA]
    hashed |= {path.name: sha256(path) for path in small if path.exists()}
    described: dict[str, Any] = {"format": FORMATS[type(tensors)], "files": dict(sorted(hashed.items()))}
    if accepted := {**passport.accepted(config_folder), **tensors.accepted}:  # also of what it was made from
        described["accepted_arguments"] = dict(sorted(accepted.items()))
    return described


def check_output(output: Path, *sources: Path) -> None:
    """Raise OperatorError where an output would delete a source, or replace what no conversion wrote."""
    held = [source for source in sources if source.resolve().is_relative_to(output.resolve())]
    is_ours = (output / PASSPORT).exists() and not any(output.glob("iter_*"))  # where a training went on
    if held or (output.exists() and not is_ours and (output.is_file() or any(output.iterdir()))):
        raise OperatorError(
            f"the output would take the place of {held[0] if held else 'what is there, which no conversion wrote'}",
            where=output,
            action="give a folder that is not there yet, or is empty",
        )
