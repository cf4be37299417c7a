"""Verify a converted checkpoint against its source, byte for byte."""

from dataclasses import replace
from pathlib import Path

from pretrain_llama.checkpoints import mapping, passport, torch_dist
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.copying import OpenFiles, hash_tensors, one_buffer, read_blocks
from pretrain_llama.checkpoints.new_rows import new_row
from pretrain_llama.checkpoints.opening import open_tensors
from pretrain_llama.checkpoints.torch_dist import TorchDistTensors
from pretrain_llama.errors import OperatorError, listed

CONVERT_AGAIN = "convert it again, which takes the place of this folder"


def verify_tensors(source: Path, converted: Path) -> int:
    """Check that each tensor of a converted checkpoint is that of its source; return how many there are.

    Raises:
        OperatorError: one does not; names it.
    """
    architecture = read_architecture(converted)
    tensors = open_tensors(source, architecture, passport.accepted(converted))
    wanted = hash_tensors(tensors, f"hash {source.name}")
    found = hash_tensors(TorchDistTensors(torch_dist.newest(converted), architecture), f"hash {converted.name}")
    recorded = {name: tensor["blake3"] for name, tensor in passport.read(converted)["tensors"].items()}
    differing = [name for name in wanted if not wanted[name] == found[name] == recorded[name]]
    if differing:
        raise OperatorError(
            f"{len(differing)} of {len(wanted)} tensors are not those of {source}: {listed(differing)}",
            where=converted,
            action=CONVERT_AGAIN,
        )
    return len(wanted)


def verify_padding(converted: Path) -> int:
    """Check that the rows which pad the vocabulary are what the passport says; return how many there are.

    Raises:
        OperatorError: they are not.
    """
    architecture = read_architecture(converted)
    padding = passport.read(converted)["padding"]
    checkpoint, vocab_size = torch_dist.newest(converted), architecture.vocab_size
    own = TorchDistTensors(checkpoint, architecture)
    padded = TorchDistTensors(checkpoint, replace(architecture, vocab_size=padding["padded_vocab_size"]))
    names = mapping.vocabulary_names(architecture)
    with OpenFiles() as opened:
        for name in names:
            wanted = new_row(padding["rows"], own, name, is_output=name == names[-1], opened=opened)
            for row, block in read_blocks(padded, name, opened, one_buffer(padded, name)):
                if not (block[max(0, vocab_size - row) :] == wanted).all():
                    raise OperatorError(
                        f"rows of {name} from {vocab_size} on are not the {padding['rows']} that the passport names",
                        where=converted,
                        action=CONVERT_AGAIN,
                    )
    return padding["padded_vocab_size"] - vocab_size
