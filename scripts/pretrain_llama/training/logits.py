"""Compare the logits of transformers and megatron-core for the same weights and tokens, on several parallel layouts."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from pretrain_llama.checkpoints import passport, torch_dist
from pretrain_llama.checkpoints.architecture import Architecture, read_architecture
from pretrain_llama.checkpoints.copying import OpenFiles, one_buffer, read_blocks
from pretrain_llama.checkpoints.huggingface import HuggingFaceTensors
from pretrain_llama.checkpoints.opening import AnyTensors, open_tensors
from pretrain_llama.errors import ConfigError
from pretrain_llama.training.forward import local_logits
from pretrain_llama.training.model import DTYPES, build_model, transformer_config
from pretrain_llama.training.state import load_weights

BATCH, SEQUENCE = 2, 128
LAYOUTS = ((1, 1), (2, 1), (1, 2), (2, 2))  # tensor x pipeline parallel


def probe_tokens(architecture: Architecture) -> torch.Tensor:
    """Return tokens to compare on, the same on every call: (batch, sequence), every id of the vocabulary likely."""
    generator = torch.Generator().manual_seed(0)
    length = min(SEQUENCE, architecture.max_positions)
    return torch.randint(0, architecture.vocab_size, (BATCH, length), generator=generator)


def layouts(architecture: Architecture, processes: int) -> dict[tuple[int, int], str | None]:
    """Return the tensor and pipeline parallel sizes that so many processes can compare on.

    Each is None, or says why the model cannot be cut so.
    """
    found: dict[tuple[int, int], str | None] = {}
    for tensor, pipeline in LAYOUTS:
        if processes % (tensor * pipeline) == 0:
            try:
                architecture.check_parallel(tensor, pipeline, "a layout to compare")
                found[tensor, pipeline] = None
            except ConfigError as error:
                found[tensor, pipeline] = str(error).partition("\n")[0]
    return found


def compare_layouts(source: Path, checkpoint: Path, tolerance: float) -> dict[str, Any] | None:
    """Compare the logits of a source and of what was converted from it, on all layouts and in all precisions.

    Every process of torch.distributed calls it.

    Args:
        source: folder with config.json and weights.
        checkpoint: folder that convert_checkpoint.py wrote.
        tolerance: in fp32; see `allowed_difference`.

    Returns:
        On the first process: {"tokens", "largest_logit", "logits": [each `Comparison`, and whether it passed],
        "skipped": [{"tensor", "pipeline", "why"}]}. None on the others.
    """
    architecture = read_architecture(checkpoint)
    tensors = open_tensors(source, architecture, passport.accepted(checkpoint))
    tokens = probe_tokens(architecture)
    is_first = dist.get_rank() == 0
    if is_first:
        from pretrain_llama.checkpoints.transformers_check import check_with_transformers

        check_with_transformers(source, architecture)
    precisions = ["fp32", "bf16"] if {spec.dtype for spec in tensors.specs.values()} == {"bf16"} else ["fp32"]
    wanted = {
        precision: transformers_logits(tensors, source, precision, tokens)
        for precision in (precisions if is_first else ())
    }
    planned = layouts(architecture, dist.get_world_size())
    compared = []
    for precision in precisions:
        for tensor, pipeline in (layout for layout, why in planned.items() if not why):
            found = megatron_logits(checkpoint, architecture, precision, tokens, tensor, pipeline)
            if is_first:
                exact = wanted["fp32"]
                allowed = allowed_difference(precision, tolerance, exact, wanted[precision], architecture.layers)
                how = {"precision": precision, "tensor": tensor, "pipeline": pipeline, "allowed": allowed}
                compared.append(compare(wanted[precision], found, exact, **how))
    if not is_first:
        return None
    return {
        "tokens": tokens.numel(),
        "largest_logit": wanted["fp32"].abs().max().item(),
        "logits": [asdict(each) | {"passed": each.passed} for each in compared],
        "skipped": [{"tensor": t, "pipeline": p, "why": why} for (t, p), why in planned.items() if why],
    }


@torch.no_grad()
def transformers_logits(tensors: AnyTensors, config: Path, precision: str, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of transformers: (batch, sequence, vocabulary) fp32.

    Args:
        tensors: the weights; a Hugging Face folder is loaded by transformers itself.
        config: folder of config.json.
        precision: that it computes in.
        tokens: (batch, sequence).
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if isinstance(tensors, HuggingFaceTensors):
        model = AutoModelForCausalLM.from_pretrained(tensors.location, dtype=DTYPES[precision])
    else:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(config), dtype=DTYPES[precision])
        with OpenFiles() as opened:
            for name, parameter in model.named_parameters():
                parameter.copy_(_loaded(tensors, name, opened))
    return model.eval()(tokens).logits.float()


def _loaded(tensors: AnyTensors, name: str, opened: OpenFiles) -> torch.Tensor:
    spec = tensors.specs[name]
    data = torch.empty(spec.bytes, dtype=torch.uint8)
    for row, block in read_blocks(tensors, name, opened, one_buffer(tensors, name)):
        data[row * spec.row_bytes :][: block.size] = torch.from_numpy(block.reshape(-1))
    return data.view({**DTYPES, "fp16": torch.float16}[spec.dtype]).view(spec.shape)


@torch.no_grad()
def megatron_logits(
    checkpoints: Path, architecture: Architecture, precision: str, tokens: torch.Tensor, tensor: int, pipeline: int
) -> torch.Tensor:
    """Return the logits of megatron-core: (batch, sequence, vocabulary) fp32, padding cut off, on every process.

    Args:
        checkpoints: a folder of torch_dist checkpoints, whose newest is loaded.
        architecture: of the model.
        precision: that it computes in.
        tokens: (batch, sequence).
        tensor, pipeline: parallel sizes; the processes of torch.distributed are shared anew.
    """
    parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(tensor, pipeline)
    model = build_model(architecture, transformer_config(architecture, precision), tokens.shape[1]).eval()
    load_weights(model, torch_dist.newest(checkpoints), architecture.vocab_size)
    output = local_logits(model, tokens)
    if output is not None:
        logits = tensor_parallel.gather_from_tensor_model_parallel_region(output).float()
    else:
        logits = torch.empty(*tokens.shape, architecture.padded_vocab_size(tensor))
    last = parallel_state.get_pipeline_model_parallel_last_rank()
    dist.broadcast(logits, last, parallel_state.get_pipeline_model_parallel_group())
    return logits[..., : architecture.vocab_size]


@dataclass(frozen=True)
class Comparison:
    """The difference between the logits of megatron-core and transformers, and the most allowed.

    Attributes:
        precision, tensor, pipeline: that megatron-core computed in, and its parallel sizes.
        largest_difference, allowed: of any two logits.
        agreement: fraction of the positions at which the largest logit is of the same id.
        clear: positions at which the two largest logits are further apart, in fp32, than a difference that is allowed;
            clear_agreement: fraction of these at which the largest is of the same id; None where there are none.
    """

    precision: str
    tensor: int
    pipeline: int
    largest_difference: float
    allowed: float
    agreement: float
    clear: int
    clear_agreement: float | None

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; a NaN is no agreement."""
        return self.largest_difference <= self.allowed and self.clear_agreement in (None, 1)


