"""Write a run as Megatron-LM's arguments: for the trainer megatron_lm, and for pretrain_gpt.py of a checkout.

Its parser is megatron/training/arguments.py of Megatron-LM, which megatron-core's wheel contains. What both starts
share stands here once. What is equal to our own trainer's run and what is not, and why each default is what it is:
docs/megatron_lm.md.
"""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.torch_dist import iteration_of
from pretrain_llama.mixture.outputs import positional
from pretrain_llama.run.folder import RunFolder
from pretrain_llama.run.sizes import RECOMPUTE, SCHEDULES, batch_sizes, data_parallel, sequences_after
from pretrain_llama.settings import ParallelSettings, RunSettings, TrainingSettings

FILE = "megatron_lm_arguments.sh"
Arguments = dict[str, list[str]]  # by option, without --: its words


def fixed_arguments(run: RunSettings, architecture: Architecture) -> Arguments:
    """Return the arguments that say what the run is: model, batches, schedule, optimizer, parallel sizes.

    Args:
        run: run.yaml.
        architecture: of the model; one that Megatron-LM computes as we do (`unlike_megatron_lm`).
    """
    return (
        _model(architecture)
        | _vocabulary(run, architecture)
        | _parallel(run["parallel"])
        | _training(run["training"])
        | {"ckpt-format": ["torch_dist"]}
    )


def default_arguments(run: RunSettings, has_engine: bool) -> Arguments:
    """Return the arguments by which a run gets fast, and which it may change.

    Args:
        run: run.yaml.
        has_engine: whether Transformer Engine is there.
    """
    chosen: Arguments = {"transformer-impl": ["transformer_engine"]} if has_engine else dict(WITHOUT_ENGINE)
    chosen["attention-backend"] = ["auto"]
    if run["parallel"]["data"] > 1:
        chosen["overlap-grad-reduce"] = []
        if run["parallel"]["distributed_optimizer"]:
            chosen["overlap-param-gather"] = []
    return chosen


# Each of the fusions needs Apex or Transformer Engine.
WITHOUT_ENGINE: Arguments = {
    "transformer-impl": ["local"],
    "no-masked-softmax-fusion": [],
    "no-gradient-accumulation-fusion": [],
    "no-rope-fusion": [],
    "no-persist-layer-norm": [],
}


def own_arguments(run: RunSettings, has_engine: bool) -> Arguments:
    """Return the defaults, changed by `megatron_lm: arguments` of run.yaml: false leaves a flag out, true sets it."""
    chosen = default_arguments(run, has_engine)
    for option, value in run["megatron_lm"]["arguments"].items():
        name = option.replace("_", "-")
        chosen.pop(name, None)
        if value is True:
            chosen[name] = []
        elif value is not False:
            chosen[name] = [str(word) for word in (value if isinstance(value, list) else [value])]
    return chosen


def words(arguments: Arguments) -> list[str]:
    """Return arguments as a program gets them."""
    return [word for option, values in arguments.items() for word in (f"--{option}", *values)]


def arguments_script(run: RunSettings, architecture: Architecture, probabilities: dict[str, float]) -> str:
    """Return a bash script that sets the array MEGATRON_LM_ARGUMENTS, an argument in each line.

    Args:
        run: run.yaml.
        architecture: of the model; `why_not` has no objection.
        probabilities: of the shards, by counted name.
    """
    engine, local = (own_arguments(run, has_engine) for has_engine in (True, False))
    shared = {option: values for option, values in engine.items() if local.get(option) == values}
    common = fixed_arguments(run, architecture) | shared | _writing(run)
    data = "  --data-path\n" + "".join(
        f"    {positional(probability)} {shlex.quote(f'data/{name}')}\n" for name, probability in probabilities.items()
    )
    choice = ENGINE.format(*(_lines(_without(each, shared)) for each in (engine, local))) if engine != local else ""
    unmasked = UNMASKED if run["training"]["reset_attention_mask"] else ""
    return HEAD + _lines(common) + data + ")\n" + choice + LOAD + unmasked


def _without(arguments: Arguments, others: Arguments) -> Arguments:
    return {option: values for option, values in arguments.items() if option not in others}


def _lines(arguments: Arguments) -> str:
    return "".join(f"  {shlex.join([f'--{option}', *values])}\n" for option, values in arguments.items())


