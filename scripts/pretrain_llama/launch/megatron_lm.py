"""Write megatron_lm_arguments.sh, which starts a run with Megatron-LM's own pretrain_gpt.py from the same folder.

Its parser is megatron/training/arguments.py of Megatron-LM, checked with that of megatron-core 0.19.2's wheel. What is
equal to our trainer's run and what is not: docs/megatron_lm.md.
"""

import shlex
from collections.abc import Callable, Iterator
from functools import partial

from pretrain_llama.checkpoints.architecture import Architecture
from pretrain_llama.checkpoints.megatron_args import unlike_megatron_lm
from pretrain_llama.mixture.outputs import positional
from pretrain_llama.run.sizes import RECOMPUTE, SCHEDULES, batch_sizes, sequences_after
from pretrain_llama.settings import ParallelSettings, RunSettings, TrainingSettings

FILE = "megatron_lm_arguments.sh"


def why_not(run: RunSettings, architecture: Architecture) -> str | None:
    """Return why Megatron-LM's pretrain_gpt.py cannot train a run; None where it can.

    It rotates in one way, and its arguments have no word for stages and for a rate of new rows: --decoupled-lr is of
    the whole embedding and output layer.

    Args:
        run: run.yaml.
        architecture: of the model.
    """
    if unlike := unlike_megatron_lm(architecture):
        return f"it would rotate otherwise ({unlike})"
    training = run["training"]
    named = ["stages"] * bool(training["stages"]) + ["new_rows_rate"] * (training["new_rows_rate"] != 1)
    return f"it has no {' and no '.join(named)}" if named else None


def arguments_script(run: RunSettings, architecture: Architecture, probabilities: dict[str, float]) -> str:
    """Return a bash script that sets the array MEGATRON_LM_ARGUMENTS, a group of arguments in each line.

    Args:
        run: run.yaml.
        architecture: of the model; `why_not` has no objection.
        probabilities: of the shards, by counted name.
    """
    groups = [
        *_model(architecture),
        *_parallel(run["parallel"]),
        *_training(run["training"]),
        *_data(run, architecture, probabilities),
        *_writing(run),
    ]
    unmasked = UNMASKED if run["training"]["reset_attention_mask"] else ""
    return HEAD + "".join(f"  {group}\n" for group in groups) + TAIL + unmasked


HEAD = """\
# This run with Megatron-LM's pretrain_gpt.py, in this folder; as many processes as tensor x pipeline x data:
#   source megatron_lm_arguments.sh
#   torchrun --nproc-per-node 8 "$MEGATRON_LM/pretrain_gpt.py" "${MEGATRON_LM_ARGUMENTS[@]}"
MEGATRON_LM_ARGUMENTS=(
"""
TAIL = """\
)
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


def _model(a: Architecture) -> Iterator[str]:
    yield "--transformer-impl local --attention-backend auto"
    yield f"--num-layers {a.layers} --hidden-size {a.hidden_size} --ffn-hidden-size {a.feed_forward_size}"
    yield f"--num-attention-heads {a.heads} --kv-channels {a.head_size}"
    if a.key_value_heads != a.heads:
        yield f"--group-query-attention --num-query-groups {a.key_value_heads}"
    yield f"--normalization RMSNorm --norm-epsilon {a.norm_epsilon} --swiglu --disable-bias-linear"
    yield f"--position-embedding-type rope --rotary-base {a.rope_base:.0f} --max-position-embeddings {a.max_positions}"
    if a.rope_scaling:  # the factor is 8, which is what it computes with; its three other numbers are fixed there, too
        yield f"--use-rope-scaling --rope-scaling-factor {a.rope_scaling.factor}"
    if not a.tied:
        yield "--untie-embeddings-and-output-weights"
    yield "--attention-dropout 0 --hidden-dropout 0"
    # Each needs Apex or Transformer Engine.
    yield "--no-masked-softmax-fusion --no-gradient-accumulation-fusion --no-rope-fusion --no-persist-layer-norm"


def _parallel(parallel: ParallelSettings) -> Iterator[str]:
    yield f"--tensor-model-parallel-size {parallel['tensor']} --pipeline-model-parallel-size {parallel['pipeline']}"
    if parallel["sequence"]:
        yield "--sequence-parallel"
    if parallel["distributed_optimizer"]:
        yield "--use-distributed-optimizer"
    for key, value in RECOMPUTE[parallel["recompute"]].items():
        listed = " ".join(value) if isinstance(value, list) else value
        yield f"--{key.replace('_', '-')} {listed}"


def _training(t: TrainingSettings) -> Iterator[str]:
    yield f"--seq-length {t['sequence_length_tokens']} --seed {t['seed']}"
    yield f"--micro-batch-size {t['micro_batch_size_sequences']}"
    if t["precision"] == "bf16":
        yield "--bf16"
    unit = "iters"
    length: Callable[[int], int] = int
    if t["batch_size_rampup"]:
        # Which --rampup-batch-size did until 0.16, and 0.19 takes and ignores; thresholds are in tokens.
        sizes = {trained * t["sequence_length_tokens"]: size for trained, size in batch_sizes(t).items()}
        yield f"--step-batch-size-schedule '{' '.join(f'{tokens}:{size}' for tokens, size in sizes.items())}'"
        # Of one that grows, Megatron-LM counts the iterations from samples alone: update_train_iters.
        unit, length = "samples", partial(sequences_after, t)
    else:
        yield f"--global-batch-size {t['global_batch_size_sequences']}"
    whole = length(t["iterations"])
    yield f"--train-{unit} {whole} --lr-warmup-{unit} {length(t['warmup_iterations'])} --lr-decay-{unit} {whole}"
    yield f"--lr {t['learning_rate']} --min-lr {t['min_learning_rate']} --lr-decay-style {SCHEDULES[t['schedule']]}"
    if t["schedule"] == "wsd":
        falling = whole - length(t["iterations"] - t["decay_iterations"])
        yield f"--lr-wsd-decay-style minus_sqrt --lr-wsd-decay-{unit} {falling}"
    yield f"--adam-beta1 {t['adam_beta1']} --adam-beta2 {t['adam_beta2']} --adam-eps {t['adam_epsilon']}"
    yield f"--weight-decay {t['weight_decay']} --clip-grad {t['gradient_clip_norm']}"


def _data(run: RunSettings, a: Architecture, probabilities: dict[str, float]) -> Iterator[str]:
    # The shards are ids already: the tokenizer only says how many there are. By its version, NullTokenizer counts one
    # more than it is told, or not; with this multiple, both are padded as the checkpoint is.
    tensor = run["parallel"]["tensor"]
    yield (
        f"--tokenizer-type NullTokenizer --vocab-size {a.vocab_size - 1} "
        f"--make-vocab-size-divisible-by {a.padded_vocab_size(tensor) // tensor}"
    )
    # It divides by the interval of evaluations, though there are none.
    yield f"--split 100,0,0 --eval-iters 0 --eval-interval {run['training']['iterations']}"
    yield "--no-create-attention-mask-in-dataloader"
    yield "--data-cache-path output_megatron_lm/index_cache"
    yield "--data-path"
    for name, probability in probabilities.items():
        yield f"  {positional(probability)} {shlex.quote(f'data/{name}')}"


def _writing(run: RunSettings) -> Iterator[str]:
    every = run["operation"]
    yield "--ckpt-format torch_dist --save output_megatron_lm/checkpoints"
    yield f"--save-interval {every['checkpoint_every_iterations']} --log-interval {every['log_every_iterations']}"
    yield "--tensorboard-dir output_megatron_lm/tensorboard --tensorboard-log-interval 1"
