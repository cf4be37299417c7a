"""The trainer against another one: transformers' Llama, torch's AdamW and clipping, and the formula of the schedule."""

import math
from pathlib import Path

import pytest
import torch

from pretrain_llama.training.log_file import read_log
from trainings import Training, start, train

WARMUP, STEPS, BATCH, MICRO = 2, 8, 8, 2


def train_and_keep_batches(folder: Path, kept: Path) -> None:
    """Train, and keep the tokens and labels of every micro batch of the training: (micro batch, sequence)."""
    from pretrain_llama.training.batches import BatchReader

    load, batches = BatchReader._load, {}

    def keeping(self: BatchReader, first: int, size: int):
        loaded = load(self, first, size)
        if size == BATCH and len(self._dataset) >= STEPS * BATCH:
            batches[first] = [(batch["tokens"], batch["labels"]) for batch in loaded]
        return loaded

    BatchReader._load = keeping
    train(folder)
    torch.save([batches[first] for first in sorted(batches)], kept)


def train_with_transformers(llama: Path, kept: Path) -> None:
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
            logits = model(tokens).logits
            losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
            (losses[-1] / len(batches)).backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        falling = (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) / 2
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * step / WARMUP if step <= WARMUP else 3e-4 + 2.7e-3 * falling
        optimizer.step()
        optimizer.zero_grad()
        print(torch.stack(losses).mean().item(), norm.item(), flush=True)


def test_the_losses_are_those_of_transformers_and_torch(training: Training, llama: Path, tmp_path: Path) -> None:
    """Without padding of the vocabulary, whose rows take a little of the probability."""
    from test_training_resume import convert

    copy = training.copied(tmp_path / "run", training={"warmup_iterations": WARMUP})
    convert(copy, llama, tensor=1, multiple=16)
    outputs = {"outputs": tmp_path / "ours"}
    code, printed = start(train_and_keep_batches, copy.folder, tmp_path / "batches.pt", **outputs).wait()
    assert code == 0, printed
    code, printed = start(train_with_transformers, llama, tmp_path / "batches.pt", outputs=tmp_path / "theirs").wait()
    assert code == 0, printed
    theirs = [tuple(map(float, line.split())) for line in printed.splitlines() if line[:1].isdigit()]
    log = read_log(copy.output)
    assert len(theirs) == len(log) == STEPS
    assert [record["loss"] for record in log] == pytest.approx([loss for loss, _ in theirs], abs=1e-5)
    assert [record["gradient_norm"] for record in log] == pytest.approx([norm for _, norm in theirs], rel=1e-4)
    assert log[-1]["loss"] < log[0]["loss"] - 0.3 and max(norm for _, norm in theirs) > 1.2, "it learns, and is clipped"