HEAD = """\
# This run with Megatron-LM's pretrain_gpt.py, in this folder; as many processes as tensor x pipeline x data:
#   source megatron_lm_arguments.sh
#   torchrun --nproc-per-node 8 "$MEGATRON_LM/pretrain_gpt.py" "${MEGATRON_LM_ARGUMENTS[@]}"
MEGATRON_LM_ARGUMENTS=(
"""
ENGINE = """\
if python -c 'import sys; from importlib.util import find_spec; sys.exit(find_spec("transformer_engine") is None)'; then
  MEGATRON_LM_ARGUMENTS+=(
{}  )
else
  MEGATRON_LM_ARGUMENTS+=(
{}  )
fi
"""
LOAD = """\
# It starts from the converted checkpoint, or goes on from its own newest.
if [ -e output_megatron_lm/checkpoints/latest_checkpointed_iteration.txt ]; then
  MEGATRON_LM_ARGUMENTS+=(--load output_megatron_lm/checkpoints)
else
  MEGATRON_LM_ARGUMENTS+=(--load checkpoint --finetune --no-load-optim --no-load-rng --exit-on-missing-checkpoint)
fi
"""
# NullTokenizer has no id of its own that ends a document.
UNMASKED = """\
echo "warning: reset_attention_mask: true is left out; with Megatron-LM, documents of a sequence see each other" >&2
"""


def _model(a: Architecture) -> Arguments:
    found = {
        "num-layers": [a.layers],
        "hidden-size": [a.hidden_size],
        "ffn-hidden-size": [a.feed_forward_size],
        "num-attention-heads": [a.heads],
        "kv-channels": [a.head_size],
        "normalization": ["RMSNorm"],
        "norm-epsilon": [a.norm_epsilon],
        "swiglu": [],
        "disable-bias-linear": [],
        "position-embedding-type": ["rope"],
        "rotary-base": [f"{a.rope_base:.0f}"],
        "max-position-embeddings": [a.max_positions],
        "attention-dropout": [0],
        "hidden-dropout": [0],
    }
    if a.key_value_heads != a.heads:
        found |= {"group-query-attention": [], "num-query-groups": [a.key_value_heads]}
    if a.rope_scaling:  # the factor is 8, which is what it computes with; its three other numbers are fixed there, too
        found |= {"use-rope-scaling": [], "rope-scaling-factor": [a.rope_scaling.factor]}
    if not a.tied:
        found |= {"untie-embeddings-and-output-weights": []}
    return _as_words(found)


def _as_words(values: dict[str, Any]) -> Arguments:
    return {option: [str(value) for value in given] for option, given in values.items()}


