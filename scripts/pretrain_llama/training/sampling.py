"""Let the model in training continue prompts, greedily, on all its processes together.

A prompt begins as the documents of the training do, and its continuation ends where they end. Each new token takes a
pass over all that stands before it: there is no cache, and prompts are few.
"""

from math import lcm

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel
from megatron.core.models.gpt import GPTModel

from pretrain_llama.exports.prompts import prompt_ids
from pretrain_llama.run.folder import RunFolder, read_frame
from pretrain_llama.tokenization.engines import load_reference
from pretrain_llama.training.engine import Engine
from pretrain_llama.training.forward import local_logits

MULTIPLE = 8  # tokens, to which the prompts are padded, so that few shapes are computed


class Sampler:
    """The prompts of a run, and the model that continues them."""

    def __init__(self, folder: RunFolder, engine: Engine) -> None:
        """Encode the prompts of run.yaml."""
        bos, eos = map(read_frame(folder.path).get, ("bos", "eos"))
        model = next(folder.path.glob("tokenizer.*"))
        bos_token, eos_token = bos.token if bos else None, eos.token if eos else None
        self._tokenizer = load_reference(model, bos_token=bos_token, eos_token=eos_token)
        sample = folder.run["sample"]
        head = [bos.id] if bos else []
        where = folder.path / "run.yaml"
        self._prompts = [prompt_ids(prompt, self._tokenizer, head, where) for prompt in sample["prompts"]]
        self._new_tokens, self._end = sample["new_tokens"], eos.id if eos else None
        self._model = engine.model

    @property
    def told(self) -> str:
        """How much is sampled, in words."""
        return f"{len(self._prompts)} prompts, {self._new_tokens:,} tokens each"

    def sample(self) -> list[str]:
        """Return each prompt with its continuation."""
        self._model.eval()
        continued = continue_prompts(self._model, self._prompts, self._new_tokens, self._end)
        self._model.train()
        return [self._tokenizer.decode(ids) for ids in continued]


def continue_prompts(model: GPTModel, prompts: list[list[int]], new_tokens: int, end: int | None) -> list[list[int]]:
    """Return the ids of prompts with those of their greedy continuations, the same on every process.

    Args:
        model: this process's part, in evaluation mode.
        prompts: ids, at least one each.
        new_tokens: at most, of each prompt.
        end: id that ends a continuation; None where nothing does.
    """
    device = next(model.parameters()).device
    continued, open_ones = [list(ids) for ids in prompts], list(range(len(prompts)))
    multiple = lcm(MULTIPLE, parallel_state.get_tensor_model_parallel_world_size())
    for _ in range(new_tokens):
        lengths = [len(continued[number]) for number in open_ones]
        width = -(-max(lengths) // multiple) * multiple
        rows = [continued[number] + [0] * (width - length) for number, length in zip(open_ones, lengths, strict=True)]
        output = local_logits(model, torch.tensor(rows, device=device))
        for number, token in zip(open_ones, _largest(output, lengths, device), strict=True):
            continued[number].append(token)
        open_ones = [number for number in open_ones if continued[number][-1] != end]
        if not open_ones:
            break
    return continued


def _largest(output: torch.Tensor | None, lengths: list[int], device: torch.device) -> list[int]:
    """Return the id of the largest logit behind each prompt; output: see `local_logits`."""
    if output is not None:
        last = output[torch.arange(len(lengths)), torch.tensor(lengths) - 1]
        chosen = tensor_parallel.gather_from_tensor_model_parallel_region(last).argmax(-1)
    else:
        chosen = torch.empty(len(lengths), dtype=torch.int64, device=device)
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        stage = parallel_state.get_pipeline_model_parallel_last_rank()
        dist.broadcast(chosen, stage, parallel_state.get_pipeline_model_parallel_group())
    return chosen.tolist()