def compare(wanted: torch.Tensor, found: torch.Tensor, exact: torch.Tensor, **computed: Any) -> Comparison:
    """Compare logits, each (batch, sequence, vocabulary): wanted and found in one precision, exact in fp32.

    `computed` says how: precision, tensor, pipeline, and what is allowed.
    """
    two_largest = exact.topk(2).values
    is_clear = two_largest[..., 0] - two_largest[..., 1] > computed["allowed"]
    agrees = wanted.argmax(-1) == found.argmax(-1)
    return Comparison(
        **computed,
        largest_difference=(wanted - found).abs().max().item(),
        agreement=agrees.float().mean().item(),
        clear=int(is_clear.sum()),
        clear_agreement=agrees[is_clear].float().mean().item() if is_clear.any() else None,
    )


def allowed_difference(
    precision: str, tolerance: float, exact: torch.Tensor, wanted: torch.Tensor, layers: int
) -> float:
    """Return by how much the logits of two implementations of one model may differ.

    In fp32: a tolerance, of the largest logit where that is over 1.

    In bf16, from its arithmetic: rounding to 8 significant bits is off by up to u = 2**-8 of a value, by u / sqrt(3) in
    the root mean square. Each layer rounds 12 times what passes through it (norm, projections, rotation, attention,
    product and sum, in its two halves), the output twice more. Independent errors add in squares: a computation is off
    by e = sqrt(12 layers + 2) u / sqrt(3) of its last hidden states, and so of the logits, their products with rows
    that know nothing of the errors. Two computations differ by sqrt(2) e, and the largest of n Gaussian numbers is
    about sqrt(2 ln n) deviations. Twice that is allowed, since layers may amplify what they are given (measured, of
    what is allowed: 0.2 with weights as they are initialised, 0.4 with three times, 0.8 with six times these). Sharp
    attention amplifies it more, and then transformers' own logits in bf16 are as far off those in fp32: two
    computations that are equally far off are up to twice that apart.

    Args:
        precision: that both compute in.
        tolerance: for fp32.
        exact: the logits in fp32, (batch, sequence, vocabulary).
        wanted: those of transformers in the precision.
        layers: of the model.
    """
    if precision == "fp32":
        return tolerance * max(1.0, exact.abs().max().item())
    deviation = math.sqrt(2 * (12 * layers + 2) / 3) * 2**-8 * exact.square().mean().sqrt().item()
    return 2 * max(deviation * math.sqrt(2 * math.log(exact.numel())), (wanted - exact).abs().max().item())