def _vocabulary(run: RunSettings, a: Architecture) -> Arguments:
    # The shards are ids already: the tokenizer only says how many there are. By its version, NullTokenizer counts one
    # more than it is told, or not; with this multiple, both are padded as the checkpoint is.
    tensor = run["parallel"]["tensor"]
    return {
        "tokenizer-type": ["NullTokenizer"],
        "vocab-size": [str(a.vocab_size - 1)],
        "make-vocab-size-divisible-by": [str(a.padded_vocab_size(tensor) // tensor)],
        "no-create-attention-mask-in-dataloader": [],
    }


def _parallel(parallel: ParallelSettings) -> Arguments:
    found: Arguments = {
        "tensor-model-parallel-size": [str(parallel["tensor"])],
        "pipeline-model-parallel-size": [str(parallel["pipeline"])],
    }
    if parallel["sequence"]:
        found["sequence-parallel"] = []
    if parallel["distributed_optimizer"]:  # saved so that it loads on another layout, as ours
        found |= {"use-distributed-optimizer": [], "dist-ckpt-optim-fully-reshardable": []}
    for key, value in RECOMPUTE[parallel["recompute"]].items():
        found[key.replace("_", "-")] = [str(word) for word in (value if isinstance(value, list) else [value])]
    return found


def _training(t: TrainingSettings) -> Arguments:
    found: dict[str, list] = {
        "seq-length": [t["sequence_length_tokens"]],
        "seed": [t["seed"] or 1],  # which it wants above 0; our data have an order of their own
        "micro-batch-size": [t["micro_batch_size_sequences"]],
    }
    if t["precision"] == "bf16":
        found["bf16"] = []
    unit = "iters"
    length: Callable[[int], int] = int
    if t["batch_size_rampup"]:
        # Which --rampup-batch-size did until 0.16, and 0.19 takes and ignores; thresholds are in tokens.
        sizes = {trained * t["sequence_length_tokens"]: size for trained, size in batch_sizes(t).items()}
        found["step-batch-size-schedule"] = [" ".join(f"{tokens}:{size}" for tokens, size in sizes.items())]
        # Of one that grows, Megatron-LM counts the iterations from samples alone: update_train_iters.
        unit, length = "samples", partial(sequences_after, t)
    else:
        found["global-batch-size"] = [t["global_batch_size_sequences"]]
    whole = length(t["iterations"])
    found |= {
        f"train-{unit}": [whole],
        f"lr-warmup-{unit}": [length(t["warmup_iterations"])],
        f"lr-decay-{unit}": [whole],
        "lr": [t["learning_rate"]],
        "min-lr": [t["min_learning_rate"]],
        "lr-decay-style": [SCHEDULES[t["schedule"]]],
    }
    if t["schedule"] == "wsd":
        falling = whole - length(t["iterations"] - t["decay_iterations"])
        found |= {"lr-wsd-decay-style": ["minus_sqrt"], f"lr-wsd-decay-{unit}": [falling]}
    found |= {f"adam-{key}": [t[name]] for key, name in ADAM.items()}  # type: ignore[literal-required]
    return _as_words(found | {"weight-decay": [t["weight_decay"]], "clip-grad": [t["gradient_clip_norm"]]})


ADAM = {"beta1": "adam_beta1", "beta2": "adam_beta2", "eps": "adam_epsilon"}


def _writing(run: RunSettings) -> Arguments:
    """Return what pretrain_gpt.py of a checkout writes, and that it evaluates nothing."""
    every = run["operation"]
    return {
        "split": ["100,0,0"],
        "eval-iters": ["0"],
        "eval-interval": [str(run["training"]["iterations"])],  # by which it divides, though there are none
        "data-cache-path": ["output_megatron_lm/index_cache"],
        "save": ["output_megatron_lm/checkpoints"],
        "save-interval": [str(every["checkpoint_every_iterations"])],
        "log-interval": [str(every["log_every_iterations"])],
        "tensorboard-dir": ["output_megatron_lm/tensorboard"],
        "tensorboard-log-interval": ["1"],
    }


def folder_arguments(folder: RunFolder, checkpoint: Path | None) -> Arguments:
    """Return what the trainer megatron_lm reads and writes in a run folder, and when.

    Args:
        folder: of the run.
        checkpoint: of the training, to go on from; None begins with the converted one.
    """
    every, validation = folder.operation, [prefix.name for prefix in folder.validation_sets()]
    found: Arguments = {
        "dataloader-type": ["single"],
        "save": [str(folder.output / "checkpoints")],  # hooks.py takes it from there
        "save-interval": [str(every["checkpoint_every_iterations"])],
        "log-interval": [str(every["log_every_iterations"])],
        "eval-interval": [str(every["evaluate_every_iterations"])],
        "eval-iters": ["0"],
        "exit-signal-handler": [],
        "distributed-timeout-minutes": ["30"],  # of processes.py: one may hash or index while others wait
        # What run.yaml says overrides a checkpoint, as with our own trainer; random numbers are drawn by nothing.
        "override-opt_param-scheduler": [],
        "no-save-rng": [],
        "no-load-rng": [],
    }
    if validation:
        # A whole set is evaluated a micro batch of each process at a time.
        at_once = folder.training["micro_batch_size_sequences"] * data_parallel(folder.run)
        whole = {"eval-global-batch-size": [str(at_once)]}
        names = {"multiple-validation-sets": [], "full-validation": [], "validation-set-names": validation}
        found |= whole | names
    if checkpoint:
        return found | {"load": [str(checkpoint.parent)], "ckpt-step": [str(iteration_of(checkpoint))]}
    return found | {
        "load": [str(folder.path / "checkpoint")],
        "finetune": [],
        "no-load-optim": [],
        "exit-on-missing-checkpoint": [],
    }
