"""Initial values for added vocabulary rows: means of existing rows, or zeros."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pretrain_llama.checkpoints.copying import OpenFiles, one_buffer, read_blocks, read_rows
from pretrain_llama.checkpoints.tensors import Tensors

# "mean_of_pieces": the mean of the rows of the old pieces that a new one was encoded to (arXiv 2407.15390); rows that
# pad the vocabulary have none. "mean": the mean of all rows that are there, so that a new id is about as likely as an
# average one (J. Hewitt, 2021, "Initializing New Word Embeddings for Pretrained Language Models"). "zero": zeros, so
# that its logit is 0.
Kind = Literal["mean_of_pieces", "mean", "zero"]


def to_numbers(block: np.ndarray, dtype: str) -> np.ndarray:
    """Return bytes, (rows, row_bytes) uint8, as numbers: (rows, columns) fp32."""
    if dtype == "bf16":  # the upper half of an fp32
        return (block.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return block.view(np.float16 if dtype == "fp16" else np.float32).astype(np.float32)


def to_bytes(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers, (rows, columns), as bytes, (rows, row_bytes) uint8, rounded to the nearest, to even at a tie."""
    numbers = np.ascontiguousarray(numbers, np.float32)
    if dtype == "bf16":
        bits = numbers.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(np.uint8)
    return numbers.astype(np.float16 if dtype == "fp16" else np.float32).view(np.uint8)


def mean_row(tensors: Tensors, name: str, opened: OpenFiles) -> np.ndarray:
    """Return the mean of a tensor's rows: (columns,) fp64."""
    spec = tensors.specs[name]
    total = np.zeros(spec.shape[-1])
    for _, block in read_blocks(tensors, name, opened, one_buffer(tensors, name)):
        total += to_numbers(block, spec.dtype).sum(axis=0, dtype=np.float64)
    return total / spec.rows


def mean_of_rows(tensors: Tensors, name: str, rows: Sequence[int], opened: OpenFiles) -> np.ndarray:
    """Return the mean of some of a tensor's rows: (columns,) fp64."""
    spec, regions = tensors.specs[name], tensors.regions(name)
    block = np.empty((1, spec.row_bytes), np.uint8)
    total = np.zeros(spec.shape[-1])
    for row in rows:
        read_rows(regions, row, block, opened)
        total += to_numbers(block, spec.dtype)[0]
    return total / len(rows)


def new_row(kind: Kind, tensors: Tensors, name: str, is_output: bool, opened: OpenFiles) -> np.ndarray:
    """Return the row that new ids get in a vocabulary's tensor, as bytes: (1, row_bytes) uint8.

    `kind`: "mean" or "zero". `is_output`: logits are computed with the tensor; what is only looked up is never 0.
    """
    spec = tensors.specs[name]
    if kind == "zero" and is_output:
        return np.zeros((1, spec.row_bytes), np.uint8)
    return to_bytes(mean_row(tensors, name, opened)[None], spec.dtype)
