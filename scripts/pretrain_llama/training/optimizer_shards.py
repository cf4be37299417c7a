"""Lay out the distributed optimizer's state for checkpoints, so that each process saves and loads only its own part.

The distributed optimizer gives each data parallel process a range of each parameter, flattened. megatron-core would
gather whole parameters for a checkpoint (distrib_optimizer.py:1690): with its default on every process, 4 bytes a
parameter on the device and 12 on the host; else through gloo on one, 24 there. A range is at most three rectangles of
its matrix, and a torch_dist checkpoint takes rectangles as chunks: nothing is gathered, copied or sent.

    range 5..21 of a matrix of 4 columns:   . . . .
                                            . 5 6 7      the rest of a row
                                            8 ... 19     whole rows
                                            20 . . .     the begin of a row

Names and sizes of the tensors are those of megatron-core's `fully_reshardable`: both load the other's checkpoints, on
any layout.
"""

from collections.abc import Iterator
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.dist_checkpointing.optimizer import get_param_id_to_sharded_param_map
from megatron.core.optimizer import MegatronOptimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

SHARDING = "fully_reshardable"


def sharded_optimizer(
    optimizer: DistributedOptimizer, model: dict[str, Any], is_loading: bool = False
) -> dict[str, Any]:
    """Return the state of a distributed optimizer for a checkpoint; loading writes into its own tensors.

    Args:
        optimizer: of this process.
        model: the model's sharded state.
        is_loading: moments that the optimizer has not made yet are made.
    """
    if is_loading and not optimizer.optimizer.state:  # Transformer Engine's and Apex's Adam make them at a step
        optimizer.load_state_dict(optimizer.state_dict())
    state = optimizer.state_dict()
    ranges = own_ranges(optimizer)
    described = get_param_id_to_sharded_param_map(model, iter(ranges))
    shards: dict[str, ShardedTensor] = {}
    for number, (parameter, (begin, end)) in enumerate(ranges.items()):
        for name, flat in _tensors(optimizer, parameter).items():
            for piece in _pieces(described[number]):
                for shard in _shards(piece, parameter, name, flat, begin, end):
                    shards[f"{number}.{name}.{len(shards)}"] = shard
    return state | {"param_state": shards, "param_state_sharding_type": SHARDING}


def distributed_optimizer(optimizer: MegatronOptimizer) -> DistributedOptimizer | None:
    """Return the distributed optimizer that a dense model's optimizer consists of; None for the ordinary one."""
    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    return parts[0] if isinstance(parts[0], DistributedOptimizer) else None


def own_ranges(optimizer: DistributedOptimizer) -> dict[torch.nn.Parameter, tuple[int, int]]:
    """Return the range of each flattened parameter of which this process has the optimizer's state."""
    return {
        parameter: (ranges["param"].start, ranges["param"].end)
        for by_type in optimizer.gbuf_ranges
        for buckets in by_type.values()
        for bucket in buckets
        for parameter, ranges in bucket["param_map"].items()
    }


def _tensors(optimizer: DistributedOptimizer, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
    """Return the fp32 copy and the moments of a parameter's range, flat, by megatron-core's names."""
    found = optimizer._get_main_param_and_optimizer_states(parameter)
    return {name: tensor for name, tensor in found.items() if name != "step"}


def _pieces(described: ShardedTensor | ShardedTensorFactory) -> list[ShardedTensor]:
    """Return how a parameter is stored: as it is, or gate and up apart."""
    return [described] if isinstance(described, ShardedTensor) else list(nested_values(described.build()))


def _shards(
    piece: ShardedTensor, parameter: torch.nn.Parameter, name: str, flat: torch.Tensor, begin: int, end: int
) -> Iterator[ShardedTensor]:
    """Yield what a range of a parameter has of a stored piece.

    Args:
        piece: of the parameter, a view of it.
        parameter: whose range this is.
        name: of the state, a part of the name in the checkpoint.
        flat: the state of the range.
        begin, end: of the range, in elements of the parameter.
    """
    assert piece.data is not None and piece.data.is_contiguous()
    first = piece.data.storage_offset() - parameter.data.storage_offset()
    start, stop = max(begin, first), min(end, first + piece.data.numel())
    leading = (1,) * piece.prepend_axis_num
    for offset, shape in rectangles(tuple(piece.data.shape), start - first, stop - first):
        size = torch.Size(shape).numel()
        own = flat[start - begin : start - begin + size].view(leading + shape)
        start += size
        inner = zip(piece.global_offset[piece.prepend_axis_num :], offset, strict=True)
        yield ShardedTensor(
            key=f"optimizer.state.{name}.{piece.key}",
            data=own,
            dtype=own.dtype,
            local_shape=leading + shape,
            global_shape=piece.global_shape,
            global_offset=piece.global_offset[: piece.prepend_axis_num] + tuple(map(sum, inner)),
            axis_fragmentations=None,
            # Of the data parallel processes, this one alone has it.
            replica_id=(*piece.replica_id[:2], 0),
            allow_shape_mismatch=piece.allow_shape_mismatch,
        )


def rectangles(shape: tuple[int, ...], begin: int, end: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield offset and shape of the rectangles that make up a range of a flattened vector or matrix, in order.

    Args:
        shape: of the vector or matrix.
        begin, end: of the range, in elements; an empty one has none.
    """
    if begin >= end:
        return
    if len(shape) == 1:
        yield (begin,), (end - begin,)
        return
    _, columns = shape
    while begin < end:
        row, column = divmod(begin, columns)
        rows = (end - begin) // columns
        block = (rows, columns) if column == 0 and rows else (1, min(columns - column, end - begin))
        yield (row, column), block
        begin += block[0] * block[1]
