"""Estimate the memory of a training's fullest process, in bytes, before it is started.

Weights, gradients and optimizer, bytes a parameter (AdamW of megatron-core; gradients are summed in fp32):

    precision   weights   gradients   fp32 copy   two moments
    fp32        4         4           -           8
    bf16        2         4           4           8

The distributed optimizer cuts the last two among the data parallel processes.

Activations, as Korthikanti et al. 2022 (arXiv 2205.05198, section 4) count what a layer keeps for its backward pass.
Their 34 s b h + 5 a s^2 b bytes are a GPT's, with dropout, biases, and attention that keeps its scores. A Llama here
keeps, in elements a token (H hidden size, F feed-forward size, Q query and K key-value heads of D channels):

    6 H             each norm's input, normalized and scaled; 4 H where a GPU has it in one kernel
    3 (Q + K) D     queries, keys and values as they come, the first two rotated, and what attention gives
    5 F             gate, up, up again (megatron-core adds an offset of 0), the activated gate, their product; 3 F where
                    a GPU has SwiGLU in one kernel

Tensor parallelism cuts the last two, sequence parallelism the first, too. Where documents are masked, a pair of tokens
of a sequence has one element, for all layers together. tests/estimate/test_estimate_run.py holds the count without such
kernels against what autograd saves.

A save takes more, bytes a parameter of the process, D data parallel processes:

                                            on the device    on the host
    our trainer, each process               0                what it writes: (weights + optimizer) / D
    Megatron-LM's distributed optimizer     4                12 + 12 / D

Ours copies what a process writes to the host, where it is written from; each state is written by one process. For
Megatron-LM's, that is what megatron-core's `fully_reshardable` gathers before anything is written
(distrib_optimizer.py:1262), a tensor at a time on the device. tests/training/test_training_scale.py holds the first
row against what the writer is given.
"""

import math

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.estimate.parameters import on_outer_stages
from pretrain_llama.run.sizes import data_parallel
from pretrain_llama.settings import RunSettings

BYTES = {"fp32": 4, "bf16": 2}
GRADIENT_BYTES = 4
OPTIMIZER_BYTES = {"fp32": 8, "bf16": 12}
LOSS_BYTES = {"fp32": 4, "bf16": 6}  # logits, and their softmax in fp32, which replaces fp32 logits


def estimate(run: RunSettings, a: Architecture, fused: bool = True) -> dict[str, float]:
    """Return the bytes of the fullest process by part, without what torch's allocator and NCCL take.

    It is one of the first pipeline stage, which holds most micro batches at once, or of the last, which computes the
    loss.

    Args:
        run: run.yaml.
        a: of the model.
        fused: norms and SwiGLU are kernels of a GPU.
    """
    parallel, training = run["parallel"], run["training"]
    stages = parallel["pipeline"]
    at_once = training["micro_batch_size_sequences"] * data_parallel(run)
    micro_batches = max(1, training["global_batch_size_sequences"] // at_once)
    first, last = on_outer_stages(a, parallel["tensor"], stages)
    ends = [
        _stage(run, a, fused, first, min(stages, micro_batches), has_loss=stages == 1),
        _stage(run, a, fused, last, 1, has_loss=True),
    ]
    return max(ends, key=lambda parts: sum(parts.values()))


def at_save(run: RunSettings, a: Architecture) -> dict[str, dict[str, float]]:
    """Return the bytes that a save takes beyond a step's, of the fullest process, on its device and its host.

    Args:
        run: run.yaml.
        a: of the model.

    Returns:
        "device" and "host" by trainer: "own", and "megatron_lm" where its distributed optimizer would gather.
    """
    parallel, precision = run["parallel"], run["training"]["precision"]
    data, distributed = parallel["data"], parallel["distributed_optimizer"]
    parameters = max(on_outer_stages(a, parallel["tensor"], parallel["pipeline"]))
    # The distributed optimizer writes parameters of its own, also where they are the fp32 weights.
    optimizer = OPTIMIZER_BYTES["bf16" if distributed else precision]
    own = {"device": 0.0, "host": (BYTES[precision] + optimizer) * parameters / data}
    gathered = {"device": 4.0 * parameters, "host": 12 * (1 + 1 / data) * parameters}
    return {"own": own} | ({"megatron_lm": gathered} if distributed else {})


def _stage(
    run: RunSettings, a: Architecture, fused: bool, parameters: float, in_flight: int, has_loss: bool
) -> dict[str, float]:
    """Return the bytes of a process of one pipeline stage; in_flight: micro batches whose activations it keeps."""
    parallel, precision = run["parallel"], run["training"]["precision"]
    share = parallel["data"] if parallel["distributed_optimizer"] else 1
    return {
        "weights": BYTES[precision] * parameters,
        "gradients": GRADIENT_BYTES * parameters,
        "optimizer": OPTIMIZER_BYTES[precision] * parameters / share,
        "activations": _activations(run, a, fused, in_flight),
        "logits": _logits(run, a) if has_loss else 0.0,
    }


def _activations(run: RunSettings, a: Architecture, fused: bool, in_flight: int) -> float:
    parallel, training = run["parallel"], run["training"]
    layers = math.ceil(a.layers / parallel["pipeline"])
    # Elements a token that a layer keeps.
    cut = parallel["tensor"] if parallel["sequence"] else 1
    norms = (4 if fused else 6) * a.hidden_size / cut
    attention = 3 * (a.heads + a.key_value_heads) * a.head_size / parallel["tensor"]
    feed_forward = (3 if fused else 5) * a.feed_forward_size / parallel["tensor"]
    whole = norms + attention + feed_forward
    kept = {"none": whole, "selective": norms + attention, "full": a.hidden_size / cut}
    kept_now = kept[parallel["recompute"]]
    elements = in_flight * layers * kept_now + whole - kept_now  # one layer at a time is computed again
    tokens = _tokens_here(run)
    mask = in_flight * training["sequence_length_tokens"] if training["reset_attention_mask"] else 0
    return BYTES[training["precision"]] * tokens * (elements + mask)


def _tokens_here(run: RunSettings) -> float:
    """Return the tokens of a micro batch that a process works on: context parallelism cuts sequences."""
    training, context = run["training"], run["parallel"]["data"] / data_parallel(run)
    return training["micro_batch_size_sequences"] * training["sequence_length_tokens"] / context


def _logits(run: RunSettings, a: Architecture) -> float:
    """Return the bytes of a micro batch's logits."""
    parallel, training = run["parallel"], run["training"]
    tokens = _tokens_here(run)
    rows = a.padded_vocab_size(parallel["tensor"]) / parallel["tensor"]
    return LOSS_BYTES[training["precision"]] * tokens * rows
