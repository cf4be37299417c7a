"""The trainer against another one: transformers' Llama, torch's AdamW and clipping, and the formula of the schedule."""

import json
import math
import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from exported import evaluate_with_transformers
from pretrain_llama.configuration import load_run
from pretrain_llama.run.log_file import SAMPLES, VALIDATION, read_log
from pretrain_llama.run.sizes import process_count
from sampled import BOS, EOS, sample
from trainings import Training, convert, start, train, write_shard

WARMUP, STEPS, BATCH, MICRO = 2, 8, 8, 2


def train_and_keep_batches(folder: Path, kept: Path) -> None:
    """Train, and keep the tokens and labels of every micro batch of the training: (micro batch, sequence)."""
    from pretrain_llama.training.data.batches import BatchReader

    load, batches = BatchReader._load, {}

    def keeping(self: BatchReader, first: int, size: int):
        loaded = load(self, first, size)
        if size == BATCH and len(self._dataset) >= STEPS * BATCH:
            batches[first] = [(batch["tokens"], batch["labels"]) for batch in loaded]
        return loaded

    BatchReader._load = keeping
    train(folder)
    if os.environ.get("RANK", "0") == "0":
        torch.save([batches[first] for first in sorted(batches)], kept)


def logits_of(model: torch.nn.Module, tokens: torch.Tensor, documents_apart: bool) -> torch.Tensor:
    """Return the logits of sequences; documents_apart: each document by itself, from position 0 on."""
    if not documents_apart:
        return model(tokens).logits
    rows = []
    for row in tokens:
        begins = sorted({0, *(row == BOS).nonzero().flatten().tolist(), len(row)})
        rows.append(torch.cat([model(row[None, start:stop]).logits[0] for start, stop in pairwise(begins)]))
    return torch.stack(rows)


def train_with_transformers(llama: Path, kept: Path, documents_apart: bool) -> None:
    """Train on these batches, and print the loss and the norm of the gradient of each step."""
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(llama, dtype=torch.float32, attn_implementation="eager")
    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    norms = [weight for weight in model.parameters() if weight.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), eps=1e-8)
    for step, batches in enumerate(torch.load(kept)):
        losses = []
        for tokens, labels in batches:
            logits = logits_of(model, tokens, documents_apart)
            losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
            (losses[-1] / len(batches)).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        falling = (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * step / WARMUP if step <= WARMUP else 3e-4 + 2.7e-3 * falling
        optimizer.step()
        optimizer.zero_grad()
        print(torch.stack(losses).mean().item(), norm.item(), flush=True)


def compare_with_transformers(copy: Training, llama: Path, folder: Path, documents_apart: bool) -> None:
    """Train both, without padding of the vocabulary, whose rows take a little of the probability."""
    convert(copy, llama, tensor=2, multiple=8)
    cut = {"outputs": folder / "ours", "processes": process_count(load_run(copy.folder))}
    code, printed = start(train_and_keep_batches, copy.folder, folder / "batches.pt", **cut).wait()
    assert code == 0, printed
    theirs = (train_with_transformers, llama, folder / "batches.pt", documents_apart)
    code, printed = start(*theirs, outputs=folder / "theirs").wait()
    assert code == 0, printed
    expected = [tuple(map(float, line.split())) for line in printed.splitlines() if line[:1].isdigit()]
    log = read_log(copy.output)
    assert len(expected) == len(log) == STEPS
    assert [record["loss"] for record in log] == pytest.approx([loss for loss, _ in expected], abs=1e-5)
    assert [record["gradient_norm"] for record in log] == pytest.approx([norm for _, norm in expected], rel=1e-4)
    assert log[-1]["loss"] < log[0]["loss"] - 0.3 and max(norm for _, norm in expected) > 1.2, "learns, and is clipped"


def test_the_losses_are_those_of_transformers_and_torch(training: Training, llama: Path, tmp_path: Path) -> None:
    copy = training.copied(tmp_path / "run", training={"warmup_iterations": WARMUP})
    compare_with_transformers(copy, llama, tmp_path, documents_apart=False)


@pytest.mark.parametrize(
    "parallel", [{}, {"pipeline": 2, "recompute": "full"}, {"tensor": 2, "sequence": True}], ids=str
)
def test_masked_documents_are_as_if_each_stood_alone(
    training: Training, llama: Path, tmp_path: Path, parallel: dict
) -> None:
    changed = {"warmup_iterations": WARMUP, "reset_attention_mask": True}
    copy = training.copied(tmp_path / "run", training=changed, parallel=parallel)
    documents = [[BOS, *range(first, first + 3 + first % 17), EOS] for first in range(10, 370)]
    copy.mix({write_shard(copy.folder / "data", "en_code_short_split_0000", documents): 1.0})
    compare_with_transformers(copy, llama, tmp_path, documents_apart=True)


@pytest.mark.parametrize(
    ("tied", "tensor", "multiple"),
    [(False, 1, 128), (True, 1, 128), (True, 2, 128), (False, 2, 400)],
    ids=["untied", "tied", "on two processes", "on two, of which one has padding alone"],
)
def test_validation_losses_are_those_of_the_exported_model(
    training: Training, tmp_path: Path, tied: bool, tensor: int, multiple: int
) -> None:
    """Of 512 or 800 rows, 400 are ids; the others, means of them, would take a fifth or half of the probability."""
    from llamas import make_llama

    copy = training.copied(tmp_path / "run", training={"iterations": 2}, parallel={"tensor": tensor})
    sample(copy)
    convert(copy, make_llama(tmp_path / "llama", vocab_size=400, tie_word_embeddings=tied), tensor, multiple)
    printed = copy.train()
    assert re.search(r"evaluating 2 validation sets, \d+ sequences, \d+ tokens; 2 prompts, 8 tokens each\n", printed)
    code, printed = start(evaluate_with_transformers, copy.folder, tmp_path / "out", outputs=tmp_path / "theirs").wait()
    assert code == 0, printed
    (told,) = re.findall("losses: (.*)", printed)
    assert read_log(copy.output, VALIDATION)[-1]["loss"] == pytest.approx(json.loads(told), abs=1e-5)
    (told,) = re.findall("samples: (.*)", printed)
    records = read_log(copy.output, SAMPLES)
    assert [record["iteration"] for record in records] == [0, 2] and records[1]["texts"] == json.loads(told)
    assert not (copy.output / "evaluating.json").exists()
