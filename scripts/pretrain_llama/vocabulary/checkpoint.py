"""Add embedding and output rows to a Llama for an enlarged tokenizer."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pretrain_llama.checkpoints import mapping, passport
from pretrain_llama.checkpoints.architecture import read_architecture
from pretrain_llama.checkpoints.conversion import check_output, described_source, hashed_files
from pretrain_llama.checkpoints.copying import OpenFiles, copy_tensors, hash_tensors, write_rows
from pretrain_llama.checkpoints.huggingface import HuggingFaceLayout, carry_files
from pretrain_llama.checkpoints.new_rows import Kind, mean_of_rows, new_row, to_bytes
from pretrain_llama.checkpoints.opening import AnyTensors, open_tensors
from pretrain_llama.checkpoints.tensors import Spec
from pretrain_llama.errors import ConfigError
from pretrain_llama.exports.small_files import make_small_files
from pretrain_llama.files import check_space, replacing_folder
from pretrain_llama.vocabulary.model import load_model, surface
from pretrain_llama.vocabulary.pieces import check_tokenizer, read_compositions

ROWS_AT_ONCE = 256


def expand_checkpoint(
    source: Path,
    pieces: Path,
    tokenizer: Path,
    new_rows: Kind,
    output: Path,
    accepted: Collection[str] = frozenset(),
) -> None:
    """Write a Hugging Face folder of a Llama with rows for new pieces; it appears when it is complete.

    Args:
        source: folder of config.json and of weights, in any format that `open_tensors` reads.
        pieces: what expand_vocabulary.py wrote: the ids that each new piece was encoded to before.
        tokenizer: the enlarged tokenizer.model.
        new_rows: what the new rows hold; with "zero", those that are only looked up are the mean of the old pieces'.
        output: folder of safetensors, config, tokenizer and passport.
        accepted: names of Megatron-LM's arguments with the source that a person takes the responsibility for.

    Raises:
        ConfigError: the model is of another kind, or embeds other ids than the tokenizer had; or the tokenizer is not
            the one of the pieces.
        DataError, OperatorError: the source is damaged, the disk too small, or the output something else.
    """
    check_output(output, source)
    architecture, compositions = read_architecture(source), read_compositions(pieces)
    before = min(compositions)
    if architecture.vocab_size != before:
        raise ConfigError(
            f"{architecture.vocab_size} ids are embedded, the tokenizer had {before}",
            where=source / "config.json",
            action="expand a checkpoint whose vocab_size is that of the tokenizer",
        )
    check_tokenizer(pieces, tokenizer)
    larger = replace(architecture, vocab_size=before + len(compositions))
    tensors = open_tensors(source, architecture, accepted)
    names = mapping.vocabulary_names(architecture)
    enlarged = {name: Spec(tensors.specs[name].dtype, (larger.vocab_size, larger.hidden_size)) for name in names}
    specs = tensors.specs | enlarged
    with replacing_folder(output) as beside:
        layout = HuggingFaceLayout(beside, specs)
        check_space(output.parent, sum(spec.bytes for spec in specs.values()))
        layout.write_frame()
        digests, files = copy_tensors(tensors, layout, hashed_files(tensors), f"expand {source.name}")
        with OpenFiles() as opened:
            for name in names:
                make = _row_maker(tensors, name, new_rows, name == names[-1], opened)
                for begin in range(before, larger.vocab_size, ROWS_AT_ONCE):
                    numbers = range(begin, min(begin + ROWS_AT_ONCE, larger.vocab_size))
                    rows = np.concatenate([make(compositions[number]) for number in numbers])
                    write_rows(layout.regions(name), begin, rows, opened)
        digests |= hash_tensors(layout, "hash the vocabulary", names)
        expansion = {"from": before, "to": larger.vocab_size, "rows": new_rows}
        texts = [surface(piece.piece) for piece in load_model(tokenizer).pieces[before:]]
        with TemporaryDirectory() as made:
            small = make_small_files(source, tokenizer, lambda _: texts, Path(made), vocab_size=larger.vocab_size)
            record = carry_files(small, beside, specs[names[0]].dtype)
        described = described_source(tensors, files, source)
        passport.write(beside, described, larger, specs, digests, expansion=expansion, tokenizer=record)


def _row_maker(
    tensors: AnyTensors, name: str, kind: Kind, is_output: bool, opened: OpenFiles
) -> Callable[[Sequence[int]], np.ndarray]:
    """Return a function that gives a new piece's row, (1, row_bytes) uint8, from its ids before."""
    if kind == "mean" or (kind == "zero" and is_output):
        row = new_row(kind, tensors, name, is_output, opened)
        return lambda ids: row
    dtype = tensors.specs[name].dtype
    return lambda ids: to_bytes(mean_of_rows(tensors, name, ids, opened)[None], dtype)
