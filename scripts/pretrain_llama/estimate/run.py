"""Estimate a training: parameters, memory, tokens, FLOPs, days, checkpoints."""

from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.errors import ConfigError
from pretrain_llama.estimate import flops, memory, parameters
from pretrain_llama.run.account import read_account
from pretrain_llama.run.evaluations import evaluated_sequences, evaluations
from pretrain_llama.run.sizes import process_count
from pretrain_llama.settings import RunSettings

SECONDS_A_DAY = 86_400
PASSES = 3  # of a training step, in FLOPs of a pass without gradients: the backward pass costs two


def estimate(
    run: RunSettings, a: Architecture, device: str, mfu: float, folder: str | Path | None = None
) -> dict[str, Any]:
    """Return the estimates of a run.

    Args:
        run: run.yaml.
        a: of the model that it starts from.
        device: of flops.PEAK_FLOPS, or a longer name that begins with one.
        mfu: assumed model FLOPs utilization, 0 to 1.
        folder: of the run, if there is one: the phases of its training say how much it trains on.

    Raises:
        ConfigError: the device is not known.
    """
    precision = run["training"]["precision"]
    peak = flops.peak_flops(device, precision)
    if peak is None:
        raise ConfigError(
            f"the peak of {device!r} is not known", where="--device", action=f"use {', '.join(flops.PEAK_FLOPS)}"
        )
    training, processes = run["training"], process_count(run)
    rows = a.padded_vocab_size(run["parallel"]["tensor"])
    by_part = parameters.count(a, rows)
    account = read_account(folder, run)
    tokens = account.trained_at_end
    whole = flops.flops_per_token(a, training["sequence_length_tokens"]) * tokens
    evaluated = _evaluated(run, folder)
    evaluating = whole / tokens / PASSES * (evaluated or 0) if tokens else 0.0
    speed = peak * mfu * processes
    seconds = (whole + evaluating) / speed
    # The distributed optimizer writes parameters of its own, also where they are the fp32 weights.
    optimizer = memory.OPTIMIZER_BYTES["bf16" if run["parallel"]["distributed_optimizer"] else precision]
    checkpoint = (memory.BYTES[precision] + optimizer) * sum(by_part.values())
    kept = kept_checkpoints(run)
    in_memory = memory.estimate(run, a)
    return {
        "parameters": by_part | {"total": sum(by_part.values())},
        "padding_parameters": (rows - a.vocab_size) * a.hidden_size * (1 if a.tied else 2),
        "memory_bytes": in_memory | {"total": sum(in_memory.values())},
        "save_memory_bytes": memory.at_save(run, a),
        "processes": processes,
        "tokens": tokens,
        "tokens_trained": account.trained,
        "iterations_done": account.iteration,
        "flops": whole,
        "evaluations": evaluations(run),
        "evaluation_tokens": evaluated,
        "evaluation_flops": evaluating,
        "device": device,
        "precision": precision,
        "peak_flops": peak,
        "mfu": mfu,
        "days": seconds / SECONDS_A_DAY,
        "device_hours": seconds * processes / 3600,
        "tokens_per_second": tokens / (whole / speed),
        "checkpoint_bytes": checkpoint,
        "checkpoints_kept": kept,
        "checkpoints_bytes": checkpoint * kept,
    }


def _evaluated(run: RunSettings, folder: str | Path | None) -> int | None:
    """Return the tokens that all evaluations read; None where the validation sets are not made yet."""
    validation = Path(folder or "", "validation")
    if not folder or not validation.is_dir():
        return None
    sequences = sum(evaluated_sequences(validation, run).values())
    return evaluations(run) * sequences * run["training"]["sequence_length_tokens"]


def kept_checkpoints(run: RunSettings) -> int:
    """Return how many checkpoints are left at the end, the last iteration's included.

    Args:
        run: run.yaml.
    """
    operation, last = run["operation"], run["training"]["iterations"]
    saved = [*range(operation["checkpoint_every_iterations"], last, operation["checkpoint_every_iterations"]), last]
    newest, every = operation["keep_last_checkpoints"], operation["keep_every_iterations"]
    if newest is None:
        return len(saved)
    return len({*saved[-newest:], *(iteration for iteration in saved if every and iteration % every == 0)})
